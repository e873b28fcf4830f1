"""Batches for training and evaluation, shuffled by the user's seed; an error names the photograph that cannot be read.

With worker processes, Paddle's DataLoader reads the photographs. If a data set raises an error, it waits for ever or dies with
an opaque SystemError, so errors travel through it as data and are raised here, in the main thread. Without workers, threads of
this module read ahead. Paddle's own thread would use Paddle's allocator, and may hold a lock of it while it ends; a process
forked at that moment inherits the lock and waits for ever.
"""

import collections
import concurrent.futures
import contextlib
import itertools
import signal
import threading
import traceback
from collections.abc import Generator, Iterator
from typing import NamedTuple, Optional

import numpy as np
import paddle

from data.lists import DataError
from data.photograph_dataset import PhotographDataset
from data.sampling import Sampler
from machine.processor import reading_threads
from machine.workers import become_worker, remove_shared_batches
from processes.environment import ALONE, Part


class Batches(paddle.io.BatchSampler):
    """Indices in batches of nearly equal size, at most ``batch_size``: batch norm cannot use a last batch of one.

    With ``shuffle``, ``seed`` and the epoch (``set_epoch``) determine the order, which ``sampler`` draws (by default each
    photograph once), else it is the list's. A step has the batches of one update of the weights, up to ``accumulate``: steps
    are of nearly equal size, and so are the batches of each. The length is the number of steps in the whole epoch, even if the
    first are skipped.

    Where several processes share the work, an iteration goes through what is for ``part``: with ``shuffle`` a part of each
    batch, else every so many batches whole. Raises DataError where a batch of the former is too small for all.
    """

    def __init__(
        self, length: int, batch_size: int, shuffle: bool = False, seed: int = 0, sampler: Optional[Sampler] = None,
        accumulate: int = 1, part: Part = ALONE,
    ):  # fmt: skip
        self.sampler = sampler or Sampler(length)
        self.length, self.batch_size, self.accumulate, self.part = length, batch_size, accumulate, part
        self.shuffle, self.seed, self.epoch, self.first_step = shuffle, seed, 0, 0
        smallest = min((size for step in self.sizes() for size in step), default=part.count)
        if shuffle and smallest < part.count:
            raise DataError(
                f"{length} photographs in batches of {batch_size}: a batch of {smallest} cannot be shared by {part.count} "
                f"processes; give fewer --processes or a larger --batch_size"
            )

    def set_epoch(self, epoch: int, first_step: int = 0) -> None:
        """From the next iteration on, shuffle as in epoch ``epoch`` (from 0) and begin with step ``first_step`` (from 0)."""
        self.epoch, self.first_step = epoch, first_step

    def __len__(self) -> int:
        return -(-self.length // (self.batch_size * self.accumulate))

    def __iter__(self) -> Iterator[list[int]]:
        order = np.arange(self.length)
        if self.shuffle:
            order = self.sampler.order(self.seed, self.epoch)
        batches = (batch for step in self._steps(order) for batch in step)
        rank, count = self.part.rank, self.part.count
        if self.shuffle:
            yield from (np.array_split(batch, count)[rank].tolist() for batch in batches)
        else:
            yield from (batch.tolist() for batch in itertools.islice(batches, rank, None, count))

    def sizes(self) -> Iterator[list[int]]:
        """The number of photographs in each batch of a step, in all processes, for every step that an iteration has."""
        return (list(map(len, step)) for step in self._steps(np.arange(self.length)))

    def _steps(self, order):
        for step in np.array_split(order, len(self))[self.first_step :]:
            yield np.array_split(step, -(-len(step) // self.batch_size))


class BatchOfStep(NamedTuple):
    """A batch of a step, or a process's part of it.

    ``number``: within the step, from 0; ``size``: photographs of the whole batch; ``share``: by which its mean loss counts, so
    that the mean over the processes of what all batches add up to is the mean over the step's photographs; ``is_last``.
    """

    number: int
    size: int
    share: float
    is_last: bool


class PhotographLoader:
    """Iterates over batches [images uint8 [N, 3, H, W], labels int64 [N]] of a data set, and whatever it yields besides.

    Raises DataError with list file, line and path if a photograph cannot be read, with any number of workers. Every iteration
    ends its worker processes, even if the loop is left early. With ``num_workers`` 0 threads read ahead, a batch each. The
    length is the number of steps: of batches, unless steps have several, as ``accumulate`` says (see Batches). ``part``: of
    this process, where several share the work.
    """

    def __init__(
        self, dataset: PhotographDataset, batch_size: int, num_workers: int = 0, shuffle: bool = False, seed: int = 0,
        sampler: Optional[Sampler] = None, accumulate: int = 1, part: Part = ALONE,
    ):  # fmt: skip
        self.dataset = dataset
        self.batches = Batches(len(dataset), batch_size, shuffle, seed, sampler, accumulate, part)
        self.num_workers = num_workers

    def set_epoch(self, epoch: int, first_step: int = 0, image_size: Optional[int] = None) -> None:
        """From the next iteration on, shuffle and augment as in epoch ``epoch`` (from 0); begin with step ``first_step``.

        ``image_size``: of this epoch; None: as before.
        """
        self.batches.set_epoch(epoch, first_step)
        self.dataset.set_epoch(epoch, image_size)

    def __len__(self) -> int:
        return len(self.batches)

    def batches_here(self) -> int:
        """Of a loader that does not shuffle: the number of this part's batches."""
        return len(range(self.batches.part.rank, len(self.batches), self.batches.part.count))

    def starts(self) -> Iterator[int]:
        """Of a loader that does not shuffle: the place in the list of the first photograph of each of this part's batches."""
        return (batch[0] for batch in self.batches)

    def steps(self) -> Iterator[Iterator[tuple[list[paddle.Tensor], BatchOfStep]]]:
        """For each step the batches of one update of the weights, each with what it is of the step.

        The batches of a step are read while the caller goes through them, and it goes through all.
        """
        with contextlib.closing(iter(self)) as batches:
            for sizes in self.batches.sizes():
                yield self._of_step(sizes, batches)

    def _of_step(self, sizes, batches):
        count = self.batches.part.count
        for number, size in enumerate(sizes):
            batch = next(batches)
            share = batch[0].shape[0] * count / sum(sizes)
            yield batch, BatchOfStep(number, size, share, number == len(sizes) - 1)

    def __iter__(self) -> Generator[list[paddle.Tensor], None, None]:
        return self._read_with_workers() if self.num_workers else self._read_ahead()

    def _read_ahead(self):
        waiting, left = collections.deque(), threading.Event()
        threads = reading_threads()
        with concurrent.futures.ThreadPoolExecutor(threads) as reader:
            try:
                for indices in self.batches:
                    waiting.append(reader.submit(self._read, indices, left))
                    if len(waiting) > 1 + threads:
                        yield _to_tensors(waiting.popleft().result())
                while waiting:
                    yield _to_tensors(waiting.popleft().result())
            finally:
                left.set()  # a loop that is left early waits for the photographs that are being read, and for no more
                for batch in waiting:
                    batch.cancel()

    def _read(self, indices, left):
        return _collate([self.dataset[index] for index in itertools.takewhile(lambda _: not left.is_set(), indices)])

    def _read_with_workers(self):
        loader = paddle.io.DataLoader(
            _ErrorsAsData(self.dataset),
            batch_sampler=self.batches,
            collate_fn=_collate,
            num_workers=self.num_workers,
            worker_init_fn=become_worker,
        )
        with _child_signal_kept():
            iterator = iter(loader)
        try:
            for batch in iterator:
                if batch[0].ndim == 1:
                    raise DataError(bytes(batch[0].numpy()).decode("utf-8"))
                yield list(batch)
        except SystemError as error:
            raise DataError(
                "a process that reads photographs died; did the memory run out, or /dev/shm in a container? "
                "--num_workers 0 reads in the main process"
            ) from error
        finally:
            _end_workers(iterator)


class _ErrorsAsData(paddle.io.Dataset):
    def __init__(self, dataset):
        super().__init__()
        self.dataset = dataset

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        try:
            return self.dataset[index]
        except DataError as error:
            return str(error)
        except Exception:  # an error inside Paddle's loader would hang the program; the main thread raises this text
            return traceback.format_exc()


def _to_tensors(arrays):
    return [paddle.to_tensor(array) for array in arrays]


def _collate(samples):
    for sample in samples:
        if isinstance(sample, str):
            # one dimension, unlike a batch of images: the shape reveals an error without waiting for the device
            return [np.frombuffer(sample.encode("utf-8"), dtype=np.uint8).copy(), np.array([-1])]
    return [np.stack(column) for column in zip(*samples)]  # of N samples (image, label): [N, 3, H, W] and [N]


@contextlib.contextmanager
def _child_signal_kept():
    """Undo the SIGCHLD handler that Paddle sets: it raises SystemError wherever the main thread happens to be.

    Paddle's reading thread also notices a dead worker, within five seconds, and raises its error with the next batch.
    """
    if not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL if handler is None else handler)


def _end_workers(iterator):
    workers = getattr(iterator, "_workers", [])
    iterator._try_shutdown_all()
    for worker in workers:
        if worker.is_alive():
            worker.join(timeout=1)
        if worker.is_alive():
            worker.terminate()
            worker.join(timeout=1)
        remove_shared_batches(worker.pid)
