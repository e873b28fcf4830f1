"""What the fused operators do on this machine, with a GPU or without, as one block of text to paste into an issue.

    python benchmarks/gpu_check.py [--batch N] [--image_size S] [--device auto|gpu|cpu]

It names the machine and its compilers, builds the operators, compares every call of a training step of SA-ResNet50 with plain
operators in each type, times each call against a copy of the same bytes, and times whole training steps with fused and with
plain operators. Where something fails, it says so and goes on. Without a GPU it does the same on the CPU.

For cards that Paddle's packages have no code for, benchmarks/cuda_block_end.py checks the same kernels with PyTorch.
"""

import argparse
import collections
import platform
import re
import statistics
import sys
import time
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from machine import processor

NET = "sa_resnet50"
BOUNDS = {"float64": 1e-10, "float32": 1e-4, "float16": 5e-3, "bfloat16": 4e-2}
"""Largest relative error of an output or gradient against plain operators, which compute in float32 or float64."""
ROUNDS, REPEATS = 5, 10
COPIED = 2**26  # float32 values of the copy that gives the memory's speed


class Call(NamedTuple):
    """One kind of call of an operator in a training step; ``half``: of Shuffle Attention, 0 without it."""

    operator: str
    channels: int
    height: int
    width: int
    half: int
    norm: bool
    relu: bool

    def maps(self):
        """Feature maps that (the forward, the backward pass) must read or write; batch norm needs what it reads twice."""
        residual = self.operator == "block_end"
        return 2 + self.norm + residual, 3 + 2 * residual + 2 * self.norm

    def text(self):
        parts = [*(["batch norm"] if self.norm else []), *(["attention"] if self.half else [])]
        end = "residual, ReLU" if self.operator == "block_end" else "ReLU" if self.relu else ""
        return ", ".join([*parts, *([end] if end else [])])


class Bench:
    """The measurements on Paddle's current device."""

    def __init__(self, batch, image_size):
        import numpy as np
        import paddle

        from ops import fused

        self.np, self.paddle, self.fused = np, paddle, fused
        self.batch, self.image_size = batch, image_size
        self.on_gpu = paddle.get_device().startswith("gpu")
        self.types = ["float32", "float16", "bfloat16"] if self.on_gpu else ["float32", "float64"]

    def synchronize(self):
        if self.on_gpu:
            self.paddle.device.synchronize()

    def seconds(self, *works, repeats=REPEATS, rounds=ROUNDS):
        """The median time of one call of each of ``works``, which are measured in turn.

        The device works on while the next call is prepared, so on a GPU a small map takes the time of preparing it.
        """
        for work in works:
            work()
        times = []
        for _ in range(rounds):
            times.append([])
            for work in works:
                self.synchronize()
                started = time.perf_counter()
                for _ in range(repeats):
                    work()
                self.synchronize()
                times[-1].append((time.perf_counter() - started) / repeats)
        return [statistics.median(of_work) for of_work in zip(*times)]

    def copy_speed(self):
        """Bytes a second, read and written, of a copy."""
        source = self.paddle.ones([COPIED], "float32")
        return 8 * COPIED / self.seconds(source.clone)[0]

    def calls(self):
        """{Call: how often a training step has it}; found by running one."""
        from networks import build_network

        found = collections.Counter()
        run = self.fused.run

        def noted(operator, x, *arguments):
            has_residual = operator == "block_end"
            tensors, numbers = arguments[has_residual : has_residual + 10], arguments[has_residual + 10 :]
            relu = has_residual or numbers[1]
            found[Call(operator, *x.shape[1:], numbers[0], bool(tensors[0].size), bool(relu))] += 1
            return run(operator, x, *arguments)

        network = build_network(NET, 10)
        network.train()
        self.fused.run = noted
        try:
            network(self.paddle.zeros([2, 3, self.image_size, self.image_size]))
        finally:
            self.fused.run = run
        return found

    def step_of(self, call, kind, plain=False):
        """(the forward pass as a function, its inputs that have gradients, the gradient of its output)."""
        from ops.batch_norm import Norm, batch_norm, batch_norm_reference
        from ops.shuffle_functional import shuffle_attention, shuffle_attention_reference

        random = self.np.random.default_rng(0)
        wide = "float64" if kind == "float64" else "float32"

        def drawn(*shape, of=wide, mean=0.0):
            return self.paddle.to_tensor((random.normal(size=shape) + mean).astype("float32")).astype(kind).astype(of)

        own = wide if plain else kind  # plain operators get the same values
        shape = [self.batch, call.channels, call.height, call.width]
        x, residual, dout = (drawn(*shape, of=own) for _ in range(3))
        weights = [drawn(call.channels, mean=1), drawn(call.channels)]
        attention = [drawn(1, call.half, 1, 1) for _ in range(4)] + [drawn(call.half) for _ in range(2)] if call.half else []
        inputs = [x, *([residual] if call.operator == "block_end" else []), *(weights if call.norm else []), *attention]
        for each in inputs:
            each.stop_gradient = False
        running = [self.paddle.zeros([call.channels], wide), self.paddle.ones([call.channels], wide)]
        norm = Norm(*weights, *running, True) if call.norm else None
        added = residual if call.operator == "block_end" else None
        if call.half:
            function, groups = shuffle_attention_reference if plain else shuffle_attention, call.channels // (2 * call.half)
            return lambda: function(x, *attention, groups, added, norm), inputs, dout
        function = batch_norm_reference if plain else batch_norm
        return lambda: function(x, norm, added, call.relu), inputs, dout

    def error(self, call, kind):
        """The largest relative error of the output and of a gradient, against plain operators on the same values."""
        results = []
        for plain in (False, True):
            forward, inputs, dout = self.step_of(call, kind, plain)
            out = forward()
            tensors = [out, *self.paddle.grad([out], inputs, [dout])]
            results.append([tensor.astype("float64").numpy() for tensor in tensors])
        norm = self.np.linalg.norm
        return max(norm(found - wanted) / max(norm(wanted), 1e-6) for found, wanted in zip(*results))

    def times(self, call, kind):
        """Seconds of the forward pass and of the backward pass."""
        forward, inputs, dout = self.step_of(call, kind)
        alone, both = self.seconds(forward, lambda: self.paddle.grad([forward()], inputs, [dout]))
        return alone, max(0.0, both - alone)

    def training(self, mode, precision):
        """Seconds of one step of SA-ResNet50."""
        import paddle.nn.functional as F

        from networks import build_network

        paddle = self.paddle
        self.fused.set_mode(mode)
        paddle.seed(0)
        network = build_network(NET, 10)
        network.train()
        optimizer = paddle.optimizer.Momentum(0.01, parameters=network.parameters())
        images = paddle.randn([self.batch, 3, self.image_size, self.image_size])
        labels = paddle.zeros([self.batch], "int64")

        def step():
            with paddle.amp.auto_cast(precision != "float32", dtype=precision if precision != "float32" else "float16"):
                loss = F.cross_entropy(network(images), labels)
            loss.backward()
            optimizer.step()
            optimizer.clear_grad()

        return self.seconds(step, repeats=1)[0]


def machine_lines(bench):
    import paddle

    cuda = paddle.version.cuda()
    yield f"system: {platform.platform()}, Python {platform.python_version()}, Paddle {paddle.__version__}, CUDA {cuda}"
    if bench.on_gpu:
        major, minor = paddle.device.cuda.get_device_capability()
        yield f"device: {paddle.device.cuda.get_device_name()}, compute capability {major}.{minor}"
    else:
        yield f"device: CPU with {processor.available_cores()} cores; nothing below was checked on a GPU"


def compiler_lines():
    from ops import compilers, nvrtc

    found = nvrtc.find()
    known = f" for sm_{', '.join(map(str, found.architectures()))}" if found else ""
    yield f"NVRTC: {f'{found.version}{known}' if found else f'none (pip install {nvrtc.package()})'}"
    try:
        yield f"nvcc: {re.search('release [0-9.]+', compilers.version([compilers.find_nvcc()]))[0]}"
    except compilers.BuildError as error:
        yield f"nvcc: none ({error})"


def report(bench):
    """The lines of the block; the last one says whether all was right."""
    yield from machine_lines(bench)
    yield from compiler_lines()
    try:
        bench.fused.set_mode("on")
    except bench.fused.FusedError as error:
        yield f"the fused operators cannot run here: {error}"
        return
    yield f"the fused operators are built, and a first step with them agrees with plain ones; batch {bench.batch}"
    calls = bench.calls()
    speed = bench.copy_speed()
    step = f"a training step of {NET} at {bench.image_size} pixels has {sum(calls.values())} calls of them"
    yield f"a copy moves {speed / 1e9:.1f} GB/s; {step}"
    wrong = 0
    for kind in bench.types:
        yield ""
        yield f"| {kind} | map | calls | error | forward ms | backward ms | share of copy |"
        yield "|---|---|---|---|---|---|---|"
        total = ideal = 0.0
        for call, count in calls.items():
            error = bench.error(call, kind)
            forward, backward = bench.times(call, kind)
            size = bench.batch * call.channels * call.height * call.width * (bench.paddle.ones([1], kind).element_size())
            least = sum(call.maps()) * size / speed
            total, ideal = total + count * (forward + backward), ideal + count * least
            fault = "" if error <= BOUNDS[kind] else f" WRONG, at most {BOUNDS[kind]:g}"
            wrong += bool(fault)
            shown = f"{call.text()} | {call.channels} x {call.height} x {call.width} | {count} | {error:.1e}{fault}"
            yield f"| {shown} | {1000 * forward:.3f} | {1000 * backward:.3f} | {least / (forward + backward):.0%} |"
        yield f"| all calls of a step | | {sum(calls.values())} | | {1000 * total:.1f} | | {ideal / total:.0%} |"
    yield ""
    for precision in ("float32", "bfloat16", "float16") if bench.on_gpu else ("float32",):
        try:
            fused, plain = bench.training("on", precision), bench.training("off", precision)
        except Exception as error:  # whatever Paddle raises for a precision that this card lacks
            yield f"training step, {precision}: failed with {type(error).__name__}: {str(error).strip().splitlines()[-1]}"
            continue
        yield (
            f"training step, {precision}: {1000 * fused:.1f} ms fused ({bench.batch / fused:.1f} images/s), "
            f"{1000 * plain:.1f} ms plain, {plain / fused:.2f} times as long"
        )
    yield f"{wrong} calls are WRONG" if wrong else "all calls agree with plain operators"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--batch", type=int, help="by default 32 on a GPU, 4 on a CPU")
    parser.add_argument("--image_size", type=int, help="by default 224 on a GPU, 96 on a CPU")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    processor.configure()
    import paddle

    from machine.device import select_device

    select_device(arguments.device)
    on_gpu = paddle.get_device().startswith("gpu")
    bench = Bench(arguments.batch or (32 if on_gpu else 4), arguments.image_size or (224 if on_gpu else 96))
    last = ""
    for last in report(bench):
        print(last, flush=True)
    sys.exit(not last.startswith("all calls agree"))


if __name__ == "__main__":
    main()
