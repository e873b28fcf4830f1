"""Searching for learning rate and weight decay: what is tried, in what order, within what time, and what comes of it."""

import contextlib
import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import fill, write_listed_photographs

import train
import tune
from comparison import script_process, side_by_side
from comparison.waiting import is_being_trained
from config import Config, names_of, parse_config
from data.data_sets import open_side
from data.data_source import DataSource
from data.lists import write_lists
from machine.interruption import INTERRUPTED
from plots import figures
from settings.recipe import read_yaml
from trained.result import read_result
from tuning import planning, trials
from tuning import search as search_module
from tuning.grid import Pair, beyond, grid_of
from tuning.inner_split import write_inner_lists
from tuning.ranking import ranked
from tuning.record import Trial, read_search, write_search
from tuning.rungs import Costs, Rung, plan_rungs, smallest_search

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.usefixtures("quick_pictures", "register_tiny_network")


class Trainings:
    """train.py in this process. ``started``: the settings of each; ``before``: called before each with their number."""

    def __init__(self):
        self.started, self.resumed, self.before = [], 0, lambda number: None

    def run(self, script, arguments, quiet=False, seconds=None):
        assert script == "train.py"
        assert quiet
        config = parse_config([str(word) for word in arguments], "train")
        self.before(len(self.started))
        if config.resume:
            self.resumed += 1
        else:
            self.started.append(config)
        with contextlib.redirect_stdout(io.StringIO()):  # quiet
            code = train.main(config)
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        if code:
            raise trials.ProcessFailed("train.py: error: as its last line says")


@pytest.fixture
def trainings(monkeypatch):
    """Trainings in this process; all pairs are tried for one epoch, then the best third and the usual one for three."""
    found = Trainings()
    monkeypatch.setattr(side_by_side, "run_script", found.run)

    def plan(pairs, *_):
        return [Rung(pairs, 1), Rung(min(pairs, 3), 3)] if _[-1] > 0 else None

    monkeypatch.setattr(planning, "plan_rungs", plan)
    return found


def settings(tmp_path, **changes):
    """A search of 2 x 2 pairs: one rung of four trials, then one of three."""
    if not (tmp_path / "data").exists():
        write_listed_photographs(tmp_path / "data", of_each_class=8)
    chosen = {
        "net": "resnet", "data": str(tmp_path / "data"), "runs_dir": str(tmp_path / "runs"), "image_size": 16, "epochs": 3,
        "batch_size": 4, "num_workers": 0, "threads": 1, "budget": 1000.0, "learning_rates": (0.01, 0.1), "learning_rate": 0.1,
        "weight_decays": (1e-4, 1e-2), "optimizer": "momentum", "device": "cpu", "fused": "off",
    }  # fmt: skip
    return Config(**{**chosen, **changes}, given=frozenset({*chosen, *changes}))


def only_search(tmp_path):
    folders = sorted((tmp_path / "runs" / "tune").iterdir())
    assert len(folders) == 1
    return folders[0], read_search(folders[0])


def outcome(search):
    """All that a search is for, apart from times."""
    return [(trial.rung, trial.epochs, trial.pair, trial.accuracy, trial.loss) for trial in search.trials]


# ------------------------------------------------------------------------------------------------------------- the whole


def test_a_search_writes_a_recipe_that_train_takes_and_never_reads_the_validation_list(tmp_path, trainings, capsys):
    config = settings(tmp_path, recipe=str(tmp_path / "best.yaml"))
    validation = {line.rsplit(" ", 1)[0] for line in (tmp_path / "data" / "val_list.txt").read_text().splitlines()}
    for name in validation:  # a trial that opens one of them fails
        (tmp_path / "data" / name).write_text("no photograph")
    (tmp_path / "data" / "val_list.txt").write_text("no list\n")
    assert tune.main(config) == 0
    folder, search = only_search(tmp_path)
    lists = {side: (folder / "lists" / f"{side}_list.txt").read_text().splitlines() for side in ("train", "val")}
    listed = (tmp_path / "data" / "train_list.txt").read_text().splitlines()
    assert sorted(lists["train"] + lists["val"]) == sorted(listed)
    assert search.photographs == {"train": 9, "val": 3}, "a quarter of each class of four"
    assert search.finished
    best = ranked(trial for trial in search.trials if trial.rung == len(search.rungs))[0]
    output = capsys.readouterr().out
    assert "9 photographs for the trials to train on, 3 held out of the training list to rank them" in output
    assert f"{best.pair}; recipe: {tmp_path / 'best.yaml'}" in output
    recipe, _ = read_yaml(tmp_path / "best.yaml")
    assert (recipe["learning_rate"], recipe["weight_decay"], recipe["net"]) == (*best.pair, "resnet")
    assert recipe["image_size"] == 16
    assert set(recipe) <= set(names_of("train", affects="result"))
    assert parse_config(["--config", str(folder / "recipe.yaml")], "train").learning_rate == best.pair.learning_rate
    with open(folder / "trials.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["learning_rate"]) for row in rows] == [trial.pair.learning_rate for trial in search.trials]
    assert (folder / "map.png").is_file()
    assert not list(folder.rglob("*.safetensors")), "the weights of trials are not kept"


def test_every_trial_says_what_it_found_and_the_time_left(tmp_path, trainings, capsys):
    assert tune.main(settings(tmp_path)) == 0
    _, search = only_search(tmp_path)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("trial ")]
    assert len(lines) == len(search.trials)
    for line, trial in zip(lines, search.trials):
        assert f"{trial.pair}" in line
        assert f"accuracy {trial.accuracy:.4f}; " in line
    assert "the usual pair" in lines[0]
    assert lines[0].endswith(" left")
    assert lines[-1].endswith("; that was the last")


def test_trials_differ_in_what_is_sought_alone(tmp_path, trainings):
    assert tune.main(settings(tmp_path, weight_decays=(1e-4,), early_stop=2, warmup_epochs=1.0, ema_epochs=0.0)) == 0
    first, *others = trainings.started
    assert first.epochs == 1, "the one that measures"
    for config in others:
        assert {name for name in names_of("train") if getattr(config, name) != getattr(first, name)} <= {
            "learning_rate", "weight_decay", "epochs", "warmup_epochs"
        }  # fmt: skip
        assert config.warmup_epochs == pytest.approx(config.epochs / 3)
        assert config.early_stop == 0


def test_a_trial_that_diverges_is_out(tmp_path, trainings, capsys):
    assert tune.main(settings(tmp_path, learning_rates=(0.01, 1e25), learning_rate=0.01)) == 0
    _, search = only_search(tmp_path)
    diverged = {trial.pair for trial in search.trials if trial.accuracy is None}
    assert diverged == {Pair(1e25, 1e-4), Pair(1e25, 1e-2)}
    assert not [trial for trial in search.trials if trial.rung > 1 and trial.pair in diverged]
    assert "weight decay 0.01: diverged; " in capsys.readouterr().out


def test_where_all_diverge_there_is_no_recipe(tmp_path, trainings, capsys):
    config = settings(tmp_path, learning_rates=(1e25,), learning_rate=1e25)
    assert tune.main(config) == 2
    assert "diverged" in capsys.readouterr().err
    assert not list((tmp_path / "runs").rglob("recipe.yaml"))


# -------------------------------------------------------------------------------------------------------- interruptions


@pytest.mark.parametrize("number", [1, 2])
def test_an_interrupted_search_goes_on_and_finds_the_same(tmp_path, trainings, number):
    config = settings(tmp_path, weight_decays=(1e-4,))
    assert tune.main(config) == 0
    _, whole = only_search(tmp_path)
    shutil.rmtree(tmp_path / "runs")
    trainings.started.clear()

    def interrupt(count):
        if count == number:
            raise KeyboardInterrupt

    trainings.before = interrupt
    assert tune.main(config) == INTERRUPTED
    trainings.before = lambda count: None
    assert tune.main(config) == 0
    _, search = only_search(tmp_path)
    assert outcome(search) == outcome(whole)
    assert len(trainings.started) == len(search.trials), "no trial is trained twice, nor what measured an epoch"


def test_a_trial_that_was_interrupted_within_is_continued(tmp_path, trainings, monkeypatch):
    from training.recorder import RunRecorder

    record, epochs = RunRecorder.record, []

    def interrupt(self, position):
        record(self, position)
        epochs.append(position.epoch)
        if len(epochs) == 1 + 2 + 2:  # one that measures, two of one epoch, the second of three
            raise KeyboardInterrupt

    monkeypatch.setattr(RunRecorder, "record", interrupt)
    config = settings(tmp_path, weight_decays=(1e-4,))
    assert tune.main(config) == INTERRUPTED
    assert tune.main(config) == 0
    assert trainings.resumed == 1
    _, search = only_search(tmp_path)
    assert search.finished


def test_a_finished_search_is_shown_again_and_other_settings_begin_another(tmp_path, trainings, capsys):
    config = settings(tmp_path, weight_decays=(1e-4,))
    assert tune.main(config) == 0
    count = len(trainings.started)
    first = capsys.readouterr().out
    assert tune.main(config) == 0
    again = capsys.readouterr().out
    assert len(trainings.started) == count
    assert "holds this search already" in again
    assert again.splitlines()[-1] == first.splitlines()[-1]
    assert tune.main(settings(tmp_path, seed=1, learning_rates=(0.1,))) == 0
    assert sorted(folder.name for folder in (tmp_path / "runs" / "tune").iterdir()) == ["001", "002"]


def test_the_same_search_in_another_process_is_refused_and_another_one_is_not(tmp_path, trainings, capsys):
    assert tune.main(settings(tmp_path, weight_decays=(1e-4,))) == 0
    folder, search = only_search(tmp_path)
    write_search(folder, search._replace(finished=False))
    code = (
        "import sys; from pathlib import Path; from machine.locks import claim; held = claim(Path(sys.argv[1]));"
        "print('held', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(folder / ".lock")], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout.readline() == "held\n"
        assert tune.main(settings(tmp_path, weight_decays=(1e-4,))) == 2
        assert "another process is at work on it: wait until it ends" in capsys.readouterr().err
        assert tune.main(settings(tmp_path, weight_decays=(1e-3,), learning_rates=(0.1,))) == 0
    finally:
        other.communicate("")
    assert tune.main(settings(tmp_path, weight_decays=(1e-4,))) == 0


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is of POSIX systems")
@pytest.mark.version_independent
def test_a_killed_search_takes_its_training_with_it_and_goes_on(tmp_path, capsys):
    write_listed_photographs(tmp_path / "data")
    words = [
        "--net", "resnet18", "--data", tmp_path / "data", "--runs_dir", tmp_path / "runs", "--image_size", "16", "--epochs",
        "2", "--batch_size", "6", "--num_workers", "0", "--threads", "1", "--budget", "600", "--learning_rates", "0.01",
        "--weight_decays", "0.0001", "--device", "cpu", "--fused", "off",
    ]  # fmt: skip
    command = [sys.executable, str(ROOT / "tune.py"), *map(str, words)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.startswith("an epoch takes"):
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    runs = tmp_path / "runs" / "tune" / "001" / "trials" / "resnet18"
    deadline = time.monotonic() + 120
    while any(is_being_trained(run) for run in runs.iterdir()):
        assert time.monotonic() < deadline, "the training goes on without the search"
        time.sleep(0.2)
    assert tune.main(parse_config(list(map(str, words)), "tune")) == 0
    assert "going on with" in capsys.readouterr().out
    assert read_search(tmp_path / "runs" / "tune" / "001").finished


def tune_by_itself(tmp_path, runs, *options):
    """A search over 2 x 2 pairs, of one or two epochs, in processes of its own."""
    words = [
        "--net", "resnet18", "--data", tmp_path / "data", "--runs_dir", tmp_path / runs, "--image_size", "16", "--epochs", "2",
        "--batch_size", "6", "--num_workers", "0", "--threads", "1", "--budget", "600", "--learning_rates", "0.01", "0.1",
        "--weight_decays", "0.0001", "0.01", "--device", "cpu", "--fused", "off", *options,
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, str(ROOT / "tune.py"), *map(str, words)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests" / "tiny_networks_everywhere")}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / runs / "tune" / "001"
    return done.stdout, folder, read_search(folder)


@pytest.mark.version_independent
def test_trials_side_by_side_find_what_they_find_one_after_the_other(tmp_path):
    write_listed_photographs(tmp_path / "data", of_each_class=8)
    two_pairs = ("--weight_decays", "0.0001")
    _, _, serial = tune_by_itself(tmp_path, "serial", *two_pairs)
    said, folder, parallel = tune_by_itself(tmp_path, "parallel", "--parallel", "2", *two_pairs)
    assert outcome(parallel) == outcome(serial)
    assert parallel.rungs == serial.rungs
    assert ", 2 at a time: " in said
    lines = [line for line in said.splitlines() if line.startswith("trial ")]
    assert len(lines) == len(parallel.trials) >= 2
    assert all(": accuracy 0." in line for line in lines)
    assert not list(folder.glob(".trial*"))


@pytest.mark.version_independent
def test_every_trial_of_a_search_can_be_of_two_processes(tmp_path):
    write_listed_photographs(tmp_path / "data", of_each_class=8)
    one_pair = ("--learning_rates", "0.1", "--weight_decays", "0.0001")
    said, folder, found = tune_by_itself(tmp_path, "two", "--processes", "2", *one_pair)
    assert found.finished
    runs = list((folder / "trials" / "resnet18").iterdir())  # of the trial, and of the epoch that measured the machine
    assert [trial.run in {run.name for run in runs} for trial in found.trials] == [True]
    assert all("\nprocesses: 2\n" in (run / "config.yaml").read_text() for run in runs)
    assert said.count(": accuracy 0.") == 1  # the second process says nothing


# --------------------------------------------------------------------------------------------------------------- faults


def test_a_trial_that_fails_for_another_reason_ends_the_search_and_keeps_what_there_is(tmp_path, trainings, capsys):
    def break_down(count):
        if count == 3:
            raise trials.ProcessFailed("train.py: error: the disk is full")

    trainings.before = break_down
    assert tune.main(settings(tmp_path)) == 2
    assert "a trial failed: train.py: error: the disk is full" in capsys.readouterr().err
    _, search = only_search(tmp_path)
    assert len(search.trials) == 3
    trainings.before = lambda count: None
    assert tune.main(settings(tmp_path)) == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dataset": "cifar10"}, "dataset = 'cifar10': a search holds out a part of the training list"),
        ({"recipe": "nowhere/best.yaml"}, "output = 'nowhere/best.yaml': there is no folder nowhere"),
        ({"budget": 1e-4}, "budget = 0.0001: an epoch takes "),
    ],
)
def test_what_cannot_be_searched_is_said_in_one_line_and_leaves_no_folder(tmp_path, trainings, capsys, changes, words):
    assert tune.main(settings(tmp_path, **changes)) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"tune.py: error: {words}")
    assert not list(tmp_path.glob("runs/tune/*"))


def test_an_epoch_that_takes_too_long_is_not_waited_for(tmp_path, trainings, capsys, monkeypatch):
    def too_long(script, arguments, quiet, seconds):
        assert seconds == pytest.approx(1000 * 60 / 4), "none of the four pairs can have more"
        raise trials.TookTooLong("train.py took longer than that")

    monkeypatch.setattr(side_by_side, "run_script", too_long)
    assert tune.main(settings(tmp_path)) == 2
    assert "budget = 1000: an epoch takes more than 250.0 min here" in capsys.readouterr().err
    assert not list(tmp_path.glob("runs/tune/*"))


def test_a_script_that_takes_longer_than_it_is_given_is_ended(tmp_path, monkeypatch):
    (tmp_path / "endless.py").write_text("import time; time.sleep(600)")
    (tmp_path / "quick.py").write_text("pass")
    monkeypatch.setattr(script_process, "ROOT", tmp_path)
    with pytest.raises(script_process.TookTooLong, match=r"endless.py took longer than 1 s"):
        script_process.run_script("endless.py", [], quiet=True, seconds=1.0)
    script_process.run_script("quick.py", [], quiet=True, seconds=600.0)


def test_a_class_with_one_photograph_is_named(tmp_path, trainings, capsys):
    fill(tmp_path / "data", [f"{name}/{number}.png" for name in ("cat", "dog") for number in range(4)])
    write_lists(tmp_path / "data", ("cat", "dog"), [("cat/0.png", 0), ("cat/1.png", 0), ("dog/0.png", 1)], [("dog/1.png", 1)])
    assert tune.main(settings(tmp_path)) == 2
    assert "class dog has 1 different readable photograph" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------------ the lists


def inner_lists(data, folder, seed=0):
    """{side: paths} of the lists that trials get."""
    source = DataSource("folder", str(data))
    train_set = open_side(source, "train", image_size=1)
    assert sum(write_inner_lists(train_set, source, folder, 0.25, seed)) == len(train_set)
    return {
        side: {line.rsplit(" ", 1)[0] for line in (folder / f"{side}_list.txt").read_text().splitlines()}
        for side in ("train", "val")
    }


def test_the_inner_lists_are_drawn_by_seed_and_keep_equal_photographs_together(tmp_path):
    names = [f"{kind}/{number}.png" for kind in ("cat", "a dog, =1+1") for number in range(8)]
    fill(tmp_path / "data", [*names, "cat/validation.png"])
    for number in range(1, 7):
        shutil.copy(tmp_path / "data" / "cat/0.png", tmp_path / "data" / f"cat/{number}.png")
    pairs = [(name, int(name.startswith("cat"))) for name in names]
    write_lists(tmp_path / "data", ("a dog, =1+1", "cat"), pairs, [("cat/validation.png", 1)])
    found = [inner_lists(tmp_path / "data", tmp_path / f"lists {number}", seed) for number, seed in enumerate((0, 0, 1, 2, 3))]
    assert found[0] == found[1]
    assert len({frozenset(lists["val"]) for lists in found}) > 1, "another seed holds out others"
    for lists in found:
        assert lists["train"] | lists["val"] == set(names)
        assert len([name for name in lists["val"] if name.startswith("a dog")]) == 2
        assert len({name in lists["val"] for name in names[:7]}) == 1, "equal photographs are on one side"


def test_photographs_that_the_trials_leave_out_are_counted(tmp_path, timed, capsys):
    config = timed_settings(tmp_path)
    (tmp_path / "data" / "cat" / "0.png").write_text("no photograph")
    assert search_module.tune(config, timed) == 0
    output = capsys.readouterr().out
    assert "8 photographs for the trials to train on, 3 held out of the training list to rank them, 1 left out: see" in output
    assert "cat/0.png" in (only_search(tmp_path)[0] / "lists" / "split_report.csv").read_text()


# ------------------------------------------------------------------------------------------------------ grid and budget


def test_the_grid_lies_around_the_usual_pair():
    rates, decays, usual = grid_of(Config(optimizer="momentum").resolved().resolved_for(500))
    assert rates == pytest.approx((0.00395, 0.0125, 0.0395, 0.125, 0.395))
    assert decays == pytest.approx((1e-5, 1e-4, 1e-3, 1e-2))
    assert usual == (0.0125, 1e-4)
    rates, decays, usual = grid_of(Config().resolved().resolved_for(500))
    assert rates == pytest.approx((1e-4, 3.16e-4, 1e-3, 3.16e-3, 1e-2))
    assert decays == pytest.approx((5e-4, 5e-3, 5e-2, 0.5))
    assert usual == (1e-3, 0.05)
    assert 0.0 in grid_of(Config(weight_decay=0.0).resolved().resolved_for(500)).weight_decays
    assert grid_of(Config(pretrained=True).resolved().resolved_for(500)).learning_rates[-1] == pytest.approx(0.0395)
    given = grid_of(Config(learning_rates=(0.3, 0.1, 0.3), weight_decays=(0.0,)).resolved().resolved_for(500))
    assert given == ((0.1, 0.3), (0.0,), None)


def test_the_order_of_pairs_follows_from_the_seed_and_begins_with_the_usual_one():
    grid = grid_of(Config().resolved().resolved_for(500))
    assert grid.pairs(3) == grid.pairs(3) != grid.pairs(4)
    assert grid.pairs(3)[0] == grid.usual == grid.pairs(4)[0]
    assert len(set(grid.pairs(3))) == 20
    assert [len(coarser.pairs(3)) for coarser in grid.coarser()] == [10, 6]
    assert all(coarser.pairs(3)[0] == grid.usual for coarser in grid.coarser())


def test_trials_are_ranked_by_their_places_in_accuracy_and_loss():
    def of(accuracy, loss):
        return Trial(1, 3, Pair(0.1, 0.1), accuracy, loss, 1.0, "001")

    lucky, good, sure, bad, diverged = of(0.51, 2.0), of(0.50, 1.0), of(0.50, 1.1), of(0.2, 1.8), of(None, None)
    assert ranked([diverged, bad, lucky, sure, good]) == [good, sure, lucky, bad, diverged]
    assert ranked([diverged, of(0.5, 1.0), of(0.6, 1.2)])[0].accuracy == 0.6, "of equal sums the higher accuracy"


def test_the_next_value_beyond_the_grid():
    assert beyond((0.01, 0.1, 1.0), 1.0) == pytest.approx(10.0)
    assert beyond((0.01, 0.1, 1.0), 0.01) == pytest.approx(0.001)
    assert beyond((0.01, 0.1, 1.0), 0.1) is None
    assert beyond((0.1,), 0.1) is None
    assert beyond((0.0, 0.1), 0.0) is None


@pytest.mark.parametrize("minutes", [3, 5, 10, 30, 60, 300, 3000])
@pytest.mark.parametrize("epoch", [0.5, 4.0, 30.0])
def test_a_plan_keeps_to_its_time(minutes, epoch):
    costs = Costs(5.0, epoch)
    plan = plan_rungs(20, True, 100, 3, costs, minutes * 60)
    least = smallest_search(20, True, 100, 3, costs)
    assert (plan is None) == (least > minutes * 60)
    if plan:
        assert costs.of_rungs(plan) <= minutes * 60
        assert plan[0].epochs >= 3
        assert plan[0].trials == 20
        assert plan[-1].epochs <= 100
        assert all(rung.epochs > before.epochs for before, rung in zip(plan, plan[1:]))


def test_what_a_plan_is_in_numbers():
    costs = Costs(5.0, 4.0)
    assert plan_rungs(20, True, 100, 3, costs, 3600) == [Rung(20, 11), Rung(8, 32), Rung(4, 96)]
    assert plan_rungs(20, True, 30, 3, costs, 36000) == [Rung(20, 30)], "time for all: none is stopped early"
    assert plan_rungs(20, False, 30, 3, costs, 1800) == [Rung(20, 10), Rung(7, 30)], "as few rungs as the full length allows"
    assert plan_rungs(20, True, 100, 3, costs, 300) is None


def test_a_small_budget_makes_the_grid_coarse_and_a_smaller_one_is_refused_with_the_least():
    config = Config(epochs=100, optimizer="momentum").resolved().resolved_for(500)
    grid, costs = grid_of(config), Costs(5.0, 4.0)

    def planned(minutes):
        chosen = Config(epochs=100, optimizer="momentum", budget=minutes).resolved().resolved_for(500)
        return planning.planned(chosen, grid, costs, 3, spent=9.0)

    assert planned(60)[0] == grid
    assert [planned(4)[0], planned(3)[0]] == grid.coarser()
    with pytest.raises(planning.TuneError, match=r"budget = 1: an epoch takes 4.0 s .* give --budget 1\.5,") as error:
        planned(1)
    assert planned(float(str(error.value).split("--budget ")[1].split(",")[0]))


class Clock:
    """A clock that only ``pass_`` moves."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def timed(monkeypatch):
    """Trials that only take time on a clock: a start of 5 s, epochs of ``pace`` seconds; the accuracy follows from the pair."""
    clock = Clock()
    clock.pace, clock.count = 4.0, 0
    monkeypatch.setattr(planning, "USEFUL_STEPS", 6)  # three epochs of the few photographs

    def run_trial(config, *_):
        clock.now += 5.0 + clock.pace * config.epochs
        clock.count += 1
        accuracy = 0.5 + config.learning_rate / 10 - config.weight_decay
        return trials.Outcome(accuracy, 1 - accuracy, 5.0 + clock.pace * config.epochs, f"{clock.count:03d}", clock.pace)

    for module in (planning, search_module):
        monkeypatch.setattr(module, "run_trial", run_trial)
    return clock


def timed_settings(tmp_path, **changes):
    of_the_toolkit = {"learning_rates": None, "weight_decays": None, "learning_rate": None}
    return settings(tmp_path, **{**of_the_toolkit, "epochs": 100, "budget": 60.0, **changes})


def test_a_search_takes_no_longer_than_its_budget(tmp_path, timed):
    search_module.tune(timed_settings(tmp_path), timed)
    _, search = only_search(tmp_path)
    assert search.stopped is None
    assert 2400 < timed.now <= 3600
    assert search.seconds == timed.now
    best = max(search.trials, key=lambda trial: (trial.rung, trial.accuracy)).pair
    assert best == (max(search.learning_rates), min(search.weight_decays))
    for number, rung in enumerate(search.rungs, start=1):
        pairs = [trial.pair for trial in search.trials if trial.rung == number]
        assert len(pairs) == rung.trials
        assert search.usual in pairs, "so that the gain is known at equal length"


def test_on_a_machine_that_slows_down_the_search_ends_in_time_and_says_so(tmp_path, timed, capsys):
    config = timed_settings(tmp_path)
    run_trial = search_module.run_trial

    def slower(trial, *_):
        timed.pace = 4.0 if timed.count < 5 else 9.0
        return run_trial(trial)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search_module, "run_trial", slower)
        assert search_module.tune(config, timed) == 0
    folder, search = only_search(tmp_path)
    assert timed.now <= 3600 * 1.1
    assert search.finished
    assert "the budget of 60 min left no time for" in search.stopped
    assert search.stopped in capsys.readouterr().out
    assert (folder / "recipe.yaml").is_file()


def test_the_time_of_an_interrupted_search_counts(tmp_path, timed, monkeypatch):
    run_trial = search_module.run_trial

    def interrupt(trial, *_):
        if timed.count == 4:
            raise KeyboardInterrupt
        return run_trial(trial)

    monkeypatch.setattr(search_module, "run_trial", interrupt)
    with pytest.raises(KeyboardInterrupt):
        search_module.tune(timed_settings(tmp_path), timed)
    before = timed.now
    monkeypatch.setattr(search_module, "run_trial", run_trial)
    timed.now = 1_000_000.0  # days later
    search_module.tune(timed_settings(tmp_path), timed)
    _, search = only_search(tmp_path)
    assert search.seconds == pytest.approx(before + timed.now - 1_000_000.0)


DAMAGES = [
    ({"costs": [1]}, "has costs = [1]"),
    ({"pairs": []}, "has pairs = []"),
    ({"rungs": [[0, 1]]}, "has rungs = [[0, 1]]"),
    ({"trials": [{"rung": 1}]}, "has trials = "),
    ({"photographs": {"train": 1}}, "has photographs = "),
    ({"finished": 1}, "has finished = 1"),
    ({"learning_rates": [0.5]}, "contradicts itself"),
    ({"rungs": [[2, 1]]}, "contradicts itself"),
]


def test_a_damaged_record_is_named(tmp_path, timed, capsys):
    config = timed_settings(tmp_path)
    assert search_module.tune(config, timed) == 0
    folder, _ = only_search(tmp_path)
    content = json.loads((folder / "tune.json").read_text())
    for change, words in DAMAGES:
        (folder / "tune.json").write_text(json.dumps({**content, **change}))
        assert tune.main(config) == 2
        error = capsys.readouterr().err
        assert f"{folder / 'tune.json'} {words}" in error
        assert error.endswith(f"remove {folder}, and tune again\n")
    (folder / "tune.json").write_text(json.dumps({**content, "format": 2}))
    assert tune.main(config) == 2
    assert "newer" in capsys.readouterr().err


def test_the_table_says_where_chance_decides_and_where_the_grid_ends(tmp_path, timed, capsys):
    search_module.tune(timed_settings(tmp_path), timed)
    output = capsys.readouterr().out
    assert "the best learning rate is the highest of the grid: --learning_rates" in output
    assert "the best weight decay" not in output, "below a decay of 0.00001 there is none to speak of"
    assert "is behind the best by no more than chance explains" in output


def test_the_map_is_drawn(tmp_path, quick_pictures, monkeypatch):
    from plots import tuning_map

    monkeypatch.setattr(tuning_map, "save_figure", quick_pictures)
    rates, decays = (0.01, 0.1, 1.0), (1e-4, 1e-2)
    cells = {(rate, decay): None if rate == 1.0 else rate * 5 for rate in rates for decay in decays}
    panels = [tuning_map.Panel("rung 1: 3 epochs", cells), tuning_map.Panel("rung 2: 9 epochs", {(0.1, 1e-4): 0.7})]
    tuning_map.draw_tuning(tmp_path / "map.png", "a map", rates, decays, panels, (0.1, 1e-4), (0.01, 1e-4))
    assert figures.Image.open(tmp_path / "map.png").width > 500


def test_runs_of_a_search_are_not_taken_for_runs_of_the_network(tmp_path, trainings):
    from trained.run_error import RunError
    from trained.run_folder import newest_finished_run, newest_run

    assert tune.main(settings(tmp_path, weight_decays=(1e-4,))) == 0
    folder, search = only_search(tmp_path)
    assert read_result(folder / "trials" / "resnet" / search.trials[0].run)["status"] == "finished"
    for find in (lambda: newest_finished_run(tmp_path / "runs", "resnet"), lambda: newest_run(tmp_path / "runs")):
        with pytest.raises(RunError, match="no"):
            find()
