import ast
import dataclasses
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

import config
from machine import processor
from config import (
    DEFAULTS_BY_RULE,
    SCRIPTS,
    Config,
    ConfigError,
    config_of_checkpoint,
    load_config,
    names_of,
    parse_config,
    settings,
)
from messages.user_error import UserError
from networks import build_network
from settings.declaration import check_value, flag_of, setting, value_before
from settings.recipe import read_recipe

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def recipe(tmp_path):
    """Writes a recipe and returns the arguments that ask for it."""

    def write(text):
        (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8")
        return ["--config", str(tmp_path / "recipe.yaml")]

    return write


def refusal(capsys, argv, script=None):
    """The one line that a refused invocation prints."""
    with pytest.raises(SystemExit) as exit:
        parse_config(argv, script)
    out, err = capsys.readouterr()
    assert exit.value.code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith(f"{script or 'config'}.py: error: ")
    return err.partition("error: ")[2].rstrip("\n")


# The settings themselves


def test_every_default_keeps_its_own_rule_and_type():
    defaults = Config()
    for item in settings():
        assert getattr(defaults, item.name) == item.default
        assert item.metadata["help"]
        assert set(item.metadata["scripts"]) <= set(SCRIPTS)
        assert set(item.metadata["inherited_by"]) <= set(item.metadata["scripts"])
        check_value(item, value_before(item))


def test_settings_are_asked_for_by_what_they_declare():
    speed = ("device", "threads", "processes", "fused", "precision", "layout", "num_workers")
    assert names_of("compare eval", affects="speed") == speed
    assert names_of("train", affects="nothing") == ("summary", "resume", "save_every_steps")
    assert names_of(inherited_by="gradcam") == ("data", "lists_dir", "fold")
    assert Config(rotation=5.0).part("normalization") == {"mean": Config().mean, "std": Config().std}
    assert Config(sa_groups=8, attention="none").network_options() == {"attention": "none", "sa_groups": 8}
    assert names_of() == tuple(Config().as_dict())


@pytest.mark.parametrize(
    "asked", [{"part": "veiw"}, {"affects": "speed palce"}, {"script": "trian"}, {"inherited_by": "train"}]
)
def test_asking_for_what_no_setting_declares_is_an_error(asked):
    with pytest.raises(ValueError, match=r"^\w+ = '\w+': no setting declares this$"):
        names_of(**asked)


def test_a_declaration_with_an_unknown_effect_is_an_error():
    with pytest.raises(ValueError, match="affects = 'results': one of: result, speed, place, nothing"):
        setting(1, "a setting", group="training", part="training", affects="results", scripts="train")


def test_whether_a_setting_has_an_effect_depends_on_others():
    assert Config().has_effect("momentum")
    assert not Config(optimizer="adam").has_effect("momentum")
    assert Config(optimizer="adam").has_effect("learning_rate")


def test_a_config_cannot_be_changed_only_copied_and_is_checked_again():
    made = Config()
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.epochs = 3
    assert dataclasses.replace(made, epochs=3).epochs == 3
    with pytest.raises(ConfigError, match="epochs = 0: out of range; at least 1"):
        dataclasses.replace(made, epochs=0)


def test_what_the_machine_decides_is_filled_in():
    resolved = Config(num_workers=0, threads=3).resolved()
    assert (resolved.num_workers, resolved.threads) == (0, 3)
    resolved = Config().resolved()
    assert (resolved.threads >= 1, 0 <= resolved.num_workers <= 8) == (True, True)


@pytest.mark.parametrize(
    ("device", "system", "files", "expected"),
    [
        ("auto", "linux", ["nvidia0", "nvidiactl"], 7),
        ("auto", "linux", ["dxg"], 7),
        ("cpu", "linux", ["nvidia0"], 0),
        ("auto", "linux", ["null"], 0),  # beside a CPU's own threads processes only copy memory
        ("auto", "win32", ["nvidia0"], 0),
    ],
)
def test_processes_read_beside_a_gpu(device, system, files, expected, tmp_path, monkeypatch):
    for name in files:
        (tmp_path / name).touch()
    monkeypatch.setattr(processor, "DEVICES", tmp_path)
    monkeypatch.setattr(processor, "available_cores", lambda: 8)
    monkeypatch.setattr(processor.sys, "platform", system)
    assert Config(device=device).resolved().num_workers == expected


def test_what_follows_from_photographs_and_epochs_is_filled_in():
    chosen = Config(epochs=20).resolved_for(photographs=500)
    assert all(getattr(chosen, name) is not None for name in DEFAULTS_BY_RULE)
    assert chosen.by_rule() == ()
    for name in DEFAULTS_BY_RULE:
        given = dataclasses.replace(Config(epochs=20), **{name: getattr(chosen, name)})
        assert set(given.by_rule()) == set(DEFAULTS_BY_RULE) - {name}, "what the user sets is left alone"


def test_a_network_is_given_no_option_that_it_lacks():
    chosen = Config(net="mobilenet_v2", epochs=20).resolved_for(500)
    assert chosen.zero_init_residual is None
    build_network("mobilenet_v2", 3, **chosen.network_options())


def test_a_long_training_sees_smaller_parts_of_its_photographs():
    assert Config(epochs=20).resolved_for(1000).crop_min_area > Config(epochs=100).resolved_for(13_000).crop_min_area


def test_blocks_start_as_the_identity_in_deep_networks_alone():
    starts = {net: Config(net=net).resolved_for(500).zero_init_residual for net in ("resnet18", "resnet34", "sa_resnet50")}
    assert starts == {"resnet18": False, "resnet34": True, "sa_resnet50": True}


def test_the_order_in_which_stages_are_named_makes_no_other_network():
    assert Config(attention_stages=(4, 3)) == Config(attention_stages=(3, 4))


def test_a_network_without_normalisation_learns_at_a_lower_rate():
    vgg, other = (Config(net=net).resolved_for(500) for net in ("vgg19", "mobilenet_v2"))
    assert vgg.learning_rate == pytest.approx(0.1 * other.learning_rate)
    assert (
        Config(net="vgg19", pretrained=True).resolved_for(500).learning_rate
        == Config(pretrained=True).resolved_for(500).learning_rate
    )


def test_from_given_weights_the_training_begins_more_gently():
    scratch, fine = Config().resolved_for(500), Config(pretrained=True).resolved_for(500)
    assert (scratch.optimizer, scratch.zero_init_residual) == ("adamw", True)
    assert (fine.optimizer, fine.zero_init_residual) == ("momentum", False)
    for start in (scratch, fine):
        other = dataclasses.replace(start, optimizer="adam", learning_rate=None).resolved_for(500)
        assert other.learning_rate == (1e-3 if start is scratch else 1e-4)


def test_a_larger_batch_learns_at_a_higher_rate():
    def rate(**changes):
        return Config(epochs=20, optimizer="momentum", **changes).resolved_for(500).learning_rate

    assert rate(batch_size=64) == pytest.approx(2 * rate(batch_size=32))
    assert rate(batch_size=16, accumulate=4) == pytest.approx(rate(batch_size=64))
    assert rate(batch_size=64, learning_rate=0.5) == 0.5


def test_momentum_that_is_given_chooses_its_optimizer():
    given = dataclasses.replace(Config(momentum=0.8), given=frozenset({"momentum"}))
    assert given.resolved_for(500).optimizer == "momentum"


def test_the_warm_up_fits_into_the_epochs():
    for epochs in (1, 2, 5, 30, 1000):
        assert 0 <= Config(epochs=epochs).resolved_for(500).warmup_epochs < epochs


def test_settings_are_inherited_unless_given():
    trained = Config(data="elsewhere", batch_size=8)
    given = parse_config(["--batch_size", "4"])
    assert given.inherit(trained, ("data", "batch_size")).batch_size == 4
    assert given.inherit(trained, ("data", "batch_size")).data == "elsewhere"


def test_a_run_s_folder_of_lists_does_not_go_with_other_data():
    trained, names = Config(data="here", lists_dir="lists"), ("data", "lists_dir")
    nothing, other = parse_config([], "eval"), parse_config(["--data", "there"], "eval")
    both = parse_config(["--data", "there", "--lists_dir", "others"], "eval")
    for given, expected in ((nothing, ("here", "lists")), (other, ("there", None)), (both, ("there", "others"))):
        inherited, continued = given.inherit(trained, names), given.continuing(trained, "run")
        assert (inherited.data, inherited.lists_dir) == (continued.data, continued.lists_dir) == expected


# Defaults < recipe < command line


def test_the_command_line_wins_over_the_recipe_and_the_recipe_over_the_defaults(recipe):
    argv = recipe("epochs: 7\nbatch_size: 8\n")
    assert parse_config([]) == Config()
    assert parse_config(argv) == Config(epochs=7, batch_size=8)
    assert parse_config([*argv, "--epochs", "9"]) == Config(epochs=9, batch_size=8)
    assert parse_config(["--epochs", "100", *argv]) == Config(epochs=100, batch_size=8)
    assert parse_config([*argv, "--net", "resnet"]).given == {"epochs", "batch_size", "net"}


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--batch_size", "4"], {"batch_size": 4}),
        (["--batch-size", "4"], {"batch_size": 4}),
        (["--batch-size=4"], {"batch_size": 4}),
        (["--learning_rate", "1e-3"], {"learning_rate": 0.001}),
        (["--learning_rate", "1"], {"learning_rate": 1.0}),
        (["--data", "my photos-2/猫"], {"data": "my photos-2/猫"}),
        (["--nets", "resnet", "sa_resnet"], {"nets": ("resnet", "sa_resnet")}),
        (["--mean", "0", "0.5", "1e-1"], {"mean": (0.0, 0.5, 0.1)}),
        (["--no-flip", "--rotation", "10"], {"flip": False, "rotation": 10.0}),
        (["--runs", "a", "b"], {"runs": ("a", "b")}),
        (["--summary"], {"summary": True}),
        (["--no-decay_norm_and_bias"], {"decay_norm_and_bias": False}),
        (["--no-decay-norm-and-bias"], {"decay_norm_and_bias": False}),
        (["--no_decay_norm_and_bias"], {"decay_norm_and_bias": False}),
    ],
)
def test_flags(argv, expected):
    parsed = parse_config(argv)
    assert parsed == Config(**expected)
    for name, value in expected.items():
        assert type(getattr(parsed, name)) is type(value)


def test_the_process_s_own_arguments_are_the_default(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--epochs", "3"])
    assert parse_config().epochs == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("learning_rate: 1e-3", {"learning_rate": 0.001}),  # text to YAML 1.1
        ("learning_rate: 1", {"learning_rate": 1.0}),
        ("nets: [resnet, sa_resnet]", {"nets": ("resnet", "sa_resnet")}),
        ("std: [1, 0.5, 1e-1]", {"std": (1.0, 0.5, 0.1)}),
        ("runs:\n  - a\n  - b", {"runs": ("a", "b")}),
        ("summary: yes", {"summary": True}),
        ("learning_rate: null\nmax_per_class: ~", {}),
        ("data: 照片  # ours", {"data": "照片"}),
        ("per_class: 5\nval_fraction: 0.3\nnet: resnet", {"per_class": 5, "val_fraction": 0.3, "net": "resnet"}),
    ],
)
@pytest.mark.parametrize("script", [None, "train", "compare"])
def test_recipes_may_hold_settings_of_any_script(recipe, script, text, expected):
    parsed = parse_config(recipe(text), script)
    assert parsed == Config(**expected)
    for name, value in expected.items():
        assert type(getattr(parsed, name)) is type(value)


def test_what_a_run_saves_is_read_again(tmp_path):
    import yaml

    made = Config(nets=("resnet",), learning_rate=1e-5, data="照片", decay_norm_and_bias=False, max_per_class=3,
                  mean=(0.1, 1e-5, 1 / 3), flip=False)  # fmt: skip
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(made.as_dict(), allow_unicode=True), encoding="utf-8")
    assert load_config(tmp_path / "config.yaml") == made


# Files of other versions of the toolkit


@pytest.fixture
def next_version(monkeypatch):
    """The toolkit with one setting more, that older runs had at 0.0 and new ones have at 0.2 by default."""
    sharpness = setting(
        0.2, "strength of sharpness", low=0, before=0.0,
        group="training", part="training", affects="result", scripts="train")  # fmt: skip
    newer = dataclasses.make_dataclass("Config", [("sharpness", float, sharpness)], bases=(Config,), frozen=True)
    monkeypatch.setattr(config, "Config", newer)
    return newer


def as_yaml(values):
    return "".join(f"{name}: {json.dumps(value)}\n" for name, value in values.items())


def test_a_run_from_before_a_setting_has_the_value_that_the_setting_declares(tmp_path, next_version):
    older = Config(epochs=7).as_dict()
    (tmp_path / "config.yaml").write_text(as_yaml(older))
    for loaded in (load_config(tmp_path / "config.yaml"), config_of_checkpoint({"config": older}, "best.safetensors")):
        assert (loaded.epochs, loaded.sharpness) == (7, 0.0)
    assert parse_config(["--epochs", "7"], "train").sharpness == 0.2


def test_a_run_with_an_unknown_setting_is_read_and_a_recipe_with_one_is_refused(tmp_path, next_version, monkeypatch, capsys):
    newer = {**next_version(epochs=7).as_dict(), "given": ["net"], "format": 2}
    assert "sharpness" in newer
    monkeypatch.undo()
    (tmp_path / "config.yaml").write_text(as_yaml(newer))
    assert load_config(tmp_path / "config.yaml") == Config(epochs=7)
    assert config_of_checkpoint({"config": newer}, "best.safetensors") == Config(epochs=7)
    assert load_config(tmp_path / "config.yaml").given == frozenset()
    assert refusal(capsys, ["--config", str(tmp_path / "config.yaml")]).startswith(
        f"{tmp_path / 'config.yaml'}: unknown key 'sharpness'"
    )


@pytest.mark.parametrize("form", ["", "format: 1\n", "format: 2\n"])
def test_the_config_yaml_of_a_run_is_a_recipe_in_every_format(recipe, form):
    # what runs from before these settings, or with other defaults, have
    before = {item.name: value_before(item) for item in settings() if value_before(item) != item.default}
    del before["earlier_attention"]  # this network has none
    assert before["decay_norm_and_bias"] is True
    argv = recipe(form + as_yaml({"epochs": 7, **before}))
    assert parse_config(argv) == load_config(argv[1]) == Config(epochs=7, **before)
    assert parse_config(argv).given == {"epochs", *before}


@pytest.mark.parametrize(
    ("form", "complaint"),
    [
        ("99", "format 99; this version of the toolkit reads up to 2: use a newer one"),
        ("'2'", "format '2': expected a whole number from 1 to 2"),
        ("2\nformat: 1", "key 'format' appears twice"),
    ],
)
def test_a_newer_format_is_refused_in_one_line(capsys, recipe, form, complaint):
    argv = recipe(f"format: {form}\nepochs: 3\nsharpness: 0.5\n")
    assert refusal(capsys, argv) == f"{argv[1]}: {complaint}"
    with pytest.raises(UserError) as error:
        load_config(argv[1])
    assert str(error.value) == f"{argv[1]}: {complaint}"


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda path: path.name)
def test_the_project_s_recipes_are_accepted(path):
    assert parse_config(["--config", str(path)]).given
    first, second = path.read_text(encoding="utf-8").splitlines()[:2]
    command = first.split()
    assert command[:3] == ["#", "python", "train.py"], "the first line is the command"
    assert f"recipes/{path.name}" in command
    assert second == "#"
    given = parse_config(command[3:], "train")
    assert given.given
    by_rule = [name for name in given.by_rule() if given.has_effect(name)]
    assert by_rule == [], "a recipe stays what it is when the rule of the defaults changes"


def test_no_recipe_sets_what_its_other_settings_leave_without_effect():
    for path in (ROOT / "recipes").glob("*.yaml"):
        values = read_recipe(Config, path, config.FORMAT)
        for item in settings():
            other, needed = item.metadata["needs"] or (None, None)
            assert not other or item.name not in values or getattr(Config(**values), other) == needed, (path, item.name)


# What is refused: one line that names the setting, the rule and the nearest valid name


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--epoch", "3"], "unknown option --epoch, did you mean --epochs?; --help lists them all"),
        (["--batch-sise", "3"], "unknown option --batch_sise, did you mean --batch_size?; --help lists them all"),
        (["--no-epochs"], "unknown option --no-epochs, did you mean --epochs?; --help lists them all"),
        (["--zzz"], "unknown option --zzz; --help lists them all"),
        (["epochs=3"], "unexpected 'epochs=3': settings are written --name value; --help lists them all"),
        (["--epochs", "3", "4"], "unexpected '4': settings are written --name value; --help lists them all"),
        (["--epochs"], "argument --epochs: expected one argument"),
        (["--nets"], "argument --nets: expected at least one argument"),
        (["--epochs", "three"], "epochs = 'three': expected a whole number"),
        (["--epochs", "1.5"], "epochs = '1.5': expected a whole number"),
        (["--epochs", "1e3"], "epochs = '1e3': expected a whole number"),
        (["--epochs", ""], "epochs = '': expected a whole number"),
        (["--epochs", "0"], "epochs = 0: out of range; at least 1"),
        (["--epochs", "-1"], "epochs = -1: out of range; at least 1"),
        (["--val_fraction", "0"], "val_fraction = 0.0: out of range; more than 0 and at most 0.9"),
        (["--val_fraction", "0.95"], "val_fraction = 0.95: out of range; more than 0 and at most 0.9"),
        (["--val_fraction", "a fifth"], "val_fraction = 'a fifth': expected a number"),
        (["--learning_rate", "nan"], "learning_rate = nan: expected a finite number"),
        (["--learning_rate", "inf"], "learning_rate = inf: expected a finite number"),
        (["--warmup_epochs", "-0.5"], "warmup_epochs = -0.5: out of range; at least 0"),
        (["--per_class", "100001"], "per_class = 100001: out of range; at least 2 and at most 100,000"),
        (
            ["--seed", "2147483640", "--seeds", "9"],
            "seeds = 9: counted from seed = 2147483640, the last exceeds 2,147,483,647",
        ),
        (["--epochs", "3", "--warmup_epochs", "4"], "warmup_epochs = 4: the warm-up cannot outlast epochs = 3"),
        (
            ["--schedule", "cosin"],
            "schedule = 'cosin': unknown, did you mean cosine?; one of: cosine, cosine_by_epoch, step, constant",
        ),
        (["--mean", "0.5", "0.5"], "mean = (0.5, 0.5): expected 3 values, found 2"),
        (["--mean", "123.7", "116.3", "103.5"], "mean = 123.7: out of range; at least 0 and at most 1"),
        (["--std", "0.2", "0.2", "0"], "std = 0.0: out of range; more than 0 and at most 1"),
        (["--rotation", "200"], "rotation = 200.0: out of range; at least 0 and at most 180"),
        (["--dataset", "cifar"], "dataset = 'cifar': unknown, did you mean cifar10?; one of: folder, cifar10"),
        (
            ["--train_crop", "center"],
            "train_crop = 'center': unknown, did you mean letterbox?; one of: random, resize, letterbox",
        ),
        (["--optimizer", "zzz"], "optimizer = 'zzz': unknown; one of: momentum, adam, adamw"),
        (["--device", ""], "device = '': unknown; one of: auto, cpu, gpu"),
        (["--config", "missing.yaml"], "config = 'missing.yaml': there is no such file"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(capsys, argv, expected):
    assert refusal(capsys, argv) == expected


def test_a_mistyped_network_is_refused_with_the_nearest_and_all_names(capsys):
    for flag in ("--net", "--nets"):
        line = refusal(capsys, [flag, "sa_rasnet50"])
        assert line.startswith(f"{flag[2:]} = 'sa_rasnet50': unknown, did you mean sa_resnet50?; one of: ")
        assert all(name in line for name in config.NETWORKS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("epoch: 3", "{file}: unknown key 'epoch', did you mean epochs?"),
        ("1: 3", "{file}: unknown key 1"),
        ("batch-size: 3", "{file}: unknown key 'batch-size', did you mean batch_size?"),
        ("training:\n  epochs: 3", "{file}: unknown key 'training'"),
        ("data:\n  folder: x", "{file}: data = {{'folder': 'x'}}: expected text"),
        ("epochs: {{n: 3}}", "{file}: epochs = {{'n': 3}}: expected a whole number"),
        ("epochs: [3]", "{file}: epochs = [3]: expected a whole number"),
        ("epochs: '3'", "{file}: epochs = '3': expected a whole number"),
        ("epochs: 3.0", "{file}: epochs = 3.0: expected a whole number"),
        ("epochs: true", "{file}: epochs = True: expected a whole number"),
        ("epochs:", "{file}: epochs = None: expected a whole number"),
        ("epochs: .nan", "{file}: epochs = nan: expected a whole number"),
        ("momentum: true", "{file}: momentum = True: expected a number"),
        ("momentum: .nan", "{file}: momentum = nan: expected a finite number"),
        ("learning_rate: .inf", "{file}: learning_rate = inf: expected a finite number"),
        ("learning_rate: fast", "{file}: learning_rate = 'fast': expected a number"),
        ("summary: 1", "{file}: summary = 1: expected true or false"),
        ("data: 3", "{file}: data = 3: expected text"),
        ("data: 2020-01-01", "{file}: data = datetime.date(2020, 1, 1): expected text"),
        ("net: resent", "{file}: net = 'resent': unknown, did you mean resnet?"),
        ("nets: resnet", "{file}: nets = 'resnet': expected a list of at least one"),
        ("nets: []", "{file}: nets = (): expected a list of at least one"),
        ("std: 0.5", "{file}: std = 0.5: expected a list of at least one"),
        ("std: [0.1, 0.1]", "{file}: std = (0.1, 0.1): expected 3 values, found 2"),
        ("std: [0.1, 0.1, wide]", "{file}: std = 'wide': expected a number"),
        ("std: [0.1, 0.1, true]", "{file}: std = True: expected a number"),
        ("nets: [resnet, [resnet]]", "{file}: nets = ['resnet']: expected text"),
        ("nets: [resnet, 3]", "{file}: nets = 3: expected text"),
        ("epochs: 3\nbatch_size: 2\nepochs: 4", "{file}: key 'epochs' appears twice"),
        ("", "config = '{file}': expected lines of 'name: value'"),
        ("# only a comment\n", "config = '{file}': expected lines of 'name: value'"),
        ("- epochs", "config = '{file}': expected lines of 'name: value'"),
        ("epochs 3", "config = '{file}': expected lines of 'name: value'"),
        ("epochs: [3", "config = '{file}': not YAML: "),
        ("? [a]\n: 3", "config = '{file}': not YAML: "),
        (
            "net: !!python/object/apply:os.getcwd []",
            "config = '{file}': line 1 has a tag (tag:yaml.org,2002:python/object/apply:os.getcwd): write the value without it",
        ),
        ("epochs: 3\n---\nepochs: 4", "config = '{file}': not YAML: "),
        ("data: &a x\nrun: *a", "config = '{file}': line 1 has an anchor or alias (a): write the value out"),
        ("std: " + "[" * 3000, "config = '{file}': line 1 is nested deeper than any setting"),
        ("std: " + "[" * 500 + "1" + "]" * 500, "config = '{file}': line 1 is nested deeper than any setting"),
        ("epochs: !!int ''", "config = '{file}': line 1 has a tag (tag:yaml.org,2002:int): write the value without it"),
        ("data: 2001-99-99", "config = '{file}': not YAML: month must be in 1..12"),
        ("epochs: " + "9" * 5000, "config = '{file}': not YAML: "),
        ("epochs: 1" + ":1" * 300 + ".5", "config = '{file}': not YAML: "),
        ("epochs: 0x" + "f" * 5000, "{file}: epochs = a number of 20,000 bits: out of range; at most 2,147,483,647"),
        ("? 0x" + "f" * 5000 + "\n: 1", "{file}: unknown key a number of 20,000 bits"),
        ("learning_rate: 1" + "0" * 400, "{file}: learning_rate = inf: expected a finite number"),
        ("batch_size: 1" + "0" * 400, "{file}: batch_size = a number of 1,329 bits: out of range; at most 2,147,483,647"),
        ('data: "a\\0b"', "{file}: data = 'a\\x00b': expected text without zero bytes or surrogates"),
        ('data: "\\ud800"', "{file}: data = '\\ud800': expected text without zero bytes or surrogates"),
        ('data: "\\U00110000"', "config = '{file}': not YAML: "),
        ("# " + "x" * 100_000, "config = '{file}': cannot be read: 100,002 bytes, more than the maximum of 100,000"),
    ],
)
def test_bad_recipes_are_refused_in_one_line(capsys, recipe, text, expected):
    argv = recipe(text.replace("{{", "{").replace("}}", "}"))
    assert refusal(capsys, argv).startswith(expected.format(file=argv[1]))


def test_a_bad_value_of_a_recipe_is_refused_even_where_the_command_line_overrides_it(capsys, recipe):
    assert "epochs = 0: out of range" in refusal(capsys, [*recipe("epochs: 0"), "--epochs", "3"])


@pytest.mark.parametrize("content", [b"epochs: 3 # \xff", b"epochs: \x00"])
def test_a_recipe_that_is_no_text_is_refused(capsys, tmp_path, content):
    (tmp_path / "recipe.yaml").write_bytes(content)
    assert refusal(capsys, ["--config", str(tmp_path / "recipe.yaml")]).startswith("config = ")


def test_few_lines_that_stand_for_gigabytes_are_refused_at_once(capsys, recipe):
    lines = ["data: &l0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"key{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 12)]
    assert "line 1 has an anchor or alias (l0)" in refusal(capsys, recipe("\n".join(lines)))


def test_a_long_value_is_shown_in_part(capsys, recipe):
    shown = refusal(capsys, recipe("net: " + "x" * 50_000))
    assert "net = 'xxx" in shown
    assert len(shown) < 2000


def test_values_that_do_not_go_together_are_refused_with_the_file(tmp_path):
    (tmp_path / "config.yaml").write_text("epochs: 3\nwarmup_epochs: 5")
    with pytest.raises(ConfigError, match=r"config\.yaml: warmup_epochs = 5: the warm-up cannot outlast epochs = 3"):
        load_config(tmp_path / "config.yaml")


@pytest.mark.parametrize(
    ("line", "expected"), [("epochs: three", "epochs = 'three': expected a whole number"), ("net: x", "net = 'x': unknown")]
)
def test_a_bad_value_in_a_run_s_file_is_refused(tmp_path, line, expected):
    (tmp_path / "config.yaml").write_text(f"sharpness: 1\n{line}\n")
    with pytest.raises(ConfigError) as error:
        load_config(tmp_path / "config.yaml")
    assert str(error.value).startswith(f"{tmp_path / 'config.yaml'}: {expected}")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"epochs": "3"}, "epochs = '3': expected a whole number"),
        ({"std": [0.1, 0.1, 10**400]}, "std = a number of 1,329 bits: expected a finite number"),
        ({"nets": {"a": 1}}, "nets = {'a': 1}: expected a list of at least one"),
    ],
)
def test_settings_of_a_checkpoint_that_cannot_be_used_are_refused_with_the_file(settings, expected):
    with pytest.raises(ConfigError) as error:
        config_of_checkpoint({"config": settings}, "best.safetensors")
    assert str(error.value).startswith(f"best.safetensors: its settings cannot be used: {expected}")


def test_a_folder_is_no_recipe(capsys, tmp_path):
    assert "cannot be read" in refusal(capsys, ["--config", str(tmp_path)])


@pytest.mark.parametrize(
    ("script", "argv", "expected"),
    [
        ("eval", ["--max-per-class", "3"], "--max_per_class is no option of eval.py, but of train_val_split.py"),
        ("compare", ["--summary"], "--summary is no option of compare.py, but of train.py"),
        ("eval", ["--summary"], "--summary is no option of eval.py, but of train.py"),
        ("eval", ["--no-summary"], "--summary is no option of eval.py, but of train.py"),
        ("train", ["--nets", "resnet", "sa_resnet"], "--nets is no option of train.py, but of compare.py"),
        ("train", ["--epoch", "3"], "unknown option --epoch, did you mean --epochs?"),
    ],
)
def test_another_script_s_flag_is_refused_with_whose_it_is(capsys, script, argv, expected):
    assert refusal(capsys, argv, script).startswith(expected)


def test_settings_refuse_wrong_types_from_python_as_well():
    for bad in ({"epochs": True}, {"epochs": "3"}, {"nets": "resnet"}, {"nets": ()}, {"momentum": math.nan}, {"data": None}):
        with pytest.raises(ConfigError, match=next(iter(bad))):
            Config(**bad)


# Help


@pytest.fixture(scope="module")
def without_paddle(tmp_path_factory):
    """A folder to put on PYTHONPATH: in it importing Paddle fails."""
    folder = tmp_path_factory.mktemp("stub")
    (folder / "paddle.py").write_text("raise ImportError('Paddle was imported')\n")
    return folder


def run_script(script, *arguments, python_path=""):
    command = [sys.executable, "-B", str(ROOT / f"{script}.py"), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(python_path), "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=environment, timeout=60, check=False)


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_is_grouped_shows_defaults_and_needs_no_paddle(script, without_paddle):
    done = run_script(script, "--help", python_path=without_paddle)
    assert (done.returncode, done.stderr) == (0, "")
    text = " ".join(done.stdout.split())
    docstring = ast.get_docstring(ast.parse((ROOT / f"{script}.py").read_text(encoding="utf-8")))
    assert " ".join(docstring.split()) in text
    assert f"{script}.py" in done.stdout.splitlines()[0]
    for item in settings():
        reads_it = script in item.metadata["scripts"]
        readers = {reader for other in settings() if flag_of(other) == flag_of(item) for reader in other.metadata["scripts"]}
        assert (f"--{flag_of(item)} " in text) == (script in readers)  # predict.py and export.py have a --format each
        if reads_it:
            assert f"\n{item.metadata['group']}:\n" in done.stdout
            assert item.metadata["help"].split("\n")[0] in text
            shown = item.metadata["default_text"] or item.default
            if isinstance(shown, (int, float, str)) and not isinstance(shown, bool):
                assert f"(default: {shown})" in text


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_mistyped_flag_is_refused_without_paddle(script, without_paddle):
    done = run_script(script, "--dta", "x", python_path=without_paddle)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"{script}.py: error: unknown option --dta")
    assert done.stderr.count("\n") == 1


def test_flags_say_what_they_take_for_granted(capsys):
    with pytest.raises(SystemExit) as exit:
        parse_config(["--help"], "train")
    assert exit.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "--no-decay_norm_and_bias" in text
    assert "with probability 0.5 (default: off)" in text
    assert "cosine, cosine_by_epoch, step, constant (default: cosine)" in text


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (
            ["--optimizer", "adam", "--momentum", "0.8"],
            "--momentum has no effect with optimizer = 'adam', only with 'momentum'",
        ),
        (["--step_epochs", "5"], "--step_epochs has no effect with schedule = 'cosine', only with 'step'"),
        (
            ["--train_crop", "resize", "--crop_min_area", "0.5"],
            "--crop_min_area has no effect with train_crop = 'resize', only with 'random'",
        ),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(words, complaint, capsys):
    with pytest.raises(SystemExit, match="2"):
        parse_config(words, script="train")
    assert capsys.readouterr().err == f"train.py: error: {complaint}\n"
    assert parse_config(["--schedule", "step", "--step_epochs", "5", "--momentum", "0.8"], script="train").step_epochs == 5


def test_even_kernel_sizes_and_a_part_of_no_file_are_refused(capsys):
    for words, complaint in (
        (["--eca_kernel_sizes", "3", "3", "5", "6"],
         "eca_kernel_sizes = 6: must be odd, so that each channel is in the middle; try 7"),
        (["--allow_partial"], "allow_partial without init_from: no file is loaded, in part or whole; give --init_from FILE"),
    ):  # fmt: skip
        with pytest.raises(SystemExit, match="2"):
            parse_config(words, script="train")
        assert capsys.readouterr().err == f"train.py: error: {complaint}\n"


def test_compare_takes_every_setting_that_decides_what_all_its_networks_learn():
    of_train, of_compare = ({item.name for item in settings(script)} for script in ("train", "compare"))
    of_one_training = {"net", "fold", "summary", "resume", "attention", "sa_groups", "sa_gate", "e_lambda", "eca_kernel_sizes",
                       "earlier_attention", "attention_stages"}  # fmt: skip
    assert of_train - of_compare == of_one_training


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("read", [load_config, lambda path: parse_config(["--config", str(path)], "train")])
def test_a_pipe_in_place_of_settings_is_refused_without_waiting(tmp_path, capsys, read):
    os.mkfifo(tmp_path / "config.yaml")
    with pytest.raises((ConfigError, SystemExit)) as refused:
        read(tmp_path / "config.yaml")
    assert "a named pipe, not a file" in str(refused.value) + capsys.readouterr().err
