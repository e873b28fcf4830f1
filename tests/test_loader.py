import multiprocessing
import os
import signal
import sys
import time

import numpy as np
import paddle
import pytest
from conftest import random_photograph

from animal_dataset import AnimalDataset
from data import loader as loader_module
from data.lists import TRAIN_LIST, VAL_LIST, write_lists
from data.loader import Batches, PhotographLoader

needs_workers = pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="here Paddle reads in the main process only")
WORKERS = [0, pytest.param(2, marks=needs_workers)]


def train_loader(folder, num_workers=0, seed=0):
    dataset = AnimalDataset(folder / TRAIN_LIST, 16, train=True, seed=seed)
    return PhotographLoader(dataset, 5, num_workers, shuffle=True, seed=seed)


def val_loader(folder, num_workers=0, batch_size=4):
    return PhotographLoader(AnimalDataset(folder / VAL_LIST, 16, train=False), batch_size, num_workers)


def arrays(loader):
    return [(images.numpy(), labels.numpy()) for images, labels in loader]


class TinyNetwork(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.linear = paddle.nn.Linear(3, 3)

    def forward(self, images):
        return self.linear(images.astype("float32").mean([2, 3]) / 255)


def tiny_model():
    paddle.seed(0)
    model = paddle.Model(TinyNetwork(), paddle.static.InputSpec([None, 3, 16, 16], "uint8", "images"))
    optimizer = paddle.optimizer.SGD(0.1, parameters=model.parameters())
    model.prepare(optimizer, paddle.nn.CrossEntropyLoss(), paddle.metric.Accuracy())
    return model


# Batches


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(("length", "batch_size"), [(1, 1), (1, 8), (8, 8), (9, 8), (33, 32), (100, 7), (7, 1)])
def test_batches_cover_everything_once_in_nearly_equal_sizes(length, batch_size, shuffle):
    batches = Batches(length, batch_size, shuffle)
    drawn = list(batches)
    sizes = [len(batch) for batch in drawn]
    assert len(drawn) == len(batches) == -(-length // batch_size)
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1
    assert sorted(index for batch in drawn for index in batch) == list(range(length))
    assert shuffle or drawn == [sorted(batch) for batch in sorted(drawn)]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(
    ("length", "batch_size", "accumulate"), [(1, 1, 3), (9, 8, 2), (33, 8, 4), (100, 8, 4), (100, 7, 1), (7, 1, 3), (65, 32, 2)]
)
def test_steps_and_their_batches_are_of_nearly_equal_sizes_and_in_the_order_of_the_epoch(
    length, batch_size, accumulate, shuffle
):
    batches = Batches(length, batch_size, shuffle, 3, accumulate=accumulate)
    steps = list(batches.sizes())
    assert len(steps) == len(batches) == -(-length // (batch_size * accumulate))
    assert max(map(sum, steps)) - min(map(sum, steps)) <= 1
    assert all(len(step) <= accumulate and max(step) <= batch_size and max(step) - min(step) <= 1 for step in steps)
    drawn = list(batches)
    assert list(map(len, drawn)) == [size for step in steps for size in step]
    order = [index for batch in drawn for index in batch]
    assert order == [index for batch in Batches(length, batch_size, shuffle, 3) for index in batch]
    batches.set_epoch(0, first_step=len(steps) // 2)
    assert list(batches.sizes()) == steps[len(steps) // 2 :]
    assert [index for batch in batches for index in batch] == order[sum(map(sum, steps[: len(steps) // 2])) :]


def test_shuffling_follows_seed_and_epoch_and_not_numpy_s_state():
    def order(seed, epoch):
        batches = Batches(50, 8, shuffle=True, seed=seed)
        batches.set_epoch(epoch)
        return tuple(index for batch in batches for index in batch)

    np.random.seed(1)
    orders = [order(seed, epoch) for seed in range(3) for epoch in range(3)]
    np.random.seed(2)
    assert orders == [order(seed, epoch) for seed in range(3) for epoch in range(3)]
    assert len(set(orders)) == 9
    assert tuple(range(50)) not in orders


# Reading


@pytest.mark.parametrize("num_workers", WORKERS)
def test_without_shuffling_batches_follow_the_list(listed_folder, num_workers):
    loader = val_loader(listed_folder, num_workers)
    (first, first_labels), (second, second_labels) = arrays(loader)
    assert len(loader) == 2
    assert (first.shape, first.dtype, first_labels.dtype) == ((3, 3, 16, 16), np.uint8, np.int64)
    assert [*first_labels, *second_labels] == [0, 0, 1, 1, 2, 2]
    images = np.concatenate([first, second])
    assert all((images[index] == loader.dataset[index][0]).all() for index in range(6))


def test_the_number_of_workers_changes_nothing_and_the_seed_decides(listed_folder, monkeypatch):
    def epochs(num_workers, seed=0):
        loader = train_loader(listed_folder, num_workers, seed)
        seen = []
        for epoch in range(2):
            loader.set_epoch(epoch)
            seen.append([(images.tobytes(), labels.tolist()) for images, labels in arrays(loader)])
        return seen

    first, second = epochs(0)
    assert first != second
    monkeypatch.setattr(loader_module, "reading_threads", lambda: 3)
    assert epochs(0) == [first, second]
    assert epochs(2) == epochs(1) == [first, second]
    assert epochs(0, seed=1)[0] != first


def test_a_loop_that_is_left_waits_for_the_photographs_being_read_alone(monkeypatch):
    class Slow(paddle.io.Dataset):
        read = 0

        def __len__(self):
            return 1000

        def __getitem__(self, index):
            time.sleep(0.01)
            self.read += 1
            return np.zeros([1], np.uint8), np.int64(0)

    monkeypatch.setattr(loader_module, "reading_threads", lambda: 3)
    photographs = Slow()
    for _ in PhotographLoader(photographs, 100):
        before = photographs.read
        break
    assert before >= 100
    assert photographs.read <= before + 30, "of 300 that were asked for"


def test_no_two_workers_and_no_two_epochs_augment_alike(tmp_path):
    random_photograph(1).save(tmp_path / "photo.png")
    write_lists(tmp_path, ["cat", "dog"], [("photo.png", 0)] * 24, [])
    loader = train_loader(tmp_path, num_workers=2)
    seen = []
    for epoch in range(2):
        loader.set_epoch(epoch)
        seen += [image.tobytes() for images, _ in arrays(loader) for image in images]
    assert len(set(seen)) == len(seen) == 48


@pytest.mark.parametrize("num_workers", WORKERS)
def test_steps_have_the_batches_of_an_iteration_and_their_shares(listed_folder, num_workers):
    loader = PhotographLoader(train_loader(listed_folder).dataset, 3, num_workers, shuffle=True, accumulate=2)
    assert len(loader) == 2
    steps = [[(images.numpy(), batch) for (images, _), batch in step] for step in loader.steps()]
    assert [[batch for _, batch in step] for step in steps] == [[(0, 3, 0.5, False), (1, 3, 0.5, True)]] * 2
    for (images, _), (expected, _) in zip((batch for step in steps for batch in step), arrays(loader)):
        np.testing.assert_array_equal(images, expected)
    for step in loader.steps():
        next(step)
        break  # in the middle of a step
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("num_workers", WORKERS)
def test_workers_are_gone_however_the_iteration_ends(listed_folder, num_workers):
    loader = train_loader(listed_folder, num_workers)
    for _ in loader:
        assert len(multiprocessing.active_children()) == num_workers
    assert multiprocessing.active_children() == []

    for _ in loader:
        break
    assert multiprocessing.active_children() == []

    try:
        for _ in loader:
            raise RuntimeError("of the training step")
    except RuntimeError:
        pass
    assert multiprocessing.active_children() == []
    assert len(list(loader)) == 3


@pytest.mark.filterwarnings("ignore:To copy construct from a tensor")  # Paddle does so with every batch
@pytest.mark.parametrize("num_workers", WORKERS)
def test_paddle_model_fits_and_evaluates(listed_folder, num_workers):
    model = tiny_model()
    before = model.network.linear.weight.numpy().copy()
    model.fit(train_loader(listed_folder, num_workers), val_loader(listed_folder, num_workers), epochs=2, verbose=0)
    assert (model.network.linear.weight.numpy() != before).any()

    images, labels = (np.concatenate(parts) for parts in zip(*arrays(val_loader(listed_folder))))
    predicted = model.predict_batch([images])[0].argmax(axis=1)
    result = model.evaluate(val_loader(listed_folder, num_workers, batch_size=5), verbose=0)
    assert result["acc"] == pytest.approx((predicted == labels).mean())
    assert multiprocessing.active_children() == []


def test_without_workers_no_thread_of_paddle_reads(listed_folder, monkeypatch):
    # Such a thread can hold a lock when the next iteration forks its workers, which then wait for it for ever
    monkeypatch.setattr(paddle.io, "DataLoader", None)
    assert len(arrays(train_loader(listed_folder, num_workers=0))) == 3


# Failures, each in a process of its own, so that one that hangs does not stop the tests


def run_apart(scenario, *arguments, seconds=60):
    """What ``scenario(*arguments)`` returns in a fresh process; fails where that takes longer than ``seconds``."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_result, args=(sender, multiprocessing.get_start_method(), scenario, arguments))
    process.start()
    sender.close()
    try:
        assert receiver.poll(seconds), f"{scenario.__name__} hangs"
        return receiver.recv()
    finally:
        process.kill()
        process.join()


def _send_result(sender, start_method, scenario, arguments):
    multiprocessing.set_start_method(start_method, force=True)  # else "spawn" were inherited by the workers
    sender.send(scenario(*arguments))


def outcome(action):
    """(type and text of what action raises, seconds it took, worker processes left)."""
    start = time.monotonic()
    try:
        action()
        error = (None, "")
    except Exception as caught:
        error = (type(caught).__name__, str(caught))
    return (*error, time.monotonic() - start, len(multiprocessing.active_children()))


def read_bad_photograph(folder):
    outcomes = {}
    for num_workers in (0, 2):
        outcomes["iterate", num_workers] = outcome(lambda n=num_workers: list(val_loader(folder, n, batch_size=2)))
        outcomes["fit", num_workers] = outcome(
            lambda n=num_workers: tiny_model().fit(train_loader(folder), val_loader(folder, n), verbose=0)
        )
    outcomes["bug", 0] = outcome(lambda: list(PhotographLoader(Faulty(), 2)))
    outcomes["bug", 2] = outcome(lambda: list(PhotographLoader(Faulty(), 2, 2)))
    return outcomes


class Faulty(paddle.io.Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        return [][index]


def test_a_bad_photograph_ends_reading_with_its_name_and_never_hangs(listed_folder):
    path = listed_folder / "dog" / "dog_5.jpg"
    path.write_bytes(path.read_bytes()[:300])
    outcomes = run_apart(read_bad_photograph, listed_folder)
    assert len(outcomes) == 6
    for (action, _), (kind, text, seconds, workers) in outcomes.items():
        if action == "bug":
            assert "list index out of range" in text
        else:
            assert kind == "DataError"
            assert text.startswith(f"{listed_folder / VAL_LIST} line 4: {path}: ")
        assert seconds < 20
        assert workers == 0


class Slow(paddle.io.Dataset):
    def __len__(self):
        return 1000

    def __getitem__(self, index):
        time.sleep(0.01)
        return np.zeros((3, 8, 8), np.uint8), np.int64(0)


def kill_worker():
    steps = []

    def read():
        for _ in PhotographLoader(Slow(), 2, num_workers=2):
            steps.append(len(steps))
            if len(steps) == 3:
                os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
                time.sleep(0.3)  # the training step, which is not to be interrupted
                steps.append("done")

    return (*outcome(read), steps)


@needs_workers
def test_a_killed_worker_ends_reading_at_the_next_batch_with_advice():
    kind, text, seconds, workers, steps = run_apart(kill_worker)
    assert kind == "DataError"
    assert text.startswith("a process that reads photographs died; did the memory run out")
    assert "--num_workers 0 reads in the main process" in text
    assert "\n" not in text
    assert "done" in steps
    assert seconds < 15
    assert workers == 0
