"""Photographs a second of a network through Paddle Inference with oneDNN, and as in evaluation, on a CPU.

    python benchmarks/predict_speed.py [--nets resnet sa_resnet] [--batches 1 16] [--rounds 9] [--image_size 224] [--run FOLDER]

Every round gives the same batch once to each, one after the other, so that other load on the machine affects both alike. The
table has the medians, the median, lowest and highest ratio within a round, and the largest difference of a probability. The
networks are drawn at random, batch norm's statistics too, which takes as long as a trained one; ``--run`` takes a trained one.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from machine import processor

CLASSES = 10
CLOCK = time.perf_counter


def drawn_run(net, image_size):
    """A TrainedRun of the network ``net`` that no training made."""
    import paddle

    from config import Config
    from networks import build_network
    from networks.classifier import Classifier
    from trained.trained_run import TrainedRun

    class DrawnRun(TrainedRun):
        def load_classifier(self):
            paddle.seed(0)
            classifier = Classifier(build_network(self.net, CLASSES))
            for name, buffer in classifier.named_buffers():
                if name.endswith("_variance"):
                    buffer.set_value(paddle.uniform(buffer.shape, min=0.5, max=2.0))
                elif name.endswith("_mean"):
                    buffer.set_value(paddle.normal(0.0, 0.3, buffer.shape))
            classifier.eval()
            return classifier

    header = {"classes": [f"class {number}" for number in range(CLASSES)], "epoch": 1, "temperature": None}
    return DrawnRun(Path(), Path(), header, Config(net=net, image_size=image_size))


def photographs(number, size):
    """uint8 [number, 3, size, size], smooth as photographs are."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    blotches = [Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)) for _ in range(number)]
    return np.stack([np.asarray(image.resize((size, size))).transpose(2, 0, 1) for image in blotches])


def seconds_of(function):
    started = CLOCK()
    result = function()
    return CLOCK() - started, result


def measure(run, batches, rounds, threads):
    """Print the rows of one network."""
    from inference.program import save_program
    from inference.program_predictor import ProgramPredictor
    from inference.silence import STDERR, STDOUT, silenced

    size = run.settings.image_size
    seconds_to_open, _ = seconds_of(run.classifier)
    with tempfile.TemporaryDirectory() as folder:
        with silenced(STDOUT, STDERR):
            seconds_to_make, _ = seconds_of(lambda: save_program(run, Path(folder)))
        seconds_to_load, program = seconds_of(lambda: ProgramPredictor(Path(folder), size, max(batches), threads))
        print(f"{run.net}: opened in {seconds_to_open:.1f} s, program made in {seconds_to_make:.1f} s, loaded in "
              f"{seconds_to_load:.1f} s")  # fmt: skip
        for batch in batches:
            print(row(run, program, photographs(batch, size), rounds), flush=True)


def row(run, program, pixels, rounds):
    """The line of the table for one batch."""
    import numpy as np

    batch = len(pixels)
    difference = np.abs(program.predict(pixels) - run.predict(pixels, batch)).max()
    times = []
    for _ in range(rounds):
        times.append((seconds_of(lambda: program.predict(pixels))[0], seconds_of(lambda: run.predict(pixels, batch))[0]))
    ours, today = (statistics.median(column) for column in zip(*times))
    ratios = [network / through for through, network in times]
    return (
        f"{run.net:12} batch {batch:3}  Paddle Inference {batch / ours:7.2f}/s  as in evaluation {batch / today:7.2f}/s  ratio "
        f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})  largest difference {difference:.1e}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nets", nargs="+", default=["resnet", "sa_resnet"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--threads", type=int, default=processor.default_threads())
    parser.add_argument("--run", help="folder of a trained run, instead of --nets")
    arguments = parser.parse_args()
    processor.configure(arguments.threads)

    from machine.device import select_device
    from trained.trained_run import TrainedRun

    select_device("cpu")
    runs = (
        [TrainedRun.open(arguments.run)] if arguments.run else [drawn_run(net, arguments.image_size) for net in arguments.nets]
    )
    for run in runs:
        measure(run, arguments.batches, arguments.rounds, arguments.threads)


if __name__ == "__main__":
    main()
