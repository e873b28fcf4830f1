"""Photographs a second: reading and transforming on one core, through the loader, and the whole split command.

    python benchmarks/input_pipeline.py [FOLDER]

FOLDER contains class folders; its lists are not changed. Without it, 400 pictures are drawn. Each number is the median of five
rounds over all photographs.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from machine import processor  # noqa: E402
from drawing.drawn_dataset import draw_dataset  # noqa: E402


def rate(photographs, work, rounds=5):
    """Photographs a second of ``work()``, which handles all ``photographs`` once: the median of ``rounds``."""
    work()
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return photographs / statistics.median(seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--image_size", type=int, default=224)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / "photographs"
        if arguments.folder:
            copy.mkdir()
            for folder in arguments.folder.iterdir():
                if folder.is_dir():
                    (copy / folder.name).symlink_to(folder.resolve())  # the lists are then written to the copy
        else:
            draw_dataset(copy, 40, seed=0)
        print(f"photographs of {arguments.folder or 'sample_animals.py'}")
        measure(copy, arguments.image_size)


def measure(folder, size):
    command = [sys.executable, str(ROOT / "train_val_split.py"), "--data", str(folder), "--follow_links"]
    processor.configure(threads=1)
    from animal_dataset import AnimalDataset
    from data.data_folder import DataFolder
    from data.lists import TRAIN_LIST
    from data.loader import PhotographLoader

    def split():
        subprocess.run(command, check=True, capture_output=True)

    split()
    opened = DataFolder(folder, follow_links=True)  # the class folders may be links
    list_file, total = opened.root / TRAIN_LIST, len(opened.class_of_paths())
    print(f"{total} photographs, {size} pixels")
    print(f"train_val_split.py, the whole command, all cores   {rate(total, split):7.0f} /s")

    figures = {}
    for name, train in (("evaluation transform", False), ("training transform", True)):
        dataset = AnimalDataset(list_file, size, train, folder=opened)
        figures[name] = rate(len(dataset), lambda dataset=dataset: [dataset[i] for i in range(len(dataset))])
        print(f"{name + ', one core':<50} {figures[name]:7.0f} /s")
    for workers in (0, 1):
        loader = PhotographLoader(AnimalDataset(list_file, size, True, folder=opened), 32, workers, shuffle=True)
        figure = rate(len(loader.dataset), lambda loader=loader: [None for _ in loader])
        share = figure / figures["training transform"]
        name = f"training batches through the loader, {workers} workers"
        print(f"{name:<50} {figure:7.0f} /s  ({share:.2f} of the bare transform)")


if __name__ == "__main__":
    main()
