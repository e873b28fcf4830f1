"""Nearly equal photographs are found, and others are not taken for such."""

import numpy as np
from conftest import random_photograph
from PIL import Image, ImageDraw

from data.near_duplicates import clusters_of, traits_of


def clusters(photographs):
    return clusters_of([traits_of(photograph) for photograph in photographs]).tolist()


def test_copies_that_were_reduced_brightened_or_compressed_are_nearly_equal(tmp_path):
    first, *others = [random_photograph(number, (96, 72)) for number in range(40)]
    first.save(tmp_path / "low.jpg", quality=20)
    copies = [first.resize((48, 36)), first.point(lambda value: value * 9 // 10 + 20), Image.open(tmp_path / "low.jpg")]
    found = clusters([first, *others[:20], *copies, *others[20:]])
    assert found[0] == found[21] == found[22] == found[23]
    assert len(set(found)) == 40  # all others are alone


def on_white(number):
    """A small dark object somewhere on white."""
    rng = np.random.default_rng(number)
    picture = Image.new("RGB", (96, 96), "white")
    x, y, width, height = (*rng.integers(20, 60, 2), *rng.integers(6, 24, 2))
    ImageDraw.Draw(picture).ellipse((x, y, x + width, y + height), fill=tuple(rng.integers(0, 120, 3)))
    return picture


def test_other_objects_on_white_are_others_and_a_copy_is_found():
    pictures = [on_white(number) for number in range(60)]
    found = clusters([*pictures, pictures[7].resize((64, 64))])
    assert found[60] == found[7]
    assert np.bincount(found).max() <= 3


def test_a_row_of_neighbours_is_not_one_cluster():
    """Each is like the one before; a photograph is compared with the first of a cluster alone."""
    start, end = (np.asarray(random_photograph(number, (96, 72)), float) for number in (0, 1))
    row = [Image.fromarray((start + (end - start) * step / 40).astype(np.uint8)) for step in range(41)]
    found = clusters(row)
    assert found[0] == found[1] == found[2]
    assert found[0] != found[40]


def test_pictures_of_one_colour_are_nothing_to_compare():
    assert clusters([Image.new("RGB", (20, 20), colour) for colour in ("red", "red", "blue")]) == [0, 1, 2]
    assert clusters([]) == []
