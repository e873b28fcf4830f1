"""Checks the CUDA kernels of the block end on this machine's GPU against float64, then measures their speed.

    python benchmarks/cuda_block_end.py [--types bfloat16 float32] [--layouts nchw nhwc] [--compiler nvrtc] [--json FILE]

It is the form of gpu_check.py for cards that Paddle's packages have no code for, and prints such a block of text too. Needs a
GPU, PyTorch and, to build the kernels for the card, either nvcc or NVRTC with Paddle (any build of it). The kernels are called
through ctypes. It times every call of a training step of SA-ResNet50 at 224 x 224, and the ends of its blocks without batch
norm. Calls are captured in CUDA graphs, so that no time is lost between launches, and cycle through more memory than the L2
cache holds. "Share of copy" compares the bytes that must pass through memory in that time with what the fastest way to copy on
the device moves, measured in the same run; "faster" is the ratio to the time of PyTorch's own operators, on maps of the same
layout. cuda_training_step.py times whole training steps.
"""

import argparse
import collections
import itertools
import json
import math
import platform
import statistics
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import block_end_interface as interface
from benchmarks.block_end_interface import PARAMETERS, TYPES

STAGES = ((3, 64, 56), (4, 128, 28), (6, 256, 14), (3, 512, 7))  # blocks, channels within them, side of the feature maps
GROUPS = 64
LAYOUTS = ("nchw", "nhwc")
MOMENTUM, NORM_EPSILON, ATTENTION_EPSILON = 0.9, 1e-5, 1e-5
POISON = float("nan")

try:
    import torch
    import torch.nn.functional as F
except ImportError:
    torch = None


class Call(NamedTuple):
    """One kind of call: which steps it has, and its feature maps' channels and side."""

    channels: int
    side: int
    norm: bool
    attention: bool
    residual: bool
    relu: bool

    def maps(self):
        """Feature maps that (the forward, the backward pass) must read or write: x, residual -> out and x, dout, out -> dx,
        dresidual; batch norm's statistics need x twice, and its gradients x and d."""
        return 2 + self.norm + self.residual, 3 + 2 * self.residual + 2 * self.norm

    def text(self):
        steps = {"batch norm": self.norm, "attention": self.attention, "residual": self.residual, "ReLU": self.relu}
        return ", ".join(name for name, has in steps.items() if has)


def calls_of_step():
    """{Call: how often a training step of SA-ResNet50 at 224 x 224 has it}."""
    found = collections.Counter({Call(64, 112, True, False, False, True): 1})  # the stem's
    side_before = STAGES[0][2]
    for blocks, planes, side in STAGES:
        found[Call(planes, side_before, True, False, False, True)] += 1  # the second convolution has the stride
        found[Call(planes, side, True, False, False, True)] += 2 * blocks - 1
        found[Call(4 * planes, side, True, False, False, False)] += 1  # of the shortcut
        found[Call(4 * planes, side, True, True, True, True)] += blocks
        side_before = side
    return found


def ends_without_norm():
    return [Call(4 * planes, side, False, True, True, True) for _, planes, side in STAGES]


# ---- The same with PyTorch's operators


def pre_activation(x, residual, p, call):
    """(the input of ReLU [N, C, H, W], batch norm's new running statistics or None). Differentiable."""
    running = None
    if call.norm:
        running = p["running_mean"].clone(), p["running_variance"].clone()
        x = F.batch_norm(x, *running, p["norm_weight"], p["norm_bias"], True, 1 - MOMENTUM, NORM_EPSILON)
    if call.attention:
        x = shuffle_attention(x, p)
    return x if residual is None else x + residual, running


def shuffle_attention(x, p):
    images, channels, height, width = x.shape
    half = channels // (2 * GROUPS)

    def of_planes(name):
        return p[name].to(x.dtype).reshape(1, half, 1, 1)

    by_branch = x.reshape(images * GROUPS, 2 * half, height, width)
    x_channel, x_spatial = by_branch.chunk(2, dim=1)
    gate = of_planes("cweight") * x_channel.mean((2, 3), keepdim=True) + of_planes("cbias")
    normal = F.group_norm(x_spatial, half, p["gamma"].to(x.dtype), p["beta"].to(x.dtype), ATTENTION_EPSILON)
    y_spatial = x_spatial * torch.sigmoid(of_planes("sweight") * normal + of_planes("sbias"))
    y = torch.cat([x_channel * torch.sigmoid(gate), y_spatial], dim=1)
    return y.reshape(images, 2, channels // 2, height, width).transpose(1, 2).reshape(x.shape)


# ---- The kernels


def kernels(compiler, folder):
    """The library of the kernels for the first GPU. Raises SystemExit."""
    major, minor = torch.cuda.get_device_capability()
    if compiler == "nvcc":
        return interface.load(interface.build(folder, 10 * major + minor))
    return interface.kernels_of_nvrtc(10 * major + minor)


def names_of(call):
    return [*(interface.NORM if call.norm else ()), *(PARAMETERS if call.attention else ())]


class Case:
    """Tensors of one call. ``forward`` and ``backward`` call the kernels on them."""

    def __init__(self, library, seed, batch, call, dtype, layout="nchw", device="cuda"):
        self.library, self.kind, self.dtype, self.device = library, call, dtype, device
        channels, side = call.channels, call.side
        generator = torch.Generator(device).manual_seed(seed)

        def stored(tensor):
            """A feature map in the layout, which is a matter of PyTorch's memory format and not of its shape."""
            last = layout == "nhwc" and tensor.dim() == 4
            return tensor.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)

        def random(*shape, mean=0.3, of=dtype):
            return stored((torch.randn(*shape, generator=generator, device=device) + mean).to(getattr(torch, of)))

        def empty(*shape, of=dtype):
            return stored(torch.full(shape, POISON, dtype=getattr(torch, of), device=device))

        shape, half = (batch, channels, side, side), channels // (2 * GROUPS) if call.attention else 0
        self.shape = interface.shape_of(batch, channels, side * side, half, layout == "nhwc")
        self.x, self.dout = random(*shape), random(*shape)
        self.residual = random(*shape) if call.residual else None
        self.p = {name: random(half, of="float32") for name in PARAMETERS}
        self.p.update({name: random(channels, mean=1, of="float32") for name in ("norm_weight", "norm_bias")})
        self.p["running_mean"] = random(channels, of="float32")
        self.p["running_variance"] = random(channels, of="float32").abs() + 0.5
        self.before = {name: self.p[name].clone() for name in ("running_mean", "running_variance")}
        self.out, self.dx = empty(*shape), empty(*shape)
        self.dresidual = empty(*shape) if call.residual else None
        self.plane_stats, self.channel_stats = empty(batch, channels, 2, of="float32"), empty(channels, 2, of="float32")
        self.gradients = {name: empty(*self.p[name].shape, of="float32") for name in names_of(call)}
        self.workspace = empty(interface.workspace_floats(library, self.shape), of="float32")

    def call(self, name):
        tensors = {"x": self.x, "dout": self.dout, "dx": self.dx}
        tensors.update({f"d{name}": gradient for name, gradient in self.gradients.items()})
        tensors.update({name: self.p[name] for name in names_of(self.kind)})
        if self.kind.attention:
            tensors["plane_stats"] = self.plane_stats
        if self.kind.residual:
            tensors.update(residual=self.residual, dresidual=self.dresidual)
        if self.kind.residual or name == "forward":
            tensors["out"] = self.out
        if self.kind.norm:
            tensors.update({name: self.p[name] for name in self.before}, channel_stats=self.channel_stats)
        pointers = {name: tensor.data_ptr() for name, tensor in tensors.items()}
        options = (self.kind.relu, self.kind.norm, MOMENTUM, NORM_EPSILON, ATTENTION_EPSILON)
        stream = torch.cuda.current_stream().cuda_stream if self.device == "cuda" else None
        interface.call(self.library, name, self.dtype, self.shape, options, pointers, self.workspace.data_ptr(), stream)

    def forward(self):
        self.call("forward")

    def backward(self):
        self.call("backward")

    def poison(self):
        for tensor in (*self.written(), self.workspace, *self.gradients.values()):
            tensor.fill_(POISON)

    def written(self):
        """The feature maps that the kernels write."""
        return [self.out, self.dx, *([self.dresidual] if self.kind.residual else [])]

    def leaves(self, dtype):
        """x, residual and parameters by name as leaves of a new graph: parameters in float32, or float64 if that is dtype."""
        tensors = {"x": self.x.to(dtype)}
        if self.kind.residual:
            tensors["residual"] = self.residual.to(dtype)
        of_parameters = torch.float64 if dtype == torch.float64 else torch.float32
        tensors.update({name: self.p[name].to(of_parameters) for name in names_of(self.kind)})
        return {name: tensor.detach().clone().requires_grad_() for name, tensor in tensors.items()}

    def running(self, dtype):
        return {name: tensor.to(dtype) for name, tensor in self.before.items()}


# ---- Results


def relative_error(got, want):
    return ((got.double() - want).norm() / want.norm()).item()


def check(case):
    """Run the case once and compare all outputs with float64.

    Returns the largest relative error of feature maps, that of parameters' gradients, and what is wrong, in words, or "".

    Allowed for feature maps: 1e-5 in float32; in types of 16 bits, 1e-5 plus twice the error of rounding the exact result.
    Allowed for gradients of parameters, which are sums of many terms of both signs: 1e-4.
    """
    case.poison()
    case.forward()
    case.backward()
    leaves = case.leaves(torch.float64)
    before, running = pre_activation(leaves["x"], leaves.get("residual"), {**leaves, **case.running(torch.float64)}, case.kind)
    # float32 and float64 can differ in the sign of a number close to 0: the mask of ReLU is the kernel's
    masked, out = (before * (case.out > 0), before.relu()) if case.kind.relu else (before, before)
    wanted = dict(zip(leaves, torch.autograd.grad(masked, list(leaves.values()), case.dout.double())))
    maps = {"out": (case.out, out.detach()), "dx": (case.dx, wanted["x"])}
    if case.kind.residual:
        maps["dresidual"] = case.dresidual, wanted["residual"]
    parameters = {name: (case.gradients[name], wanted[name]) for name in case.gradients}
    if running:
        parameters.update(running_mean=(case.p["running_mean"], running[0]))
        parameters.update(running_variance=(case.p["running_variance"], running[1]))
    faults = []
    for name, (got, want) in {**maps, **parameters}.items():
        rounding = relative_error(want.to(got.dtype), want) if name in maps and case.dtype != "float32" else 0
        bound = 2 * rounding + (1e-5 if name in maps else 1e-4)
        error = relative_error(got, want)
        if not error <= bound:
            faults.append(f"{name} {error:.1e}, at most {bound:.1e}")
    errors = (max(relative_error(*pair) for pair in pairs.values()) for pairs in (maps, parameters))
    return (*errors, "; ".join(faults))


# ---- Speed


def milliseconds(calls, repeats=30):
    """The median time of one of ``calls``, which are captured into one CUDA graph and replayed."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            for call in calls:
                call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for call in calls:
            call()
    for _ in range(3):
        graph.replay()
    times = []
    for _ in range(repeats):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / len(calls))
    return statistics.median(times)


def copy_bandwidth():
    """Bytes a second, read and written, of the fastest copy on the device: by the driver, or by a kernel that adds 1."""
    source = torch.randn(2**28, device="cuda")
    target = torch.empty_like(source)
    ways = (lambda: target.copy_(source)), (lambda: torch.add(source, 1, out=target))
    return 2 * source.nbytes / (min(milliseconds([way]) for way in ways) / 1000)


def time_composite(case):
    """Milliseconds of (forward, backward) by PyTorch's operators, on fresh leaves of the case."""
    leaves = case.leaves(getattr(torch, case.dtype))
    parameters = {**leaves, **case.running(torch.float32)}

    def forward():
        before = pre_activation(leaves["x"], leaves.get("residual"), parameters, case.kind)[0]
        return before.relu() if case.kind.relu else before

    def both():
        torch.autograd.grad(forward(), list(leaves.values()), case.dout)

    alone = milliseconds([forward])
    return alone, milliseconds([both]) - alone


def measure(library, batch, call, dtype, layout, copy):
    first = Case(library, 0, batch, call, dtype, layout)
    errors = check(first)
    maps = first.x.nbytes
    l2 = torch.cuda.get_device_properties(0).L2_cache_size
    sets = max(2, math.ceil(4 * l2 / (3 * maps)))
    cases = [first, *(Case(library, seed, batch, call, dtype, layout) for seed in range(1, sets))]
    for case in cases:
        case.poison()
    forward = milliseconds([case.forward for case in cases])
    backward = milliseconds([case.backward for case in cases])
    written = all(tensor.isfinite().all() for case in cases for tensor in case.written())
    composite = time_composite(first)
    result = {**call._asdict(), "batch": batch, "layout": layout, "dtype": dtype}
    result.update(error_maps=errors[0], error_parameters=errors[1])
    result["fault"] = errors[2] if written else "an output was not written"
    for name, mine, torchs, count in zip(("forward", "backward"), (forward, backward), composite, call.maps()):
        share = count * maps / (mine / 1000) / copy
        result[name] = {"ms": mine, "torch_ms": torchs, "bytes": count * maps, "share_of_copy": share, "faster": torchs / mine}
    return result


def table(measured, copy):
    """Rows of one type and layout. ``measured``: [(call, how often a step has it, its result)]; 0: it has another."""
    yield "| call | maps | calls | forward ms | backward ms | share of copy | faster | error |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for call, count, result in measured:
        passes = result["forward"], result["backward"]
        times = " | ".join(f"{each['ms']:.4f}" for each in passes)
        shares = ", ".join(f"{each['share_of_copy']:.0%}" for each in passes)
        ratios = ", ".join(f"{each['faster']:.1f}" for each in passes)
        error = f"{result['error_maps']:.1e}" + (f" WRONG: {result['fault']}" if result["fault"] else "")
        maps = f"{call.channels} x {call.side} x {call.side}"
        yield f"| {call.text()} | {maps} | {count or '-'} | {times} | {shares} | {ratios} | {error} |"

    def total(name, figure):
        return sum(count * result[name][figure] for _, count, result in measured)

    shares, ratios = [], []
    for name in ("forward", "backward"):
        shares.append(f"{total(name, 'bytes') / copy / total(name, 'ms') * 1000:.0%}")
        ratios.append(f"{total(name, 'torch_ms') / total(name, 'ms'):.1f}")
    times = " | ".join(f"{total(name, 'ms'):.2f}" for name in ("forward", "backward"))
    calls = sum(count for _, count, _ in measured)
    yield f"| all calls of a step | | {calls} | {times} | {', '.join(shares)} | {', '.join(ratios)} | |"
    yield ""


def machine_lines(compiler):
    properties = torch.cuda.get_device_properties(0)
    cuda = f"PyTorch {torch.__version__}, CUDA {torch.version.cuda}"
    yield f"system: {platform.platform()}, Python {platform.python_version()}, {cuda}"
    capability = f"compute capability {properties.major}.{properties.minor}"
    yield f"device: {properties.name}, {capability}, {properties.total_memory / 2**30:.0f} GiB"
    yield f"kernels by {compiler}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--types", nargs="+", choices=TYPES, default=["bfloat16", "float16", "float32"])
    parser.add_argument("--layouts", nargs="+", choices=LAYOUTS, default=LAYOUTS)
    by_default = "nvcc" if interface.find_tool("nvcc") else "nvrtc"
    parser.add_argument("--compiler", choices=("nvcc", "nvrtc"), default=by_default)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    arguments = parser.parse_args()
    if torch is None:
        raise SystemExit("This benchmark needs PyTorch: pip install torch")
    if not torch.cuda.is_available():
        raise SystemExit("This benchmark needs an NVIDIA GPU, and PyTorch sees none.")
    torch.backends.cuda.matmul.allow_tf32 = False
    with tempfile.TemporaryDirectory() as folder:
        library = kernels(arguments.compiler, folder)
        copy = copy_bandwidth()
        print("\n".join(machine_lines(arguments.compiler)))
        print(
            f"a copy moves {copy / 1e9:.1f} GB/s; calls of a training step of SA-ResNet50, batch {arguments.batch}:\n",
            flush=True,
        )
        calls = [*calls_of_step().items(), *((call, 0) for call in ends_without_norm())]
        results = []
        for dtype, layout in itertools.product(arguments.types, arguments.layouts):
            measured = []
            for call, count in calls:
                measured.append((call, count, measure(library, arguments.batch, call, dtype, layout, copy)))
                torch.cuda.empty_cache()
            results += [result for _, _, result in measured]
            print(f"{dtype}, {layout}\n")
            print("\n".join(table(measured, copy)), flush=True)
    if arguments.json:
        report = {
            "device": torch.cuda.get_device_name(),
            "torch": torch.__version__,
            "compiler": arguments.compiler,
            "copy_bytes_per_second": copy,
            "results": results,
        }
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    wrong = sum(bool(result["fault"]) for result in results)
    print(f"{wrong} calls are WRONG" if wrong else "all calls agree with float64")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
