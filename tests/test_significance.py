"""The paired comparison: intervals that cover what they promise, and no winner out of noise."""

import numpy as np
import pytest

from comparison import significance
from comparison.significance import holm, paired_difference
from comparison.verdict import differences, verdict


@pytest.fixture(autouse=True)
def fewer_draws(monkeypatch):
    monkeypatch.setattr(significance, "REPLICATES", 300)
    monkeypatch.setattr(significance, "T_DRAWS", 20_000)


def simulated(rng, accuracy, seeds, photographs, seed_spread):
    """What networks of one kind get right: photographs differ in difficulty, seeds in luck."""
    difficulty = simulated.difficulty[:photographs]
    luck = rng.normal(0, seed_spread, (seeds, 1))
    chance = np.clip(accuracy + difficulty + luck, 0, 1)
    return rng.random((seeds, photographs)) < chance


simulated.difficulty = np.random.default_rng(7).normal(0, 0.25, 1000)


@pytest.mark.parametrize(("seeds", "seed_spread"), [(3, 0.0), (3, 0.03), (5, 0.03), (2, 0.02)])
def test_equal_networks_are_rarely_called_different(seeds, seed_spread):
    rng = np.random.default_rng(0)
    trials = 100
    wrong = 0
    for _ in range(trials):
        one, other = (simulated(rng, 0.7, seeds, 300, seed_spread) for _ in range(2))
        difference = paired_difference(one, other)
        wrong += not difference.low <= 0 <= difference.high
    assert wrong / trials <= 0.10  # 5% promised; 100 trials of 5% exceed 10% once in a hundred


def test_a_clear_difference_is_found_and_its_interval_covers_it():
    rng = np.random.default_rng(1)
    found = covered = 0
    for _ in range(40):
        difference = paired_difference(simulated(rng, 0.78, 3, 800, 0.005), simulated(rng, 0.70, 3, 800, 0.005))
        found += difference.low > 0 and difference.p < 0.05
        covered += difference.low <= 0.08 <= difference.high
    assert found >= 36
    assert covered >= 34


def test_pairing_matters():
    rng = np.random.default_rng(2)
    base = rng.random((1, 400)) < 0.7
    better = base.copy()
    better[0, np.flatnonzero(~base[0])[:16]] = True  # right wherever the other is, and on 16 more
    paired = paired_difference(better, base)
    assert paired.low > 0
    assert not paired.seeds
    shuffled = paired_difference(rng.permutation(better[0])[None], base)
    assert shuffled.low < 0 < shuffled.high


def test_the_same_answers_differ_by_nothing():
    answers = np.random.default_rng(3).random((1, 50)) < 0.5
    assert paired_difference(answers, answers) == (0.0, 0.0, 0.0, 1.0, False)


def test_other_photographs_are_refused():
    with pytest.raises(ValueError, match="300 and 200 photographs"):
        paired_difference(np.ones((3, 300)), np.ones((3, 200)))


def test_holm_stops_at_the_first_that_falls():
    assert holm([0.001, 0.04, 0.02]) == [True, True, True]
    assert holm([0.001, 0.06, 0.02]) == [True, False, True]
    assert holm([0.03, 0.04, 0.02]) == [False, False, False]
    assert holm([]) == []


def answers(rng, accuracy, seeds=3, photographs=400):
    return rng.random((seeds, photographs)) < accuracy


def test_a_winner_is_named_where_the_data_carry_it():
    rng = np.random.default_rng(0)
    compared = differences({"good": answers(rng, 0.9), "bad": answers(rng, 0.5), "worse": answers(rng, 0.4)})
    assert verdict(compared, 400).startswith("good is the best of these networks on this data.")
    assert "a training of it failed" in verdict(compared, 400, failed=["good"])
    equal = differences({"one": answers(rng, 0.70), "other": answers(rng, 0.70)})
    assert verdict(equal, 400).startswith("No difference shown")
    mixed = verdict(differences({"good": answers(rng, 0.9), "near": answers(rng, 0.895), "bad": answers(rng, 0.5)}), 400)
    assert "is better than bad; between it and" in mixed


def test_one_training_each_carries_no_winner():
    rng = np.random.default_rng(0)
    text = verdict(differences({"good": answers(rng, 0.9, 1), "bad": answers(rng, 0.5, 1)}), 400)
    assert "cannot be said from one training each" in text
    assert "and the seeds" not in text


def test_among_many_equal_networks_a_winner_is_as_rare_as_among_two():
    rng = np.random.default_rng(5)
    wrong = 0
    for _ in range(40):
        compared = differences({str(i): answers(rng, 0.7, 2, 100) for i in range(6)})
        wrong += any(stands for _, _, _, stands in compared)
    assert wrong <= 5
