"""A run folder that came from a stranger: every file of it is hostile, it reaches nothing outside, and permits nothing."""

import csv
import json
import os
import shutil

import hostile_run_folders
import pytest
from conftest import random_photograph, write_listed_photographs
from tiny_network import TinyResNet

import compare
import eval as eval_script
import gradcam
import networks
import predict
import train
from comparison import run_plan, side_by_side
from config import Config, parse_config
from data.lists import write_lists
from evaluation.report import EvaluationError, is_evaluated, read_evaluation
from trained import known_data
from trained.known_data import is_noted, note_places
from trained.run_folder import create_run, newest_finished_run, newest_run
from trained.trained_run import TrainedRun

pytestmark = pytest.mark.usefixtures("quick_pictures")
MAINS = {"train": train, "eval": eval_script, "compare": compare, "gradcam": gradcam, "predict": predict}
NETS = ("resnet", "resnet18")
FAST = ("--device", "cpu", "--fused", "off", "--threads", "1", "--num_workers", "0")
OF_TRAINING = ("--image_size", "32", "--epochs", "1", "--batch_size", "4")
DAMAGES = {damage.name: damage for damage in hostile_run_folders.damages()}


def tiny_resnet(num_classes):
    return TinyResNet(num_classes)


def ran(script, *words):
    """The exit code of a script with these words."""
    fast = FAST[:-2] if script == "gradcam" else FAST
    return MAINS[script].main(parse_config([*map(str, words), *fast], script))


def replace_networks(patch):
    for name, function in zip(NETS, ("TinyNetwork", "tiny_resnet")):
        patch.setitem(networks.NETWORKS, name, networks.Lazy("tiny_network" if function[0] == "T" else __name__, function))

    def run_here(script, arguments, quiet=False):
        if MAINS[script.split(".")[0]].main(parse_config(list(map(str, arguments)), script.split(".")[0])):
            raise run_plan.ProcessFailed(f"{script}: error: as its last line says")

    patch.setattr(side_by_side, "run_script", run_here)


@pytest.fixture(autouse=True)
def tiny_networks(monkeypatch):
    """Networks that train in no time, and a comparison's scripts in this process."""
    replace_networks(monkeypatch)


@pytest.fixture(autouse=True, scope="module")
def own_notes(tmp_path_factory):
    """Where this user has trained is noted in a folder of these tests: another session of them has used the same paths."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def original(own_notes, tmp_path_factory):
    """A folder with ``data`` and ``runs`` with an evaluated run of each of NETS."""
    folder = tmp_path_factory.mktemp("strangers")
    write_listed_photographs(folder / "data")
    with pytest.MonkeyPatch.context() as patch:
        replace_networks(patch)
        for net in NETS:
            words = ("--data", folder / "data", "--runs_dir", folder / "runs", "--net", net)
            assert ran("train", *words, *OF_TRAINING) == 0
            assert ran("eval", *words) == 0
    return folder


@pytest.fixture
def place(original, tmp_path):
    """A copy of it in which the runs name the copied photographs; nobody has trained with these here."""
    shutil.copytree(original, tmp_path / "place")
    for config in (tmp_path / "place").glob("runs/*/001/config.yaml"):
        config.write_text(config.read_text().replace(str(original), str(tmp_path / "place")))
    return tmp_path / "place"


def run_of(place, net="resnet"):
    return place / "runs" / net / "001"


def compared(place, *words):
    """The exit code of compare.py on the two runs."""
    return ran("compare", "--runs", run_of(place), run_of(place, "resnet18"), "--runs_dir", place / "runs", *words)


def refusal(capsys, script):
    """The one line in which a script refuses."""
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("note: ")]
    assert len(lines) == 1
    assert lines[0].startswith(f"{script}.py: error: ")
    assert lines[0].isprintable()
    return lines[0]


# Every file is hostile

REFUSED_BY_COMPARE = {
    "result.json": ("a folder", "3,000 brackets", "not UTF-8", "100,000 brackets", "a list", "images_per_second: text", "cut",
                    "images_per_second: a number beyond floats", "best: a list", "best val_acc: NaN", "best val_loss: infinity",
                    "list_sha256: escapes", "photographs: deep", "peak_memory_mb: true", "format: 2**40"),
    "history.csv": ("missing", "a folder", "NUL bytes", "3,000 brackets", "quotes", "no rows", "rows twice", "short rows",
                    "long rows", "other columns", "images_per_second: negative", "val_loss: 1e400", "seconds: escapes",
                    "epoch: a number of 5,000 digits", "val_acc: 200,000 letters"),
    "classes.txt": ("missing", "a folder", "not UTF-8", "one class", "another class", "a class twice", "blank lines", "escapes",
                    "100,000 classes"),
    "config.yaml": ("missing", "a folder", "3,000 brackets", "3,000 braces of YAML", "NUL bytes", "a key twice",
                    "net: vgg19", "net: nothing", "image_size: .nan", "seed: true", "mean: [.nan, .nan, .nan]",
                    "format: 99", "data: \"\\e[2J\"" if False else "data: ''", "image_size: 64"),
    "best.safetensors": ("cut", "a folder", "3,000 brackets", "classes: escapes", "epoch: negative", "other classes"),
}  # fmt: skip


@pytest.mark.parametrize("name", [f"{file}: {what}" for file, kinds in REFUSED_BY_COMPARE.items() for what in kinds])
def test_a_comparison_names_the_damaged_file_and_leaves_nothing_behind(place, name, capsys):
    DAMAGES[name].do(run_of(place), place)
    assert compared(place, "--data", place / "data") == 2
    line = refusal(capsys, "compare")
    assert name.split(":")[0] in line or str(run_of(place)) in line
    assert not list((place / "runs").glob("compare/*"))


@pytest.mark.parametrize(
    "name",
    ["eval/metrics.json: acc: half", "eval/metrics.json: loss: NaN", "eval/metrics.json: photographs: half",
     "eval/metrics.json: 3,000 brackets", "eval/metrics.json: cut", "eval/predictions.csv: path: NUL",
     "eval/predictions.csv: label: empty", "eval/predictions.csv: confidence: 1e400", "eval/predictions.csv: no rows",
     "eval/predictions.csv: short rows", "eval/predictions.csv: quotes", "eval/predictions.csv: missing"],
)  # fmt: skip
def test_an_evaluation_that_is_damaged_or_contradicts_itself_counts_as_none(place, name):
    DAMAGES[name].do(run_of(place), place)
    with pytest.raises(EvaluationError, match=f"{run_of(place)}.*eval.py --run {run_of(place)} writes") as error:
        read_evaluation(run_of(place))
    assert str(error.value).isprintable()
    assert not is_evaluated(run_of(place))


@pytest.mark.parametrize("name", ["eval/metrics.json: acc: half", "eval/predictions.csv: confidence: 1e400"])
def test_such_an_evaluation_is_made_anew(original, place, name):
    before = read_evaluation(run_of(original))[0]["acc"]
    DAMAGES[name].do(run_of(place), place)
    assert compared(place, "--data", place / "data") == 0
    metrics, predictions = read_evaluation(run_of(place))
    rows = json.loads((place / "runs" / "compare" / "001" / "table.json").read_text())["networks"]
    row = next(row for row in rows if row["network"] == "resnet")
    assert metrics["acc"] == pytest.approx(before)
    assert row["accuracy"] == predictions.correct.mean()


def test_table_and_verdict_cannot_disagree(place):
    """The photographs are gone, so that nothing can be evaluated again: a forged accuracy does not lead the table."""
    shutil.rmtree(place / "data")
    DAMAGES["eval/metrics.json: acc: half"].do(run_of(place, "resnet18"), place)
    assert compared(place) == 1
    rows = json.loads((place / "runs" / "compare" / "001" / "table.json").read_text())["networks"]
    forged = next(row for row in rows if row["network"] == "resnet18")
    assert forged["accuracy"] is None
    assert "cannot be evaluated" in forged["note"]


@pytest.mark.parametrize("content", [b"[" * 3000, b"{a: " * 3000, b"\0", b"\xff", b'net: "\\e[2J"'])
def test_what_merely_lies_beside_the_runs_stops_no_comparison(place, content, capsys):
    (place / "runs" / "resnet" / "002").mkdir()
    (place / "runs" / "resnet" / "002" / "config.yaml").write_bytes(content)
    shutil.copy(run_of(place) / "result.json", place / "runs" / "resnet" / "002")
    assert ran("compare", "--nets", *NETS, "--data", place / "data", "--runs_dir", place / "runs", *OF_TRAINING) == 0
    assert f"resnet, seed 0: {run_of(place)} is there already" in capsys.readouterr().out


# A run cannot reach out of itself

LINKS = ("eval", "eval_test", "vdl", "export", ".lock", "result.json", "best.safetensors", "eval/predictions.csv", "notes.txt")


@pytest.mark.parametrize("script", ["eval", "compare", "gradcam", "predict", "train"])
@pytest.mark.parametrize("name", LINKS)
def test_a_run_with_a_link_in_it_is_refused(place, name, script, capsys, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "vdlrecords.1").write_text("the user's")
    hostile_run_folders._link(name, ".")(run_of(place), outside)
    random_photograph(1).save(tmp_path / "photograph.png")
    words = {
        "eval": ("--run", run_of(place), "--data", place / "data"),
        "gradcam": ("--run", run_of(place), "--data", place / "data"),
        "predict": ("--run", run_of(place), "--images", tmp_path / "photograph.png", "--output", tmp_path / "p.csv"),
        "train": ("--resume", run_of(place), "--data", place / "data", "--epochs", "2"),
    }
    code = compared(place, "--data", place / "data") if script == "compare" else ran(script, *words[script])
    assert code == 2
    assert f"{run_of(place) / name} is a link, and a run may hold nothing but" in refusal(capsys, script)
    assert [file.name for file in outside.iterdir()] == ["vdlrecords.1"]
    assert (outside / "vdlrecords.1").read_text() == "the user's"
    assert not list((place / "runs").glob("compare/*"))


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_run_with_a_pipe_in_it_is_refused(place, kind, capsys):
    DAMAGES[f"result.json: a {kind}"].do(run_of(place), place)
    assert ran("eval", "--net", "resnet", "--runs_dir", place / "runs", "--data", place / "data") == 2
    assert f"{run_of(place) / 'result.json'} is a {'named pipe' if kind == 'pipe' else kind}, and a run" in refusal(
        capsys, "eval"
    )


def test_the_run_folder_itself_may_be_a_link(place, tmp_path):
    os.rename(place / "runs", tmp_path / "other disk")
    (place / "runs").symlink_to(tmp_path / "other disk")
    (place / "again").symlink_to(run_of(place))
    assert ran("eval", "--net", "resnet", "--runs_dir", place / "runs", "--data", place / "data") == 0
    assert ran("eval", "--run", place / "again", "--data", place / "data") == 0


def test_photographs_are_read_where_the_user_says_or_has_trained(original, place, capsys):
    run = run_of(place)
    for script in ("eval", "gradcam"):
        assert ran(script, "--run", run) == 2
        line = refusal(capsys, script)
        assert f"{run} names --data {place / 'data'} as the place of its photographs" in line
        assert f"add --data {place / 'data'}" in line
        assert ran(script, "--run", run, "--data", place / "data") == 0
        assert ran(script, "--run", run) == 2, "to have evaluated with them is no training"
        capsys.readouterr()
    assert ran("eval", "--run", run_of(original)) == 0, "one's own run goes on working without --data"
    assert ran("train", "--net", "resnet", "--data", place / "data", "--runs_dir", place / "more", *OF_TRAINING) == 0
    assert ran("eval", "--run", run) == 0


def test_the_permission_to_read_photographs_is_no_choice_of_other_lists(place, capsys):
    run, data = run_of(place), place / "data"
    lists = (data / "train_list.txt").read_text(), (data / "val_list.txt").read_text()
    (data / "val_list.txt").write_text(lists[0].splitlines(True)[0])  # as after another split: the network has learned from it
    (data / "train_list.txt").write_text(lists[1] + "".join(lists[0].splitlines(True)[1:]))
    assert ran("eval", "--run", run, "--data", data) == 2
    assert f"use it anyway with --data {data} --lists_dir {data}" in refusal(capsys, "eval")
    assert ran("eval", "--run", run, "--data", data, "--lists_dir", data) == 0


def test_the_default_folder_needs_no_name(place, monkeypatch):
    (place / "work").mkdir()
    os.rename(place / "data", place / "work" / "dataset")
    monkeypatch.chdir(place)
    for file in ("config.yaml",):
        text = (run_of(place) / file).read_text()
        (run_of(place) / file).write_text(text.replace(f"data: {place / 'data'}", f"data: {Config.data}"))
    assert ran("eval", "--run", run_of(place)) == 0


def test_a_private_photograph_comes_into_no_page(place, tmp_path, capsys):
    """The list of a stranger's data points at a photograph of the user's, and the run says that links are followed."""
    private = tmp_path / "private" / "me.png"
    private.parent.mkdir()
    random_photograph(99).save(private)
    write_lists(place / "data", ("cat", "dog", "sheep"), [("cat/0.png", 0), ("dog/0.png", 1)], [(str(private), 2)])
    for net in NETS:
        config = run_of(place, net) / "config.yaml"
        config.write_text(config.read_text().replace("follow_links: false", "follow_links: true"))
        change = hostile_run_folders._header("best.safetensors", lambda header: header["config"].update(follow_links=True))
        change(run_of(place, net), place)
    assert ran("eval", "--run", run_of(place), "--data", place / "data") == 2
    assert "is absolute, not relative" in refusal(capsys, "eval")
    before = (private.stat().st_atime_ns, private.read_bytes())
    assert compared(place) == 0
    err = capsys.readouterr().err
    page = (place / "runs" / "compare" / "001" / "index.html").read_text()
    assert "data:image/jpeg" not in page
    assert "note: the page shows no photographs: " in err
    assert f"add --data {place / 'data'} if it is to be read" in err
    assert private.read_bytes() == before[1]


def test_a_resumed_run_permits_nothing_either(place, capsys):
    run = run_of(place)
    assert ran("train", "--resume", run, "--epochs", "2") == 2
    assert f"add --data {place / 'data'}" in refusal(capsys, "train")
    for file in ("last.safetensors", "best.safetensors", "history.csv", "result.json"):
        (run / file).unlink()
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("init_from: null", f"init_from: {run_of(place, 'resnet18')}/best.safetensors"))
    assert ran("train", "--resume", run, "--data", place / "data") == 2
    line = refusal(capsys, "train")
    assert f"{run} starts from the weights in {run_of(place, 'resnet18')}/best.safetensors" in line
    assert "add --init_from" in line


def test_a_folder_of_notes_that_others_can_write_is_not_trusted(tmp_path, monkeypatch):
    monkeypatch.delenv("SA_NET_PADDLE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert not is_noted(str(tmp_path / "data"))
    before = os.umask(0)
    try:
        note_places([str(tmp_path / "data"), None])
    finally:
        os.umask(before)
    (notes,) = tmp_path.glob("*/trained_with")
    assert notes.stat().st_mode & 0o777 == 0o700
    (tmp_path / "link").symlink_to(tmp_path / "data")
    assert is_noted(str(tmp_path / "data"))
    assert is_noted(str(tmp_path / "link"))
    assert not is_noted(str(tmp_path / "data" / "below"))
    notes.chmod(0o777)
    assert not is_noted(str(tmp_path / "data"))


def test_the_oldest_notes_go_also_while_another_training_removes_them(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("SA_NET_PADDLE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(known_data, "MAX_NOTES", 2)
    note_places([str(tmp_path / "a")])
    (notes,) = tmp_path.glob("*/trained_with")
    (first,) = notes.iterdir()
    os.utime(first, (1, 1))
    (notes / "gone").symlink_to(tmp_path / "nowhere")  # as a note that vanishes after the folder was read
    note_places([str(tmp_path / "b"), str(tmp_path / "c")])
    assert [is_noted(str(tmp_path / name)) for name in "abc"] == [False, True, True]
    assert capsys.readouterr().err == ""


def test_without_a_cache_nothing_is_noted_and_one_line_says_so(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.delenv("SA_NET_PADDLE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    note_places([str(tmp_path)])
    assert not is_noted(str(tmp_path))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("note: where the photographs are is not noted (")
    assert line.endswith("later scripts ask for --data; set XDG_CACHE_HOME to a folder that is yours alone")


# 001.bak is no run


def test_a_copy_that_a_user_made_is_no_run(place, capsys):
    for name in ("001.bak", "0x2", "2", "٠٠٣", "002~"):
        shutil.copytree(run_of(place), place / "runs" / "resnet" / name)
    assert newest_finished_run(place / "runs", "resnet") == run_of(place)
    assert newest_run(place / "runs", "resnet") == run_of(place)
    words = ("--nets", *NETS, "--data", place / "data", "--runs_dir", place / "runs", *OF_TRAINING)
    assert ran("compare", *words) == 0
    assert f"resnet, seed 0: {run_of(place)} is there already" in capsys.readouterr().out
    shutil.rmtree(run_of(place))
    assert ran("compare", *words) == 0
    assert "training 1 of 1: resnet, seed 0" in capsys.readouterr().out
    assert create_run(place / "runs", "resnet").name == "002"


# Nothing raw, nothing run


def test_names_that_a_spreadsheet_would_run_are_text_in_every_table_and_come_back(tmp_path, original, monkeypatch):
    names = ["=1+1.png", "-2.png", "@x.png", "+3.png", "'=4.png", "'tis.png", "\t5.png"]
    for number, name in enumerate(names):
        random_photograph(number).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert ran("predict", "--run", run_of(original), "--images", *(f"{name}" for name in names if name[0] != "-")) == 0
    with open("predictions.csv", encoding="utf-8", newline="") as file:
        paths = [row["path"] for row in csv.DictReader(file)]
    assert paths == ["'=1+1.png", "'@x.png", "'+3.png", "''=4.png", "'tis.png", "'\t5.png"]


def test_an_evaluation_of_such_names_reads_back(tmp_path):
    classes = ("=cmd()", "'+dog", "sheep")
    write_listed_photographs(tmp_path / "data", classes)
    words = ("--data", tmp_path / "data", "--runs_dir", tmp_path / "runs", "--net", "resnet")
    assert ran("train", *words, *OF_TRAINING) == 0
    assert ran("eval", *words) == 0
    run = tmp_path / "runs" / "resnet" / "001"
    for name in ("predictions.csv", "confusion_matrix.csv"):
        with open(run / "eval" / name, encoding="utf-8", newline="") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert not [cell for cell in cells if cell[:1] in "=+-@\t\r" and cell]
    predictions = read_evaluation(run)[1]
    assert set(predictions.labels) == set(classes)
    assert predictions.paths == [f"{name}/{number}.png" for name in classes for number in (4, 5)]


def test_markup_in_names_is_text_in_the_table_of_a_comparison(tmp_path, capsys):
    classes = ("<img src=x>", "[a](http:__b)", "c|d\x1b[2J")
    write_listed_photographs(tmp_path / "data", [name.replace("/", "_") for name in classes])
    lists = (tmp_path / "data" / "val_list.txt").read_text().splitlines()
    (tmp_path / "data" / "val_list.txt").write_text("\n".join(lists[:3] + lists[4:5]) + "\n")  # unbalanced: classes are named
    words = ("--nets", *NETS, "--data", tmp_path / "data", "--runs_dir", tmp_path / "runs", *OF_TRAINING)
    assert ran("compare", *words) == 0
    out, err = capsys.readouterr()
    text = (tmp_path / "runs" / "compare" / "001" / "table.md").read_text()
    assert "\x1b" not in out + err + text
    assert "<img" not in text.replace("\\<img", "")
    assert "](" not in text.replace("\\](", "")


def test_the_classes_that_a_trained_run_names_are_those_of_its_weights(original):
    assert TrainedRun.open(run_of(original)).classes == ["cat", "dog", "sheep"]


def test_a_run_with_a_link_that_merely_lies_there_is_passed_over_in_one_line(place, capsys):
    shutil.copytree(run_of(place), place / "runs" / "resnet" / "002")
    (place / "runs" / "resnet" / "002" / "vdl" / "link").symlink_to("/")
    words = ("--nets", *NETS, "--data", place / "data", "--runs_dir", place / "runs", *OF_TRAINING)
    assert ran("compare", *words) == 0
    out, err = capsys.readouterr()
    assert f"resnet, seed 0: {run_of(place)} is there already" in out
    assert [line for line in err.splitlines() if "passed over" in line] == [
        f"note: {place}/runs/resnet/002 is passed over: {place}/runs/resnet/002/vdl/link is a link, and a run may hold nothing "
        f"but files and folders of its own: put what it leads to in its place if you trust the run"
    ]


def test_compared_runs_of_others_are_evaluated_where_the_user_says(place, capsys):
    for net in NETS:
        shutil.rmtree(run_of(place, net) / "eval")
    assert compared(place) == 2
    assert f"add --data {place / 'data'}" in capsys.readouterr().err
    assert not list((place / "runs").glob("compare/*"))
    assert compared(place, "--data", place / "data") == 0
    assert "note: the page shows no photographs" not in capsys.readouterr().err
