"""Class weights: from the sizes of the classes, or from a file; in trainings, resumed ones and comparisons."""

import os

import numpy as np
import pytest
from listed_pictures import write_pictures
from tiny_network import outcome

import eval as eval_script
import train
from comparison import run_plan, side_by_side
from comparison.side_by_side import one_at_a_time
from config import Config, parse_config
from trained.checkpoint import CheckpointError, read_header
from trained.header import check_header
from trained.result import read_result
from trained.run_error import RunError
from training import class_weights as class_weights_module
from training import session
from training.class_weights import ClassWeightsError, class_weights, line_of, weights_by_name
from training.model import TrainingModel

CLASSES = ["cat", "dog, wild", "羊"]
COUNTS = [80, 5, 15]


def weighted_mean(values, counts):
    return np.average(values, weights=counts)


def test_balanced_weights_are_inverse_to_the_sizes_with_mean_one():
    values = weights_by_name("balanced", CLASSES, COUNTS).values
    np.testing.assert_allclose(values, [100 / (3 * 80), 100 / (3 * 5), 100 / (3 * 15)])
    assert weighted_mean(values, COUNTS) == pytest.approx(1)


@pytest.mark.parametrize("beta", [0.9, 0.999, 0.999999])
def test_effective_weights_are_inverse_to_the_effective_numbers_with_mean_one(beta):
    raw = np.array([(1 - beta) / (1 - beta**count) for count in COUNTS])
    values = weights_by_name("effective", CLASSES, COUNTS, beta).values
    np.testing.assert_allclose(values, raw / weighted_mean(raw, COUNTS), rtol=1e-9)
    if beta == 0.999999:
        np.testing.assert_allclose(values, weights_by_name("balanced", CLASSES, COUNTS).values, rtol=1e-4)


def test_beta_zero_weighs_nothing():
    assert weights_by_name("effective", CLASSES, COUNTS, 0.0).values == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("asked", ["balanced", "effective"])
def test_a_class_without_photographs_disturbs_nothing(asked):
    values = weights_by_name(asked, [*CLASSES, "none"], [*COUNTS, 0]).values
    assert values[:3] == pytest.approx(weights_by_name(asked, CLASSES, COUNTS).values)
    assert values[3] == 1


def written(folder, text, encoding="utf-8"):
    path = folder / "weights.csv"
    path.write_bytes(text.encode(encoding))
    return path


GOOD = 'cat,1\n"dog, wild",16\n羊,4\n'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
@pytest.mark.parametrize(
    "text",
    [
        GOOD, "class,weight\n" + GOOD, "Class, Weight\r\n" + GOOD.replace("\n", "\r\n") + "\r\n",
        '羊,0.4e1\n cat ,1.0\n"dog, wild", 16 ',
    ],
    ids=["plain", "header", "crlf", "spaces"],
)  # fmt: skip
def test_a_file_gives_every_class_its_weight_in_any_order(tmp_path, text, encoding):
    values = weights_by_name(str(written(tmp_path, text, encoding)), CLASSES, COUNTS).values
    assert values == pytest.approx(np.array([1, 16, 4]) / weighted_mean([1, 16, 4], COUNTS))


def test_names_that_a_spreadsheet_would_run_are_read_as_our_tables_write_them(tmp_path):
    path = written(tmp_path, "'=cat,1\n@dog,2\n")
    assert weights_by_name(str(path), ["=cat", "@dog"], [1, 1]).values == pytest.approx([2 / 3, 4 / 3])


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (GOOD + "fox,1\n", "line 4: 'fox' is no class of the training list: its classes are cat, dog, wild, 羊"),
        ("cat,1\n羊,2\n", "has no weight for dog, wild: give each class of the training list a line"),
        ("", "has no weight for cat, dog, wild, 羊: give each class"),
        (GOOD + "cat,2\n", "line 4: 'cat' has a weight in line 1 already: give each class one line"),
        ("cat\n", "line 1: 'cat' has 1 values: write class,weight, a class with a comma in it in quotes"),
        ("dog, wild,2\n", "line 1: 'dog, wild,2' has 3 values: write class,weight, a class with a comma in it in quotes"),
        ('"cat,2\n', "line 1: '\"cat,2' has 1 values: write class,weight"),
        ("cat,zero\n", "line 1: the weight of 'cat' is 'zero': give a number from 1e-06 to 1,000,000"),
        ("cat,\n", "line 1: the weight of 'cat' is '': give a number"),
        ("cat,0\n", "the weight of 'cat' is '0': give a number"),
        ("cat,-1\n", "the weight of 'cat' is '-1': give a number"),
        ("cat,nan\n", "the weight of 'cat' is 'nan': give a number"),
        ("cat,inf\n", "the weight of 'cat' is 'inf': give a number"),
        ("cat,1e400\n", "the weight of 'cat' is '1e400': give a number"),
        ("cat,１\n", "the weight of 'cat' is '１': give a number"),
        ("class,weight\nclass,weight\n", "line 2: 'class' is no class"),
        ("cat,\x1b[31m1\n", "the weight of 'cat' is '\\x1b[31m1': give a number"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_line(tmp_path, text, complaint):
    path = written(tmp_path, text)
    with pytest.raises(ClassWeightsError) as caught:
        weights_by_name(str(path), CLASSES, COUNTS)
    message = str(caught.value)
    assert message.startswith(f"class_weights: {path} ")
    assert complaint in message
    assert message.isprintable()


def test_what_is_no_file_of_text_is_refused_without_waiting(tmp_path):
    def refused(path):
        with pytest.raises(ClassWeightsError) as caught:
            weights_by_name(str(path), CLASSES, COUNTS)
        return str(caught.value)

    assert refused("balancd") == (
        "class_weights = 'balancd': there is no such file: give balanced, effective or a CSV file of class,weight"
    )
    assert refused(tmp_path) == f"class_weights: {tmp_path} cannot be read: a folder, not a file"
    path = tmp_path / "bytes.csv"
    path.write_bytes(b"cat,1\n\xff\xff,2\n")
    assert refused(path) == (f"class_weights: {path} line 2: byte 0xff is neither UTF-8 nor GB18030: save the file as UTF-8")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        assert refused(tmp_path / "pipe") == f"class_weights: {tmp_path / 'pipe'} cannot be read: a named pipe, not a file"


def test_the_line_names_the_smallest_and_the_largest_weight():
    values = weights_by_name("balanced", ["dog", "newt\x1b[2J", "none"], [820, 12, 0]).values
    assert line_of(values, ["dog", "newt\x1b[2J", "none"], [820, 12, 0]) == (
        "class weights from 0.507 (dog, 820 photographs) to 34.7 (newt\\x1b[2J, 12)"
    )


# Trainings

pytestmark = pytest.mark.usefixtures("quick_pictures")


@pytest.fixture
def data(tmp_path):
    return write_pictures(tmp_path / "data", train=(12, 3, 4), val=(3, 2, 2))


@pytest.fixture(autouse=True)
def tiny(register_tiny_network):
    pass


def settings(data, runs_dir, **changes):
    chosen = {
        "net": "resnet", "data": str(data), "runs_dir": str(runs_dir), "image_size": 32, "epochs": 2, "batch_size": 5,
        "num_workers": 0, "threads": 2, "save_every_steps": 2,
    }  # fmt: skip
    return Config(**{**chosen, **changes})


BALANCED_LINE = "class weights from 0.528 (cat, 12 photographs) to 2.11 (dog, 3)"
HINT = (
    "unbalanced: 12 photographs of cat, 3 of dog; train.py --sampler sqrt or --class_weights balanced lets small classes count "
    "for more"
)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, HINT),
        ({"class_weights": "balanced"}, BALANCED_LINE),
        ({"sampler": "sqrt"}, "sampler sqrt: an epoch shows 5 photographs of dog, which has 3, and 9 of cat, which has 12"),
    ],
)
def test_a_training_says_what_it_does_about_small_classes_or_what_could_be_done(data, tmp_path, capsys, changes, line):
    assert train.main(settings(data, tmp_path / "runs", epochs=1, **changes)) == 0
    lines = capsys.readouterr().out.splitlines()
    about = [one for one in lines if one.startswith(("class weights", "sampler", "unbalanced"))]
    assert about == [line]
    assert lines.index(line) == 2, "after the line with the numbers of photographs"


def test_a_resumed_training_gets_no_advice_that_it_could_not_follow(data, tmp_path, monkeypatch, capsys):
    run = interrupted_run(data, tmp_path, monkeypatch)
    assert HINT in capsys.readouterr().out.splitlines()
    assert resume(run) == 0
    assert "unbalanced" not in capsys.readouterr().out


def test_evaluation_names_what_helps_where_the_training_used_none(tmp_path, capsys):
    data = write_pictures(tmp_path / "data", train=(5, 3, 4), val=(9, 2, 2))
    for name, changes in (("plain", {}), ("sampled", {"sampler": "sqrt"})):
        assert train.main(settings(data, tmp_path / name, epochs=1, **changes)) == 0
        capsys.readouterr()
        run = tmp_path / name / "resnet" / "001"
        assert eval_script.main(Config(run=str(run), num_workers=0, given=frozenset({"run"}))) == 0
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("unbalanced")]
        assert lines == ([] if changes else [HINT.replace("12 photographs", "9 photographs").replace("3 of dog", "2 of dog")])


def test_balanced_classes_bring_no_line(tmp_path, capsys):
    data = write_pictures(tmp_path / "data", train=(5, 3, 4), val=(3, 2, 2))
    assert train.main(settings(data, tmp_path / "runs", epochs=1)) == 0
    assert not [line for line in capsys.readouterr().out.splitlines() if line.startswith(("class", "sampler", "unbalanced"))]


def test_the_loss_of_a_training_has_the_weights_and_its_figures_do_not(data, tmp_path, monkeypatch):
    """A learning rate of nothing: all trainings then report the same losses and accuracies, but minimise other ones."""
    found = {}

    def of(name, **changes):
        losses = []
        original = TrainingModel.train_batch

        def noted(self, *arguments, **options):
            losses.append(original(self, *arguments, **options))
            return losses[-1]

        with monkeypatch.context() as patch:
            patch.setattr(TrainingModel, "train_batch", noted)
            chosen = settings(data, tmp_path / name, epochs=1, learning_rate=1e-30, weight_decay=0.0, **changes)
            assert train.main(chosen) == 0
        row = read_header(tmp_path / name / "resnet/001/last.safetensors")["history"][0]
        found[name] = losses, {key: row[key] for key in ("train_loss", "train_acc", "val_loss")}

    of("plain")
    of("balanced", class_weights="balanced")
    of("effective", class_weights="effective", effective_beta=0.9)
    of("cosine", loss="cosine")
    of("focal", loss="focal")
    assert len({tuple(losses) for losses, _ in found.values()}) == 5
    assert all(figures == found["plain"][1] for _, figures in found.values())


def test_a_sampler_shows_small_classes_more_often(data, tmp_path, monkeypatch):
    seen = []
    original = TrainingModel.train_batch

    def noted(self, images, labels, *rest):
        seen.extend(labels[0].numpy().tolist())
        return original(self, images, labels, *rest)

    monkeypatch.setattr(TrainingModel, "train_batch", noted)
    assert train.main(settings(data, tmp_path / "runs", epochs=1, sampler="balanced")) == 0
    assert sorted(np.bincount(seen)) == [6, 6, 7]


def interrupted_run(data, tmp_path, monkeypatch, **changes):
    original, calls = TrainingModel.train_batch, []

    def interrupted(*arguments, **options):
        calls.append(original(*arguments, **options))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return calls[-1]

    with monkeypatch.context() as patch:
        patch.setattr(TrainingModel, "train_batch", interrupted)
        assert train.main(settings(data, tmp_path / "cut", **changes)) == 130
    return tmp_path / "cut" / "resnet" / "001"


def resume(run, *words):
    return train.main(parse_config(["--resume", str(run), *map(str, words)], "train"))


@pytest.mark.parametrize("change", ["as it was", "changed", "gone"])
def test_a_training_goes_on_with_the_weights_that_it_began_with(data, tmp_path, monkeypatch, capsys, change):
    file = tmp_path / "weights.csv"
    file.write_text("cat,1\ndog,5\nsheep,2.5\n")
    changes = {"class_weights": str(file), "loss": "focal", "label_smoothing": 0.1}
    assert train.main(settings(data, tmp_path / "whole", **changes)) == 0
    run = interrupted_run(data, tmp_path, monkeypatch, **changes)
    if change == "gone":
        file.unlink()
    elif change == "changed":
        file.write_text("cat,9\ndog,1\nsheep,1\n")
    capsys.readouterr()
    assert resume(run) == 0
    assert "class weights from 0.514 (cat, 12 photographs) to 2.57 (dog, 3)" in capsys.readouterr().out.splitlines()
    assert outcome(run) == outcome(tmp_path / "whole" / "resnet" / "001")
    found = read_result(run)
    assert found["class_weights"] == pytest.approx(np.array([1, 5, 2.5]) * 19 / (12 + 15 + 10))
    assert "class_weights_sha256" in found


@pytest.mark.parametrize(
    "changes", [{"sampler": "balanced"}, {"sampler": "sqrt"}, {"class_weights": "effective"}, {"loss": "cosine"}]
)
def test_an_interrupted_training_ends_as_if_nothing_had_happened(data, tmp_path, monkeypatch, changes):
    assert train.main(settings(data, tmp_path / "whole", **changes)) == 0
    run = interrupted_run(data, tmp_path, monkeypatch, **changes)
    assert resume(run) == 0
    assert outcome(run) == outcome(tmp_path / "whole" / "resnet" / "001")


def test_other_weights_on_resume_are_refused(data, tmp_path, monkeypatch, capsys):
    run = interrupted_run(data, tmp_path, monkeypatch, class_weights="balanced")
    assert resume(run, "--class_weights", "effective") == 2
    assert "class_weights = 'effective'" in capsys.readouterr().err


def test_a_checkpoint_without_its_weights_is_refused(data, tmp_path, monkeypatch):
    config = settings(data, tmp_path, class_weights="weights.csv")
    monkeypatch.setattr(class_weights_module, "read_header", lambda path: {"class_weights": None})
    with pytest.raises(
        RunError, match=r"its class_weights is 'weights.csv', but its last.safetensors holds no weights; train anew"
    ):
        class_weights(config, CLASSES, COUNTS, tmp_path)


@pytest.mark.parametrize(
    "value", [[1.0], [1.0, 0.0, 2.0], [1.0, -1.0, 2.0], [1.0, float("nan"), 2.0], "abc", [1, "a", 2], [True] * 3]
)
def test_a_header_with_weights_that_cannot_be_is_refused(data, tmp_path, value):
    assert train.main(settings(data, tmp_path / "runs", epochs=1, class_weights="balanced")) == 0
    header = read_header(tmp_path / "runs/resnet/001/last.safetensors")
    with pytest.raises(CheckpointError, match="class_weights"):
        check_header({**header, "class_weights": value}, tmp_path)


def test_a_stranger_s_run_has_no_file_read(data, tmp_path, monkeypatch, capsys):
    """A run that begins anew would read the file that its settings name: only one that this user has trained with."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir(mode=0o700)
    secret = tmp_path / "secret.csv"
    secret.write_text("cat,1\ndog,2\nsheep,3\n")
    assert train.main(settings(data, tmp_path / "runs", epochs=1)) == 0
    run = tmp_path / "runs/resnet/001"
    for name in ("last.safetensors", "best.safetensors", "history.csv", "result.json"):
        (run / name).unlink()
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("class_weights: null", f"class_weights: {secret}"))
    monkeypatch.setattr(session, "class_weights", lambda *arguments: pytest.fail("the file was read"))
    capsys.readouterr()
    assert resume(run) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "there is no note that you have trained with that file here" in line
    assert f"add --class_weights {secret} if it is to be read" in line


def test_a_comparison_takes_no_run_of_other_weights(data, tmp_path, monkeypatch):
    """The path is the same: what the file holds counts."""
    file = tmp_path / "weights.csv"
    file.write_text("cat,1\ndog,5\nsheep,2.5\n")
    chosen = settings(data, tmp_path / "runs", epochs=1, class_weights=str(file))
    assert train.main(chosen) == 0
    run = tmp_path / "runs/resnet/001"
    asked = []
    monkeypatch.setattr(side_by_side, "run_script", lambda script, words: asked.append(words))
    compared = settings(data, tmp_path / "runs", epochs=1, class_weights=str(file), nets=("resnet",)).resolved()
    assert run_plan.train_missing(compared, one_at_a_time())[0] == {"resnet": [run]}
    assert not asked
    file.write_text("cat,1\ndog,1\nsheep,2.5\n")
    assert run_plan.train_missing(compared, one_at_a_time())[0] == {}
    assert any(f"--class_weights={file}" in words for words in asked)
