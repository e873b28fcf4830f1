"""Training images a second on a CPU: unmodified Paddle, and with the threads, MKL path and fused operators of the scripts.

    python benchmarks/train_step.py [--net resnet]
    python benchmarks/train_step.py --additions [--net resnet] [--batch_size 8] [--half_life_steps 38]
    python benchmarks/train_step.py --convolutions [--net resnet]
    python benchmarks/train_step.py --busy [--net resnet] [--image_size 64] [--batch_size 32] [--steps 7]

The second way compares steps of training/model.py, in turns in one process: with nothing switched on against the bare sequence
of Paddle's calls, and with gradient clipping, scaled losses and averaged weights against nothing switched on. The third
compares the convolutions as they are (oneDNN's, and Winograd's where that gains) with oneDNN's alone, with Paddle's own and,
where the processor multiplies in bfloat16, with oneDNN's in that, in turns in one process, at several sizes. The fourth
measures a step alone and beside a program that keeps one core busy, with threads that wait as the scripts have them, and as
OpenMP has them.

Each setting runs in its own process, since MKL chooses its path when it is loaded; after one step to warm up, it takes the
median of five. The losses of the first step must agree to 1e-5: a faster path must not compute something else.
"""

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


CONVOLVED = ((48, 32), (64, 32), (96, 16), (128, 16), (224, 8))  # pixels, batch


def measure(net, batch_size, image_size, steps, as_it_comes, fused_mode="on", prepare=lambda: None):
    """Train and evaluate ``net`` in this process.

    Returns {"seconds": median training step, "loss": of the first step, "peak_bytes": peak memory of the process in training,
    "evaluation_seconds": median forward pass in evaluation}. ``prepare`` is called before the network is built.
    """
    from machine import processor

    if not as_it_comes:
        processor.configure()
    import zlib  # noqa: F401  # before Paddle, see machine/processor.py

    import paddle

    from networks import build_network
    from networks.classifier import Classifier
    from ops import fused

    fused.set_mode("off" if as_it_comes else fused_mode)
    prepare()
    paddle.seed(0)
    classifier = Classifier(build_network(net, 10))
    optimizer = paddle.optimizer.Momentum(0.01, parameters=classifier.parameters())
    images = paddle.randint(0, 256, [batch_size, 3, image_size, image_size]).astype("uint8")
    labels = paddle.arange(batch_size) % 10
    losses, seconds = [], []
    for _ in range(steps + 1):
        started = time.perf_counter()
        loss = paddle.nn.functional.cross_entropy(classifier(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad(set_to_zero=False)
        losses.append(float(loss))
        seconds.append(time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    classifier.eval()
    evaluations = []
    with paddle.no_grad():
        for _ in range(steps + 1):
            started = time.perf_counter()
            float(classifier(images).sum())
            evaluations.append(time.perf_counter() - started)
    return {
        "seconds": statistics.median(seconds[1:]),
        "loss": losses[0],
        "peak_bytes": peak,
        "evaluation_seconds": statistics.median(evaluations[1:]),
    }


def measure_additions(net, batch_size, image_size, steps, half_life_steps):
    """Print the median step with each addition and its ratio to that without: the median over turns of all of them."""
    from machine import processor

    processor.configure()
    import zlib  # noqa: F401  # before Paddle, see machine/processor.py

    import paddle

    from data.loader import BatchOfStep
    from networks import build_network
    from networks.classifier import Classifier
    from training.averaging import WeightAverage
    from training.epoch_metrics import EPOCH_METRICS
    from training.gradients import LossScaling
    from training.losses import TrainingLoss
    from training.model import TrainingModel

    paddle.seed(0)
    model = TrainingModel(Classifier(build_network(net, 10)))
    optimizer = paddle.optimizer.Momentum(0.001, parameters=model.network.parameters())
    metrics = [metric() for metric in EPOCH_METRICS]
    model.prepare(optimizer, TrainingLoss(), metrics)
    average = WeightAverage(model.network, 1.0, half_life_steps)
    images = paddle.randint(0, 256, [batch_size, 3, image_size, image_size]).astype("uint8")
    labels = paddle.arange(batch_size) % 10

    def bare():
        model.network.train()
        logits = model.network(images)
        loss = model._loss(logits, labels)
        float(loss)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad(set_to_zero=False)
        with paddle.no_grad():
            for metric in metrics:
                metric.update(*metric.compute(logits.detach(), labels))

    def step(clip_norm=0.0, loss_scaling=None):
        model.clip_norm, model.loss_scaling = clip_norm, loss_scaling
        model._train_step([([images, labels], BatchOfStep(0, len(labels), 1.0, True))], 0, 0, 0)

    ways = {
        "Paddle's calls alone": bare,
        "nothing switched on": step,
        "--clip_norm 1": lambda: step(clip_norm=1.0),
        "the loss scaled": lambda: step(loss_scaling=LossScaling()),
        "one update of the average": lambda: average.update(0, average.every - 1),
    }
    seconds = {name: [] for name in ways}
    for _ in range(steps + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - started)
    seconds = {name: found[1:] for name, found in seconds.items()}
    without = seconds["nothing switched on"]
    print(f"{net}, batch {batch_size}, {image_size} pixels, {steps} turns")
    for name, found in seconds.items():
        ratio = statistics.median(way / other for way, other in zip(found, without))
        print(f"{name:<26} {statistics.median(found):7.3f} s  {ratio:6.3f} of a step")
    share = statistics.median(way / other for way, other in zip(seconds["one update of the average"], without)) / average.every
    print(f"with a half-life of {half_life_steps} steps, one in {average.every} steps: {share:.2%} of a step")


def measure_convolutions(net, steps):
    """Print, for each size and batch, images a second with each way to convolve, and the ratio to the first."""
    from machine import processor

    processor.configure()
    from ops.convolution import own_convolutions
    from training.precision import BFLOAT16, precision_of

    ways = {"as it is": contextlib.nullcontext, "oneDNN alone": lambda: own_convolutions("never"), "Paddle's": by_paddle}
    if precision_of(BFLOAT16, "cpu") == BFLOAT16:
        from ops.convolution import in_bfloat16

        ways["in bfloat16"] = in_bfloat16
    print(f"{net}, images/s, {steps} turns; in brackets the median ratio to the first way\n")
    print("| pixels, batch |", " | ".join(f"{kind}: {' | '.join(ways)}" for kind in ("training", "evaluation")), "|")
    print("|---" * (1 + 2 * len(ways)) + "|")
    for size, batch in CONVOLVED:
        row = [f"{size}, {batch}"]
        for work in training_and_evaluation(net, batch, size):
            ours, *found = seconds_by_convolution(work, steps, ways.values())
            row.append(f"{batch / statistics.median(ours):.1f}")
            for seconds in found:
                ratio = statistics.median(a / b for a, b in zip(ours, seconds))
                row.append(f"{batch / statistics.median(seconds):.1f} ({ratio:.2f})")
        print(f"| {' | '.join(row)} |", flush=True)


@contextlib.contextmanager
def by_paddle():
    """Within the block Paddle's own convolutions run."""
    from ops import fused

    ours, fused.convolves = fused.convolves, lambda *_: False
    try:
        yield
    finally:
        fused.convolves = ours


def training_and_evaluation(net, batch, size):
    """Two functions: a training step of ``net``, a forward pass in evaluation."""
    import zlib  # noqa: F401  # before Paddle, see machine/processor.py

    import paddle

    from networks import build_network

    network = build_network(net, 10)
    optimizer = paddle.optimizer.Momentum(0.001, parameters=network.parameters())
    images, labels = paddle.randn([batch, 3, size, size]), paddle.arange(batch) % 10

    def training():
        network.train()
        loss = paddle.nn.functional.cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad(set_to_zero=False)
        float(loss)

    def evaluation():
        network.eval()
        with paddle.no_grad():
            float(network(images).sum())

    return training, evaluation


def seconds_by_convolution(work, steps, ways):
    """For each of the ``ways``, context managers, the seconds of ``work()`` within it in each turn but the first."""
    seconds = [[] for _ in ways]
    for _ in range(steps + 1):
        for way, found in zip(ways, seconds):
            with way():
                started = time.perf_counter()
                work()
                found.append(time.perf_counter() - started)
    return [found[1:] for found in seconds]


def measure_busy(arguments, rounds=4):
    """Print the seconds of a step alone and beside another program, for both ways to wait, and the ratios within a round."""
    from machine.processor import BLOCKTIME

    found = {}
    for number in range(rounds):
        for blocktime in (BLOCKTIME, "200"):
            for others in (0, 1):
                programs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(others)]
                try:
                    result = in_new_process(arguments, "configured", KMP_BLOCKTIME=blocktime)
                finally:
                    for program in programs:
                        program.kill()
                        program.wait()
                found.setdefault((blocktime, others), []).append(result["seconds"])
        print(f"round {number + 1} of {rounds}", flush=True)

    def ratio(one, other):
        return statistics.median(a / b for a, b in zip(found[one], found[other]))

    print(f"{arguments.net}, batch {arguments.batch_size}, {arguments.image_size} pixels, KMP_BLOCKTIME in ms\n")
    for blocktime in (BLOCKTIME, "200"):
        alone, busy = (statistics.median(found[blocktime, others]) for others in (0, 1))
        print(
            f"{blocktime:>4}: {alone:.3f} s alone, {busy:.3f} s beside another program: "
            f"{ratio((blocktime, 1), (blocktime, 0)):.2f} times as long"
        )
    print(f"alone, {BLOCKTIME} against 200: {ratio((BLOCKTIME, 0), ('200', 0)):.3f} times as long")


def in_new_process(arguments, setting, **variables):
    environment = {**os.environ, **variables}
    if setting == "as_it_comes":
        for name in ("MKL_DEBUG_CPU_TYPE", "OMP_NUM_THREADS"):
            environment.pop(name, None)
    command = [sys.executable, __file__, "--net", arguments.net, "--batch_size", str(arguments.batch_size)]
    command += ["--image_size", str(arguments.image_size), "--steps", str(arguments.steps), "--child", setting]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--net", default="resnet")
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--additions", action="store_true", help="what the training step can do besides, and what it costs")
    parser.add_argument("--convolutions", action="store_true", help="oneDNN alone, and Paddle's own")
    parser.add_argument("--busy", action="store_true", help="beside another program")
    parser.add_argument("--half_life_steps", type=int, default=38, help="of the average; 38: an epoch of 1,200 photographs")
    parser.add_argument("--child", choices=("as_it_comes", "configured"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sizes = (arguments.net, arguments.batch_size, arguments.image_size, arguments.steps)
    if arguments.additions:
        measure_additions(*sizes, arguments.half_life_steps)
        return
    if arguments.busy:
        measure_busy(arguments)
        return
    if arguments.convolutions:
        measure_convolutions(arguments.net, arguments.steps)
        return
    if arguments.child:
        print(json.dumps(measure(*sizes, as_it_comes=arguments.child == "as_it_comes")))
        return
    print(f"{arguments.net}, batch {arguments.batch_size}, {arguments.image_size} pixels, training step")
    results = {setting: in_new_process(arguments, setting) for setting in ("as_it_comes", "configured")}
    plain, ours = results["as_it_comes"], results["configured"]
    if abs(plain["loss"] - ours["loss"]) > 1e-5 * abs(plain["loss"]):
        raise SystemExit(f"the two settings disagree: loss {plain['loss']} and {ours['loss']}")
    for name, result in (("Paddle as it comes", plain), ("as the scripts set it up", ours)):
        print(f"{name:<26} {result['seconds']:6.2f} s a step  {arguments.batch_size / result['seconds']:6.2f} images/s")
    print(f"ratio {plain['seconds'] / ours['seconds']:.2f}; first losses {plain['loss']:.5f} and {ours['loss']:.5f}")


if __name__ == "__main__":
    main()
