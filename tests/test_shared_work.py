"""Comparisons at the same time: who does a piece of work, who waits for it, and what happens when one of them is killed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from comparisons_at_once import litter, report, start, wait_for
from conftest import write_listed_photographs
from processes_started import processes_of

from machine import held_folder, parent_process
from comparison import shared_work, waiting
from comparison.compared_settings import as_options
from comparison.shared_work import claimed, share
from config import parse_config
from evaluation.evaluation_lock import evaluation_written, evaluations_read
from machine.locks import ClaimedError
from trained.history import COLUMNS, write_history
from trained.run_folder import lock_run

pytestmark = pytest.mark.version_independent

ROOT = Path(__file__).resolve().parent.parent
posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX locks, which belong to a process")


@pytest.fixture
def elsewhere():
    """Starts a process that runs a few lines, and says "ready"; it is killed in the end."""
    started = []

    def run(*lines):
        program = "\n".join(
            ["import sys, time", "from pathlib import Path", *lines, "print('ready', flush=True)", "time.sleep(60)"]
        )
        process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def claiming(place):
    return "from comparison.shared_work import claimed", f"held = claimed(Path({str(place)!r})); held.__enter__()"


@posix
def test_jobs_that_others_do_come_last_and_are_looked_at_again_once_they_are_free(tmp_path, elsewhere, monkeypatch):
    other = elsewhere(*claiming(tmp_path / "b"))
    waited, done = [], []

    def wait(job):
        waited.append(job)
        other.kill()
        other.wait()

    monkeypatch.setattr(shared_work, "PAUSE", 0.01)
    share(["a", "b", "c"], lambda job: tmp_path / job, lambda job, begun: done.append(job) or True, wait)
    assert done == ["a", "c", "b"]
    assert set(waited) == {"b"}
    assert list(tmp_path.iterdir()) == [], "the files of the claims are gone, also that of the killed process"


def test_a_job_that_is_put_off_is_asked_again(tmp_path, monkeypatch):
    monkeypatch.setattr(shared_work, "PAUSE", 0.01)
    answers = iter([False, False, True])
    waited = []
    share(["a"], lambda job: tmp_path / job, lambda job, begun: next(answers), waited.append)
    assert waited == ["a", "a"]


@posix
def test_a_claim_is_not_held_on_a_file_that_another_process_has_removed(tmp_path, elsewhere, monkeypatch):
    place, taken = tmp_path / "job", []
    real = shared_work.claim

    def claim_late(path):
        file = real(path)
        if not taken:  # between opening and claiming it the process before has ended its work
            taken.append(path)
            path.unlink()
            elsewhere(*claiming(path))
        return file

    monkeypatch.setattr(shared_work, "claim", claim_late)
    with pytest.raises(ClaimedError), claimed(place):
        pass


def test_work_in_a_folder_that_cannot_be_written_is_done_without_a_claim(tmp_path):
    done = []
    share(["a"], lambda job: tmp_path / "missing" / job, lambda job, begun: done.append(job) or True, lambda job: None)
    assert done == ["a"]


@posix
def test_who_waits_for_a_training_is_told_which_and_how_far_it_is(tmp_path, elsewhere, capsys):
    run = tmp_path / "resnet" / "001"
    run.mkdir(parents=True)
    elsewhere("from trained.run_folder import lock_run", f"held = lock_run(Path({str(run)!r}))")
    assert waiting.is_being_trained(run)
    told = waiting.TrainingElsewhere(lambda training: run)
    told.tell("resnet, seed 0")
    told.tell("resnet, seed 0")
    row = {name: 1 for name in COLUMNS}
    write_history(run, [{**row, "epoch": 1}, {**row, "epoch": 2}])
    told.tell("resnet, seed 0")
    assert capsys.readouterr().out.splitlines() == [
        f"resnet, seed 0: another process trains it in {run}; this comparison goes on when that ends",
        f"resnet, seed 0: {run} has finished epoch 2",
    ]


def test_a_run_that_nobody_trains_is_free(tmp_path):
    assert not waiting.is_being_trained(tmp_path)
    with lock_run(tmp_path):
        pass


@posix
def test_an_evaluation_is_not_read_while_another_process_writes_it(tmp_path, elsewhere):
    runs = [tmp_path / "b", tmp_path / "a"]
    for run in runs:
        run.mkdir()
    other = elsewhere(
        "from evaluation.evaluation_lock import evaluation_written",
        f"held = evaluation_written(Path({str(runs[0])!r})); held.__enter__()",
    )
    entered = threading.Event()

    def read():
        with evaluations_read(runs):
            entered.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    assert not entered.wait(0.5)
    other.kill()
    assert entered.wait(20)
    reader.join(20)


def test_evaluations_in_a_folder_that_is_gone_are_read_without_a_lock(tmp_path):
    with evaluations_read([tmp_path / "missing", tmp_path]), evaluation_written(tmp_path / "missing"):
        pass
    assert list(tmp_path.iterdir()) == [], "nor does a comparison change a run folder"


@pytest.mark.parametrize(
    "values",
    [
        {"net": "resnet", "epochs": 3, "data": "-a b", "follow_links": False, "deterministic": True, "lists_dir": None},
        {"mean": [0.5, 0.25, 1e-07], "learning_rate": 1e-05, "label_smoothing": 0.0, "attention": None, "flip": False},
    ],
)
def test_options_give_a_script_the_very_values(values):
    config = parse_config(as_options(values, "train"), "train")
    assert {name: config.as_dict()[name] for name in values} == values
    assert config.given == {name for name, value in values.items() if value is not None}


CHILD = """
import sys, time
from machine import ending
def work(config):
    print("at work", flush=True)
    time.sleep(60)
ending.leave(ending.run("train", work, None, uses_paddle=False))
"""


@posix
@pytest.mark.parametrize("early", [False, True], ids=["at work", "before it has begun"])
def test_a_script_ends_with_the_process_that_started_it(early):
    environment = {**os.environ, parent_process.VARIABLE: "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", CHILD], cwd=ROOT, env=environment, text=True, **pipes)
    try:
        if not early:
            assert process.stdout.readline() == "at work\n"
            assert process.poll() is None
        process.stdin.close()  # as the system does where the other process dies
        process.stdin = None
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, err) == (143, "train.py: terminated\n")


@posix
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_two_comparisons_share_their_work_and_one_that_is_killed_leaves_it_to_the_other(tmp_path):
    write_listed_photographs(tmp_path / "data")
    victim, other = [start(tmp_path / "data", tmp_path / "runs") for _ in range(2)]
    runs = tmp_path / "runs"
    try:
        assert wait_for(lambda: list(runs.glob("resnet*/001/config.yaml")), 120), "a training has begun"
        time.sleep(1)
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        assert wait_for(lambda: not processes_of(victim.pid), 20), "its training ends with it"
        said, _ = other.communicate(timeout=240)
    finally:
        for process in (victim, other):
            process.kill()
    assert other.returncode == 0, said
    [folder] = (runs / "compare").iterdir()
    assert {row["network"]: row["seeds"] for row in report(folder, True)["networks"]} == {"resnet18": 1, "resnet34": 1}
    assert litter(runs) == []
    assert json.loads((folder / "table.json").read_text())["runs"].keys() == {"resnet18", "resnet34"}


@posix
def test_folders_that_killed_processes_left_are_removed_and_those_in_use_stay(tmp_path, elsewhere):
    lines = "from machine import held_folder", f"folder = held_folder.make_held('ours-', {str(tmp_path)!r})"
    dead, alive = elsewhere(*lines), elsewhere(*lines)
    both = set(tmp_path.iterdir())
    held_folder.remove_left("ours-", tmp_path)
    assert set(tmp_path.iterdir()) == both
    user = elsewhere("from machine import held_folder", *(f"held_folder.hold(Path({str(place)!r}))" for place in both))
    dead.kill()
    dead.wait()
    held_folder.remove_left("ours-", tmp_path)
    assert set(tmp_path.iterdir()) == both, "a process that the dead one started still uses it"
    user.kill()
    user.wait()
    held_folder.remove_left("ours-", tmp_path)
    [left] = tmp_path.iterdir()
    assert (left / f"{held_folder.USER}{alive.pid}").is_file()


@posix
def test_folders_that_may_be_of_others_are_never_removed(tmp_path):
    (tmp_path / "ours-of an older version").mkdir(mode=0o700)
    shared = tmp_path / "ours-and writable by all"
    shared.mkdir()
    shared.chmod(0o777)
    (shared / f"{held_folder.USER}1").touch()
    target = tmp_path / "target"
    target.mkdir(mode=0o700)
    (target / f"{held_folder.USER}1").touch()
    (tmp_path / "ours-link").symlink_to(target)
    before = set(tmp_path.rglob("*"))
    held_folder.remove_left("ours-", tmp_path)
    assert set(tmp_path.rglob("*")) == before
