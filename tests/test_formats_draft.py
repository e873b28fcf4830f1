"""Files of runs from other versions: what a later one may add is passed over, another format is refused by its number."""

import json

import pytest
import yaml
from old_run import (
    FAST,
    FINISHED,
    INTERRUPTED,
    OF_ANOTHER_NETWORK,
    SETTINGS,
    change_header,
    change_json,
    contents,
    lay_out,
    no_other_process,
    read_table,
    replace_networks,
    run_script,
)

pytestmark = pytest.mark.filterwarnings("ignore:Glyph")  # where no font has Chinese characters

RUNS = (FINISHED, OF_ANOTHER_NETWORK, INTERRUPTED)
NETS = ("--nets", "resnet", "sa_resnet")


@pytest.fixture(autouse=True)
def old_runs(tmp_path, monkeypatch):
    """The runs and their photographs in the current folder; no script begins another process."""
    replace_networks(monkeypatch)
    lay_out(tmp_path)
    monkeypatch.chdir(tmp_path)
    with no_other_process(monkeypatch):
        yield


def change_settings(run, change):
    """Let ``change`` alter the settings, a dict, in config.yaml and in the headers of the checkpoints."""
    change_yaml(run / "config.yaml", change)
    for file in run.glob("*.safetensors"):
        change_header(file, lambda header: change(header["config"]))


def change_yaml(file, change):
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    change(content)
    file.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")


def add_column(file, name, value):
    """Add a last column with the same value in every row."""
    first, *rows = file.read_text(encoding="utf-8").splitlines()
    text = "".join(f"{line}\r\n" for line in [f"{first},{name}", *(f"{row},{value}" for row in rows)])
    file.write_bytes(text.encode())


# What a later version may add


def add_to_header(header):
    header["of_later"] = {"a": [1]}
    header["config"]["of_later"] = 3
    header["preprocessing"]["of_later"] = "linear"
    if header["best"]:
        header["best"]["of_later"] = 0.5
    for row in header.get("history", ()):
        row["of_later"] = 0.5
    if header.get("so_far"):
        header["so_far"]["of_later"] = 0.5


def add_to_metrics(metrics):
    metrics["of_later"] = [1, 2]
    for figures in metrics["per_class"].values():
        figures["of_later"] = 0.5


@pytest.fixture
def with_more():
    """Every file of every run has a key or a column that this version does not know."""
    for run in RUNS:
        change_yaml(run / "config.yaml", lambda settings: settings.update(of_later=3))
        for file in run.glob("*.safetensors"):
            change_header(file, add_to_header)
        change_json(run / "result.json", lambda result: result.update(of_later=[1], best={**result["best"], "of_later": 0.5}))
        add_column(run / "history.csv", "of_later", 0.5)
        if (run / "eval").exists():
            change_json(run / "eval" / "metrics.json", add_to_metrics)
            add_column(run / "eval" / "predictions.csv", "of_later", 0.5)


@pytest.mark.usefixtures("with_more")
@pytest.mark.parametrize(
    "words",
    [
        ("train", "--resume", INTERRUPTED),
        ("train", "--resume", FINISHED, "--epochs", 3),
        ("eval", "--run", FINISHED),
        ("eval", "--net", "resnet"),
        ("compare", "--runs", FINISHED, OF_ANOTHER_NETWORK),
        ("compare", *NETS, *SETTINGS),
        ("gradcam", "--run", FINISHED, "--sample", 1),
        ("gradcam", *NETS, "--sample", 1),
    ],
    ids=lambda words: f"{words[0]} {words[1]} {getattr(words[2], 'name', words[2])}",
)
def test_what_a_later_version_adds_is_passed_over(words):
    assert run_script(*words, *FAST) == 0


@pytest.mark.usefixtures("with_more")
def test_a_run_with_more_in_it_keeps_its_history():
    before = read_table(INTERRUPTED / "history.csv")
    assert run_script("train", "--resume", INTERRUPTED, *FAST) == 0
    rows = read_table(INTERRUPTED / "history.csv")
    assert len(rows) == 3
    for name in before[0].keys() & rows[0].keys():
        assert rows[0][name] == before[0][name]


# Another format

TRAIN = ("train", "--resume", INTERRUPTED, *FAST)
TRAIN_FURTHER = ("train", "--resume", FINISHED, "--epochs", 3, *FAST)
EVALUATE = ("eval", "--run", FINISHED, *FAST)
COMPARE = ("compare", "--runs", FINISHED, OF_ANOTHER_NETWORK, *FAST)
EXPLAIN = ("gradcam", "--run", FINISHED, "--sample", 1, *FAST)


def renumber(file):
    """Give a file the format 99."""
    if file.suffix == ".csv":
        add_column(file, "format", 99)
    else:
        change = {".yaml": change_yaml, ".json": change_json, ".safetensors": change_header}[file.suffix]
        change(file, lambda content: content.update(format=99))


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (INTERRUPTED / "config.yaml", TRAIN),
        (FINISHED / "config.yaml", COMPARE),
        (INTERRUPTED / "last.safetensors", TRAIN),
        (FINISHED / "last.safetensors", TRAIN_FURTHER),
        (FINISHED / "best.safetensors", EVALUATE),
        (FINISHED / "best.safetensors", EXPLAIN),
        (INTERRUPTED / "result.json", TRAIN),
        (FINISHED / "result.json", COMPARE),
        (FINISHED / "history.csv", COMPARE),
        (FINISHED / "eval" / "metrics.json", COMPARE),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else f"{value.parent.name} {value.name}",
)
def test_another_format_is_refused_by_its_number(capsys, file, words):
    renumber(file)
    before = {run: contents(run) for run in RUNS}
    assert run_script(*words) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("running on the processor")]
    assert len(error) == 1
    assert error[0].startswith(f"{words[0]}.py: error: ")
    assert "format 99" in error[0]
    assert file.name in error[0]
    assert {run: contents(run) for run in RUNS} == before


# What an earlier version had not

SINCE = ("label_smoothing", "rotation", "save_best_above", "step_gamma", "zero_init_residual", "save_every_steps", "mean")


@pytest.fixture
def with_less():
    """The settings lack some that have a default."""
    for run in RUNS:
        change_settings(run, lambda settings: [settings.pop(name) for name in SINCE])


@pytest.mark.usefixtures("with_less")
def test_a_setting_that_is_not_there_has_its_default(capsys):
    assert run_script("train", "--resume", INTERRUPTED, *FAST) == 0
    assert run_script("eval", "--run", FINISHED, "--num_workers", 0, *FAST) == 0
    assert run_script("gradcam", "--run", FINISHED, "--sample", 1, *FAST) == 0
    assert run_script("compare", "--runs", FINISHED, OF_ANOTHER_NETWORK, *FAST) == 0
    assert "The runs differ" not in capsys.readouterr().out


@pytest.mark.usefixtures("with_less")
def test_runs_without_a_setting_count_for_a_comparison_with_its_default(capsys):
    assert run_script("compare", *NETS, *SETTINGS) == 0
    assert capsys.readouterr().out.count("is there already") == 2
    [file] = FINISHED.parent.parent.glob("compare/*/table.json")
    assert json.loads(file.read_text(encoding="utf-8"))["runs"]["resnet"] == [str(FINISHED)]


@pytest.mark.usefixtures("with_less")
def test_runs_without_a_setting_do_not_count_for_another_value(capsys):
    assert run_script("compare", *NETS, *SETTINGS, "--label_smoothing", 0.1) == 2
    found = capsys.readouterr()
    assert "is there already" not in found.out
    assert "a process was to be begun" in found.err
