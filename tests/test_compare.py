"""Comparing networks: training what is missing, comparing what is there, saying what the data carry."""

import base64
import csv
import io
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from both_languages import same_in_both
from chromium import find_chromium
from cifar10_archive import contents, pictures, write_archive
from hand_made_comparisons import comparison
from PIL import Image
from tiny_network import TinyResNet

import compare
import eval as eval_script
import networks
import train
from comparison import findings, object_size, run_plan, side_by_side, tables
from comparison.bilingual import Bilingual
from comparison.compare_networks import photograph_reader
from comparison.compared_settings import training_settings
from comparison.page import write_page
from comparison.side_by_side import one_at_a_time
from config import Config, load_config, parse_config
from data.data_sets import digests
from data.data_source import DataSource
from data.lists import DataError
from data.splitting import split_folder
from machine.interruption import INTERRUPTED
from plots import figures
from trained.result import read_result, write_result
from trained.run_folder import write_config
from trained.trained_run import TrainedRun
from training.recorder import RunRecorder
from training.state import TrainingState

ROOT = Path(__file__).resolve().parent.parent
pytestmark = [pytest.mark.usefixtures("quick_pictures"), pytest.mark.python_independent]


def tiny_se_resnet(num_classes):
    return TinyResNet(num_classes, "se")


def broken(num_classes):
    raise ValueError("does not work")


def replace_networks(patch):
    """The names stand for networks of one block a stage; trainings run in this process. Returns the list of calls."""
    for name, function in (("resnet", "TinyResNet"), ("se_resnet50", "tiny_se_resnet"), ("vgg19", "broken")):
        patch.setitem(networks.NETWORKS, name, networks.Lazy(__name__, function))
    calls = []

    def run_here(script, arguments, quiet=False):
        calls.append(script)
        module = {"train.py": train, "eval.py": eval_script}[script]
        code = module.main(parse_config([str(word) for word in arguments], script.split(".")[0]))
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        if code:
            raise run_plan.ProcessFailed(f"{script}: error: as its last line says")

    patch.setattr(side_by_side, "run_script", run_here)
    return calls


@pytest.fixture
def calls(monkeypatch):
    return replace_networks(monkeypatch)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three classes of ten noisy pictures in three colours."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for label in range(3):
        (root / f"kind {label}").mkdir()
        for index in range(10):
            pixels = rng.normal(np.array([60, 120, 180])[label], 40, (40, 44, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / f"kind {label}" / f"{index}.png")
    split_folder(root, 0.4)
    return root


def settings(data, tmp_path, **changes):
    chosen = {
        "nets": ("resnet", "se_resnet50"), "data": str(data), "runs_dir": str(tmp_path / "runs"), "image_size": 32,
        "epochs": 2, "batch_size": 9, "num_workers": 0, "threads": 2, "seeds": 2,
    }  # fmt: skip
    return Config(**{**chosen, **changes})


@pytest.fixture(scope="module")
def compared(data, tmp_path_factory):
    """A folder that holds ``runs`` with a finished comparison of two networks with two seeds."""
    folder = tmp_path_factory.mktemp("compared")
    with pytest.MonkeyPatch.context() as patch:
        replace_networks(patch)
        assert compare.main(settings(data, folder)) == 0
    return folder


@pytest.fixture
def copied(compared, tmp_path):
    """A function that copies the first run of these networks, evaluated, to tmp_path / "runs"."""

    def of(*nets):
        for net in nets:
            shutil.copytree(compared / "runs" / net / "001", tmp_path / "runs" / net / "001")

    return of


def table(folder):
    return json.loads((folder / "table.json").read_text())


def test_a_network_has_the_same_colour_on_both_pictures(copied, tmp_path, monkeypatch):
    """The table is sorted by accuracy, the networks are given in another order; colours go by the order of what is drawn."""
    drawn = {}
    monkeypatch.setattr(tables, "draw_comparison", lambda histories, *_: drawn.update(curves=[name for name, _ in histories]))
    monkeypatch.setattr(tables, "draw_tradeoff", lambda rows, *_: drawn.update(costs=[row["network"] for row in rows]))
    monkeypatch.setattr(tables, "write_page", lambda *_: None)
    copied("resnet", "se_resnet50")
    for order in (["resnet", "se_resnet50"], ["se_resnet50", "resnet"]):
        assert (
            compare.main(Config(runs=tuple(str(tmp_path / "runs" / net / "001") for net in order), runs_dir=str(tmp_path))) == 0
        )
        assert drawn["curves"] == drawn["costs"]
        assert [name.split()[0] for name in drawn["costs"]] == order


def test_a_comparison_leaves_tables_pictures_and_a_page(compared):
    folder = compared / "runs" / "compare" / "001"
    names = {entry.name for entry in folder.iterdir()}
    assert names == {"table.md", "table.csv", "table.json", "photographs.csv", "comparison.png", "tradeoff.png", "index.html"}
    found = table(folder)
    assert {row["network"] for row in found["networks"]} == {"resnet", "se_resnet50"}
    for row in found["networks"]:
        runs = found["runs"][row["network"]]
        metrics = [json.loads((Path(run) / "eval" / "metrics.json").read_text()) for run in runs]
        accuracies = [of_run["acc"] for of_run in metrics]
        assert row["accuracy_of_seeds"] == accuracies
        assert row["accuracy"] == pytest.approx(np.mean(accuracies))
        assert row["accuracy_sd"] == pytest.approx(np.std(accuracies, ddof=1))
        assert row["accuracy_interval"][0] < row["accuracy"] < row["accuracy_interval"][1]
        assert row["calibration_error"] == pytest.approx(np.mean([of_run["calibration_error_after"] for of_run in metrics]))
        assert row["parameters"] > 1e4
        for key in ("multiply_adds", "training_images_per_second", "latency_ms", "peak_memory_mb", "seconds_to_best"):
            assert row[key] > 0, key
    text = (folder / "table.md").read_text()
    assert found["verdict"] in text
    with open(folder / "table.csv", newline="") as file:
        assert [row["network"] for row in csv.DictReader(file)] == [row["network"] for row in found["networks"]]


def rows_of_photographs(folder):
    with open(folder / "photographs.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_each_photograph_has_a_row_with_what_is_known_of_it(compared, data):
    folder = compared / "runs" / "compare" / "001"
    rows = rows_of_photographs(folder)
    listed = (data / "val_list.txt").read_text().splitlines()
    assert [row["path"] for row in rows] == [line.rsplit(" ", 1)[0] for line in listed]
    for network in table(folder)["networks"]:
        shares = [float(row[f"right_{network['network']}"]) for row in rows]
        assert np.mean(shares) == pytest.approx(network["accuracy"], abs=1e-4)
    for row in rows:
        with Image.open(data / row["path"]) as image:
            assert float(row["brightness"]) == pytest.approx(np.asarray(image.convert("L")).mean(), abs=3)
        assert row["like_in_training"] == ""
        assert (row["all_wrong"] == "yes") == (float(row["right_resnet"]) < 0.5 and float(row["right_se_resnet50"]) < 0.5)
    assert "object_share" not in rows[0], "images of 32 pixels tell no sizes"


def test_objects_are_measured_by_all_networks_alike(compared, tmp_path, calls, monkeypatch):
    monkeypatch.setattr(object_size, "LEAST_SIDE", 1)
    runs = tuple(str(compared / "runs" / net / number) for net in ("resnet", "se_resnet50") for number in ("001", "002"))
    assert compare.main(Config(runs=runs, runs_dir=str(tmp_path))) == 0
    folder = tmp_path / "compare" / "001"
    first = [TrainedRun.open(compared / "runs" / net / "001") for net in ("resnet", "se_resnet50")]
    images, classes = zip(*first[0].open_validation_set())
    of_each = [object_size.object_shares(run.classifier(), np.stack(images), np.array(classes)) for run in first]
    expected = np.mean(of_each, axis=0)
    shares = [float(row["object_share"] or "nan") for row in rows_of_photographs(folder)]
    assert shares == pytest.approx(expected, abs=1e-4, nan_ok=True)
    assert len(set(shares)) > 1


def test_its_pictures_are_drawn(compared, tmp_path, monkeypatch, calls, quick_pictures):
    monkeypatch.setattr(figures, "save_figure", quick_pictures)
    runs = tuple(str(compared / "runs" / net / number) for net in ("resnet", "se_resnet50") for number in ("001", "002"))
    assert compare.main(Config(runs=runs, runs_dir=str(tmp_path))) == 0
    for picture in ("comparison.png", "tradeoff.png"):
        with Image.open(tmp_path / "compare" / "001" / picture) as image:
            assert image.width > 800


CHROMIUM = find_chromium()


def in_browser(page, folder, *options):
    """What headless Chromium prints of a page."""
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    command += ["--disable-component-update", "--disable-sync", f"--user-data-dir={folder / 'profile'}", *options]
    command.append(page.as_uri())
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=120, check=True).stdout.decode()


def test_the_page_needs_nothing_beside_itself(compared):
    page = (compared / "runs" / "compare" / "001" / "index.html").read_text()
    references = re.findall(r'(?:src|href)="([^"]{0,30})', page)
    assert references
    assert all(reference.startswith(("data:", "#")) for reference in references)
    assert "http" not in re.sub(r'"data:[^"]*"', "", page).replace("http-equiv", "")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_the_page_shows_pictures_and_sorts_in_a_browser(compared, tmp_path):
    probe = """<script>
    const names = () => [...document.querySelectorAll("#table tbody tr")].map(row => row.cells[0].textContent).join(",");
    const click = column => document.querySelectorAll("#table th button")[column].click();
    const seen = [];
    click(0); seen.push(names()); click(0); seen.push(names());
    const pictures = [...document.images].map(image => image.naturalWidth > 0);
    document.body.innerHTML = JSON.stringify({seen, pictures});
    </script>"""
    page = tmp_path / "page.html"
    text = (compared / "runs" / "compare" / "001" / "index.html").read_text()
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)  # it lets no other script run
    page.write_text(text.replace("</body>", f"{probe}</body>"))
    shown = in_browser(page, tmp_path, "--dump-dom")
    found = json.loads(re.search(r"<body>(.*)</body>", shown, re.DOTALL).group(1))
    assert found["seen"] == ["se_resnet50,resnet", "resnet,se_resnet50"]
    assert len(found["pictures"]) >= 2
    assert all(found["pictures"])


def test_a_class_name_cannot_become_part_of_the_page(compared, tmp_path):
    folder = compared / "runs" / "compare" / "001"
    for name in ("comparison.png", "tradeoff.png"):
        shutil.copy(folder / name, tmp_path / name)
    names = ["<script>alert(1)</script>/a.png"]

    def photograph(name):
        return Image.new("RGB", (300, 200))

    right = {"resnet": np.ones((1, 1), bool), "se_resnet50": np.zeros((1, 1), bool)}
    write_page(
        tmp_path, *comparison(table(folder)["networks"], correct=right, names=names), [Bilingual("<b>", "<粗>")], photograph
    )
    page = (tmp_path / "index.html").read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_all_networks_saw_the_same_seeds_split_and_schedule(compared):
    configs = {}
    for run in sorted((compared / "runs").glob("*/0*/config.yaml")):
        configs.setdefault(run.parent.parent.name, []).append(load_config(run).as_dict())
    assert [config["seed"] for config in configs["resnet"]] == [config["seed"] for config in configs["se_resnet50"]] == [0, 1]
    for one, other in zip(configs["resnet"], configs["se_resnet50"]):
        assert one.pop("zero_init_residual")
        assert other.pop("zero_init_residual") is None, "the network that stands for se_resnet50 has no such option"
        assert {**one, "net": ""} == {**other, "net": ""}


def test_what_is_there_is_not_trained_again(data, compared, calls, capsys):
    assert compare.main(settings(data, compared)) == 0
    assert calls == []
    assert "is there already" in capsys.readouterr().out
    # another network setting is another training; threads and workers are not
    assert compare.main(settings(data, compared, threads=1)) == 0
    assert calls == []
    assert compare.main(settings(data, compared, seeds=1, label_smoothing=0.2)) == 0
    assert calls.count("train.py") == 2


def test_the_network_of_a_recipe_does_not_decide_the_options_of_those_compared(data, compared, calls):
    assert compare.main(settings(data, compared, net="se_resnet50")) == 0  # which lacks an option that resnet has
    assert calls == []


def test_a_run_with_an_attention_of_its_own_does_not_pass_for_the_network(data, tmp_path, calls, copied):
    copied("resnet", "se_resnet50")
    run = tmp_path / "runs" / "resnet" / "001"
    write_config(run, {**load_config(run / "config.yaml").as_dict(), "attention": "se"})
    assert compare.main(settings(data, tmp_path, seeds=1)) == 0
    assert calls == ["train.py", "eval.py"]
    assert table(tmp_path / "runs" / "compare" / "001")["runs"]["resnet"] == [str(run.parent / "002")]


def test_an_evaluation_of_another_epoch_is_made_anew(data, compared, calls):
    metrics = compared / "runs" / "resnet" / "001" / "eval" / "metrics.json"
    found = json.loads(metrics.read_text())
    metrics.write_text(json.dumps({**found, "epoch": 99}))
    (compared / "runs" / "se_resnet50" / "001" / "eval" / "metrics.json").write_text("{")
    assert compare.main(settings(data, compared)) == 0
    assert calls == ["eval.py", "eval.py"]
    assert json.loads(metrics.read_text()) == found


def test_a_run_that_cannot_be_evaluated_is_a_row(data, tmp_path, calls, copied):
    copied("resnet", "se_resnet50")
    (tmp_path / "runs" / "resnet" / "001" / "best.safetensors").unlink()
    shutil.rmtree(tmp_path / "runs" / "resnet" / "001" / "eval")
    assert compare.main(settings(data, tmp_path, seeds=1)) == 1
    rows = {row["network"]: row for row in table(tmp_path / "runs" / "compare" / "001")["networks"]}
    assert "cannot be evaluated" in rows["resnet"]["note"]
    assert rows["se_resnet50"]["accuracy"] is not None


def test_evaluations_of_other_photographs_are_refused(compared, tmp_path, calls, capsys):
    other = changed_copy(compared / "runs" / "se_resnet50" / "001", tmp_path)
    predictions = other / "eval" / "predictions.csv"
    lines = predictions.read_text().splitlines()
    predictions.write_text("\n".join([lines[0], *lines[:0:-1]]) + "\n")
    assert compare.main(Config(runs=(str(compared / "runs" / "resnet" / "001"), str(other)), runs_dir=str(tmp_path))) == 2
    assert "has other photographs than" in capsys.readouterr().err


def test_runs_of_the_same_number_keep_their_own_rows(compared, tmp_path, calls):
    first = compared / "runs" / "resnet" / "001"
    other = changed_copy(first, tmp_path, epochs=6)
    assert compare.main(Config(runs=(str(first), str(other)), runs_dir=str(tmp_path))) == 0
    assert set(table(tmp_path / "compare" / "001")["runs"]) == {str(first), str(other)}


def test_runs_that_differ_in_the_seed_alone_are_one_network(compared, tmp_path, calls, capsys):
    runs = tuple(str(compared / "runs" / "resnet" / number) for number in ("001", "002"))
    assert compare.main(Config(runs=runs, runs_dir=str(tmp_path))) == 2
    assert "2 runs of one network, resnet: a comparison needs at least two" in capsys.readouterr().err


@pytest.mark.parametrize("left_out", ["config.yaml", "classes.txt", "result.json"])
def test_a_folder_that_is_no_run_is_refused_in_one_line(compared, tmp_path, capsys, left_out):
    other = changed_copy(compared / "runs" / "se_resnet50" / "001", tmp_path)
    (other / left_out).unlink()
    assert compare.main(Config(runs=(str(compared / "runs" / "resnet" / "001"), str(other)), runs_dir=str(tmp_path))) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("running on the processor")]
    assert len(error) == 1
    assert error[0].startswith("compare.py: error: ")


def test_an_interrupted_comparison_continues_with_what_is_missing(data, tmp_path, calls, monkeypatch, capsys):
    whole = side_by_side.run_script

    def interrupted(script, arguments, quiet=False):
        if calls.count("train.py") == 2:
            raise KeyboardInterrupt
        whole(script, arguments, quiet)

    monkeypatch.setattr(side_by_side, "run_script", interrupted)
    chosen = settings(data, tmp_path, epochs=1)
    assert compare.main(chosen) == 130
    assert "the same command continues" in capsys.readouterr().err
    monkeypatch.setattr(side_by_side, "run_script", whole)
    assert compare.main(chosen) == 0
    assert calls.count("train.py") == 4
    assert "training 1 of 2: resnet, seed 1" in capsys.readouterr().out


def test_a_training_that_was_interrupted_goes_on(data, tmp_path, calls, copied, monkeypatch, capsys):
    chosen = settings(data, tmp_path, seeds=1)
    copied("se_resnet50")

    def interrupted(state):
        if state.position.epoch == 1:
            raise KeyboardInterrupt
        original(state)

    original = TrainingState.begin_epoch
    with monkeypatch.context() as patch:
        patch.setattr(TrainingState, "begin_epoch", interrupted)
        assert compare.main(chosen) == 130
    run = tmp_path / "runs" / "resnet" / "001"
    assert (read_result(run)["status"], read_result(run)["epochs"]) == ("interrupted", 1)
    assert compare.main(chosen) == 0
    assert f"going on with {run}" in capsys.readouterr().out
    assert [path.name for path in sorted(run.parent.iterdir())] == ["001"]
    assert read_result(run)["status"] == "finished"


def test_a_training_that_fails_again_is_a_row_and_not_begun_anew(data, tmp_path, calls, copied, monkeypatch, capsys):
    chosen = settings(data, tmp_path, seeds=1)
    copied("se_resnet50")

    def disk_full(self, position):
        if position.epoch == 2 and self.settings["net"] == "resnet":
            raise OSError(28, "No space left on device")
        original(self, position)

    original = RunRecorder.record
    with monkeypatch.context() as patch:
        patch.setattr(RunRecorder, "record", disk_full)
        for _ in range(2):
            assert compare.main(chosen) == 1
    run = tmp_path / "runs" / "resnet" / "001"
    assert (read_result(run)["status"], read_result(run)["epochs"]) == ("failed", 1)
    assert compare.main(chosen) == 0, "the disk has room again"
    assert f"going on with {run}" in capsys.readouterr().out
    assert [path.name for path in run.parent.iterdir()] == ["001"]


def test_a_training_that_cannot_go_on_begins_anew(data, tmp_path, calls, copied, capsys):
    chosen = settings(data, tmp_path, seeds=1)
    copied("resnet", "se_resnet50")
    run = tmp_path / "runs" / "resnet" / "001"
    write_result(run, {**read_result(run), "status": "unfinished"})
    (run / "last.safetensors").write_bytes(b"")
    assert compare.main(chosen) == 0
    assert f"{run} cannot be continued; another training begins" in capsys.readouterr().out
    assert read_result(run.parent / "002")["status"] == "finished"


def test_a_network_that_fails_is_a_row_and_the_others_go_on(data, tmp_path, calls, capsys):
    assert compare.main(settings(data, tmp_path, nets=("vgg19", "resnet", "se_resnet50"), seeds=1, epochs=1)) == 1
    rows = {row["network"]: row for row in table(tmp_path / "runs" / "compare" / "001")["networks"]}
    assert rows["vgg19"]["accuracy"] is None
    assert rows["vgg19"]["note"].startswith("seed 0 failed: train.py: error")
    assert rows["resnet"]["accuracy"] is not None
    assert "| vgg19 | 0 | - |" in capsys.readouterr().out


def test_an_option_goes_to_the_networks_that_have_it(data, tmp_path, calls):
    assert compare.main(settings(data, tmp_path, seeds=1, epochs=1, zero_init_residual=True)) == 0
    chosen = {net: load_config(tmp_path / "runs" / net / "001" / "config.yaml") for net in ("resnet", "se_resnet50")}
    assert chosen["resnet"].zero_init_residual
    assert not chosen["se_resnet50"].zero_init_residual


@pytest.mark.parametrize("start", [{"init_from": "w.pth"}, {"pretrained": True}])
def test_trainings_start_where_the_comparison_says_and_others_do_not_pass_for_them(data, tmp_path, monkeypatch, start):
    asked = []
    monkeypatch.setattr(
        side_by_side, "run_script", lambda script, words: asked.append(parse_config(list(map(str, words)), "train"))
    )
    run = tmp_path / "runs/resnet/001"
    run.mkdir(parents=True)
    chosen = settings(data, tmp_path, seeds=1, **start)
    plain = training_settings(settings(data, tmp_path).resolved().resolved_for(18), "resnet", 0)
    write_config(run, plain)
    write_result(run, {"status": "finished", "list_sha256": digests(DataSource("folder", data)).lists})
    run_plan.train_missing(settings(data, tmp_path, seeds=1).resolved(), one_at_a_time())
    assert [config.net for config in asked] == ["se_resnet50"]
    asked.clear()
    run_plan.train_missing(chosen.resolved(), one_at_a_time())
    assert [config.net for config in asked] == ["resnet", "se_resnet50"]
    assert all(getattr(config, name) == value for config in asked for name, value in start.items())


def test_finished_runs_are_compared_without_training(compared, tmp_path, calls, capsys):
    runs = tuple(str(compared / "runs" / net / number) for net in ("resnet", "se_resnet50") for number in ("001", "002"))
    assert compare.main(Config(runs=runs, runs_dir=str(tmp_path))) == 0
    assert calls == []
    found = table(tmp_path / "compare" / "001")
    assert found["runs"] == {"resnet": list(runs[:2]), "se_resnet50": list(runs[2:])}
    assert compare.main(Config(runs=(runs[0], runs[0]), runs_dir=str(tmp_path))) == 2
    assert "a comparison needs at least two" in capsys.readouterr().err


def changed_copy(run, folder, **changes):
    """A copy of a run with other settings or results."""
    copy = folder / run.parent.name / "001"
    shutil.copytree(run, copy)
    result = read_result(copy)
    lists = {**result["list_sha256"], **changes.pop("lists", {})}
    write_result(copy, {**result, "list_sha256": lists, **changes.pop("result", {})})
    if "classes" in changes:
        (copy / "classes.txt").write_text(changes.pop("classes"))
        (copy / "best.safetensors").unlink()  # which names the classes as well
    write_config(copy, {**load_config(copy / "config.yaml").as_dict(), **changes})
    return copy


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"lists": {"val": "0" * 64}}, "saw different photographs: their val lists differ"),
        ({"lists": {"train": "0" * 64}}, "saw different photographs: their train lists differ"),
        ({"result": {"status": "interrupted"}}, "is interrupted: only finished runs are compared"),
        ({"image_size": 64}, "saw images of different sizes: image_size 32 and 64"),
        ({"classes": "kind 0\nkind 2\nkind 1\n"}, "were trained on different classes"),
    ],
)
def test_what_is_not_comparable_is_refused(compared, tmp_path, capsys, changes, complaint):
    other = changed_copy(compared / "runs" / "se_resnet50" / "001", tmp_path, **changes)
    runs = (str(compared / "runs" / "resnet" / "001"), str(other))
    assert compare.main(Config(runs=runs, runs_dir=str(tmp_path))) == 2
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "compare").exists()


def test_settings_that_differ_are_named(compared, tmp_path, calls, capsys):
    other = changed_copy(compared / "runs" / "se_resnet50" / "001", tmp_path, epochs=6, threads=1)
    assert compare.main(Config(runs=(str(compared / "runs" / "resnet" / "001"), str(other)), runs_dir=str(tmp_path))) == 0
    printed = capsys.readouterr().out
    assert "Note: The runs differ in epochs (2, 6)." in printed
    assert "differ in threads (2, 1): their training speed, time and memory do not compare" in printed


def test_settings_of_a_training_are_refused_beside_finished_runs(capsys):
    arguments = ["--runs", "runs/resnet/001", "runs/sa_resnet/001", "--epochs", "3", "--nets", "resnet", "--threads", "1"]
    assert compare.main(parse_config(arguments, "compare")) == 2
    assert "compared as they were trained; without effect: epochs, nets\n" in capsys.readouterr().err


def test_the_page_shows_photographs_of_an_archive_too(compared, tmp_path):
    archive = write_archive(tmp_path / "cifar-10-python.tar.gz", contents(per_batch=10))
    photograph = photograph_reader(Config(), DataSource("cifar10", str(archive)))
    folder = compared / "runs" / "compare" / "001"
    for name in ("comparison.png", "tradeoff.png"):
        shutil.copy(folder / name, tmp_path / name)
    right = {"resnet": np.zeros((1, 10), bool), "se_resnet50": np.zeros((1, 10), bool)}
    right["resnet"][0, [0, 3, 9]] = True
    right["se_resnet50"][0, 7] = True
    names = [f"test_batch/{place}" for place in range(9)] + ["test_batch/77"]
    write_page(tmp_path, *comparison(table(folder)["networks"], correct=right, names=names), [], photograph)
    shown = re.findall(
        r'<img alt="(test_batch[^"]*)" src="data:image/jpeg;base64,([^"]*)"', (tmp_path / "index.html").read_text()
    )
    # The archive has no 77. What one of two alone is right on, the other is alone wrong on
    assert [name for name, _ in shown] == [f"test_batch/{place}" for place in (0, 3, 7, 7, 0, 3)]
    pixels = pictures(10, seed=5)[0][3].reshape(3, 32, 32).transpose(1, 2, 0)
    with Image.open(io.BytesIO(base64.b64decode(shown[1][1]))) as image:
        assert np.abs(np.asarray(image, np.int32) - pixels).mean() < 12  # a JPEG of quality 80


@pytest.mark.parametrize("nets", [("resnet",), ("resnet", "resnet")])
def test_one_network_is_no_comparison(data, tmp_path, capsys, nets):
    assert compare.main(settings(data, tmp_path, nets=nets)) == 2
    assert "a comparison needs at least two" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_sigterm_ends_the_training_under_way_too(data, tmp_path):
    command = [sys.executable, str(ROOT / "compare.py"), "--nets", "resnet18", "resnet34", "--data", str(data)]
    command += ["--runs_dir", str(tmp_path / "runs"), "--image_size", "32", "--epochs", "500", "--num_workers", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.startswith("epoch 1/"):
            break
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    run = tmp_path / "runs" / "resnet18" / "001"
    for _ in range(50):
        if read_result(run):
            break
        time.sleep(0.1)
    assert read_result(run)["status"] == "interrupted"


@pytest.mark.parametrize("failures", [{}, {"resnet": ["seed 2 failed: train.py: error"]}])
def test_a_network_of_which_a_training_failed_is_called_better_nowhere(compared, monkeypatch, failures):
    groups = {net: sorted((compared / "runs" / net).iterdir()) for net in ("resnet", "se_resnet50")}
    cost = {"parameters": 10, "multiply_adds": 10, "latency_ms": 1.0, "latency_ms_of_rounds": [1.0] * 9}
    read_answers = findings.read_answers

    def made(seeds, split):
        found = read_answers(seeds, split)
        shape = (3, len(found.names))
        return found._replace(correct={"resnet": np.ones(shape, bool), "se_resnet50": np.zeros(shape, bool)})

    def unreadable(name):
        raise DataError("gone")

    monkeypatch.setattr(findings, "read_answers", made)
    found = findings.find(findings.Compared(groups, dict.fromkeys(groups, cost), failures), unreadable)
    assert all(map(same_in_both, found.notes))
    claims = [note for note in found.notes if note.startswith("On ")]
    if failures:
        assert "a training of it failed" in found.summary
        assert (found.better, found.fronts, claims) == (set(), {}, [])
    else:
        assert found.summary.startswith("resnet is the best of these networks")
        assert found.better == {("resnet", "se_resnet50")}
        assert len(claims) == len(found.fronts) > 0


def test_gains_of_finished_runs_are_counted_from_one_of_them(compared, tmp_path, calls, capsys):
    runs = tuple(str(compared / "runs" / net / "001") for net in ("resnet", "se_resnet50"))
    assert compare.main(Config(runs=runs, runs_dir=str(tmp_path), baseline="se_resnet50")) == 0
    assert "\nAgainst se_resnet50:\n\n| network |" in capsys.readouterr().out
    assert [gain["network"] for gain in table(tmp_path / "compare" / "001")["gains"]] == ["resnet"]
    assert compare.main(Config(runs=runs, runs_dir=str(tmp_path), baseline="resnet18")) == 2
    assert "baseline = 'resnet18': compared are resnet, se_resnet50; name one of them" in capsys.readouterr().err
