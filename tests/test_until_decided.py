"""compare.py --until decided: what a look decides, when it stops, and that an interruption changes nothing."""

import json
import re

import numpy as np
import pytest
from listed_pictures import write_pictures
from test_compare import replace_networks
from tiny_comparisons import without_prices

import compare
import networks
from comparison import decision, side_by_side, until_decided
from comparison.decision import BETTER, CLOSE, FUTILE, OPEN, WORSE, Look, Pair, line_of_pair, look_at
from comparison.run_groups import ComparisonError
from comparison.significance import Difference
from comparison.until_decided import Decision, check_until, verdict_of
from config import parse_config
from machine.interruption import INTERRUPTED
from messages.user_error import UserError

pytestmark = [pytest.mark.usefixtures("quick_pictures"), pytest.mark.version_independent]


def answers(rng, accuracy, seeds=3, photographs=400):
    return rng.random((seeds, photographs)) < accuracy


def statuses(look):
    return {(pair.first, pair.second): pair.status for pair in look.pairs}


def test_a_clear_difference_is_decided_at_the_first_look_and_the_worse_network_is_out():
    rng = np.random.default_rng(0)
    correct = {"bad": answers(rng, 0.5), "good": answers(rng, 0.9), "as good": answers(rng, 0.9)}
    look = look_at(correct, list(correct), 3, worth=0.01)
    assert statuses(look)["bad", "good"] == WORSE
    assert statuses(look)["bad", "as good"] == WORSE
    assert look.out == ["bad"]
    assert look.seeds == 3


def test_networks_that_are_surely_closer_than_is_worth_count_as_equal():
    rng = np.random.default_rng(1)
    correct = {"one": answers(rng, 0.8, 5, 4000), "other": answers(rng, 0.8, 5, 4000)}
    assert statuses(look_at(correct, list(correct), 2, worth=0.05)) == {("one", "other"): CLOSE}
    assert statuses(look_at(correct, list(correct), 2, worth=0.001)) != {("one", "other"): CLOSE}


def test_where_the_photographs_are_too_few_further_seeds_are_futile_and_their_number_is_said():
    rng = np.random.default_rng(2)
    difficulty = rng.random(100)
    # Each network has photographs of its own that it always gets right, so no seed tells more
    one, other = (np.repeat((difficulty + rng.normal(0, 0.4, 100) > 0.3)[None], 4, axis=0) for _ in range(2))
    look = look_at({"one": one, "other": other}, ["one", "other"], 2, worth=0.01)
    (pair,) = look.pairs
    assert pair.status == FUTILE
    assert look.is_last
    assert 200 < pair.photographs < 2000  # the seven points between them are half of what decides on 100
    text = verdict_of(Decision([look], "", 0.01), "100 test photographs")
    assert f"it would take about {float(f'{pair.photographs:.1e}'):,.0f}." in text


def test_what_scattered_seeds_leave_open_is_open_until_the_last_seed():
    rng = np.random.default_rng(3)

    def scattered(*accuracies):
        return np.stack([rng.random(5000) < accuracy for accuracy in accuracies])

    correct = {"one": scattered(0.78, 0.80, 0.82), "other": scattered(0.80, 0.83, 0.84)}
    look = look_at(correct, list(correct), 2, worth=0.01)
    assert statuses(look) == {("one", "other"): OPEN}
    assert not look.is_last
    assert statuses(look_at(correct, list(correct), 2, worth=0.01, most_seeds=3)) == {("one", "other"): OPEN}


def test_looking_after_every_seed_does_not_make_winners_of_equal_networks():
    rng = np.random.default_rng(4)
    wrong = 0
    for _ in range(60):
        one, other = (np.stack([rng.random(300) < a for a in 0.7 + rng.normal(0, 0.03, 10)]) for _ in range(2))
        found = (look_at({"a": one[:s], "b": other[:s]}, ["a", "b"], 2, worth=0.001).pairs[0].status for s in range(3, 11))
        wrong += bool({BETTER, WORSE} & set(found))
    assert wrong <= 8  # 5% promised; 60 trials of 5% exceed 8 once in 200


def test_two_seeds_are_no_look():
    with pytest.raises(ValueError, match="2 seeds: at least 3"):
        look_at({"a": np.ones((2, 9)), "b": np.ones((2, 9))}, ["a", "b"], 2, worth=0.01)


def pair(first, second, status, mean=0.05, half=0.02, photographs=None):
    return Pair(first, second, Difference(mean, mean - half, mean + half, 0.01, True), status, photographs)


def test_the_verdict_says_what_was_decided_and_what_was_not():
    looks = [
        Look(3, [pair("a", "b", BETTER), pair("a", "c", OPEN), pair("b", "c", WORSE, -0.05)], ["b"]),
        Look(4, [pair("a", "c", CLOSE, 0.001, 0.005)], []),
    ]
    text = verdict_of(Decision(looks, "nothing is left", 0.01), "500 test photographs", origin="The end.")
    assert text.startswith(
        "a is better than b. c is better than b. Closer than 1 points, so equal for what they are worth: a and c."
    )
    assert "a against b: +5.0 points (+3.0 to +7.0), 3 seeds; a against c: +0.1 points (-0.4 to +0.6), 4 seeds; " in text
    assert "c against b: +5.0 points (+3.0 to +7.0), 3 seeds. The end." in text
    alone = verdict_of(Decision([Look(3, [pair("a", "b", BETTER)], ["b"])], "", 0.01), "500 test photographs")
    assert alone.startswith("a is the best of these networks on this data.")
    open_still = verdict_of(Decision([Look(10, [pair("a", "b", OPEN)], [])], "10 seeds are the most", 0.01), "500 photographs")
    assert open_still.startswith("Not decided between a and b: 10 seeds are the most.")
    failed = verdict_of(Decision([Look(3, [pair("a", "b", BETTER)], ["b"])], "", 0.01), "500 photographs", ["a"])
    assert "the best of these" not in failed
    assert "A training failed of a" in failed


def test_what_is_better_through_another_one_is_better():
    looks = [
        Look(3, [pair("a", "b", BETTER), pair("a", "c", OPEN), pair("b", "c", OPEN)], ["b"]),
        Look(4, [pair("a", "c", WORSE, -0.05)], ["a"]),
    ]
    assert verdict_of(Decision(looks, "the end", 0.01), "500 photographs").startswith("c is the best of these networks")
    with_d = [looks[0]._replace(pairs=[*looks[0].pairs, pair("c", "d", OPEN)]), looks[1]]
    text = verdict_of(Decision(with_d, "the end", 0.01), "500 photographs")
    assert text.startswith("a is better than b. c is better than a and b. Not decided between c and d: the end. Differences")


def test_how_many_photographs_it_would_take_is_rounded_and_has_an_end():
    def text(number):
        return verdict_of(Decision([Look(4, [pair("a", "b", FUTILE, photographs=number)], [])], "", 0.01), "500 photographs")

    assert "on 500 photographs: it would take about 3,800." in text(3789)
    assert "it would take more than a million." in text(1_000_000)
    assert "trainings scatter too much." in text(None)


def test_a_pair_is_told_with_the_better_network_first():
    assert line_of_pair(pair("a", "b", WORSE, -0.05)) == "b against a: +5.0 points (+3.0 to +7.0)"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures") / "data", train=(5, 5, 5), val=(3, 3, 3), test=(9, 9, 9))


def compared(pictures, folder, *words):
    """Compare until decided in ``folder``; returns the path, the verdict and the number of runs of each network."""
    command = (
        f"--nets resnet se_resnet50 --data {pictures} --runs_dir {folder} --image_size 32 --epochs 1 --batch_size 8 "
        f"--num_workers 0 --threads 2 --until decided --worth 0.1"
    )
    code = compare.main(parse_config([*command.split(), *words], "compare"))
    if code:
        return code
    tables = sorted((folder / "compare").glob("*/table.json"))
    found = json.loads(tables[-1].read_text())
    return found["path"], found["verdict"], {name: len(runs) for name, runs in found["runs"].items()}


@pytest.fixture
def all_open(monkeypatch):
    """No chance is hopeless: the seeds go on to the last one."""
    monkeypatch.setattr(decision, "HOPELESS", -1.0)


def test_at_the_last_seed_what_is_open_is_open(pictures, tmp_path, monkeypatch):
    replace_networks(monkeypatch)
    _, verdict, _ = compared(pictures, tmp_path / "runs", "--seeds", "3")
    assert verdict.startswith("Not decided between resnet and se_resnet50: 3 seeds are the most.")


def test_seed_after_seed_is_trained_until_the_last_one(pictures, tmp_path, monkeypatch, all_open, capsys):
    calls = replace_networks(monkeypatch)
    path, verdict, runs = compared(pictures, tmp_path / "runs", "--seeds", "4")
    assert [look["seeds"] for look in path] == [3, 4]
    assert runs == {"resnet": 4, "se_resnet50": 4}
    assert calls.count("train.py") == 8
    assert verdict.startswith("Not decided between resnet and se_resnet50: 4 seeds are the most.")
    page = next((tmp_path / "runs" / "compare").glob("*/index.html")).read_text()
    assert "The path to the decision" in page
    assert "<li>The end: 4 seeds are the most.</li>" in page
    between = r"( \([^)]*\))?"
    price = rf"[-+]\d+%{between} training time, [-+.0-9]+{between} ms an image, [-+.0-9]+ MB of weights"
    assert re.search(rf"points \([^)]*\) for {price}, 4 seeds", verdict)
    printed = capsys.readouterr().out
    assert printed.index("3 seeds: ") < printed.index("seed 3\n") < printed.index("4 seeds: ")
    assert "on 27 test photographs" in verdict, "the test list, because there is one"


def test_what_no_seed_could_decide_ends_it(pictures, tmp_path, monkeypatch):
    calls = replace_networks(monkeypatch)
    monkeypatch.setattr(decision, "HOPELESS", 1.1)
    path, verdict, _ = compared(pictures, tmp_path / "runs")
    assert len(path) == 1
    assert calls.count("train.py") == 6
    assert "further seeds could hardly decide it" in verdict


def test_a_network_that_is_out_is_trained_no_more(pictures, tmp_path, monkeypatch, all_open):
    calls = replace_networks(monkeypatch)
    true_look = until_decided.look_at

    def look_at(correct, live, *arguments):
        look = true_look(correct, live, *arguments)
        return look._replace(out=["vgg19"] if "vgg19" in live else [])

    monkeypatch.setitem(networks.NETWORKS, "vgg19", networks.NETWORKS["se_resnet50"])
    monkeypatch.setattr(until_decided, "look_at", look_at)
    _, _, runs = compared(pictures, tmp_path / "runs", "--seeds", "4", "--nets", "resnet", "se_resnet50", "vgg19")
    assert runs == {"resnet": 4, "se_resnet50": 4, "vgg19": 3}
    assert calls.count("train.py") == 11


def test_interrupted_it_goes_on_to_the_same_decision(pictures, tmp_path, monkeypatch, all_open):
    replace_networks(monkeypatch)
    whole = compared(pictures, tmp_path / "whole", "--seeds", "4")
    run_script, trained = side_by_side.run_script, []

    def interrupted(script, arguments, quiet=False):
        trained.append(script)
        if trained.count("train.py") == 8:  # within the fourth seed
            raise KeyboardInterrupt
        run_script(script, arguments, quiet)

    with monkeypatch.context() as patch:
        patch.setattr(side_by_side, "run_script", interrupted)
        assert compared(pictures, tmp_path / "runs", "--seeds", "4") == INTERRUPTED
    path, verdict, runs = compared(pictures, tmp_path / "runs", "--seeds", "4")
    assert (path, runs) == (whole[0], whole[2])
    assert without_prices(verdict) == without_prices(whole[1])


def test_the_budget_ends_it(pictures, tmp_path, monkeypatch, all_open):
    replace_networks(monkeypatch)
    path, verdict, _ = compared(pictures, tmp_path / "runs", "--budget", "0.0001")
    assert len(path) == 1  # the first look is worth having
    assert "the budget of 0.0001 min leaves no time for another seed" in verdict


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--folds", "3"), "until = decided: with --folds each photograph has one training; choose one of the two"),
        (("--seeds", "2"), "until = decided: seeds = 2: 3 to 10 are possible, 10 without --seeds"),
        (("--seeds", "11"), "until = decided: seeds = 11: 3 to 10 are possible, 10 without --seeds"),
    ],
)
def test_folds_and_too_few_or_too_many_seeds_are_refused(words, message, pictures, tmp_path, capsys):
    assert compared(pictures, tmp_path, *words) == UserError.exit_code
    assert message in capsys.readouterr().err


def test_without_until_what_is_for_it_is_refused_or_said(pictures, tmp_path, capsys):
    words = ["--nets", "resnet", "vgg19", "--data", str(pictures), "--runs_dir", str(tmp_path)]
    with pytest.raises(ComparisonError, match="worth = 2 has an effect with --until decided only"):
        check_until(parse_config([*words, "--worth", "2"], "compare"))
    check_until(parse_config([*words, "--budget", "5"], "compare"))
    assert "note: budget = 5 limits a comparison with --until decided only" in "".join(capsys.readouterr())


def test_a_test_list_that_cannot_be_used_is_said_and_the_other_one_judges(tmp_path, monkeypatch, capsys):
    replace_networks(monkeypatch)
    root = write_pictures(tmp_path / "data", train=(5, 5, 5), val=(3, 3, 3), test=(4, 4, 4))
    (root / "test_list.txt").write_text((root / "test_list.txt").read_text() + "cat/train_0.png 0\n")
    _, verdict, _ = compared(root, tmp_path / "runs", "--seeds", "3")
    assert "on 9 validation photographs" in verdict
    assert "note: compared on the validation list, as the test list cannot be used: " in "".join(capsys.readouterr())
