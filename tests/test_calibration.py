"""Temperature scaling, calibration error and intervals, against formulas, searches and values worked out by hand."""

import numpy as np
import pytest

from evaluation.scores import error_of_calibrated, reliability, wilson_interval
from trained.calibration import HIGHEST, LOWEST, cross_fitted, fit_temperature, is_temperature, probabilities_of


def drawn(photographs, classes=10, scale=1.0, seed=0):
    """Logits [N, C], which are ``scale`` times as large as they should be, and labels [N] drawn from the right ones."""
    random = np.random.default_rng(seed)
    right = 2 * random.normal(size=(photographs, classes))
    labels = (probabilities_of(right).cumsum(axis=1) > random.random((photographs, 1))).argmax(axis=1)
    return (scale * right).astype(np.float32), labels


def loss(logits, labels, temperature):
    return -np.log(probabilities_of(logits, temperature)[np.arange(len(labels)), labels] + 1e-300).mean()


@pytest.mark.parametrize(("hits", "total"), [(93, 120), (1, 2), (500, 1000), (10, 10), (0, 10)])
def test_at_the_ends_of_the_wilson_interval_what_was_seen_is_just_not_significant(hits, total):
    """Its definition: the share that was seen is 1.96 standard errors away from each end."""
    for end in wilson_interval(hits, total):
        if 0 < end < 1:
            assert abs(hits / total - end) == pytest.approx(1.959964 * (end * (1 - end) / total) ** 0.5, rel=1e-6)
    low, high = wilson_interval(hits, total)
    assert low < high
    assert (low == 0, high == 1) == (hits == 0, hits == total)


def test_without_trials_the_interval_is_everything_and_more_confidence_makes_it_wider():
    assert wilson_interval(0, 0) == (0.0, 1.0)
    assert wilson_interval(50, 100, confidence=0.99)[0] < wilson_interval(50, 100)[0] < 0.5


@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
def test_the_temperature_is_the_one_that_logits_were_scaled_by_and_gives_the_least_loss(scale):
    logits, labels = drawn(4000, scale=scale)
    temperature = fit_temperature(logits, labels)
    assert temperature == pytest.approx(scale, rel=0.06)
    candidates = np.geomspace(scale / 2, scale * 2, 101)
    best = candidates[np.argmin([loss(logits, labels, candidate) for candidate in candidates])]
    assert temperature == pytest.approx(best, rel=0.015)
    assert (probabilities_of(logits, temperature).argmax(axis=1) == logits.argmax(axis=1)).all()


def test_photographs_are_many_enough_to_be_taken_in_parts(monkeypatch):
    logits, labels = drawn(1000)
    whole = fit_temperature(logits, labels)
    monkeypatch.setattr("trained.calibration.CHUNK", 70)
    assert fit_temperature(logits, labels) == pytest.approx(whole, rel=1e-5)


def test_few_photographs_without_a_mistake_make_no_network_certain():
    """Without the photograph of unknown class, the temperature would be the lowest, and all confidences 1."""
    confidences = []
    for photographs in (6, 60, 600):
        labels = np.arange(photographs) % 3
        logits = np.float32(5 * np.eye(3)[labels])
        temperature = fit_temperature(logits, labels)
        assert LOWEST < temperature < HIGHEST
        confidences.append(probabilities_of(logits, temperature).max())
    assert 0.8 < confidences[0] < 0.95 < confidences[1] < 0.99 < confidences[2] < 1


EDGES = {
    "all wrong": (np.eye(3)[[0, 1, 2] * 9] * 5, [1, 2, 0] * 9, HIGHEST),
    "no photographs": (np.empty((0, 3)), [], 1.0),
    "no logit is finite": (np.full((4, 3), np.nan), [0] * 4, 1.0),
    "all logits equal": (np.ones((4, 3)), [0, 1, 2, 0], 1.0),
    "tiny logits": (np.eye(3)[[0, 1, 2]] * 1e-30, [0, 1, 2], LOWEST),
    "as large as a float can be": (np.float32([[3e38, -3e38], [1, 2]]), [0, 1], HIGHEST),
}


@pytest.mark.parametrize("case", EDGES)
def test_the_temperature_has_bounds(case):
    logits, labels, expected = EDGES[case]
    assert fit_temperature(logits, labels) == expected
    assert is_temperature(expected)


def test_a_photograph_whose_logits_are_no_numbers_is_left_out():
    logits, labels = drawn(300)
    damaged = np.concatenate([np.full((1, 10), np.inf, np.float32), logits])
    assert fit_temperature(damaged, [3, *labels]) == fit_temperature(logits, labels)


def test_a_list_of_one_class_has_a_temperature():
    assert LOWEST <= fit_temperature(drawn(20)[0], np.zeros(20, int)) <= HIGHEST


@pytest.mark.parametrize("value", [True, None, "1", 0, -1, 0.04, 21, float("nan"), [1]])
def test_what_is_no_temperature(value):
    assert not is_temperature(value)


def test_the_temperature_of_a_photograph_is_fitted_on_others():
    """One photograph among five of its class is wrong, and sure of it: only the others learn from it."""
    logits, labels = drawn(50, classes=2)
    logits[7] = [9, -9] if labels[7] else [-9, 9]
    scaled = cross_fitted(logits, labels)
    right = logits.copy()
    right[7] = -logits[7]
    changed = cross_fitted(right, labels)
    margin, margin_of_changed = (np.abs(np.diff(np.log(found), axis=1)).ravel() for found in (scaled, changed))
    assert margin[7] == pytest.approx(margin_of_changed[7]), "its own label has no part in its temperature"
    others = np.delete(np.arange(50), 7)
    assert (margin[others] == pytest.approx(margin_of_changed[others])) is False
    assert scaled.sum(axis=1) == pytest.approx(np.ones(50))
    assert (scaled.argmax(axis=1) == logits.argmax(axis=1)).all()


def test_calibration_error_by_hand():
    """Two bins of ten in use: 0.5 to 0.6 with one of two right, 0.9 to 1 with all three right."""
    found = reliability([0.55, 0.6, 1.0, 0.95, 0.91], [True, False, True, True, True], bins=10)
    assert found.counts.tolist() == [0, 0, 0, 0, 0, 2, 0, 0, 0, 3]
    assert found.confidence[5] == pytest.approx(0.575)
    assert found.accuracy[[5, 9]].tolist() == [0.5, 1.0]
    assert np.isnan(found.accuracy[0])
    assert found.error == pytest.approx((2 * 0.075 + 3 * (1 - 0.95333333)) / 5)


def test_calibrated_confidences_show_an_error_by_chance_that_many_photographs_lower():
    random = np.random.default_rng(1)
    errors = [error_of_calibrated(random.uniform(0.3, 1, photographs)) for photographs in (30, 300, 3000)]
    assert errors[0] > 2 * errors[1] > 4 * errors[2] > 0
    logits, labels = drawn(3000)
    found = probabilities_of(logits)
    error = reliability(found.max(axis=1), found.argmax(axis=1) == labels).error
    assert error == pytest.approx(error_of_calibrated(found.max(axis=1)), abs=0.012)
