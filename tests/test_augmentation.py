"""TrivialAugment, colour jitter and random erasing: each operation, how they are drawn, and that they change no other draw."""

import collections

import numpy as np
import pytest
from conftest import random_photograph
from PIL import Image, ImageEnhance, ImageOps

from animal_dataset import AnimalDataset
from data import augmentation
from data.augmentation import LEVELS, TRIVIAL, Change, draw_trivial, erase, jitter, move, recolour
from data.lists import TRAIN_LIST
from data.photographs import GREY

# What torchvision's TrivialAugmentWide does with these operations, in Pillow's own words
PILLOW = {
    "brightness": lambda image, by: ImageEnhance.Brightness(image).enhance(1 + by),
    "color": lambda image, by: ImageEnhance.Color(image).enhance(1 + by),
    "contrast": lambda image, by: ImageEnhance.Contrast(image).enhance(1 + by),
    "sharpness": lambda image, by: ImageEnhance.Sharpness(image).enhance(1 + by),
    "posterize": lambda image, bits: ImageOps.posterize(image, int(bits)),
    "solarize": ImageOps.solarize,
    "auto-contrast": lambda image, _: ImageOps.autocontrast(image),
    "equalize": lambda image, _: ImageOps.equalize(image),
}


def planes(image):
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def images():
    """Photographs of many and of few values, of one colour, and a very small one."""
    rng = np.random.default_rng(5)
    few = Image.fromarray(rng.integers(90, 97, (40, 40, 3), dtype=np.uint8))
    return [random_photograph(3, (41, 33)), few, Image.new("RGB", (9, 9), (7, 200, 90)), random_photograph(4, (3, 3))]


def trained_on(folder, **view):
    dataset = AnimalDataset(folder / TRAIN_LIST, 16, True, seed=3, **view)
    dataset.set_epoch(2)
    return [dataset[index][0] for index in range(len(dataset))]


@pytest.mark.parametrize("name", PILLOW)
def test_colours_change_as_pillow_changes_them(name):
    strengths, signed = TRIVIAL[name][:2]
    for image in images():
        for strength in [*strengths, *(-strengths if signed else ())]:
            expected = planes(PILLOW[name](image, float(strength))).astype(int)
            found = recolour(planes(image), Change(name, float(strength)))
            assert found.dtype == np.uint8
            assert np.abs(found - expected).max() <= 1, (name, strength)  # a processor may round a multiply-add once
            assert (found == expected).mean() > 0.99, (name, strength)


def test_the_operations_and_strengths_are_those_of_the_wide_space():
    """Table 1 of arXiv 2103.10158, with the levels of its authors' code."""
    spans = {name: (operation.strengths[0], operation.strengths[-1], operation.signed) for name, operation in TRIVIAL.items()}
    share, none = (0, 0.99, True), (0, 0, False)
    assert spans == {
        "identity": none, "shear x": share, "shear y": share, "translate x": (0, 32, True), "translate y": (0, 32, True),
        "rotate": (0, 135, True), "brightness": share, "color": share, "contrast": share, "sharpness": share,
        "posterize": (8, 2, False), "solarize": (255, 0, False), "auto-contrast": none, "equalize": none,
    }  # fmt: skip
    assert all(len(operation.strengths) == LEVELS == 31 for operation in TRIVIAL.values())


def test_every_operation_and_level_is_drawn_alike_with_both_signs():
    rng = np.random.default_rng(0)
    drawn = [draw_trivial(rng) for _ in range(14_000)]
    counts = collections.Counter(change.name for change in drawn)
    assert set(counts) == set(TRIVIAL)
    assert 850 < min(counts.values()) <= max(counts.values()) < 1150  # 1000 each, within five standard deviations
    turns = [change.strength for change in drawn if change.name == "rotate"]
    assert len(set(np.abs(turns))) == LEVELS
    assert 0.4 < np.mean(np.array(turns) > 0) < 0.6
    assert min(change.strength for change in drawn if change.name == "posterize") == 2


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        (Change("translate x", 5.3), lambda pixels: (pixels[:, 5:], pixels[:, :-5])),
        (Change("translate y", -3.2), lambda pixels: (pixels[:-3], pixels[3:])),
        (Change("rotate", 90.0), lambda pixels: (pixels, np.rot90(pixels))),
    ],
)
def test_pixels_move_where_they_should(change, kept):
    before = np.asarray(random_photograph(1, (64, 64)))
    after = np.asarray(move(Image.fromarray(before), change))
    moved, expected = kept(after)[0], kept(before)[1]
    np.testing.assert_array_equal(moved, expected)


def test_shears_lean_rows_and_columns_by_the_slope():
    before = np.asarray(random_photograph(1, (64, 64)))
    leaned = np.asarray(move(Image.fromarray(before), Change("shear x", 0.5)))
    np.testing.assert_array_equal(leaned[40, :40], before[40, 20:60])
    upright = np.asarray(move(Image.fromarray(before), Change("shear y", -0.5)))
    np.testing.assert_array_equal(upright[20:60, 40], before[0:40, 40])


@pytest.mark.parametrize("name", ["shear x", "shear y", "translate x", "translate y", "rotate"])
def test_what_comes_in_from_beyond_is_grey(name):
    white = Image.new("RGB", (64, 64), "white")
    for strength in (TRIVIAL[name].strengths[15], -TRIVIAL[name].strengths[15]):
        colours = move(white, Change(name, float(strength))).getcolors()
        assert {colour for _, colour in colours} == {(255, 255, 255), GREY}


def test_a_small_image_is_never_shifted_out_of_sight():
    white = Image.new("RGB", (16, 16), "white")
    for name in ("translate x", "translate y"):
        assert (np.asarray(move(white, Change(name, 32.0))) == 255).mean() == 0.5


def test_an_operation_on_colours_leaves_places_alone_and_the_other_way_round():
    image = random_photograph(2, (20, 20))
    for name, (strengths, _, moved, recoloured) in TRIVIAL.items():
        change = Change(name, float(strengths[25]))
        assert (move(image, change) is image) == (moved is None)
        pixels = planes(image)
        assert (recolour(pixels, change) is pixels) == (recoloured is None)


class Factors:
    """A generator that draws these brightness, contrast and saturation."""

    def __init__(self, *factors):
        self.factors = factors

    def uniform(self, low, high, count):
        return np.array(self.factors)


def test_jitter_changes_brightness_contrast_and_saturation_by_their_factors():
    image = random_photograph(6, (32, 32))
    pixels = planes(image).astype(np.float64) * 0.4 + 60  # so that nothing is cut
    pixels = pixels.round().astype(np.uint8)
    grey = np.tensordot([0.299, 0.587, 0.114], pixels.astype(float), 1)
    for factors, expected in {
        (1.0, 1.0, 1.0): pixels,
        (1.3, 1.0, 1.0): pixels * 1.3,
        (1.0, 0.5, 1.0): grey.mean() + 0.5 * (pixels - grey.mean()),
        (1.0, 1.0, 0.2): grey + 0.2 * (pixels - grey),
        (0.7, 1.2, 1.1): 0.7 * (grey.mean() + 1.2 * (grey + 1.1 * (pixels - grey) - grey.mean())),
    }.items():
        assert np.abs(jitter(pixels, Factors(*factors), 0.5) - expected).max() < 1.6, factors


def test_jitter_draws_factors_between_the_bounds():
    grey = np.full((3, 8, 8), 100, np.uint8)
    rng = np.random.default_rng(1)
    values = {int(jitter(grey, rng, 0.4)[0, 0, 0]) for _ in range(400)}  # on one grey only brightness shows
    assert (min(values), max(values)) == (60, 140)


def test_erasing_takes_one_rectangle_of_the_stated_area_and_aspect_as_often_as_asked():
    rng, image = np.random.default_rng(2), np.zeros((3, 64, 64), np.uint8)
    shares, aspects = [], []
    for _ in range(600):
        erased = erase(image.copy(), rng, 0.5).any(axis=0)
        if erased.any():
            rows, columns = np.flatnonzero(erased.any(axis=1)), np.flatnonzero(erased.any(axis=0))
            height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
            assert erased.sum() >= 0.99 * height * width  # a pixel of the noise may be black
            shares.append(height * width / 64**2)
            aspects.append(height / width)
    assert 240 < len(shares) < 360
    assert 0.015 < min(shares) < 0.05
    assert 0.28 < max(shares) < 0.35
    assert min(aspects) < 0.4
    assert max(aspects) > 2.5


def test_erasing_never_and_always():
    rng, image = np.random.default_rng(2), np.full((3, 16, 16), 9, np.uint8)
    assert erase(image, rng, 0.0) is image
    assert all((erase(image.copy(), rng, 1.0) != 9).any() for _ in range(50))


@pytest.mark.parametrize("size", [8, 9])
def test_the_smallest_images_go_through_everything(size):
    rng, image = np.random.default_rng(3), random_photograph(1, (size, size))
    for _ in range(300):
        change = draw_trivial(rng)
        pixels = erase(jitter(recolour(planes(move(image, change)), change), rng, 1.0), rng, 1.0)
        assert (pixels.shape, pixels.dtype) == ((3, size, size), np.uint8)


def test_what_is_switched_on_changes_no_draw_of_anything_else(listed_folder, monkeypatch):
    plain = trained_on(listed_folder)
    drawn = collections.defaultdict(list)

    def watch(name, result):
        def watched(*arguments):
            if name == "draw_trivial":
                drawn[name].append(result(*arguments))
                return drawn[name][-1]
            drawn[name].append((arguments[0].copy(), arguments[1].bit_generator.state["state"]["state"]))
            return arguments[0]

        monkeypatch.setattr(f"data.photograph_dataset.{name}", watched)

    for name in ("draw_trivial", "jitter", "erase"):
        watch(name, getattr(augmentation, name))
    one_by_one = {}
    for name, view in {
        "draw_trivial": {"augment": "trivialaugment"}, "jitter": {"color_jitter": 0.4}, "erase": {"erasing": 0.5},
    }.items():  # fmt: skip
        trained_on(listed_folder, **view)
        one_by_one[name] = drawn.pop(name)
    for name in ("jitter", "erase"):  # they get the same crops as without them
        for (pixels, _), expected in zip(one_by_one[name], plain):
            np.testing.assert_array_equal(pixels, expected)
    trained_on(listed_folder, augment="trivialaugment", color_jitter=0.4, erasing=0.5)
    assert drawn["draw_trivial"] == one_by_one["draw_trivial"]
    for name in ("jitter", "erase"):
        assert [state for _, state in drawn[name]] == [state for _, state in one_by_one[name]]
    states = [state for name in ("jitter", "erase") for _, state in drawn[name]]
    assert len(set(states)) == len(states)


ALL = {"augment": "trivialaugment", "color_jitter": 0.4, "erasing": 0.9}


def test_seed_epoch_and_photograph_decide_the_augmentation(listed_folder):
    first, again = trained_on(listed_folder, **ALL), trained_on(listed_folder, **ALL)
    assert [pixels.tobytes() for pixels in first] == [pixels.tobytes() for pixels in again]
    dataset = AnimalDataset(listed_folder / TRAIN_LIST, 16, True, seed=3, **ALL)
    seen = [pixels.tobytes() for pixels in first]
    for epoch in (0, 1):
        dataset.set_epoch(epoch)
        seen += [dataset[index][0].tobytes() for index in range(len(dataset))]
    assert len(set(seen)) == len(seen)


def test_evaluation_is_never_augmented(listed_folder):
    plain, augmented = (AnimalDataset(listed_folder / TRAIN_LIST, 16, False, **view) for view in ({}, ALL))
    assert all((plain[index][0] == augmented[index][0]).all() for index in range(len(plain)))


def test_a_photograph_that_a_sampler_shows_again_is_augmented_anew(listed_folder):
    dataset = AnimalDataset(listed_folder / TRAIN_LIST, 16, True)
    first, again = dataset[1], dataset[1 + len(dataset)]
    assert first[1] == again[1]
    assert (first[0] != again[0]).any()
    evaluated = AnimalDataset(listed_folder / TRAIN_LIST, 16, False)
    assert (evaluated[1][0] == evaluated[1 + len(evaluated)][0]).all()


def test_a_loop_over_a_data_set_ends(listed_folder):
    assert len(list(AnimalDataset(listed_folder / TRAIN_LIST, 16, True))) == 12


def test_what_is_off_draws_nothing(listed_folder, monkeypatch):
    seeds, generator = [], np.random.default_rng
    monkeypatch.setattr(np.random, "default_rng", lambda seed: seeds.append(seed) or generator(seed))
    trained_on(listed_folder)
    assert seeds == [(3, 2, index) for index in range(12)]
    seeds.clear()
    trained_on(listed_folder, **ALL)
    assert len(set(seeds)) == 4 * 12
