"""Kinds of photographs on which one network is better, and none where chance alone makes them differ."""

import numpy as np
from both_languages import same_in_both
from PIL import Image, ImageFilter

from comparison.photographs_alike import find_alike
from comparison.significance import paired_difference
from comparison.slices import differing_slices, parts_of


def test_the_class_in_which_a_network_is_better_is_named_and_no_other():
    rng = np.random.default_rng(0)
    labels = [("cat", "dog", "cow")[number % 3] for number in range(600)]
    chance = np.where(np.array(labels) == "dog", 0.9, 0.6)
    correct = {"one": rng.random((4, 600)) < chance, "other": rng.random((4, 600)) < 0.6}
    for networks in (correct, {"other": correct["other"], "one": correct["one"]}):
        (found,) = differing_slices(networks, parts_of(labels, {}))
        assert found.line().startswith("On class dog (200 photographs) one is better than other: +")
        assert found.line().chinese.startswith("在类别 dog（200 张照片）上，one 优于 other：+")
        assert same_in_both(found.line())
        assert 0 < found.difference.low < found.difference.mean < found.difference.high


def test_more_stands_than_with_a_fixed_share_of_the_level_and_each_interval_excludes_zero():
    """S. Holm: what stands makes room for the others."""
    rng = np.random.default_rng(5)
    labels = [str(number % 8) for number in range(1600)]
    gains = np.array([0.30, 0.28, 0.26, 0.24, 0.22, 0.07, 0.07, 0.07])[np.arange(1600) % 8]
    correct = {"one": rng.random((4, 1600)) < 0.5 + gains, "other": rng.random((4, 1600)) < 0.5}
    parts = parts_of(labels, {})
    found = differing_slices(correct, parts)
    fixed = [paired_difference(correct["one"][:, m], correct["other"][:, m], 0.05 / len(parts)).low > 0 for m in parts.values()]
    assert len(found) > sum(fixed) > 0
    assert all(one.difference.low > 0 for one in found)
    assert [one.name for one in found] == [name for name in parts if name in {one.name for one in found}]  # in their order


def test_the_p_value_says_at_which_level_the_interval_excludes_zero():
    rng = np.random.default_rng(6)
    for trial in range(40):
        one, other = rng.random((3, 150)) < 0.75, rng.random((4, 150)) < 0.65
        p = paired_difference(one, other).p
        assert 1e-6 < p < 1, trial
        for level, excluded in ((p * 1.01, True), (p / 1.01, False)):
            found = paired_difference(one, other, level)
            assert (found.low > 0 or found.high < 0) == excluded


def test_equal_networks_differ_in_no_part():
    rng = np.random.default_rng(1)
    labels = [str(number % 20) for number in range(400)]
    traits = {"brightness": rng.random(400), "sharpness": rng.random(400)}
    wrong = 0
    for _ in range(30):
        difficulty = rng.random(400)
        correct = {name: rng.random((3, 400)) < difficulty for name in "abc"}
        wrong += bool(differing_slices(correct, parts_of(labels, traits)))
    assert wrong <= 5  # 5% promised; 30 trials of 5% exceed 5 once in 300


def test_few_photographs_and_all_of_them_are_no_part():
    assert list(parts_of(["cat"] * 30 + ["dog"] * 5, {})) == ["class cat"]
    assert parts_of(["cat"] * 30, {}) == {}


def test_dark_and_blurred_photographs_are_told_from_bright_and_sharp_ones():
    rng = np.random.default_rng(2)
    pictures = {}
    for number in range(12):
        noise = Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
        dark, blurred = number % 2, number // 2 % 2
        picture = noise.filter(ImageFilter.GaussianBlur(4)) if blurred else noise
        pictures[str(number)] = picture.point(lambda value: value // 3) if dark else picture
    found = find_alike(list(pictures), pictures.__getitem__).traits
    dark = np.array([number % 2 for number in range(12)], bool)
    blurred = np.array([number // 2 % 2 for number in range(12)], bool)
    assert found["brightness"][dark].max() < found["brightness"][~dark].min()
    assert found["sharpness"][blurred].max() < found["sharpness"][~blurred].min()
