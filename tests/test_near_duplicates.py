"""Nearly equal photographs are found, and others are not taken for such."""

import numpy as np
from conftest import random_photograph
from PIL import Image

from data.near_duplicates import clusters_of, difference_hash


def test_copies_that_were_reduced_brightened_or_compressed_are_nearly_equal(tmp_path):
    first, *others = [random_photograph(number, (96, 72)) for number in range(40)]
    first.save(tmp_path / "low.jpg", quality=20)
    copies = [first.resize((48, 36)), first.point(lambda value: value * 9 // 10 + 20), Image.open(tmp_path / "low.jpg")]
    found = clusters_of([difference_hash(each) for each in (first, *others[:20], *copies, *others[20:])])
    assert found[0] == found[21] == found[22] == found[23]
    assert len(set(found)) == 40  # all others are alone


def test_neighbours_in_a_series_are_one_cluster_though_its_ends_differ():
    start = difference_hash(random_photograph(0))
    series = [np.packbits(np.concatenate([1 - np.unpackbits(start)[:n], np.unpackbits(start)[n:]])) for n in (0, 10, 20, 30)]
    other = difference_hash(random_photograph(1))
    assert clusters_of([series[3], other, series[0], series[2], series[1]]).tolist() == [0, 1, 0, 0, 0]


def test_no_photographs():
    assert clusters_of([]).tolist() == []
