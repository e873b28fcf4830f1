"""How many photographs a second accelerators are fed with: steps over many processes, simulated from times measured here.

    python benchmarks/input_simulation.py [FOLDER] [--accelerators 1 2 4 8] [--rate 5252] [--batch 128] [--photographs 100000]
    python benchmarks/input_simulation.py [FOLDER] --check

A process for each accelerator, each with worker processes that read its part of every batch, as data/loader.py has it. A worker
reads whole batches, which are used in their order, and a few of them lie ready (Paddle's DataLoader); a step begins when the
slowest process has its batch, since the gradients are joined. Each photograph's time is drawn from those measured, so slow
photographs, slow batches and the wait for them are in it, and so is the start of the workers in each epoch.

The table says what part of --rate, the photographs a second that one accelerator could take, is reached with 1 to 16 workers
each, which have a core each. --check instead compares simulated and measured photographs a second here: the loader itself with
one and two processes, where a pause stands for the accelerator's step. FOLDER contains class folders; without it, 400 pictures
are drawn.
"""

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from machine import processor
from benchmarks.input_pipeline import linked_copy, split

WORKERS = (1, 2, 4, 8, 12, 16)
CHECKED_BATCH, CHECKED_EPOCHS = 16, 5
CHECKED = ((1, 1), (1, 2), (2, 1))  # (processes, workers of each) that two cores have room for


class Times(NamedTuple):
    """Seconds: of each photograph (those measured), of a batch besides them, in a worker and in its process, and until a
    process has its workers."""

    photographs: np.ndarray
    batch: float
    taking: float
    start: float


def photographs_per_second(
    times: Times, processes: int, workers: int, batch: int, step: float, photographs: int, cores: int, seed: int = 0
) -> float:
    """Of an epoch of ``photographs`` over all processes. ``batch``: photographs of one process; ``step``: its seconds.

    ``cores``: where there are fewer than workers, all slow down alike.
    """
    random = np.random.default_rng(seed)
    steps = max(1, round(photographs / (processes * batch)))
    slower = max(1.0, processes * workers / cores)
    reading = random.choice(times.photographs, (processes, steps, batch)).sum(axis=2)
    reading = slower * (reading + times.batch)
    ahead = 2 * max(workers, 2)  # Paddle's DataLoader: two batches for each worker, at least four
    free = np.full((processes, workers), float(times.start))  # when a worker is ready for its next batch
    taken = np.zeros((processes, steps))  # when a process has begun with a batch, which lets one more be read
    now = 0.0
    for number in range(steps):
        worker = number % workers
        asked = taken[:, number - ahead] if number >= ahead else np.full(processes, times.start)
        free[:, worker] = np.maximum(free[:, worker], asked) + reading[:, number]
        taken[:, number] = np.maximum(free[:, worker], now) + times.taking
        now = taken[:, number].max() + step
    return steps * batch * processes / now


def photographs_in(folder, image_size):
    """The data set of its training list, as a training reads it."""
    from animal_dataset import AnimalDataset  # here and below: after processor.configure
    from data.data_folder import DataFolder
    from data.lists import TRAIN_LIST

    opened = DataFolder(folder, follow_links=True)  # the class folders are links
    return AnimalDataset(opened.root / TRAIN_LIST, image_size, True, folder=opened)


def measured_times(dataset, batch, repeats=3) -> Times:
    """Of reading a data set here: each photograph's processor time, and what the loader takes besides."""
    from data.loader import PhotographLoader

    seconds = np.empty((repeats + 1, len(dataset)))
    for turn, index in np.ndindex(seconds.shape):
        started = time.process_time()
        dataset[index]
        seconds[turn, index] = time.process_time() - started
    photographs = np.median(seconds[1:], axis=0)
    first, between = [], []
    for _ in range(repeats):
        began = time.perf_counter()
        arrived = []
        for _ in PhotographLoader(dataset, batch, 1, shuffle=True):
            arrived.append(time.perf_counter())
        first.append(arrived[0] - began)
        between.append((arrived[-1] - arrived[0]) / (len(arrived) - 1))
    each = batch * photographs.mean()
    beyond = max(0.0, statistics.median(between) - each)
    return Times(photographs, beyond, taking_time(dataset, batch), max(0.0, statistics.median(first) - each - beyond))


def taking_time(dataset, batch):
    """Seconds for which a process takes a batch that lies ready."""
    from data.loader import PhotographLoader

    seconds = []
    for _ in range(2):
        batches = iter(PhotographLoader(dataset, batch, 1, shuffle=True))
        next(batches)
        for _ in range(4):
            time.sleep(4 * batch * 0.002)
            started = time.perf_counter()
            next(batches)
            seconds.append(time.perf_counter() - started)
        batches.close()
    return statistics.median(seconds)


def run_one(dataset, rank, processes, workers, batch, step, barrier, results):
    """One process of the check: it takes its batches, and a pause stands for the step, in which all wait for each other."""
    from data.loader import PhotographLoader
    from processes.environment import Part

    loader = PhotographLoader(dataset, batch * processes, workers, shuffle=True, part=Part(rank, processes))
    rates = []
    for epoch in range(CHECKED_EPOCHS):
        loader.set_epoch(epoch)
        barrier.wait()
        began = time.perf_counter()
        for _ in loader:
            barrier.wait()
            time.sleep(step)
        barrier.wait()
        rates.append(len(dataset) / (time.perf_counter() - began))
    results.put(statistics.median(rates[1:]))


def measured_rate(dataset, processes, workers, batch, step):
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(processes), context.Queue()
    given = (processes, workers, batch, step, barrier, results)
    members = [context.Process(target=run_one, args=(dataset, rank, *given)) for rank in range(processes)]
    for member in members:
        member.start()
    rates = [results.get() for _ in members]
    for member in members:
        member.join()
    return statistics.mean(rates)


def check(dataset, times, cores):
    mean = times.photographs.mean() * CHECKED_BATCH + times.batch
    print(f"{'processes':>9} {'workers':>8} {'step ms':>8} {'simulated':>10} {'measured':>9}  ratio")
    for processes, workers in CHECKED:
        for share in (0.25, 0.8, 1.25, 3):  # of what a worker takes for a batch
            step = share * mean / workers
            given = (processes, workers, CHECKED_BATCH, step)
            simulated = [photographs_per_second(times, *given, len(dataset), cores, seed) for seed in range(5)]
            simulated, measured = statistics.mean(simulated), measured_rate(dataset, *given)
            figures = f"{1000 * step:8.1f} {simulated:10.0f} {measured:9.0f}  {simulated / measured:.2f}"
            print(f"{processes:9d} {workers:8d} {figures}", flush=True)


def table(name, times, arguments):
    step = arguments.batch / arguments.rate
    print(f"\n{name}: {1 / times.photographs.mean():.0f} photographs/s on a core; a process takes a batch in", end=" ")
    print(f"{1000 * times.taking:.1f} ms; of {arguments.rate:.0f} photographs/s each accelerator reaches, by workers:")
    print(f"{'accelerators':>12} {'needed/s':>9} " + "".join(f"{workers:8d}" for workers in WORKERS))
    for count in arguments.accelerators:
        row = []
        for workers in WORKERS:
            given = (count, workers, arguments.batch, step, arguments.photographs, count * workers)
            row.append(photographs_per_second(times, *given) / count / arguments.rate)
        print(f"{count:12d} {count * arguments.rate:9.0f} " + "".join(f"{share:8.0%}" for share in row), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--accelerators", nargs="+", type=int, default=[1, 2, 4, 8])
    parser.add_argument("--rate", type=float, default=5252, help="photographs a second that one could take")
    parser.add_argument("--batch", type=int, default=128, help="photographs of a step, for each")
    parser.add_argument("--photographs", type=int, default=100_000, help="of an epoch")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    processor.configure(threads=1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = linked_copy(arguments.folder, Path(temporary))
        split(folder)
        print(f"photographs of {arguments.folder or 'sample_animals.py'}, {arguments.image_size} pixels")
        from_files, cached = (photographs_in(folder, arguments.image_size) for _ in range(2))
        cached.use_cache(str(Path(temporary) / "cache"), arguments.image_size)
        if arguments.check:
            check(from_files, measured_times(from_files, CHECKED_BATCH), processor.available_cores())
            return
        for name, dataset in (("from files", from_files), ("from the cache", cached)):
            table(name, measured_times(dataset, arguments.batch), arguments)


if __name__ == "__main__":
    main()
