"""The CUDA kernels of NVRTC's, launched through CUDA's driver, without a GPU.

A stand-in for the driver (cuda_emulation/libcuda.cc) tells of each launch; run on CPU threads, what was launched gives the
right values.
"""
# ruff: noqa: F811, fixtures come from another file, and tests name them

import ctypes
import functools
import itertools
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
from test_cuda_kernels import (
    CODES,
    STORAGE,
    aligned,
    layouts,
    library,  # noqa: F401, a fixture
    operators,  # noqa: F401, a fixture
    poisoned,
    step_of,
)
from test_cuda_kernels import check as check_with
from test_nvrtc import COMPILER, functions_of, needs_nvrtc

from benchmarks.block_end_interface import kernels_of_nvrtc
from ops import build, cuda_kernels, fused, nvrtc
from ops.build import BuildError

pytestmark = [
    pytest.mark.version_independent,
    pytest.mark.skipif(not sys.platform.startswith("linux") or shutil.which("g++") is None, reason="needs Linux and g++"),
]
STAND_IN = Path(__file__).resolve().parent / "cuda_emulation" / "libcuda.cc"


# ---- What a launch gets: block_end_tasks.h


def structure(*fields):
    """A ctypes.Structure of (names, type) pairs: "a b" are two fields."""
    named = [(name, kind) for names, kind in fields for name in names.split()]
    return type("Task", (ctypes.Structure,), {"_fields_": named})


POINTER, INT64, INT, FLOAT, BOOL = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int, ctypes.c_float, ctypes.c_bool
OF_ATTENTION = "cweight cbias sweight sbias gamma beta"
GEOMETRY = (("first_image", INT64), ("channels plane half chunk width", INT), ("backwards", BOOL))


class Geometry(ctypes.Structure):
    _fields_ = [(name, kind) for names, kind in GEOMETRY for name in names.split()]


TASKS = {
    "forward": structure(
        (f"x residual norm_weight norm_bias running_mean running_variance {OF_ATTENTION}", POINTER),
        ("out plane_stats channel_stats", POINTER),
        ("geometry", Geometry), ("norm_epsilon attention_epsilon", FLOAT), ("measure apply relu running", BOOL),
    ),
    "backward": structure(
        (f"x out dout norm_weight norm_bias {OF_ATTENTION} plane_stats channel_stats", POINTER),
        ("dx dresidual dnorm_weight dnorm_bias", POINTER),
        (" ".join(f"d{name}" for name in OF_ATTENTION.split()), POINTER), ("sums", POINTER), ("geometry", Geometry),
        ("attention_epsilon per_element per_value", FLOAT), ("reduce differentiate by_out by_sign through_statistics", BOOL),
    ),
    "channel": structure(
        ("plane_stats running_mean running_variance channel_stats", POINTER), ("images plane", INT64), ("channels", INT),
        ("momentum rest epsilon", FLOAT),
    ),
    "parameter": structure(
        ("sums plane_stats channel_stats norm_weight norm_bias dnorm_weight dnorm_bias channel_sums", POINTER),
        ("images", INT64), ("channels half", INT),
    ),
    "attention": structure(
        ("channel_sums", POINTER), (OF_ATTENTION, POINTER), (" ".join(f"d{name}" for name in OF_ATTENTION.split()), POINTER),
        ("channels half", INT),
    ),
    "join": structure(("of_chunks joined", POINTER), ("planes", INT64), ("channels plane chunk", INT), ("statistics", BOOL)),
}  # fmt: skip


def content(kernel, task):
    """(kernel, {field: value}) of a task in memory; ``kernel``: forward, backward, channel(s), parameter(s)."""
    kernel = kernel.rstrip("s")
    values = TASKS[kernel].from_address(task)
    fields = {name: getattr(values, name) for name, _ in values._fields_}
    if "geometry" in fields:
        fields.update({name: getattr(values.geometry, name) for name, _ in Geometry._fields_})
        del fields["geometry"]
    return kernel, fields


# ---- Stand-ins


class Compiler:
    """Stands for NVRTC: its machine code is the text of its options."""

    version = "12.6"

    def __init__(self, architecture=None):
        self.compiled = []

    def knows(self, architecture):
        return architecture == 86

    def compile(self, source, options, architecture):
        assert source.name == "block_end_cubin.cu"
        chosen = dict(option[len("-DBLOCK_END_") :].split("=") for option in options if option.startswith("-D"))
        self.compiled.append((architecture, *chosen.values()))
        return " ".join(self.compiled[-1][1:]).encode() + b"\0"


class Driver:
    """The stand-in for the driver. ``launches``: (kernel, machine code, sizes, stream, content of the task) of each."""

    OBSERVER = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_uint), ctypes.c_void_p, ctypes.c_void_p
    )

    def __init__(self, path):
        self.path, self.library, self.launches, self.emulation = str(path), ctypes.CDLL(str(path)), [], None
        self._observer = self.OBSERVER(self._observe)
        self.library.stand_in_observe(self._observer)

    def _observe(self, kernel, code, sizes, stream, task):
        kernel, code = kernel.decode(), code.decode()
        self.launches.append((kernel, code, tuple(sizes[:7]), stream, content(kernel, task)[1]))
        if self.emulation is None:
            return 0
        type_, *layout = code.split() or ["", 0, 0, 0]
        dtype = cuda_kernels.TYPES.index(type_) if type_ else -1
        x, y, _, threads = sizes[:4]
        layout = (ctypes.c_int * 3)(*map(int, layout))
        return self.emulation.emulation_run(kernel.encode(), dtype, layout, x, y, threads, ctypes.c_void_p(task))


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory):
    path = tmp_path_factory.mktemp("driver") / "libcuda.so.1"
    subprocess.run(["g++", "-std=c++17", "-shared", "-fPIC", str(STAND_IN), "-o", path], check=True)
    return path


@pytest.fixture
def driver(stand_in):
    return Driver(stand_in)


@pytest.fixture(scope="module")
def launcher():
    """The library that launches, as users have it in their cache."""
    return build.built(build.CudaLauncher())


@pytest.fixture
def opened(driver, launcher, tmp_path, monkeypatch):
    """A function that opens kernels that a stand-in compiles, into an empty cache, and a stand-in launches."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(cuda_kernels, "_said", set())
    build_it = build.built
    monkeypatch.setattr(build, "built", lambda library: launcher if library.name == launcher.name else build_it(library))

    def open_them(compiler, path=driver.path):
        kernels = cuda_kernels.KernelsOfNvrtc(compiler, path)
        for name in ("forward", "backward"):
            kernels.library[f"block_end_{name}_workspace"].restype = ctypes.c_int64
            kernels.library[f"block_end_{name}"].restype = ctypes.c_int
        return kernels

    yield open_them
    assert driver.library.stand_in_left() == 0, "the context of before is current again"


@pytest.fixture
def kernels(opened):
    return opened(Compiler())


# ---- Launches


OBSERVED = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_uint, ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p)


def planes(size):
    """What ``prepare`` wants to know of NCHW feature maps with planes of ``size`` values."""
    return 1, size, 0, False


def calls(dtype, shape, half, norm, relu, residual, stream=None, channels_last=False):
    """Both passes through the functions of block_end_capi.h, on the same memory for every library."""
    size, channels = STORAGE[dtype], shape[1]
    maps = {name: aligned(np.ones(shape, size)) for name in ("x", "residual", "out", "dout", "dx", "dresidual")}
    of_channels = [aligned(np.ones(channels, np.float32)) for _ in range(6)]
    of_attention = [aligned(np.ones(max(half, 1), np.float32)) for _ in range(12)]
    plane_stats, channel_stats = poisoned((*shape[:2], 2), np.float32), poisoned((channels, 2), np.float32)
    workspace = poisoned(4 * shape[0] * channels * (2 + shape[2] // 128) + 2 * channels, np.float32)
    parameters = of_attention[:6] if half else [None] * 6
    gradients = of_attention[6:] if half else [None] * 6
    norms = of_channels if norm else [None] * 6
    added = maps["residual"] if residual else None
    stats = [plane_stats if half else None, channel_stats if norm else None]
    forward = [maps["x"], added, *norms[:4], *parameters, maps["out"], *stats]
    backward = [maps["x"], maps["out"] if residual else None, maps["dout"], *norms[:2], *parameters, *stats]
    backward += [maps["dx"], maps["dresidual"] if residual else None, *norms[4:], *gradients]

    def call(library, name, pointers):
        array = (ctypes.c_void_p * len(pointers))(*(p if p is None else p.ctypes.data for p in pointers))
        numbers, sizes = (ctypes.c_double * 3)(0.9, 1e-5, 1e-4), (ctypes.c_int64 * 5)(*shape, half, channels_last)
        return getattr(library, f"block_end_{name}")(
            CODES[dtype], sizes, int(relu), int(norm == "batch"), numbers, array,
            ctypes.c_void_p(workspace.ctypes.data), ctypes.c_void_p(stream),
        )  # fmt: skip

    def run(library):
        assert call(library, "forward", forward) == 0
        assert call(library, "backward", backward) == 0

    return run


@layouts
@pytest.mark.parametrize("dtype", list(CODES))
@pytest.mark.parametrize("plane", [49, 196, 784, 3136, 4104])
def test_the_driver_gets_the_launches_of_the_runtime(library, driver, kernels, dtype, plane, channels_last):
    for half, norm, residual in itertools.product((0, 2), (None, "batch", "running"), (False, True)):
        run = calls(dtype, (2, 8, plane), half, norm, True, residual, 0x5EED, channels_last)
        by_runtime = []

        def observe(kernel, x, y, threads, task, told=by_runtime):
            told.append((kernel.decode().lstrip("(").split("_kernel")[0], (x, y, 1, threads, 1, 1, 0), task))
            told[-1] = (*told[-1][:2], content(told[-1][0], task)[1])

        observer = OBSERVED(observe)
        library.emulation_observe(observer)
        try:
            run(library)
        finally:
            library.emulation_observe(ctypes.cast(None, OBSERVED))
        driver.launches.clear()
        run(kernels.library)
        found = [(kernel.rstrip("s"), sizes, task) for kernel, _, sizes, _, task in driver.launches]
        assert found == by_runtime
        assert {stream for _, _, _, stream, _ in driver.launches} == {0x5EED}


def test_a_launch_beyond_the_limit_of_a_grid_is_made_in_parts(driver, kernels):
    shape, values = (ctypes.c_int64 * 5)(65535 + 7, 24, 196, 0, 0), (ctypes.c_double * 3)(0.9, 1e-5, 1e-5)
    maps = [0x1000, 0x2000, *[None] * 10, 0x3000, None, None]  # x, residual and out; the stand-in reads none of them
    pointers = (ctypes.c_void_p * len(maps))(*maps)
    assert kernels.library.block_end_forward(2, shape, 1, 0, values, pointers, None, None) == 0
    # 14 * 14 values in fours, eight threads a plane, sixteen planes a block of 128 threads
    parts = [(kernel, code, sizes) for kernel, code, sizes, _, _ in driver.launches]
    assert parts == [("forward", "__nv_bfloat16 4 8 7", (2, images, 1, 128, 1, 1, 0)) for images in (65535, 7)]
    assert [task["first_image"] for *_, task in driver.launches] == [0, 65535]
    first = driver.launches[0][-1]
    assert (first["x"], first["residual"], first["out"]) == (0x1000, 0x2000, 0x3000)
    assert (first["channels"], first["plane"], first["half"]) == (24, 196, 0)
    assert (first["measure"], first["apply"], first["relu"], first["running"]) == (False, True, True, False)


@layouts
@pytest.mark.parametrize("dtype", list(CODES))
def test_what_the_driver_was_told_to_launch_computes_the_right_values(library, driver, kernels, dtype, channels_last):
    driver.emulation = library
    check = functools.partial(check_with, channels_last=channels_last)
    for norm, residual in (("batch", True), ("running", False), (None, True)):
        check(kernels.library, dtype, (2, 8, 49), 2, norm, True, residual)
    check(kernels.library, dtype, (3, 4, 784), 0, "batch", True, True)
    check(kernels.library, dtype, (2, 4, 784), 1, "batch", True, True, offset=STORAGE[dtype]().itemsize)
    check(kernels.library, dtype, (1, 2, 4104), 1, "batch", True, True)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_paddle_s_tensors_reach_them_through_the_driver(operators, library, driver, kernels, dtype):
    driver.emulation = library
    shapes = [(3, 8, 5, 7), (3, 8, 5, 7), [8], [8], *[[1, 2, 1, 1]] * 4, [2], [2]]
    draw_from = np.random.default_rng(7)
    inputs = [paddle.to_tensor(draw_from.standard_normal(size).astype(np.float32)) for size in shapes]
    maps = [value.astype(dtype) for value in inputs[:2]]
    expected = step_of([*[value.astype("float32") for value in maps], *inputs[2:]], "running", True, True)
    fused.use_kernels(operators, kernels.library, on_cpu=True)
    try:
        found = step_of([*maps, *inputs[2:]], "running", True, True)
    finally:
        fused.use_kernels(operators, None)
    assert [launch[0] for launch in driver.launches] == ["forward", "backward", "parameters", "attention"]
    rounding = {"float32": 2e-5, "bfloat16": 2e-2}[dtype]
    for value, wanted in zip(found, expected):
        np.testing.assert_allclose(value, wanted, rtol=0, atol=rounding * max(1, np.abs(wanted).max()))


def test_the_benchmark_uses_them_too(opened, driver, monkeypatch):
    monkeypatch.setattr(nvrtc, "find", Compiler)
    monkeypatch.setattr(cuda_kernels, "DRIVER", driver.path)
    calls("float16", (2, 8, 49), 2, "batch", True, True)(kernels_of_nvrtc())
    passes = ["forward", "channels", "forward", "backward", "parameters", "backward", "attention"]
    assert [kernel for kernel, *_ in driver.launches] == passes


# ---- What is compiled, and when


def test_a_size_is_compiled_once_for_the_very_card(driver, opened, capsys):
    compiler = Compiler()
    kernels = opened(compiler)
    before = driver.library.stand_in_loads()
    for _ in range(2):
        assert [kernels.prepare(2, *planes(side * side)) for side in (56, 28, 14, 7)] == [None] * 4
    sets = ["__nv_bfloat16 8 128 4", "__nv_bfloat16 8 32 4", "__nv_bfloat16 4 8 7", "__nv_bfloat16 1 8 7"]
    wanted = [(86, *text.split()) for text in sets]
    assert compiler.compiled == [wanted[0], (86,), *wanted[1:]], "and those without a layout, once"
    assert driver.library.stand_in_loads() - before == 5
    said = capsys.readouterr().err.splitlines()
    assert said == ["NVRTC 12.6 compiles the fused operators for GPUs (sm_86), each size of feature map once ..."]
    calls("bfloat16", (2, 8, 196), 2, "batch", True, True)(kernels.library)
    assert len(compiler.compiled) == 5, "a training step finds all that it needs"

    another = Compiler()  # a later process
    assert opened(another).prepare(2, *planes(49)) is None
    assert another.compiled == []
    newer = Compiler()
    newer.version = "12.9"
    assert opened(newer).prepare(2, *planes(49)) is None
    assert len(newer.compiled) == 2


def test_what_was_not_foreseen_is_compiled_when_a_launch_needs_it(driver, opened):
    compiler = Compiler()
    kernels = opened(compiler)
    assert kernels.prepare(0, *planes(784)) is None
    x = aligned(np.zeros((1, 2, 784), np.float32), offset=4)
    pointers = (ctypes.c_void_p * 15)(x.ctypes.data, *[None] * 11, x.ctypes.data, None, None)
    shape, values = (ctypes.c_int64 * 5)(*x.shape, 0, 0), (ctypes.c_double * 3)(0.9, 1e-5, 1e-5)
    assert kernels.library.block_end_forward(0, shape, 1, 0, values, pointers, None, None) == 0
    assert compiler.compiled[2:] == [(86, "float", "1", "256", "7")]
    assert driver.launches[0][1] == "float 1 256 7"


@needs_nvrtc
def test_what_nvrtc_compiles_reaches_the_driver(opened, driver):
    kernels = opened(COMPILER)
    assert kernels.prepare(0, *planes(49)) is None
    assert kernels._image.startswith(b"\x7fELF")
    assert functions_of(kernels._image) == {"channels", "parameters", "attention", "join"}, "the last of two"


# ---- What can go wrong


class Failing(Compiler):
    def compile(self, source, options, architecture):
        raise BuildError("NVRTC 12.6 failed: no luck", "the whole log")


def test_a_failure_to_compile_is_said_in_one_line_and_launches_nothing(driver, opened, tmp_path):
    kernels = opened(Failing())
    reason = kernels.prepare(0, *planes(49))
    assert reason.startswith("NVRTC 12.6 failed: no luck (all of it: ")
    assert "\n" not in reason
    assert Path(reason.split("(all of it: ")[1].rstrip(")")).read_text() == "the whole log\n"
    x = aligned(np.zeros((1, 2, 49), np.float32))
    pointers = (ctypes.c_void_p * 15)(x.ctypes.data, *[None] * 11, x.ctypes.data, None, None)
    shape, values = (ctypes.c_int64 * 5)(*x.shape, 0, 0), (ctypes.c_double * 3)(0.9, 1e-5, 1e-5)
    error = kernels.library.block_end_forward(0, shape, 1, 0, values, pointers, None, None)
    assert kernels.library.block_end_error(error) == b"the kernels for this size of feature map were not built"
    assert driver.launches == []


def test_ctrl_c_while_it_compiles_reaches_the_main_thread(driver, opened, monkeypatch):
    class Interrupted(Compiler):
        def compile(self, source, options, architecture):
            raise KeyboardInterrupt

    handed_on = []
    monkeypatch.setattr(cuda_kernels._thread, "interrupt_main", lambda: handed_on.append(True))
    assert opened(Interrupted()).prepare(0, *planes(49)) == "interrupted"
    assert handed_on


def test_a_driver_that_refuses_the_machine_code_is_quoted(driver, kernels):
    driver.library.stand_in_fail(209)
    try:
        assert kernels.prepare(0, *planes(49)) == "CUDA error: no kernel image is available for execution on the device"
    finally:
        driver.library.stand_in_fail(0)
    assert kernels.prepare(0, *planes(49)) is None


def test_without_a_driver_or_with_one_that_lacks_a_function(opened, tmp_path):
    with pytest.raises(BuildError, match=r"the CUDA driver cannot be used: .*no_driver.so"):
        opened(Compiler(), str(tmp_path / "no_driver.so"))
    old = tmp_path / "old.so"
    text = STAND_IN.read_text().replace("cuStreamGetCtx", "cuSomethingElse")
    (tmp_path / "old.cc").write_text(text)
    subprocess.run(["g++", "-std=c++17", "-shared", "-fPIC", tmp_path / "old.cc", "-o", old], check=True)
    with pytest.raises(BuildError, match=r"the CUDA driver cannot be used: .*cuStreamGetCtx"):
        opened(Compiler(), str(old))


@pytest.fixture(autouse=True)
def fused_where_possible():
    """Whatever mode other tests have left."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused, "_mode", "auto")
        yield


@pytest.fixture
def fresh_obstacles():
    for cached in (fused._obstacle, fused._obstacle_in_nhwc, fused._obstacle_of_maps):
        cached.cache_clear()
    yield
    for cached in (fused._obstacle, fused._obstacle_in_nhwc, fused._obstacle_of_maps):
        cached.cache_clear()


@pytest.mark.usefixtures("operators", "fresh_obstacles")
def test_without_a_driver_plain_operators_run_on_the_gpu_and_fused_ones_on_the_cpu(monkeypatch):
    monkeypatch.setattr(nvrtc, "find", Compiler)
    monkeypatch.setattr(cuda_kernels, "DRIVER", "no-driver.so.1")
    monkeypatch.setattr(paddle.device.cuda, "get_device_capability", lambda: (8, 6))
    assert fused._obstacle(on_gpu=True).startswith("the CUDA driver cannot be used: no-driver.so.1")
    assert fused.usable(paddle.ones([1, 2, 3, 3]))


@pytest.mark.usefixtures("operators", "fresh_obstacles")
def test_with_neither_compiler_the_line_names_both(monkeypatch, tmp_path):
    monkeypatch.setattr(nvrtc, "find", lambda architecture: None)
    monkeypatch.setattr(paddle.device.cuda, "get_device_capability", lambda: (8, 6))
    monkeypatch.setattr(build.shutil, "which", lambda path: None)
    monkeypatch.setattr(paddle.version, "cuda", lambda: "12.6")
    reason = fused._obstacle(on_gpu=True)
    assert reason.startswith("no NVRTC (pip install nvidia-cuda-nvrtc-cu12), and no nvcc to build the CUDA kernels with: ")


@pytest.fixture
def as_on_a_gpu(operators, fresh_obstacles, monkeypatch):
    """A function that lets _obstacle(on_gpu=True) find these kernels, for tensors in the host's memory."""
    use = fused.use_kernels
    monkeypatch.setattr(fused, "use_kernels", lambda operators, kernels: use(operators, kernels, on_cpu=True))
    monkeypatch.setattr(fused, "_kernels", fused._kernels)
    yield lambda kernels: monkeypatch.setattr(cuda_kernels, "load", lambda: kernels)
    use(operators, None)


def test_the_first_step_runs_through_the_driver(as_on_a_gpu, library, driver, kernels):
    driver.emulation = library
    as_on_a_gpu(kernels)
    assert fused._obstacle(on_gpu=True) is None
    passes = {"forward", "channels", "backward", "parameters", "attention"}
    assert {kernel for kernel, *_ in driver.launches} == passes
    driver.launches.clear()
    assert fused._obstacle_in_nhwc(on_gpu=True) is None
    assert {kernel for kernel, *_ in driver.launches} == passes
    assert {code for kernel, code, *_ in driver.launches if kernel == "forward"} == {"float 2 0 1"}


def test_the_first_step_that_nothing_was_compiled_for_says_why(as_on_a_gpu, opened):
    as_on_a_gpu(opened(Failing()))
    assert fused._obstacle(on_gpu=True).startswith("NVRTC 12.6 failed: no luck (all of it: ")


@pytest.mark.usefixtures("fresh_obstacles")
def test_a_size_that_cannot_be_compiled_leaves_the_plain_operators_to_it(opened, monkeypatch, capsys):
    kernels = opened(Failing())
    monkeypatch.setattr(fused, "_kernels", kernels)
    monkeypatch.setattr(fused, "_obstacle", lambda on_gpu: None)
    monkeypatch.setattr(fused, "_reported", set())

    class OnGpu:
        def is_gpu_place(self):
            return True

        def gpu_device_id(self):
            return 0

        get_device_id = gpu_device_id

    monkeypatch.setattr(paddle.base.framework, "_current_expected_place", OnGpu)

    class Map(paddle.Tensor):
        place = OnGpu()

    x = Map(np.ones([1, 1, 1, 2], np.float32))
    assert not fused.usable(x)
    assert not fused.usable(x)
    assert capsys.readouterr().err.count("plain operators run in place of the fused ones: NVRTC 12.6 failed: no luck") == 1
