"""Photographs a second: reading and transforming on one core, from files and from a cache, through the loader, and the whole
split command.

    python benchmarks/input_pipeline.py [FOLDER]

FOLDER contains class folders; its lists are not changed. Without it, 400 pictures are drawn. Paddle's own transforms, and
those of torchvision where it is installed, do the same in the same turns. Each number is the median of five rounds over all
photographs. Those of one core count the seconds of this process alone, and take turns: what else the machine does disturbs
them little, and their ratios less.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from machine import processor  # noqa: E402
from drawing.drawn_dataset import draw_dataset  # noqa: E402

VIEWS = {  # name: (whether in training, arguments of the data set)
    "evaluation transform": (False, {}),
    "evaluation transform, letterbox": (False, {"eval_crop": "letterbox"}),
    "training transform": (True, {}),
    "  with TrivialAugment": (True, {"augment": "trivialaugment"}),
    "  with colour jitter": (True, {"color_jitter": 0.4}),
    "  with random erasing": (True, {"erasing": 0.25}),
    "  with rotation": (True, {"rotation": 10.0}),
    "  with TrivialAugment and random erasing": (True, {"augment": "trivialaugment", "erasing": 0.25}),
}
BARE, EVALUATION = "training transform", "evaluation transform"
FROM_CACHE = {
    "evaluation, from the cache": (False, {}),
    "training crops, from the cache": (True, {}),
    "  from the cache, with TrivialAugment": (True, {"augment": "trivialaugment"}),
    "  from the cache, with random erasing": (True, {"erasing": 0.25}),
}


class OfAnother:
    """A data set by the transforms of another library: uint8 [3, size, size], by Pillow as usual there.

    ``transforms``: a module with the names that Paddle and torchvision share; ``last``: its transform to channels first.
    """

    def __init__(self, samples, root, transforms, last, size, train, crop_min_area):
        self.paths = [root / sample.name for sample in samples]
        if train:
            views = [transforms.RandomResizedCrop(size, scale=(crop_min_area, 1.0)), transforms.RandomHorizontalFlip()]
        else:
            views = [transforms.Resize(round(size * 256 / 224)), transforms.CenterCrop(size)]
        self.transform = transforms.Compose([*views, last])

    def __getitem__(self, index):
        with Image.open(self.paths[index]) as image:
            return np.ascontiguousarray(self.transform(image.convert("RGB")))


def of_other_libraries(dataset, size, crop_min_area):
    """{name: OfAnother} for the photographs of ``dataset``."""
    from paddle.vision import transforms

    libraries = {"Paddle's transforms": (transforms, transforms.Transpose())}
    try:
        from torchvision import transforms as of_torchvision

        libraries["torchvision's transforms"] = (of_torchvision, of_torchvision.PILToTensor())
    except ImportError:
        print("torchvision is not installed: without its transforms")
    return {
        f"  {name}, {'training' if train else 'evaluation'}": OfAnother(
            dataset.samples, dataset.folder.root, *library, size, train, crop_min_area
        )
        for name, library in libraries.items()
        for train in (True, False)
    }


def rate(photographs, work, rounds=5):
    """Photographs a second of ``work()``, which handles all ``photographs`` once: the median of ``rounds``."""
    work()
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return photographs / statistics.median(seconds)


def rates_in_turns(datasets, rounds=5):
    """{name: photographs a second of processor time} of data sets of the same photographs, each of which they read in turns.

    Of each photograph the median of the rounds counts; the first warms up.
    """
    count = len(datasets[BARE])
    seconds = {name: np.empty((rounds + 1, count)) for name in datasets}
    for turn in range(rounds + 1):
        for index in range(count):
            for name, dataset in datasets.items():
                started = time.process_time()
                dataset[index]
                seconds[name][turn, index] = time.process_time() - started
    return {name: count / np.median(found[1:], axis=0).sum() for name, found in seconds.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--image_size", type=int, default=224)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = linked_copy(arguments.folder, Path(temporary))
        print(f"photographs of {arguments.folder or 'sample_animals.py'}")
        measure(folder, arguments.image_size)


def linked_copy(source, temporary):
    """A folder within ``temporary`` with links to the class folders of ``source``, whose lists stay as they are; without it,
    with 400 drawn pictures."""
    copy = temporary / "photographs"
    if source is None:
        draw_dataset(copy, 40, seed=0)
        return copy
    copy.mkdir()
    for folder in source.iterdir():
        if folder.is_dir():
            (copy / folder.name).symlink_to(folder.resolve())
    return copy


def split(folder):
    command = [sys.executable, str(ROOT / "train_val_split.py"), "--data", str(folder), "--follow_links"]
    subprocess.run(command, check=True, capture_output=True)


def measure(folder, size):
    processor.configure(threads=1)
    from animal_dataset import AnimalDataset
    from data.data_folder import DataFolder
    from data.lists import TRAIN_LIST
    from data.loader import PhotographLoader

    split(folder)
    opened = DataFolder(folder, follow_links=True)  # the class folders may be links
    list_file, total = opened.root / TRAIN_LIST, len(opened.class_of_paths())
    print(f"{total} photographs, {size} pixels")
    print(f"train_val_split.py, the whole command, all cores   {rate(total, lambda: split(folder)):7.0f} /s")

    views = {**VIEWS, **FROM_CACHE}
    datasets = {name: AnimalDataset(list_file, size, train, folder=opened, **view) for name, (train, view) in views.items()}
    for name in FROM_CACHE:
        started = time.perf_counter()
        datasets[name].use_cache(str(folder.parent / "cache"), size)
        if name in list(FROM_CACHE)[:2]:
            pace = len(datasets[name]) / (time.perf_counter() - started)
            print(f"{name + ': making it, all cores':<50} {pace:7.0f} /s")
    bare = datasets[BARE]
    figures = rates_in_turns({**datasets, **of_other_libraries(bare, size, bare.crop_min_area)})
    for name, figure in figures.items():
        against = EVALUATION if name.endswith("evaluation") else BARE
        compared = f"  ({figure / figures[against]:.2f} of the {against})" if name.startswith(" ") else ""
        print(f"{name + ', one core':<50} {figure:7.0f} /s{compared}")
    of_bare = rate(len(bare), lambda: list(bare))
    cached = datasets["training crops, from the cache"]
    for dataset, words in ((bare, ""), (cached, "from the cache, ")):
        for workers in (0, 1):
            loader = PhotographLoader(dataset, 32, workers, shuffle=True)
            figure = rate(len(dataset), lambda loader=loader: [None for _ in loader])
            name = f"training batches through the loader, {words}{workers} workers"
            print(f"{name:<50} {figure:7.0f} /s  ({figure / of_bare:.2f} of the bare transform)")


if __name__ == "__main__":
    main()
