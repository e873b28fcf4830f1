"""The order of the photographs in an epoch, with and without classes of different sizes."""

import sys
from collections import Counter

import numpy as np
import pytest
from listed_pictures import write_pictures

from animal_dataset import AnimalDataset
from data.lists import TRAIN_LIST
from data.loader import Batches, PhotographLoader
from data.sampling import Sampler, epoch_counts

SIZES = (40, 3, 12, 0, 5)
LABELS = np.repeat(range(5), SIZES)
LENGTH = len(LABELS)
KINDS = ("balanced", "sqrt")
WORKERS = [
    0,
    pytest.param(2, marks=pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="Paddle has no workers here")),
]


def shuffled_labels():
    return np.random.default_rng(7).permutation(LABELS)


def test_uniform_is_the_order_that_trainings_had_before_there_were_samplers():
    for seed, epoch in ((0, 0), (3, 5), (2**31 - 1, 99)):
        expected = np.random.default_rng((seed, epoch)).permutation(50)
        batches = Batches(50, 50, shuffle=True, seed=seed)
        batches.set_epoch(epoch)
        assert next(iter(batches)) == expected.tolist()
        assert (Sampler(50, "uniform", range(50)).order(seed, epoch) == expected).all()


@pytest.mark.parametrize("kind", KINDS)
def test_an_epoch_has_the_shares_of_the_classes_and_uses_their_photographs_evenly(kind):
    labels = shuffled_labels()
    sampler = Sampler(LENGTH, kind, labels)
    for epoch in range(20):
        order = sampler.order(1, epoch)
        assert len(order) == LENGTH
        assert len(set(order.tolist())) == LENGTH, "a repeated photograph has an index, and so augmentation, of its own"
        shown = Counter(labels[order % LENGTH].tolist())
        if kind == "balanced":
            assert max(shown.values()) - min(shown.values()) <= 1
            assert shown.keys() == {0, 1, 2, 4}
        else:
            roots = np.sqrt(SIZES)
            for label, size in enumerate(SIZES):
                assert abs(shown[label] - LENGTH * roots[label] / roots.sum()) < 1, size
        times = Counter((order % LENGTH).tolist())
        for label in shown:
            own = [times[index] for index in np.flatnonzero(labels == label)]
            assert max(own) - min(own) <= 1
        for index, count in times.items():
            assert sorted(order[order % LENGTH == index] // LENGTH) == list(range(count))


@pytest.mark.parametrize("kind", KINDS)
def test_over_the_epochs_every_photograph_of_a_class_is_shown_alike(kind):
    """Of 40 photographs of the largest class an epoch shows some: 300 epochs must show each nearly equally often."""
    sampler, epochs = Sampler(LENGTH, kind, LABELS), 300
    orders = [sampler.order(0, epoch) for epoch in range(epochs)]
    times = Counter((np.concatenate(orders) % LENGTH).tolist())
    share = sum(times[index] for index in range(40)) / (40 * epochs)  # of a photograph and epoch
    deviation = np.sqrt(epochs * share * (1 - share))
    assert all(abs(times[index] - epochs * share) < 5 * deviation for index in range(40))
    first = np.mean([order[0] % LENGTH < 40 for order in orders])
    expected = 40 * share / LENGTH
    assert abs(first - expected) < 5 * np.sqrt(expected * (1 - expected) / epochs), "classes are mixed within an epoch"


@pytest.mark.parametrize("kind", KINDS)
def test_seed_and_epoch_alone_decide(kind):
    orders = [tuple(Sampler(LENGTH, kind, LABELS).order(seed, epoch)) for seed in range(3) for epoch in range(3)]
    np.random.seed(1)
    assert orders == [tuple(Sampler(LENGTH, kind, LABELS).order(seed, epoch)) for seed in range(3) for epoch in range(3)]
    assert len(set(orders)) == 9


def test_shares_that_are_no_whole_numbers_are_rounded_by_the_largest_remainders():
    assert epoch_counts("sqrt", [100, 25, 4]).tolist() == [76, 38, 15]  # exactly 75.88, 37.94, 15.18
    assert epoch_counts("balanced", [9, 1, 1]).tolist() == [4, 4, 3]
    extra = Counter(int(epoch_counts("balanced", [9, 1, 1], np.random.default_rng(seed)).argmin()) for seed in range(60))
    assert extra.keys() == {0, 1, 2}, "not always the same class goes short"
    assert epoch_counts("balanced", [2] * 49).tolist() == [2] * 49  # 98 * (1 / 49) is below 2 in float64
    assert epoch_counts("sqrt", [7]).tolist() == [7]


@pytest.mark.parametrize("num_workers", WORKERS)
def test_photographs_shown_again_are_augmented_anew_and_an_epoch_goes_on_where_it_was(tmp_path, num_workers):
    write_pictures(tmp_path, train=(10, 2, 2), val=(1, 1, 1))

    def batches(first_batch=0, workers=0):
        dataset = AnimalDataset(tmp_path / TRAIN_LIST, 16, train=True, seed=4)
        labels = [sample.label for sample in dataset.samples]
        sampler = Sampler(len(dataset), "balanced", labels)
        loader = PhotographLoader(dataset, 5, workers, shuffle=True, seed=4, sampler=sampler)
        loader.set_epoch(1, first_batch)
        return [([image.tobytes() for image in images.numpy()], labels.tolist()) for images, labels in loader]

    whole = batches()
    shown = [image for images, _ in whole for image in images]
    counts = Counter(label for _, labels in whole for label in labels)
    assert sorted(counts.values()) == [4, 5, 5]
    assert len(set(shown)) == 14
    assert batches(workers=num_workers) == whole
    assert batches(1, num_workers) == whole[1:]
