"""The CUDA kernels without a GPU: nvcc compiles them, and their source, run on CPU threads, agrees with NumPy in float64.

The same kernels on CPU threads, called by Paddle through the binding, agree with the CPU's own.

tests/cuda_emulation/ is what runs them. Speed, and what only a GPU does, is left to benchmarks/cuda_block_end.py.
"""

import ctypes
import hashlib
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest

from attention.shuffle_attention import ShuffleAttention
from benchmarks.block_end_interface import load
from machine.cache_folder import cache_root
from machine.private_folder import make_private
from ops import build, fused, nvrtc, self_test
from ops.batch_norm import BatchNorm2D

pytestmark = pytest.mark.version_independent
ROOT = Path(__file__).resolve().parent.parent
CAPI = ROOT / "ops" / "csrc" / "block_end_capi.cu"
EMULATION = ROOT / "tests" / "cuda_emulation" / "emulation.cc"
ARCHITECTURES = ("sm_80", "sm_90", "sm_100")
MOMENTUM, NORM_EPSILON, ATTENTION_EPSILON = 0.9, 1e-5, 1e-5
PARAMETERS = ("cweight", "cbias", "sweight", "sbias", "gamma", "beta")
NVCC = shutil.which("nvcc")
needs_nvcc = pytest.mark.skipif(NVCC is None, reason="nvcc, CUDA's compiler, is not installed")


# ---- The types of the feature maps


def to_bfloat16(values):
    """The nearest bfloat16, ties to even, as the uint16 that has its bits."""
    bits = np.asarray(values, np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_bfloat16(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


CODES = {"float32": 0, "float16": 1, "bfloat16": 2}
STORAGE = {"float32": np.float32, "float16": np.float16, "bfloat16": np.uint16}


def encode(values, dtype):
    return to_bfloat16(values) if dtype == "bfloat16" else np.asarray(values).astype(STORAGE[dtype])


def decode(values, dtype):
    return from_bfloat16(values) if dtype == "bfloat16" else values.astype(np.float64)


# ---- What the kernels should compute: block_end.h in float64, each step by itself


def sigmoid(t):
    return 1 / (1 + np.exp(-t))


def shuffle(maps):
    """Channel c to 2c if c < C/2, else to 2(c - C/2) + 1."""
    images, channels, plane = maps.shape
    return maps.reshape(images, 2, channels // 2, plane).transpose(0, 2, 1, 3).reshape(maps.shape)


def unshuffle(maps):
    images, channels, plane = maps.shape
    return maps.reshape(images, channels // 2, 2, plane).transpose(0, 2, 1, 3).reshape(maps.shape)


class Reference:
    """One case in float64. ``half`` 0: no attention. ``norm``: None, "batch" or "running"."""

    def __init__(self, half, norm, relu, x, residual, parameters):
        self.half, self.norm, self.relu, self.x, self.residual = half, norm, relu, x, residual
        self.p = {name: value.astype(np.float64) for name, value in parameters.items()}

    def forward(self):
        x, p = self.x, self.p
        images, channels, plane = x.shape
        self.z, self.mean, self.rstd = x, np.zeros(channels), np.ones(channels)
        if self.norm:
            count = images * plane
            if self.norm == "batch" and images:
                self.mean, variance = x.mean((0, 2)), x.var((0, 2))
                unbiased = variance * count / max(count - 1, 1)
                self.running_mean = MOMENTUM * p["running_mean"] + (1 - MOMENTUM) * self.mean
                self.running_variance = MOMENTUM * p["running_variance"] + (1 - MOMENTUM) * unbiased
            else:
                self.mean, variance = self.running_mean, self.running_variance = p["running_mean"], p["running_variance"]
            self.rstd = 1 / np.sqrt(variance + NORM_EPSILON)
            self.xhat = (x - self.mean[:, None]) * self.rstd[:, None]
            self.z = p["norm_weight"][:, None] * self.xhat + p["norm_bias"][:, None]
        y = self.z * self.gates() if self.half else self.z
        out = shuffle(y) if self.half else y
        if self.residual is not None:
            out = out + self.residual
        self.out = np.maximum(out, 0) if self.relu else out
        self.plane_stats = np.stack([x.mean(2), x.var(2)], -1)
        self.channel_stats = np.stack([self.mean, self.rstd], -1)
        return self.out

    def gates(self):
        p, z = self.p, self.z
        images, channels, plane = z.shape
        by_branch = z.reshape(images, channels // (2 * self.half), 2, self.half, plane)
        self.z_channel, self.z_spatial = by_branch[:, :, 0], by_branch[:, :, 1]
        self.mean_z = self.z_channel.mean(-1, keepdims=True)
        self.g_channel = sigmoid(p["cweight"][:, None] * self.mean_z + p["cbias"][:, None])
        mean, variance = self.z_spatial.mean(-1, keepdims=True), self.z_spatial.var(-1, keepdims=True)
        self.rs = 1 / np.sqrt(variance + ATTENTION_EPSILON)
        self.zhat = (self.z_spatial - mean) * self.rs
        normal = p["gamma"][:, None] * self.zhat + p["beta"][:, None]
        self.g_spatial = sigmoid(p["sweight"][:, None] * normal + p["sbias"][:, None])
        gates = np.stack([np.broadcast_to(self.g_channel, self.z_channel.shape), self.g_spatial], 2)
        return gates.reshape(z.shape)

    def backward(self, dout, passed):
        """Gradients by name, after forward(). ``passed``: where ReLU let the output pass.

        self.sizes: how large the terms of a gradient are together, which may nearly cancel: those of dx where planes or
        batches are tiny, those of a parameter's anywhere.
        """
        d = np.where(passed, dout, 0) if self.relu else dout
        gradients, self.sizes = {"dresidual": d}, {}
        dz = self.attention_backward(unshuffle(d), gradients) if self.half else d
        dx, scale = dz, dz
        if self.norm:
            gradients["dnorm_weight"] = self.total("dnorm_weight", dz * self.xhat, (0, 2))
            gradients["dnorm_bias"] = self.total("dnorm_bias", dz, (0, 2))
            dx = scale = dz * (self.p["norm_weight"] * self.rstd)[:, None]
            if self.norm == "batch" and self.x.shape[0]:
                mean, projection = dx.mean((0, 2)), (dx * self.xhat).mean((0, 2))
                dx = dx - mean[:, None] - self.xhat * projection[:, None]
        gradients["dx"], self.sizes["dx"] = dx, scale
        return gradients

    def total(self, name, terms, axes):
        self.sizes[name] = np.abs(terms).sum(axes)
        return terms.sum(axes)

    def attention_backward(self, d, gradients):
        p, shape = self.p, self.z_channel.shape
        by_branch = d.reshape(shape[0], shape[1], 2, self.half, shape[-1])
        d_channel, d_spatial = by_branch[:, :, 0], by_branch[:, :, 1]

        g, db = self.g_channel, (d_channel * self.z_channel).sum(-1, keepdims=True)
        db = db * g * (1 - g)
        dz_channel = d_channel * g + db * p["cweight"][:, None] / shape[-1]
        u_channel = d_channel * self.z_channel * g * (1 - g)
        g = self.g_spatial
        u = d_spatial * self.z_spatial * g * (1 - g)
        normal = p["gamma"][:, None] * self.zhat + p["beta"][:, None]
        dnormal = u * p["sweight"][:, None]
        terms = {"cweight": u_channel * self.mean_z, "cbias": u_channel, "sweight": u * normal, "sbias": u}
        terms.update(gamma=dnormal * self.zhat, beta=dnormal)
        for name, values in terms.items():
            gradients[f"d{name}"] = self.total(f"d{name}", values, (0, 1, 3))
        dzhat = dnormal * p["gamma"][:, None]
        centered = dzhat - dzhat.mean(-1, keepdims=True) - self.zhat * (dzhat * self.zhat).mean(-1, keepdims=True)
        dz_spatial = d_spatial * g + self.rs * centered
        return np.stack([dz_channel, dz_spatial], 2).reshape(d.shape)


# ---- The kernels on CPU threads


def cached(name, command, tmp_path_factory):
    """A path, kept from one run of the tests to the next, for what ``command`` makes of the sources as they are now."""
    version = subprocess.run([command[0], "--version"], capture_output=True, check=True).stdout
    digest = hashlib.sha256(repr(command).encode() + version)
    for source in sorted([*CAPI.parent.iterdir(), *EMULATION.parent.iterdir()]):
        digest.update(source.name.encode() + source.read_bytes())
    try:
        folder = cache_root() / "tests" / digest.hexdigest()[:20]
        make_private(folder)
        return folder / name
    except OSError:
        return tmp_path_factory.mktemp("compiled") / name


@pytest.fixture(autouse=True)
def fused_where_possible():
    """Whatever mode other tests have left."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused, "_mode", "auto")
        yield


@pytest.fixture(scope="module", autouse=True)
def compilation(tmp_path_factory):
    """nvcc at work beside the tests: (its process, or None if it is done; the library). Without nvcc None."""
    if NVCC is None:
        yield None
        return
    known = subprocess.run([NVCC, "--list-gpu-code"], capture_output=True, text=True, check=True).stdout.split()
    chosen = [name for name in ARCHITECTURES if name in known]
    assert chosen
    # The kernels ask for nothing newer than the oldest, so its intermediate code serves all: half the time
    target = f"-gencode=arch=compute_80,code=[{','.join(chosen)}]"
    recipe = build.CudaKernels("sm_80")
    command = recipe.link_command(Path("unfinished"), [str(CAPI)])
    command = [target if word == "-arch=sm_80" else word for word in command[:-2]]  # without -o and its file
    command += ["-Xcompiler", "-Wall,-Wextra", "--threads", "2"]
    built = cached(recipe.name, command, tmp_path_factory)
    if built.exists():
        yield None, built
        return
    command += ["-o", str(tmp_path_factory.mktemp("nvcc") / "kernels.so")]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, start_new_session=True, **pipes) as process:
        yield process, built
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # with the compilers that it started


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """The C interface of the kernels, built to run on CPU threads."""
    compiler = shutil.which("g++")
    if not sys.platform.startswith("linux") or compiler is None or NVCC is None:
        pytest.skip("the emulation needs Linux, g++ and the headers that come with nvcc")
    dry_run = subprocess.run([NVCC, "--dryrun", "-c", "x.cu"], capture_output=True, text=True, check=False)
    includes = re.findall(r'-I"?([^"\s]+/include)"?', dry_run.stdout + dry_run.stderr)
    compile_it = ["-std=c++20", "-O1", "-fPIC", "-fsanitize=alignment", "-Wall", "-Wextra", "-Wno-unknown-pragmas"]
    compile_it += [part for include in includes for part in ("-isystem", include)]
    compile_it = [compiler, *compile_it, "-c", str(EMULATION)]
    target = cached("emulation.so", compile_it, tmp_path_factory)
    if not target.exists():
        unfinished, objects = target.with_name(f"{os.getpid()}.so"), target.with_name(f"{os.getpid()}.o")
        for command in ([*compile_it, "-o", objects], [compiler, "-shared", objects, "-o", unfinished]):
            built = subprocess.run(command, capture_output=True, text=True, check=False)
            assert built.returncode == 0, built.stderr[-4000:]
        objects.unlink()
        os.replace(unfinished, target)
    return load(target)


def aligned(values, offset=0):
    """A copy of ``values`` that starts ``offset`` bytes after a multiple of 16."""
    memory = np.zeros(values.nbytes + 32, np.uint8)
    start = -memory.ctypes.data % 16 + offset
    copy = memory[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
    copy[...] = values
    return copy


def poisoned(shape, dtype, offset=0):
    """An array of NaN, so that what is never written, or read before, shows."""
    nan = 0x7FC0 if dtype == np.uint16 else np.nan  # bfloat16's bits
    return aligned(np.full(shape, nan, dtype), offset)


def address(array):
    return None if array is None else array.ctypes.data


class Kernels:
    """One case run through the C interface. ``offset``: bytes by which the feature maps miss 16-byte alignment.

    Feature maps come and go as [images, channels, plane]; with ``channels_last`` the kernels have them as [images, plane,
    channels].
    """

    def __init__(self, library, dtype, half, norm, relu, x, residual, parameters, offset=0, channels_last=False):
        self.library, self.dtype, self.offset = library, dtype, offset
        self.half, self.norm, self.relu = half, norm, relu
        self.order = (0, 2, 1) if channels_last else (0, 1, 2)
        self.shape = (ctypes.c_int64 * 5)(*x.shape, half, channels_last)
        self.values = (ctypes.c_double * 3)(MOMENTUM, NORM_EPSILON, ATTENTION_EPSILON)
        self.x = self.map_of(x)
        self.residual = None if residual is None else self.map_of(residual)
        self.p = {name: value.copy() for name, value in parameters.items()}

    def map_of(self, values):
        return aligned(values.transpose(self.order), self.offset)

    def in_order(self, results):
        maps = ("out", "dx", "dresidual")
        return {name: value.transpose(self.order) if name in maps else value for name, value in results.items()}

    def call(self, name, pointers, workspace):
        floats = getattr(self.library, f"block_end_{name}_workspace")(self.shape)
        workspace = poisoned(floats, np.float32)
        array = (ctypes.c_void_p * len(pointers))(*(address(pointer) for pointer in pointers))
        error = getattr(self.library, f"block_end_{name}")(
            CODES[self.dtype], self.shape, int(self.relu), int(self.norm == "batch"), self.values, array,
            ctypes.c_void_p(address(workspace)), None,
        )  # fmt: skip
        assert error == 0, self.library.block_end_error(error)

    def norm_parameters(self, *names):
        return [self.p[name] if self.norm else None for name in names]

    def attention_parameters(self):
        return [self.p[name] if self.half else None for name in PARAMETERS]

    def forward(self):
        """{name: array as the kernels wrote it}."""
        images, channels = self.shape[:2]
        self.out = poisoned(self.x.shape, self.x.dtype, self.offset)
        self.plane_stats = poisoned((images, channels, 2), np.float32) if self.half else None
        self.channel_stats = poisoned((channels, 2), np.float32) if self.norm else None
        pointers = [self.x, self.residual]
        pointers += self.norm_parameters("norm_weight", "norm_bias", "running_mean", "running_variance")
        pointers += [*self.attention_parameters(), self.out, self.plane_stats, self.channel_stats]
        self.call("forward", pointers, "forward")
        results = {"out": self.out}
        if self.half:
            results["plane_stats"] = self.plane_stats
        if self.norm:
            results["channel_stats"] = self.channel_stats
            results.update({name: self.p[name] for name in ("running_mean", "running_variance")})
        return self.in_order(results)

    def backward(self, dout):
        """{name: gradient as the kernels wrote it}, after forward()."""
        results = {"dx": poisoned(self.x.shape, self.x.dtype, self.offset)}
        if self.residual is not None:
            results["dresidual"] = poisoned(self.x.shape, self.x.dtype, self.offset)
        names = [*(("norm_weight", "norm_bias") if self.norm else ()), *(PARAMETERS if self.half else ())]
        results.update({f"d{name}": poisoned(self.p[name].shape, np.float32) for name in names})
        by_out = self.relu and self.residual is not None
        pointers = [self.x, self.out if by_out else None, self.map_of(dout)]
        pointers += [*self.norm_parameters("norm_weight", "norm_bias"), *self.attention_parameters()]
        pointers += [self.plane_stats, self.channel_stats]
        order = ["dx", "dresidual", "dnorm_weight", "dnorm_bias", *(f"d{name}" for name in PARAMETERS)]
        self.call("backward", [*pointers, *(results.get(name) for name in order)], "backward")
        return self.in_order(results)


def draw(seed, shape, half, dtype, residual):
    """Random x, residual (or None), dout of the type, and float32 parameters."""
    rng = np.random.default_rng(seed)
    x, added, dout = (encode(rng.normal(0.3, 1.0, shape), dtype) for _ in range(3))
    channels = shape[1]
    parameters = {name: rng.normal(0, 1, half).astype(np.float32) for name in PARAMETERS}
    parameters.update({name: rng.normal(0.5, 1, channels).astype(np.float32) for name in ("norm_weight", "norm_bias")})
    parameters["running_mean"] = rng.normal(0, 1, channels).astype(np.float32)
    parameters["running_variance"] = rng.uniform(0.5, 2, channels).astype(np.float32)
    return x, added if residual else None, dout, parameters


def error_and_bound(got, want, dtype, size):
    """‖got - want‖ and what it may be: in float32 1e-5 of the result, and 1e-6 of the size of the terms it is the sum of; in
    a type of 16 bits twice what rounding the exact result costs besides."""
    bound = 1e-5 * np.linalg.norm(want) + 1e-6 * np.linalg.norm(size)
    if dtype != "float32":
        bound += 2 * np.linalg.norm(decode(encode(want, dtype), dtype) - want)
    return np.linalg.norm(got - want), bound + 1e-30


def check(library, dtype, shape, half, norm, relu, residual, offset=0, channels_last=False):
    """Forward and backward pass of one case against the reference. Returns {name: relative error}."""
    case = (dtype, shape, half, norm, relu, residual, offset, channels_last)
    x, added, dout, parameters = draw(sum(shape) + half, shape, half, dtype, residual)
    kernels = Kernels(library, dtype, half, norm, relu, x, added, parameters, offset, channels_last)
    exact = [decode(array, dtype) if array is not None else None for array in (x, added)]
    reference = Reference(half, norm, relu, *exact, parameters)
    reference.forward()
    forward, gradients = kernels.forward(), kernels.backward(dout)
    passed = decode(forward["out"], dtype) > 0 if residual else reference.out > 0
    wanted = reference.backward(decode(dout, dtype), passed)
    errors = {}
    for name, value in {**forward, **gradients}.items():
        of_maps = name in ("out", "dx", "dresidual")
        got = decode(value, dtype) if of_maps else value.astype(np.float64)
        want = wanted[name] if name in wanted else getattr(reference, name)
        error, bound = error_and_bound(got, want, dtype if of_maps else "float32", reference.sizes.get(name, 0))
        assert error <= bound, (name, case, error, bound)
        errors[name] = error / max(np.linalg.norm(want), 1e-30)
    return errors


# ---- The tests


def test_the_reference_has_the_derivatives_of_what_it_computes():
    shape, half, step = (2, 4, 3), 1, 1e-6
    x, residual, weights, parameters = draw(0, shape, half, "float32", residual=True)
    x, residual, weights = (array.astype(np.float64) for array in (x, residual, weights))
    parameters = {name: value.astype(np.float64) for name, value in parameters.items()}

    def loss(norm, x, parameters):
        return (Reference(half, norm, True, x, residual, parameters).forward() * weights).sum()

    for norm in (None, "batch", "running"):
        reference = Reference(half, norm, True, x, residual, parameters)
        gradients = reference.backward(weights, reference.forward() > 0)
        for name in ["x", *PARAMETERS, *(("norm_weight", "norm_bias") if norm else ())]:
            values = {**parameters, "x": x}[name]
            numeric = np.zeros(values.size)
            for i in range(values.size):
                at = []
                for sign in (1, -1):
                    moved = {**parameters, "x": x}
                    moved[name] = values.copy()
                    moved[name].flat[i] += sign * step
                    at.append(loss(norm, moved.pop("x"), moved))
                numeric[i] = (at[0] - at[1]) / (2 * step)
            np.testing.assert_allclose(gradients[f"d{name}"].ravel(), numeric, atol=1e-7, err_msg=f"{name}, {norm}")


layouts = pytest.mark.parametrize("channels_last", [False, True], ids=["nchw", "nhwc"])


@layouts
@pytest.mark.parametrize("dtype", list(CODES))
def test_every_combination_of_what_may_be_absent(library, dtype, channels_last):
    for half, norm, residual, relu in itertools.product((0, 2), (None, "batch", "running"), (False, True), (False, True)):
        check(library, dtype, (3, 8, 64), half, norm, relu, residual, channels_last=channels_last)
        check(library, dtype, (1, 20 if half == 2 else 5, 49), half, norm, relu, residual, channels_last=channels_last)


# Every layout of the kernels and its edges: planes that fill registers wholly, in part and not at all, loads of 16 bytes, 8
# bytes and one element
@pytest.mark.parametrize("dtype", list(CODES))
@pytest.mark.parametrize("plane", [1, 7, 50, 57, 196, 225, 784, 1800])
def test_planes_of_every_kind(library, dtype, plane):
    for norm in (None, "batch"):
        check(library, dtype, (2, 4, plane), 1, norm, relu=True, residual=True)
        check(library, dtype, (1, 6, plane), 3, norm, relu=True, residual=False)


@pytest.mark.parametrize("dtype", list(CODES))
def test_planes_that_registers_hardly_hold_or_do_not(library, dtype):
    for plane, norm in ((3136, "batch"), (4104, "batch"), (4100, None), (1795, "running")):
        check(library, dtype, (1, 2, plane), 1, norm, relu=True, residual=True)
    check(library, dtype, (2, 2, 4104), 1, "batch", relu=True, residual=False)
    check(library, dtype, (2, 1, 4104), 0, None, relu=True, residual=False)


# In NHWC: one and several chunks of a plane, the last one whole and not; one and several blocks of channels, the last one whole
# and not; several channels a thread and one; blocks narrower than a warp
@pytest.mark.parametrize("dtype", list(CODES))
@pytest.mark.parametrize(("channels", "half"), [(2, 1), (4, 1), (6, 1), (8, 2), (32, 4), (66, 11), (144, 3), (260, 0), (7, 0)])
def test_columns_of_every_kind(library, dtype, channels, half):
    for plane, norm, residual in ((1, "batch", True), (49, "running", False), (129, "batch", False), (300, "batch", True)):
        check(library, dtype, (2, channels, plane), half, norm, relu=True, residual=residual, channels_last=True)
    check(library, dtype, (1, channels, 2 * 128 * 16), half, "batch", relu=True, residual=True, channels_last=True)


@layouts
@pytest.mark.parametrize("dtype", list(CODES))
def test_pointers_without_alignment(library, dtype, channels_last):
    size = STORAGE[dtype]().itemsize
    for offset in (size, 8):
        check(library, dtype, (2, 4, 784), 2, "batch", True, True, offset=offset, channels_last=channels_last)
        check(library, dtype, (2, 4, 784), 0, "batch", True, False, offset=offset, channels_last=channels_last)


@layouts
def test_groups_channels_and_images_in_plenty(library, channels_last):
    for shape, half in (((5, 48, 9), 4), ((2, 70, 4), 35), ((1, 2, 16), 1), ((40, 2, 4), 1)):
        check(library, "float32", shape, half, "batch", relu=True, residual=True, channels_last=channels_last)
        check(library, "float32", shape, half, None, relu=True, residual=True, channels_last=channels_last)


@layouts
def test_a_batch_without_images_gives_zero_gradients_and_keeps_the_running_statistics(library, channels_last):
    for half, norm in itertools.product((0, 2), (None, "batch", "running")):
        errors = check(library, "float32", (0, 8, 49), half, norm, relu=True, residual=True, channels_last=channels_last)
        assert set(errors.values()) <= {0.0} or max(errors.values()) < 1e-6


@layouts
@pytest.mark.parametrize("plane", [49, 400])
def test_a_mean_far_from_zero_costs_no_digits(library, plane, channels_last):
    # x's mean is 100 times its deviation: E[x^2] - E[x]^2 would leave three digits
    x, residual, dout, parameters = draw(7, (4, 8, plane), 2, "float32", residual=True)
    x = x + np.float32(100)
    for norm in (None, "batch"):
        reference = Reference(2, norm, True, x.astype(np.float64), residual.astype(np.float64), parameters)
        reference.forward()
        kernels = Kernels(library, "float32", 2, norm, True, x, residual, parameters, channels_last=channels_last)
        out = kernels.forward()["out"]
        assert np.linalg.norm(out - reference.out) <= 1e-5 * np.linalg.norm(reference.out)
        gradients = kernels.backward(dout)
        wanted = reference.backward(dout.astype(np.float64), out > 0)
        for name in ("dx", "dgamma", "dsweight", *(("dnorm_weight",) if norm else ())):
            assert np.linalg.norm(gradients[name] - wanted[name]) <= 1e-4 * np.linalg.norm(wanted[name]), name


@layouts
def test_large_gates_and_infinite_sigmoids(library, channels_last):
    x, residual, dout, parameters = draw(3, (2, 8, 49), 2, "float32", residual=True)
    for name in ("sweight", "cweight", "sbias"):
        parameters[name] *= 300
    kernels = Kernels(library, "float32", 2, None, True, x, residual, parameters, channels_last=channels_last)
    reference = Reference(2, None, True, x.astype(np.float64), residual.astype(np.float64), parameters)
    with np.errstate(over="ignore"):
        reference.forward()
    out = kernels.forward()["out"]
    assert np.linalg.norm(out - reference.out) <= 1e-4 * np.linalg.norm(reference.out)
    assert all(np.isfinite(gradient).all() for gradient in kernels.backward(dout).values())


@layouts
def test_not_a_number_is_not_hidden_by_relu(library, channels_last):
    x, residual, _, parameters = draw(5, (1, 4, 49), 1, "float32", residual=True)
    residual[0, 1, 3] = np.nan
    kernels = Kernels(library, "float32", 1, None, True, x, residual, parameters, channels_last=channels_last)
    out = kernels.forward()["out"]
    assert np.argwhere(np.isnan(out)).tolist() == [[0, 1, 3]]


@layouts
@pytest.mark.parametrize("plane", [49, 64, 784, 3136, 4104])
def test_the_same_bits_whatever_the_order_of_threads_and_blocks(library, plane, channels_last):
    runs = []
    for reverse in (0, 0, 1):
        library.emulation_reverse(reverse)
        try:
            x, residual, dout, parameters = draw(1, (2, 4, plane), 1, "bfloat16", residual=True)
            kernels = Kernels(library, "bfloat16", 1, "batch", True, x, residual, parameters, 0, channels_last)
            runs.append({**kernels.forward(), **kernels.backward(dout)})
        finally:
            library.emulation_reverse(0)
    for run in runs[1:]:
        assert all(run[name].tobytes() == runs[0][name].tobytes() for name in runs[0])


def test_a_shape_that_cannot_be_is_refused(library):
    shape = (ctypes.c_int64 * 5)(2, 6, 4, 2, 0)  # 6 channels are not a multiple of 4
    values, pointers = (ctypes.c_double * 3)(), (ctypes.c_void_p * 24)()
    assert library.block_end_forward(0, shape, 1, 0, values, pointers, None, None) != 0
    assert library.block_end_backward(3, shape, 1, 0, values, pointers, None, None) != 0
    assert library.block_end_error(0) == b"no error"


@needs_nvcc
def test_nvcc_builds_the_kernels_for_gpus_of_three_generations_and_they_load_without_cuda(compilation):
    process, built = compilation
    if process is not None:
        errors = process.communicate()[1]
        assert process.returncode == 0, errors[-4000:]
        assert not re.search("block_end.*warning", errors), errors[-4000:]
        os.replace(process.args[-1], built)
    needed = subprocess.run(["readelf", "--dynamic", built], capture_output=True, text=True, check=True).stdout
    assert "libcudart" not in needed, "the CUDA runtime is linked into it"
    assert load(built).block_end_error(35).startswith(b"CUDA driver version is insufficient")


# ---- Through Paddle


@pytest.fixture(scope="module")
def operators():
    """The library of the operators, loaded."""
    if shutil.which("g++") is None:
        pytest.skip("no g++ to build with")
    assert fused._obstacle(on_gpu=False) is None
    return fused._load_operators()


@pytest.fixture
def used(operators):
    """A function that lets Paddle's tensors in the host's memory use the kernels that it gets."""
    yield lambda kernels: fused.use_kernels(operators, kernels, on_cpu=True)
    fused.use_kernels(operators, None)


def step_of(inputs, norm, attention, residual, channels_last=False):
    """The output of the operator and the gradients of its inputs, as float32, and the running statistics that it leaves.

    Feature maps are [N, C, H, W] outside of the operator.
    """
    x, added, *parameters = inputs
    for tensor in inputs:
        tensor.stop_gradient = False
    absent = paddle.empty([0])
    running = [paddle.zeros([8]), paddle.ones([8])] if norm else [absent] * 2
    chosen = [*(parameters[:2] if norm else [absent] * 2), *running, *(parameters[2:] if attention else [absent] * 6)]
    half = 2 if attention else 0
    maps = [x, added] if residual else [x]
    if channels_last:
        maps = [each.transpose([0, 2, 3, 1]).contiguous() for each in maps]  # [N, C, H, W] -> [N, H, W, C]
    if residual:
        out = fused.run("block_end", *maps, *chosen, half, norm == "batch", 0.9, 1e-5, channels_last)
    else:
        out = fused.run("block_norm", *maps, *chosen, half, True, norm == "batch", 0.9, 1e-5, channels_last)
    if channels_last:
        out = out.transpose([0, 3, 1, 2])  # [N, H, W, C] -> [N, C, H, W]
    weights = paddle.to_tensor(np.cos(np.arange(out.size, dtype=np.float32)).reshape(out.shape))
    asked = [x, *([added] if residual else []), *(parameters[:2] if norm else []), *(parameters[2:] if attention else [])]
    gradients = paddle.grad((out.astype("float32") * weights).sum(), asked)
    return [tensor.astype("float32").numpy() for tensor in (out.detach(), *gradients, *(running if norm else []))]


@layouts
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize(
    ("norm", "attention", "residual"),
    [("batch", True, True), ("running", True, True), (None, True, True), ("batch", True, False), ("batch", False, True),
     ("batch", False, False), ("running", False, False), (None, True, False)],
)  # fmt: skip
def test_paddle_passes_the_kernels_what_they_expect(operators, library, dtype, norm, attention, residual, channels_last):
    draw_from = np.random.default_rng(7)
    shape = (3, 8, 5, 7)
    shapes = [shape, shape, [8], [8], *[[1, 2, 1, 1]] * 4, [2], [2]]
    inputs = [paddle.to_tensor(draw_from.standard_normal(size).astype(np.float32)) for size in shapes]
    cast = [value.astype(dtype) for value in inputs[:2]]
    expected = step_of([*[value.astype("float32") for value in cast], *inputs[2:]], norm, attention, residual)
    if norm == "batch":  # a GPU puts the unbiased variance into the running one, as cuDNN does
        values = 3 * 5 * 7
        expected[-1] = 0.9 + (expected[-1] - 0.9) * values / (values - 1)
    fused.use_kernels(operators, library, on_cpu=True)
    try:
        found = step_of([*cast, *inputs[2:]], norm, attention, residual, channels_last)
    finally:
        fused.use_kernels(operators, None)
    rounding = {"float32": 2e-5, "float16": 2e-3, "bfloat16": 2e-2}[dtype]
    for value, wanted in zip(found, expected):
        np.testing.assert_allclose(value, wanted, rtol=0, atol=rounding * max(1, np.abs(wanted).max()))


@layouts
def test_the_layers_of_a_block_use_the_kernels(library, used, monkeypatch, channels_last):
    draw_from, data_format = np.random.default_rng(3), "NHWC" if channels_last else "NCHW"
    x, added = (draw_from.standard_normal((3, 5, 7, 8) if channels_last else (3, 8, 5, 7)) for _ in range(2))
    norm, attention = BatchNorm2D(8, data_format=data_format), ShuffleAttention(8, groups=2, data_format=data_format)
    for parameter in (*norm.parameters(), *attention.parameters()):
        if not parameter.stop_gradient:
            parameter.set_value(draw_from.standard_normal(parameter.shape).astype(np.float32))
    called, run = [], fused.run
    monkeypatch.setattr(fused, "_obstacle_in_nhwc", lambda on_gpu: None)  # whose first call runs a step of its own
    monkeypatch.setattr(fused, "run", lambda name, *arguments: called.append(name) or run(name, *arguments))
    results = []
    for kernels in (None, library):
        used(kernels)
        monkeypatch.setattr(fused, "_mode", "off" if kernels is None else "on")
        maps = [paddle.to_tensor(value.astype(np.float32), stop_gradient=False) for value in (x, added)]
        out = attention.end_block(norm(maps[0], relu=True), norm, norm(maps[1], residual=maps[0]))
        results.append([out, *paddle.grad((out * maps[1].detach()).sum(), [*maps, attention.sweight])])
    assert called == ["block_norm", "block_end", "block_end"]
    for found, wanted in zip(*results):
        np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=0, atol=1e-4 * np.abs(wanted.numpy()).max())


def test_nhwc_is_refused_on_a_cpu(operators):
    x, weight = paddle.ones([1, 3, 3, 2]), paddle.ones([2])
    with pytest.raises(OSError, match="no kernel for this device and layout"):
        fused.run("block_norm", x, *[weight] * 4, *[paddle.empty([0])] * 6, 0, True, False, 0.9, 1e-5, True)


FAILING = """
extern "C" {{
long long block_end_forward_workspace(const long long *) {{ return 4096; }}
long long block_end_backward_workspace(const long long *) {{ return 4096; }}
const char *block_end_error(int) {{ return "CUDA driver version is insufficient for CUDA runtime version"; }}
int block_end_forward(int, const long long *, int, int, const double *, void **, float *, void *) {{ return {forward}; }}
int block_end_backward(int, const long long *, int, int, const double *, void **, float *, void *) {{ return {backward}; }}
}}
"""


@layouts
@pytest.mark.parametrize(
    ("forward", "backward", "said"),
    [
        (35, 0, "CUDA driver version is insufficient for CUDA runtime version"),
        (0, 35, "CUDA driver version is insufficient for CUDA runtime version"),
        (0, 0, "other values than the plain operators"),
    ],
)
def test_kernels_that_fail_or_err_are_found_before_a_training_uses_them(tmp_path, used, forward, backward, said, channels_last):
    source, built = tmp_path / "failing.cc", tmp_path / "failing.so"
    source.write_text(FAILING.format(forward=forward, backward=backward))
    subprocess.run(["g++", "-shared", "-fPIC", source, "-o", built], check=True)
    used(load(built))
    fault = self_test.fault(fused.run, channels_last)
    assert fault.startswith("a first step with them")
    assert said in fault


def test_a_gpu_whose_kernels_cannot_be_built_leaves_those_of_the_cpu(operators, tmp_path, monkeypatch, capsys):
    nvcc = tmp_path / "nvcc"
    nvcc.write_text(
        '#!/bin/sh\n[ $1 = --version ] && echo release 13 && exit 0\necho "unsupported gpu architecture" >&2; exit 1\n'
    )
    nvcc.chmod(0o755)
    monkeypatch.setattr(nvrtc, "find", lambda architecture: None)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(paddle.device.cuda, "get_device_capability", lambda: (12, 0))
    fused._obstacle.cache_clear()
    try:
        assert "unsupported gpu architecture" in fused._obstacle(on_gpu=True)
        assert "for GPUs (sm_120)" in capsys.readouterr().err
        assert fused.usable(paddle.ones([1, 2, 3, 3]))
    finally:
        fused._obstacle.cache_clear()
