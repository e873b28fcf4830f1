"""Checks the CUDA kernels of the block end on this machine's GPU against float64, then measures their speed.

    python benchmarks/cuda_block_end.py [--types bfloat16 float32] [--layouts nchw nhwc] [--compiler nvrtc] [--json FILE]

It is the form of gpu_check.py for cards that Paddle's packages have no code for, and prints such a block of text too. Needs a
GPU, PyTorch and, to build the kernels for the card, either nvcc or NVRTC with Paddle (any build of it). The kernels are called
through ctypes. It times the end of a block of SA-ResNet50 at its four sizes: Shuffle Attention, the residual and ReLU, with and
without batch norm before them. Calls are captured in CUDA graphs, so that no time is lost between launches, and cycle through
more memory than the L2 cache holds. "Share of copy" compares the bytes that must pass through memory in that time with the
bytes that a plain copy on the device moves, measured in the same run; "faster" is the ratio to the time of PyTorch's own
operators, on maps of the same layout.
"""

import argparse
import itertools
import json
import math
import platform
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import block_end_interface as interface
from benchmarks.block_end_interface import PARAMETERS, TYPES

SHAPES = ((256, 56), (512, 28), (1024, 14), (2048, 7))  # channels and side of the four stages
GROUPS = 64
LAYOUTS = ("nchw", "nhwc")
MOMENTUM, NORM_EPSILON, ATTENTION_EPSILON = 0.9, 1e-5, 1e-5
# Feature maps read or written: x, residual -> out and x, dout, out -> dx, dresidual; batch norm's statistics need x twice, and
# its gradients x and d
MAPS = {False: (3, 5), True: (4, 7)}
POISON = float("nan")

try:
    import torch
    import torch.nn.functional as F
except ImportError:
    torch = None


# ---- The same with PyTorch's operators


def pre_activation(x, residual, p, norm):
    """(the input of ReLU [N, C, H, W], batch norm's new running statistics or None). Differentiable."""
    images, channels, height, width = x.shape
    running = None
    if norm:
        running = p["running_mean"].clone(), p["running_variance"].clone()
        x = F.batch_norm(x, *running, p["norm_weight"], p["norm_bias"], True, 1 - MOMENTUM, NORM_EPSILON)
    half = channels // (2 * GROUPS)

    def of_planes(name):
        return p[name].to(x.dtype).reshape(1, half, 1, 1)

    by_branch = x.reshape(images * GROUPS, 2 * half, height, width)
    x_channel, x_spatial = by_branch.chunk(2, dim=1)
    gate = of_planes("cweight") * x_channel.mean((2, 3), keepdim=True) + of_planes("cbias")
    normal = F.group_norm(x_spatial, half, p["gamma"].to(x.dtype), p["beta"].to(x.dtype), ATTENTION_EPSILON)
    y_spatial = x_spatial * torch.sigmoid(of_planes("sweight") * normal + of_planes("sbias"))
    y = torch.cat([x_channel * torch.sigmoid(gate), y_spatial], dim=1)
    y = y.reshape(images, 2, channels // 2, height, width).transpose(1, 2).reshape(x.shape)
    return y + residual, running


# ---- The kernels


def kernels(compiler, folder):
    """The library of the kernels for the first GPU. Raises SystemExit."""
    major, minor = torch.cuda.get_device_capability()
    if compiler == "nvcc":
        return interface.load(interface.build(folder, 10 * major + minor))
    return interface.kernels_of_nvrtc(10 * major + minor)


def names_of(norm):
    return [*(interface.NORM if norm else ()), *PARAMETERS]


class Case:
    """Tensors of one case. ``forward`` and ``backward`` call the kernels on them."""

    def __init__(self, library, seed, batch, channels, side, dtype, norm, layout="nchw", device="cuda"):
        self.library, self.norm, self.dtype, self.device = library, norm, dtype, device
        generator = torch.Generator(device).manual_seed(seed)

        def stored(tensor):
            """A feature map in the layout, which is a matter of PyTorch's memory format and not of its shape."""
            last = layout == "nhwc" and tensor.dim() == 4
            return tensor.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)

        def random(*shape, mean=0.3, of=dtype):
            return stored((torch.randn(*shape, generator=generator, device=device) + mean).to(getattr(torch, of)))

        def empty(*shape, of=dtype):
            return stored(torch.full(shape, POISON, dtype=getattr(torch, of), device=device))

        shape, half = (batch, channels, side, side), channels // (2 * GROUPS)
        self.shape = interface.shape_of(batch, channels, side * side, half, layout == "nhwc")
        self.x, self.residual, self.dout = random(*shape), random(*shape), random(*shape)
        self.p = {name: random(half, of="float32") for name in PARAMETERS}
        self.p.update({name: random(channels, mean=1, of="float32") for name in ("norm_weight", "norm_bias")})
        self.p["running_mean"] = random(channels, of="float32")
        self.p["running_variance"] = random(channels, of="float32").abs() + 0.5
        self.before = {name: self.p[name].clone() for name in ("running_mean", "running_variance")}
        self.out, self.dx, self.dresidual = empty(*shape), empty(*shape), empty(*shape)
        self.plane_stats, self.channel_stats = empty(batch, channels, 2, of="float32"), empty(channels, 2, of="float32")
        self.gradients = {name: empty(*self.p[name].shape, of="float32") for name in names_of(norm)}
        self.workspace = empty(interface.workspace_floats(library, self.shape), of="float32")

    def call(self, name):
        tensors = {"x": self.x, "residual": self.residual, "dout": self.dout, "out": self.out, "plane_stats": self.plane_stats}
        tensors.update(dx=self.dx, dresidual=self.dresidual, **{name: self.p[name] for name in PARAMETERS})
        tensors.update({f"d{name}": gradient for name, gradient in self.gradients.items()})
        if self.norm:
            tensors.update(self.p, channel_stats=self.channel_stats)
        pointers = {name: tensor.data_ptr() for name, tensor in tensors.items()}
        options = (True, self.norm, MOMENTUM, NORM_EPSILON, ATTENTION_EPSILON)
        stream = torch.cuda.current_stream().cuda_stream if self.device == "cuda" else None
        interface.call(self.library, name, self.dtype, self.shape, options, pointers, self.workspace.data_ptr(), stream)

    def forward(self):
        self.call("forward")

    def backward(self):
        self.call("backward")

    def poison(self):
        for tensor in (self.out, self.dx, self.dresidual, self.workspace, *self.gradients.values()):
            tensor.fill_(POISON)

    def leaves(self, dtype):
        """x, residual and parameters by name as leaves of a new graph: parameters in float32, or float64 if that is dtype."""
        tensors = {"x": self.x.to(dtype), "residual": self.residual.to(dtype)}
        of_parameters = torch.float64 if dtype == torch.float64 else torch.float32
        tensors.update({name: self.p[name].to(of_parameters) for name in names_of(self.norm)})
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
    before, running = pre_activation(leaves["x"], leaves["residual"], {**leaves, **case.running(torch.float64)}, case.norm)
    # float32 and float64 can differ in the sign of a number close to 0: the mask of ReLU is the kernel's
    wanted = torch.autograd.grad(before * (case.out > 0), list(leaves.values()), case.dout.double())
    wanted = dict(zip(leaves, wanted))
    maps = {"out": (case.out, before.detach().relu())}
    maps["dx"], maps["dresidual"] = (case.dx, wanted["x"]), (case.dresidual, wanted["residual"])
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
    """Bytes a second, read and written, of a copy on the device."""
    source = torch.randn(2**28, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.nbytes / (milliseconds([lambda: target.copy_(source)]) / 1000)


def time_composite(case):
    """Milliseconds of (forward, backward) by PyTorch's operators, on fresh leaves of the case."""
    leaves = case.leaves(getattr(torch, case.dtype))
    parameters = {**leaves, **case.running(torch.float32)}

    def forward():
        return pre_activation(leaves["x"], leaves["residual"], parameters, case.norm)[0].relu()

    def both():
        torch.autograd.grad(forward(), list(leaves.values()), case.dout)

    alone = milliseconds([forward])
    return alone, milliseconds([both]) - alone


def measure(library, batch, channels, side, dtype, norm, layout, copy):
    first = Case(library, 0, batch, channels, side, dtype, norm, layout)
    errors = check(first)
    maps = first.x.nbytes
    l2 = torch.cuda.get_device_properties(0).L2_cache_size
    sets = max(2, math.ceil(4 * l2 / (3 * maps)))
    cases = [first, *(Case(library, seed, batch, channels, side, dtype, norm, layout) for seed in range(1, sets))]
    for case in cases:
        case.poison()
    forward = milliseconds([case.forward for case in cases])
    backward = milliseconds([case.backward for case in cases])
    written = all(tensor.isfinite().all() for case in cases for tensor in (case.out, case.dx, case.dresidual))
    composite = time_composite(first)
    result = {"norm": norm, "layout": layout, "shape": [batch, channels, side, side], "dtype": dtype}
    result.update(error_maps=errors[0], error_parameters=errors[1])
    result["fault"] = errors[2] if written else "an output was not written"
    for name, mine, torchs, count in zip(("forward", "backward"), (forward, backward), composite, MAPS[norm]):
        share = count * maps / (mine / 1000) / copy
        result[name] = {"ms": mine, "bytes": count * maps, "share_of_copy": share, "faster": torchs / mine}
    return result


def table(results, norm):
    yield f"{'Batch norm, ' if norm else ''}Shuffle Attention, residual, ReLU" + "\n"
    yield "| shape | type | layout | forward ms | backward ms | MB forward, backward | share of copy | faster | error |"
    yield "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for result in (each for each in results if each["norm"] == norm):
        passes = result["forward"], result["backward"]
        shape = " × ".join(map(str, result["shape"]))
        times = " | ".join(f"{each['ms']:.4f}" for each in passes)
        sizes = ", ".join(f"{each['bytes'] / 1e6:.0f}" for each in passes)
        shares = ", ".join(f"{each['share_of_copy']:.0%}" for each in passes)
        ratios = ", ".join(f"{each['faster']:.1f}" for each in passes)
        error = f"{result['error_maps']:.1e}" + (f" WRONG: {result['fault']}" if result["fault"] else "")
        yield f"| {shape} | {result['dtype']} | {result['layout']} | {times} | {sizes} | {shares} | {ratios} | {error} |"
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
        print(f"a copy moves {copy / 1e9:.1f} GB/s; ends of the blocks of SA-ResNet50, batch {arguments.batch}:\n", flush=True)
        results = []
        for norm in (False, True):
            for (channels, side), dtype, layout in itertools.product(SHAPES, arguments.types, arguments.layouts):
                results.append(measure(library, arguments.batch, channels, side, dtype, norm, layout, copy))
                torch.cuda.empty_cache()
            print("\n".join(table(results, norm)), flush=True)
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
