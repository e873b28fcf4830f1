"""What the fused operators do on this machine, with a GPU or without, as one block of text to paste into an issue.

    python benchmarks/gpu_check.py [--batch N] [--image_size S] [--device auto|gpu|cpu]
    python benchmarks/gpu_check.py --torch [options of benchmarks/cuda_block_end.py]

It names the machine and its compilers, builds the operators, compares every call of a training step of SA-ResNet50 with plain
operators in each type and layout, times each call against a copy of the same bytes, and times whole training steps with fused
and with plain operators. Where something fails, it says so and goes on. Without a GPU it does on the CPU what it can, and says
what is left out.

With --torch, PyTorch takes the place of Paddle, for cards that Paddle's packages have no code for: the same kernels, called
through the C interface, compared with float64 and timed.
"""

import argparse
import platform
import re
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from machine import processor

BOUNDS = {"float64": 1e-10, "float32": 1e-4, "float16": 5e-3, "bfloat16": 4e-2}
"""Largest relative error of an output or gradient against plain operators, which compute in float32 or float64."""
WITH_TORCH = 'make GPU_CHECK="--torch" gpu-check'
AGREE = "all calls agree with plain operators"


def machine_lines(bench):
    import paddle  # here and below: after processor.configure

    cuda = paddle.version.cuda()
    yield f"system: {platform.platform()}, Python {platform.python_version()}, Paddle {paddle.__version__}, CUDA {cuda}"
    if bench.on_gpu:
        major, minor = paddle.device.cuda.get_device_capability()
        memory = paddle.device.cuda.get_device_properties().total_memory / 2**30
        yield f"device: {paddle.device.cuda.get_device_name()}, compute capability {major}.{minor}, {memory:.0f} GiB"
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


def call_lines(bench, calls, kind, layout, speed):
    """The table of all calls for a type of feature map, and, last, how many of them are wrong."""
    from paddle import ones

    yield f"| {kind}, {layout} | map | calls | error | forward ms | backward ms | share of copy |"
    yield "|---|---|---|---|---|---|---|"
    total = ideal = wrong = 0
    for call, count in calls.items():
        error = bench.error(call, kind)
        forward, backward = bench.times(call, kind)
        size = bench.batch * call.channels * call.height * call.width * ones([1], kind).element_size()
        least = sum(call.maps()) * size / speed
        total, ideal = total + count * (forward + backward), ideal + count * least
        fault = "" if error <= BOUNDS[kind] else f" WRONG, at most {BOUNDS[kind]:g}"
        wrong += bool(fault)
        shown = f"{call.text()} | {call.channels} x {call.height} x {call.width} | {count} | {error:.1e}{fault}"
        yield f"| {shown} | {1000 * forward:.3f} | {1000 * backward:.3f} | {least / (forward + backward):.0%} |"
    yield f"| all calls of a step | | {sum(calls.values())} | | {1000 * total:.1f} | | {ideal / total:.0%} |"
    yield wrong


def step_lines(bench):
    """How far one training step with fused operators is from one with plain operators, in float32, by layout.

    No verdict: rounding changes the sign of values close to zero before ReLU, which let a gradient pass or not.
    """
    for layout in bench.layouts:
        try:
            loss, gradient = bench.step_errors(layout)
        except Exception as error:  # whatever Paddle raises: the rest goes on
            yield f"one training step, {layout}: failed: {said_by(error)}"
            continue
        differ = f"the loss of fused and plain operators differs by {loss:.1e}, the gradient by {gradient:.1e}"
        yield f"one training step, {layout}: {differ}"


def training_lines(bench):
    """The table of whole training steps; a step that fails takes a line too."""
    yield "| training step | layout | fused ms | images/s | plain ms | images/s | plain / fused |"
    yield "|---|---|---|---|---|---|---|"
    for precision in bench.precisions:
        for layout in bench.layouts:
            try:
                fused, plain = (bench.training(mode, precision, layout) for mode in ("on", "off"))
            except Exception as error:  # whatever Paddle raises for a precision that this card lacks
                yield f"| {precision} | {layout} | failed: {said_by(error)} | | | | |"
                continue
            times = " | ".join(f"{1000 * seconds:.1f} | {bench.batch / seconds:.1f}" for seconds in (fused, plain))
            yield f"| {precision} | {layout} | {times} | {plain / fused:.2f} |"


def said_by(error):
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[-1]}"


def report(bench):
    """The lines of the block; the last one says whether all was right."""
    from ops import fused

    yield from machine_lines(bench)
    yield from compiler_lines()
    started = time.perf_counter()
    try:
        fused.set_mode("on")
    except fused.FusedError as error:
        yield f"the fused operators cannot run here: {error}"
        return
    took = f"in {time.perf_counter() - started:.1f} s, or found in the cache"
    yield f"the fused operators are built {took}, and a first step with them agrees with plain ones; batch {bench.batch}"
    speed = bench.copy_speed()
    yield f"a copy moves {speed / 1e9:.1f} GB/s; calls of a training step of {bench.name} at {bench.image_size} pixels:"
    wrong = 0
    for layout in bench.layouts:
        yield ""
        try:
            calls = bench.calls(layout)
        except fused.FusedError as error:
            yield f"{layout}: {error}"
            continue
        for kind in bench.types:
            *lines, faults = call_lines(bench, calls, kind, layout, speed)
            wrong += faults
            yield from lines
            yield ""
    yield from step_lines(bench)
    yield ""
    yield from training_lines(bench)
    yield ""
    if not bench.on_gpu:
        yield "checked here: the operators for the CPU. Not checked, for want of a GPU that Paddle can use: the CUDA kernels,"
        yield f"16-bit feature maps, mixed precision, NHWC. For a GPU that Paddle has no code for: {WITH_TORCH}"
    yield f"{wrong} calls are WRONG" if wrong else AGREE


def main():
    if "--torch" in sys.argv[1:]:
        from benchmarks import cuda_block_end  # here: with --help and with Paddle PyTorch is not needed

        sys.argv.remove("--torch")
        sys.exit(cuda_block_end.main())
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--batch", type=int, help="by default 32 on a GPU, 4 on a CPU")
    parser.add_argument("--image_size", type=int, help="by default 224 on a GPU, 96 on a CPU")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--torch", action="store_true", help="with PyTorch in place of Paddle; takes other options")
    arguments = parser.parse_args()
    processor.configure()
    import paddle

    from benchmarks.fused_bench import Bench
    from machine.device import select_device

    select_device(arguments.device)
    on_gpu = paddle.get_device().startswith("gpu")
    bench = Bench(arguments.batch or (32 if on_gpu else 4), arguments.image_size or (224 if on_gpu else 96))
    last = ""
    for last in report(bench):
        print(last, flush=True)
    sys.exit(last != AGREE)


if __name__ == "__main__":
    main()
