"""Runs of other versions of the toolkit: what an older one left is read, what a newer one left is refused in one line."""

import csv
import json
import shutil

import pytest
import yaml
from conftest import write_listed_photographs
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import compare
import eval as eval_script
import gradcam
import networks
import train
from comparison import run_plan, side_by_side
from config import parse_config
from data.data_sets import Digests
from trained import header, history, result
from trained.checkpoint import read_header
from trained.history import read_history
from trained.result import read_result
from trained.rules import is_text

pytestmark = pytest.mark.usefixtures("quick_pictures")
NETS = ("resnet", "resnet18")
SCRIPTS = {"train": train, "eval": eval_script, "compare": compare, "gradcam": gradcam}


def register(patch):
    for name in NETS:
        patch.setitem(networks.NETWORKS, name, networks.Lazy("tiny_network", "TinyNetwork"))


@pytest.fixture(autouse=True)
def tiny_networks(monkeypatch):
    """Networks that train in no time; a comparison that would train or evaluate anything fails."""
    register(monkeypatch)
    monkeypatch.setattr(side_by_side, "run_script", lambda script, *arguments, **options: pytest.fail(f"{script} was run"))


def run(script, *arguments):
    return SCRIPTS[script].main(parse_config([*map(str, arguments), "--threads", "2"], script))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with ``data`` and an evaluated run of either network in ``runs``."""
    folder = tmp_path_factory.mktemp("formats")
    write_listed_photographs(folder / "data")
    with pytest.MonkeyPatch.context() as patch:
        register(patch)
        for net in NETS:
            assert run("train", *settings(folder), "--net", net) == 0
            assert run("eval", "--net", net, "--runs_dir", folder / "runs", "--num_workers", "0") == 0
    return folder


def settings(folder, epochs=1):
    return ["--data", folder / "data", "--runs_dir", folder / "runs", "--image_size", 32, "--epochs", epochs, "--batch_size", 4,
            "--num_workers", 0]  # fmt: skip


@pytest.fixture
def copy(place, tmp_path):
    """A copy of ``place``; the runs say that its photographs are where they were."""
    shutil.copytree(place / "runs", tmp_path / "runs")
    return tmp_path


def change_json(path, change):
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def change_header(path, change):
    with safe_open(str(path), framework="np") as stored:
        found = json.loads(stored.metadata()["header"])
    save_file(load_file(path), path, metadata={"header": json.dumps(change(found))})


def change_yaml(path, change):
    path.write_text(yaml.safe_dump(change(yaml.safe_load(path.read_text())), sort_keys=False))


def change_csv(path, change):
    with open(path, newline="") as file:
        rows = [change(row) for row in csv.DictReader(file)]
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


FILES = {
    "best.safetensors": change_header,
    "last.safetensors": change_header,
    "result.json": change_json,
    "eval/metrics.json": change_json,
    "history.csv": change_csv,
    "config.yaml": change_yaml,
}


def change_runs(folder, change):
    for net in NETS:
        for name, change_file in FILES.items():
            change_file(folder / "runs" / net / "001" / name, change)


def as_format_1(content):
    """As it was written before files had a number."""
    content = {key: value for key, value in content.items() if key != "format"}
    if "list_sha256" in content and "classes" in content:
        content["preprocessing"] = {"image_size": 32, "crop": "center", "mean": [0.5] * 3, "std": [0.25] * 3}
    return content


def with_unknown(content):
    """With keys that this version does not know, wherever there can be some."""
    content = {"before": [1], **content, "later": {"a": None}}
    for key in ("config", "best", "versions"):
        if isinstance(content.get(key), dict):
            content[key] = {**content[key], "later": "x"}
    if "history" in content:
        content["history"] = [{**row, "later": "x"} for row in content["history"]]
    return content


def check_compare(folder, capsys):
    """Compare takes the runs for those that it would train."""
    capsys.readouterr()
    data = read_header(folder / "runs" / NETS[0] / "001" / "best.safetensors")["config"]["data"]
    assert run("compare", "--nets", *NETS, *settings(folder), "--data", data) == 0
    assert capsys.readouterr().out.count("is there already") == 2


def check_all_scripts(folder, capsys):
    """eval, gradcam, compare and --resume work on the runs, and compare trains and evaluates nothing."""
    evaluated = [(folder / "runs" / net / "001" / "eval" / "metrics.json").read_text() for net in NETS]
    check_compare(folder, capsys)
    assert run("gradcam", "--runs_dir", folder / "runs", "--nets", *NETS, "--sample", 2) == 0
    assert run("eval", "--runs_dir", folder / "runs", "--net", NETS[0], "--num_workers", 0) == 0
    acc = json.loads((folder / "runs" / NETS[0] / "001" / "eval" / "metrics.json").read_text())["acc"]
    assert acc == json.loads(evaluated[0])["acc"]
    assert run("train", "--resume", folder / "runs" / NETS[0] / "001", "--epochs", 2) == 0
    rows = read_history(folder / "runs" / NETS[0] / "001")
    assert [row["epoch"] for row in rows] == [1, 2]
    assert read_result(folder / "runs" / NETS[0] / "001")["status"] == "finished"
    return rows


def test_every_file_has_the_number_of_its_format(place):
    seen = []

    def note(content):
        seen.append(str(content.pop("format")))
        return content

    folder = place.parent / "numbers"
    shutil.copytree(place, folder)
    change_runs(folder, note)
    shutil.rmtree(folder)
    assert seen == ["2"] * len(NETS) * len(FILES)


@pytest.mark.parametrize("change", [as_format_1, with_unknown])
def test_runs_of_other_versions_are_read(copy, capsys, change):
    change_runs(copy, change)
    check_all_scripts(copy, capsys)


def test_runs_from_before_a_column_a_metric_and_a_key_were_added_are_read(copy, capsys, monkeypatch):
    monkeypatch.setattr(history, "COLUMNS", {**history.COLUMNS, "grad_norm": history.Column(default=0.25)})
    monkeypatch.setattr(header, "METRICS", {**header.METRICS, "new": [0.0, 0]})
    added = {"team": header.Key(is_text, "text", default="ours"), "drawn": header.Key(is_text, "text", "no", of_position=True)}
    monkeypatch.setattr(header, "KEYS", {**header.KEYS, **added})
    monkeypatch.setattr(result, "RULES", {**result.RULES, "team": is_text})
    so_far = {"seconds": 1.0, "metrics": {"mean_loss": [4.0, 4], "acc": [[1.0], [4]]}}
    for net in NETS:  # in the middle of an epoch, where metrics are kept
        change_header(copy / "runs" / net / "001" / "last.safetensors", lambda found: {**found, "step": 1, "so_far": so_far})
    rows = check_all_scripts(copy, capsys)
    assert rows[0]["grad_norm"] == 0.25
    assert read_header(copy / "runs" / NETS[0] / "001" / "last.safetensors")["team"] == "ours"


def newest(script, folder):
    runs = folder / "runs"
    return {
        "eval": ("eval", "--runs_dir", runs, "--net", NETS[0]),
        "gradcam": ("gradcam", "--run", runs / NETS[0] / "001"),
        "compare": ("compare", "--runs", runs / NETS[0] / "001", runs / NETS[1] / "001", "--runs_dir", runs),
        "resume": ("train", "--resume", runs / NETS[0] / "001", "--epochs", 2),
        "init_from": (
            "train",
            "--init_from",
            runs / NETS[0] / "001" / "best.safetensors",
            "--config",
            runs / NETS[0] / "001" / "config.yaml",
        ),
    }[script]


READERS = {
    "best.safetensors": ("eval", "gradcam", "init_from"),
    "last.safetensors": ("resume",),
    "result.json": ("eval", "gradcam", "compare", "resume"),
    "eval/metrics.json": ("compare",),
    "history.csv": ("compare",),
    "config.yaml": ("compare", "resume"),
}


@pytest.mark.parametrize(("name", "script"), [(name, script) for name, scripts in READERS.items() for script in scripts])
def test_a_newer_format_is_refused_in_one_line_with_the_file(copy, capsys, name, script):
    file = copy / "runs" / NETS[0] / "001" / name
    FILES[name](file, lambda content: {**content, "format": 99})
    assert run(*newest(script, copy)) == 2
    [error] = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("running on the processor")]
    number = 3 if name.endswith(".safetensors") else 2
    expected = f"{file}: format 99; this version of the toolkit reads up to {number}: use a newer one"
    assert error == f"{newest(script, copy)[0]}.py: error: {expected}"


@pytest.mark.parametrize(
    "changes",
    [{"images_per_second": "abc"}, {"best": 3}, {"list_sha256": 3}, {"status": ["finished"]}, {"best": {"epoch": "x"}}],
)
def test_a_result_that_lies_is_refused_in_one_line(copy, capsys, changes):
    change_json(copy / "runs" / NETS[0] / "001" / "result.json", lambda content: {**content, **changes})
    assert run(*newest("compare", copy)) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("compare.py: error: ")
    assert str(copy / "runs" / NETS[0] / "001") in lines[-1]


def test_one_new_setting_does_not_make_a_comparison_train_anew(copy, capsys):
    """As if ``mixup`` were newer than the runs."""
    for net in NETS:
        change_yaml(copy / "runs" / net / "001" / "config.yaml",
                    lambda content: {key: value for key, value in content.items() if key != "mixup"})  # fmt: skip
    check_compare(copy, capsys)
    chosen = {"mixup": 0.0}
    lists = Digests(read_result(copy / "runs" / NETS[1] / "001")["list_sha256"], None)
    assert run_plan.find_run(copy / "runs", NETS[1], chosen, lists) == copy / "runs" / NETS[1] / "001"
    assert run_plan.find_run(copy / "runs", NETS[1], {"mixup": 0.1}, lists) is None
