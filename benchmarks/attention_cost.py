"""The cost of Shuffle Attention on a CPU, with and without the fused operators, and compared with PyTorch.

    python benchmarks/attention_cost.py [--rounds 5] [--gains | --sizes 48 64 96 128 224] [--json FILE]

Each round runs every setting once, in its own process, one after the other, so that other load on the machine affects all
alike; a process does one step to warm up and reports the median of three. The table has the median over the rounds of the
ratios within a round. The first losses with and without the fused operators must agree. The PyTorch rows need
requirements-bench.txt and are omitted without it. ``--gains`` instead measures the parts of the fused operator: Shuffle
Attention alone, batch norm with it, and batch norm with ReLU in the rest of the block. ``--sizes`` compares whole training
steps at these image sizes with PyTorch's in its better layout, with Paddle's own convolutions, and with each other. The last
take turns in one process, a step of each network after the other, since they differ by less than two processes of one network.
"""

import argparse
import importlib.util
import itertools
import json
import platform
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

STEPS = 3
TURNS = 8
SIZES = (48, 64, 96, 128, 224)
GROUPED = "epsanet50"  # whose convolutions are grouped
LAYERS = 4  # layers in a chain, so that the copy of the gradient at its end, which Paddle makes, counts less


def batch_at(size):
    """How many images a step takes: fewer of the large ones."""
    return 32 if size <= 64 else 16


def settings_at(sizes):
    """The same as ``settings``, for ``--sizes``: names begin with the size."""
    torch = Path(__file__).with_name("torch_sa_resnet.py")
    commands = {}
    for size in sizes:
        of_size = [str(size), str(batch_at(size))]
        for name in ("resnet on", "sa_resnet on", "resnet paddle", "sa_resnet paddle", "turns on"):
            commands[f"{size} {name}"] = [sys.executable, __file__, "--child", *name.split(), *of_size]
        if importlib.util.find_spec("torch"):
            for net, layout in itertools.product(("resnet", "sa_resnet"), ("contiguous_format", "channels_last")):
                command = [sys.executable, str(torch), "--steps", str(STEPS), "--net", net, "--layout", layout]
                commands[f"{size} torch {net} {layout}"] = [*command, "--image_size", of_size[0], "--batch_size", of_size[1]]
    return commands


def settings(gains):
    """Name of each setting -> the command that measures it."""
    own = [sys.executable, __file__, "--child"]
    if gains:
        names = ["resnet off", "resnet on", *(f"sa_resnet {mode}" for mode in ("off", *PARTS, "on"))]
        return {name: [*own, *name.split()] for name in names}
    torch = [sys.executable, str(Path(__file__).with_name("torch_sa_resnet.py")), "--steps", str(STEPS), "--layout"]
    commands = {f"{net} {mode}": [*own, net, mode] for net in ("resnet", "sa_resnet") for mode in ("off", "on")}
    commands["layer"] = [*own, "layer", "on"]
    commands["layer off"] = [*own, "layer", "off"]
    if importlib.util.find_spec("torch"):
        for layout in ("contiguous_format", "channels_last"):
            commands[f"torch {layout}"] = [*torch, layout]
    return commands


def measure_layer(mode):
    """{"seconds": forward and backward pass of one attention layer with residual, 16 x 256 x 56 x 56; "at_copy_speed": seconds
    to copy as many bytes as it reads and writes on this machine}."""
    from machine import processor

    processor.configure()
    import numpy as np
    import paddle

    from attention.shuffle_attention import ShuffleAttention
    from ops import fused

    fused.set_mode(mode)
    shape = [16, 256, 56, 56]
    layers = [ShuffleAttention(256) for _ in range(LAYERS)]
    maps = [paddle.randn(shape) for _ in range(LAYERS + 1)]
    for tensor in maps:
        tensor.stop_gradient = False
    gradient = paddle.randn(shape)

    def forward_and_backward():
        y = maps[0]
        for layer, residual in zip(layers, maps[1:]):
            y = layer(y, residual=residual)
        paddle.grad([y], maps, [gradient])

    source = np.random.default_rng(0).random(int(np.prod(shape)), dtype=np.float32)
    target = np.empty_like(source)
    threads = processor.default_threads()
    bounds = np.linspace(0, source.size, threads + 1, dtype=int)
    with ThreadPoolExecutor(threads) as pool:

        def copy_part(start, end):
            np.copyto(target[start:end], source[start:end])

        def copy():
            list(pool.map(copy_part, bounds[:-1], bounds[1:]))

        copies, passes = [], []
        for _ in range(9):
            copies.append(timed(copy))
            passes.append(timed(forward_and_backward))
    # forward reads x and the residual and writes the output; backward reads x, output and gradient and writes two gradients
    moved = 8 * source.nbytes
    bytes_a_second = 2 * source.nbytes / statistics.median(copies[1:])
    return {"seconds": statistics.median(passes[1:]) / LAYERS, "at_copy_speed": moved / bytes_a_second}


def measure_turns(batch, size):
    """{"seconds": median step of resnet; "ratios": for the other networks, the median over turns of their steps / resnet's}."""
    from machine import processor

    processor.configure()
    from train_step import training_and_evaluation

    from ops import fused

    fused.set_mode("on")
    steps = {net: training_and_evaluation(net, batch, size)[0] for net in ("resnet", "sa_resnet", GROUPED)}
    seconds = {net: [] for net in steps}
    # None follows itself, which would find its own weights in the cache, and each follows both others equally often
    orders = [("resnet", "sa_resnet", GROUPED)] * (TURNS // 2) + [("sa_resnet", "resnet", GROUPED)] * (TURNS // 2)
    for step in steps.values():  # to warm up
        step()
    for net in itertools.chain.from_iterable(orders):
        seconds[net].append(timed(steps[net]))
    resnet = seconds.pop("resnet")
    ratios = {net: statistics.median(one / other for one, other in zip(found, resnet)) for net, found in seconds.items()}
    return {"seconds": statistics.median(resnet), "ratios": ratios}


def timed(function):
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


PARTS = {"attention": "Shuffle Attention, addition and ReLU", "block_end": "the last batch norm with them"}


def fuse_only(part):
    """Let the fused operator compute one of PARTS, and plain operators the rest."""
    from attention.shuffle_attention import ShuffleAttention
    from ops import batch_norm, fused

    fused._lanes = lambda: 0  # plain operators need planes
    batch_norm.batch_norm = batch_norm.batch_norm_reference
    if part == "attention":
        ShuffleAttention.end_block = lambda layer, x, norm, residual: layer(norm(x), residual=residual)


def leave_convolutions_to_paddle():
    from ops import fused

    fused.convolves = lambda *_: False


def run_child(net, mode, size=224, batch=16):
    from train_step import measure

    work = (net, int(batch), int(size), STEPS)
    if net == "layer":
        result = measure_layer(mode)
    elif net == "turns":
        result = measure_turns(int(batch), int(size))
    elif mode in PARTS:
        result = measure(*work, as_it_comes=False, prepare=lambda: fuse_only(mode))
    elif mode == "paddle":
        result = measure(*work, as_it_comes=False, prepare=leave_convolutions_to_paddle)
    else:
        result = measure(*work, as_it_comes=False, fused_mode=mode)
    print(json.dumps(result))


def gains_table(rounds):
    """The rows of --gains, in the form of ``table``."""
    rows = []
    for label, field in (("training step", "seconds"), ("peak memory", "peak_bytes")):
        for name in rounds[0]:
            ratios = [results[name][field] / results["resnet off"][field] for results in rounds]
            rows.append((f"{label}: {name} / resnet off", statistics.median(ratios), min(ratios), max(ratios)))
    return rows


def sizes_table(rounds):
    """The rows of --sizes, in the form of ``table``."""
    sizes = list(dict.fromkeys(name.split()[0] for name in rounds[0]))

    def better(results, size, net):
        return min(result["seconds"] for name, result in results.items() if name.startswith(f"{size} torch {net} "))

    def row(size, label, ratio):
        ratios = [ratio(results) for results in rounds]
        return f"{size}, batch {batch_at(int(size))}: {label}", statistics.median(ratios), min(ratios), max(ratios)

    def against(size, label, one, other, field="seconds"):
        return row(size, label, lambda results: results[f"{size} {one}"][field] / results[f"{size} {other}"][field])

    rows = []
    for size in sizes:
        for net in ("resnet", "sa_resnet"):
            if f"{size} torch {net} channels_last" in rounds[0]:
                rows.append(
                    row(
                        size,
                        f"{net}, images/s / PyTorch's better layout",
                        lambda results, size=size, net=net: better(results, size, net) / results[f"{size} {net} on"]["seconds"],
                    )
                )
        for net in ("sa_resnet", GROUPED):
            rows.append(
                row(
                    size,
                    f"{net} step / resnet step, in turns",
                    lambda results, size=size, net=net: results[f"{size} turns on"]["ratios"][net],
                )
            )
        for net in ("resnet", "sa_resnet"):
            ours, before = f"{net} on", f"{net} paddle"
            rows.append(against(size, f"{net} step, Paddle's convolutions / oneDNN's", before, ours))
            rows.append(against(size, f"{net} evaluation, the same", before, ours, "evaluation_seconds"))
            rows.append(against(size, f"{net} peak memory, oneDNN's convolutions / Paddle's", ours, before, "peak_bytes"))
    return rows


def table(rounds):
    """Rows (measure, median ratio, lowest, highest) from a list of rounds, each a dict of results by setting."""

    def row(name, ratio):
        ratios = [ratio(results) for results in rounds]
        return name, statistics.median(ratios), min(ratios), max(ratios)

    def seconds(results, name, field="seconds"):
        return results[name][field]

    rows = []
    for label, field in (("training step", "seconds"), ("evaluation", "evaluation_seconds"), ("peak memory", "peak_bytes")):
        for net, mode in (("sa_resnet", "on"), ("sa_resnet", "off"), ("resnet", "on")):
            rows.append(
                row(
                    f"{label}: {net}, fused {mode} / resnet, fused off",
                    lambda r, net=net, mode=mode, field=field: (
                        seconds(r, f"{net} {mode}", field) / seconds(r, "resnet off", field)
                    ),
                )
            )
    for name, label in (("layer", "fused on"), ("layer off", "fused off")):
        rows.append(
            row(
                f"layer 16x256x56x56 forward + backward, {label} / its bytes at copy speed",
                lambda r, name=name: seconds(r, name) / seconds(r, name, "at_copy_speed"),
            )
        )
    peers = [name for name in rounds[0] if name.startswith("torch")]
    if peers:
        rows.append(
            row(
                "images/s: sa_resnet, fused on / PyTorch's better layout",
                lambda r: min(seconds(r, name) for name in peers) / seconds(r, "sa_resnet on"),
            )
        )
    return rows


def check(results):
    """Exit unless the fused operators compute the same as the plain ones and PyTorch's network has as many parameters."""
    for name, result in results.items():
        net = name.split()[0]
        if net in ("resnet", "sa_resnet"):
            loss, plain = result["loss"], results[f"{net} off"]["loss"]
            if abs(loss - plain) > 1e-4 * abs(plain):
                raise SystemExit(f"{name}: first loss {loss}, {plain} with plain operators")
    for name, result in results.items():
        if name.startswith("torch") and result["parameters"] != 23_529_230:
            raise SystemExit(f"{name}: {result['parameters']} parameters, not those of SA-ResNet50 at 10 classes")


def check_at_sizes(results):
    """Exit unless the convolutions of Paddle and oneDNN give the same first loss."""
    for name, result in results.items():
        if name.endswith(" paddle"):
            ours = results[name.replace(" paddle", " on")]["loss"]
            if abs(result["loss"] - ours) > 1e-4 * abs(ours):
                raise SystemExit(f"{name}: first loss {result['loss']}, {ours} by oneDNN")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--gains", action="store_true", help="what each part of the fused operator gains")
    parser.add_argument("--sizes", type=int, nargs="*", metavar="PIXELS", help=f"without one: {' '.join(map(str, SIZES))}")
    parser.add_argument("--json", metavar="FILE", help="write every round's results there")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        run_child(*arguments.child)
        return
    at_sizes = arguments.sizes is not None
    commands, rounds = settings_at(arguments.sizes or SIZES) if at_sizes else settings(arguments.gains), []
    rows_of = sizes_table if at_sizes else gains_table if arguments.gains else table
    for number in range(arguments.rounds):
        results = {}
        for name, command in commands.items():
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"{name}: {done.stderr}")
            results[name] = json.loads(done.stdout.splitlines()[-1])
        (check_at_sizes if at_sizes else check)(results)
        rounds.append(results)
        shown = "  ".join(f"{name} {result['seconds']:.3f}" for name, result in results.items())
        print(f"round {number + 1}, seconds: {shown}", flush=True)
    sizes = "" if at_sizes else "batch 16 at 224, "
    print(f"\n{platform.machine()}, Python {platform.python_version()}, {sizes}{arguments.rounds} rounds\n")
    print("| measure | median ratio | lowest | highest |\n|---|---|---|---|")
    for name, median, lowest, highest in rows_of(rounds):
        print(f"| {name} | {median:.3f} | {lowest:.3f} | {highest:.3f} |")
    if not arguments.gains and not any("torch" in name for name in commands):
        print("\nPyTorch is not installed (requirements-bench.txt): it is left out")
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(rounds, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
