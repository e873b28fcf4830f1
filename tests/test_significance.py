"""The paired comparison: intervals that cover what they promise, and no winner out of noise."""

import numpy as np
import pytest
from both_languages import same_in_both

from comparison.significance import Difference, level_of_pairs, paired_difference, scatter, spread, student_quantile
from comparison.verdict import best_against_others, better_of, differences, rate_note, verdict


def simulated(rng, accuracy, seeds, photographs, seed_spread):
    """What networks of one kind get right: photographs differ in difficulty, seeds in luck."""
    difficulty = simulated.difficulty[:photographs]
    luck = rng.normal(0, seed_spread, (seeds, 1))
    chance = np.clip(accuracy + difficulty + luck, 0, 1)
    return rng.random((seeds, photographs)) < chance


simulated.difficulty = np.random.default_rng(7).normal(0, 0.25, 1000)


@pytest.mark.parametrize(("seeds", "seed_spread"), [(3, 0.0), (3, 0.03), (5, 0.03), (3, 0.01)])
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
    found = paired_difference(answers, answers)
    assert (found.mean, found.p, found.seeds) == (0.0, 1.0, False)
    assert -0.1 < found.low == -found.high < 0  # 50 photographs exclude no difference at all, but a large one


@pytest.mark.parametrize("seeds", [1, 3])
def test_one_photograph_says_nothing(seeds):
    found = paired_difference(np.ones((seeds, 1)), np.zeros((seeds, 1)))
    assert found.mean == 1.0
    assert found.low < -0.5
    assert found.high == 1.0


def test_photographs_that_are_nearly_equal_count_as_one():
    rng = np.random.default_rng(4)
    one, other = (np.repeat(rng.random((1, 60)) < 0.7, 10, axis=1) for _ in range(2))  # each photograph ten times
    taken = paired_difference(one, other)
    known = paired_difference(one, other, clusters=np.repeat(np.arange(60), 10))
    single = paired_difference(one[:, ::10], other[:, ::10])
    assert (taken.high - taken.low) * 2 < known.high - known.low
    assert known.high - known.low == pytest.approx(single.high - single.low, rel=0.05)


def test_where_seeds_differ_more_the_interval_is_longer_and_more_seeds_shorten_it():
    rng = np.random.default_rng(6)

    def length(seeds, seed_spread):
        one, other = (simulated(rng, 0.7, seeds, 1000, seed_spread) for _ in range(2))
        found = paired_difference(one, other)
        return found.high - found.low

    calm, wild, many = (np.mean([length(*kind) for _ in range(20)]) for kind in ((3, 0.0), (3, 0.04), (10, 0.04)))
    assert wild > 1.5 * calm
    assert many < 0.6 * wild


def test_photographs_do_not_hide_that_trainings_err_on_different_ones():
    """Two networks that are equally good on each photograph, and all by chance: the photographs themselves explain nothing."""
    rng = np.random.default_rng(8)
    found = spread(*(scatter(rng.random((8, 2000)) < 0.5) for _ in range(2)))
    assert found.photographs < 0.3 * found.residual
    assert found.seeds == pytest.approx(found.residual, rel=0.8)


def test_other_photographs_are_refused():
    with pytest.raises(ValueError, match="300 and 200 photographs"):
        paired_difference(np.ones((3, 300)), np.ones((3, 200)))


@pytest.mark.parametrize(
    ("share", "freedom", "value"),
    [
        (0.975, 1, 12.7062),
        (0.975, 2, 4.30265),
        (0.975, 4, 2.77645),
        (0.995, 3, 5.84091),
        (0.9995, 2, 31.5991),
        (0.975, 1e6, 1.95996),
    ],
)
def test_quantiles_are_those_of_the_tables_of_student(share, freedom, value):
    assert student_quantile(share, freedom) == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize(("networks", "studentized_range"), [(2, 2.7718), (3, 3.3145), (5, 3.8577), (10, 4.4741)])
def test_levels_of_pairs_are_those_of_the_tables_of_tukey(networks, studentized_range):
    quantile = student_quantile(1 - level_of_pairs(networks) / 2, 1e6)
    assert quantile == pytest.approx(studentized_range / 2**0.5, rel=1e-4)


def answers(rng, accuracy, seeds=3, photographs=400):
    return rng.random((seeds, photographs)) < accuracy


def of_best(correct):
    return best_against_others(correct, differences(correct))


def test_a_winner_is_named_where_the_data_carry_it():
    rng = np.random.default_rng(0)
    compared = of_best({"good": answers(rng, 0.9), "bad": answers(rng, 0.5), "worse": answers(rng, 0.4)})
    assert verdict(compared, 400).startswith("good is the best of these networks on this data.")
    assert "a training of it failed" in verdict(compared, 400, failed=["good"])
    equal = of_best({"one": answers(rng, 0.70), "other": answers(rng, 0.70)})
    assert verdict(equal, 400).startswith("No difference shown")
    mixed = verdict(of_best({"good": answers(rng, 0.9), "near": answers(rng, 0.895), "bad": answers(rng, 0.5)}), 400)
    assert "is better than bad; between it and" in mixed


def test_one_training_each_carries_no_winner():
    rng = np.random.default_rng(0)
    text = verdict(of_best({"good": answers(rng, 0.9, 1), "bad": answers(rng, 0.5, 1)}), 400)
    assert "cannot be said from so few trainings" in text
    assert "and the seeds" not in text


@pytest.mark.parametrize(
    ("trainings", "expected"),
    [
        (1, "The trained models of one and other share the highest accuracy. Whether the networks differ cannot be said"),
        (
            3,
            "No difference shown: one and other share the highest accuracy, but the data do not carry that one of them is "
            "better.",
        ),
    ],
)
def test_all_networks_of_the_highest_accuracy_are_named(trainings, expected):
    right = answers(np.random.default_rng(0), 0.7, trainings)
    less = right & (np.arange(400) > 2)
    assert less.sum() < right.sum()
    compared = of_best({"one": right, "less": less, "other": right[:, ::-1]})
    assert verdict(compared, 400).startswith(expected)
    failed = verdict(compared, 400, failed=["one"])
    assert failed.startswith("one and other share the highest accuracy, but a training of one failed")


def test_all_pairs_are_judged_for_the_front():
    rng = np.random.default_rng(0)
    correct = {"bad": answers(rng, 0.5), "good": answers(rng, 0.9), "as good": answers(rng, 0.9)}
    pairs = differences(correct)
    assert pairs["bad", "good"] == pairs["good", "bad"].turned()
    assert better_of(pairs) == {("good", "bad"), ("as good", "bad")}
    assert better_of(differences({name: own[:2] for name, own in correct.items()})) == set()


def test_two_trainings_each_carry_no_winner():
    rng = np.random.default_rng(0)
    compared = of_best({"good": answers(rng, 0.9, 2), "bad": answers(rng, 0.5, 2)})
    assert compared[0][2].low > 0
    assert not compared[0][3]
    assert "Three seeds (--seeds 3) are the least" in verdict(compared, 400)


def test_where_one_network_has_learnt_less_its_learning_rate_is_doubted():
    line = rate_note({"quick": 0.30, "slow": 0.90, "middle": 0.40})
    assert "slow has a training loss of 0.90, quick 0.30." in line
    assert "python tune.py --net slow" in line
    assert same_in_both(line)
    assert rate_note({"one": 0.30, "other": 0.45}) is None
    assert rate_note({"one": 0.001, "other": 0.04}) is None  # both know their photographs by heart


def test_among_many_equal_networks_a_winner_is_as_rare_as_among_two():
    rng = np.random.default_rng(5)
    wrong = 0
    for _ in range(40):
        compared = of_best({str(i): answers(rng, 0.7, 3, 100) for i in range(6)})
        wrong += any(stands for _, _, _, stands in compared)
    assert wrong <= 5


def test_a_difference_of_nearly_nothing_has_no_sign_of_its_own():
    assert Difference(-0.0001, -0.02, 0.02, 1.0, True).in_points() == "+0.0 points (-2.0 to +2.0)"
