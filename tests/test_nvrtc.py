"""NVRTC, CUDA's compiler as a library: where it is found, and that it compiles the kernels, where it is installed."""

import shutil
import subprocess
import sys

import paddle
import pytest

from ops import build, cuda_kernels, nvrtc
from ops.build import BuildError

pytestmark = [
    pytest.mark.version_independent,
    pytest.mark.skipif(not sys.platform.startswith("linux") or shutil.which("g++") is None, reason="needs Linux and g++"),
]

LIBRARY = """
extern "C" int nvrtcVersion(int *major, int *minor) {{ *major = {}; *minor = {}; return 0; }}
extern "C" int nvrtcGetCUBIN(void *, char *) {{ return 1; }}
constexpr int architectures[] = {{{}}};
extern "C" int nvrtcGetNumSupportedArchs(int *count) {{ *count = sizeof(architectures) / sizeof(int); return 0; }}
extern "C" int nvrtcGetSupportedArchs(int *found) {{ for (int each : architectures) *found++ = each; return 0; }}
extern "C" const char *nvrtcGetErrorString(int) {{ return "no luck"; }}
"""


@pytest.fixture
def places(tmp_path, monkeypatch):
    """A function that makes a library of some version of NVRTC at a path, where nothing else is found.

    It knows GPUs of the architectures 75, 80 and 90, or those that it is asked for.
    """
    folder = tmp_path / "site-packages"
    (folder / "nvidia").mkdir(parents=True)
    spec = type("Spec", (), {"submodule_search_locations": [str(folder / "nvidia")]})
    monkeypatch.setattr(nvrtc.importlib.util, "find_spec", lambda name: spec if name == "nvidia" else None)
    monkeypatch.setattr(nvrtc.ctypes.util, "find_library", lambda name: None)
    monkeypatch.setattr(nvrtc, "TOOLKIT", str(tmp_path / "cuda"))
    monkeypatch.setattr(nvrtc.sys, "prefix", str(tmp_path / "conda"))
    for name in ("CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)

    def make(path, version, architectures=(75, 80, 90)):
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        source = target.parent / "library.cc"
        source.write_text(LIBRARY.format(*version, ", ".join(map(str, architectures))))
        subprocess.run(["g++", "-shared", "-fPIC", source, "-o", target], check=True)

    return make


def test_nvrtc_is_found_in_packages_and_in_toolkits(places, monkeypatch, tmp_path):
    monkeypatch.setattr(paddle.version, "cuda", lambda: "12.6")
    assert nvrtc.find() is None
    places("cuda/lib64/libnvrtc.so.13", (13, 0))
    assert nvrtc.find().version == "13.0", "where there is no other"
    places("home/lib64/libnvrtc.so.13", (13, 3))
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "home"))
    assert nvrtc.find().version == "13.3"
    places("site-packages/nvidia/cu13/lib/libnvrtc.so.13", (13, 1))
    assert nvrtc.find().version == "13.1", "packages come before toolkits"
    places("site-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.12", (12, 6))
    assert nvrtc.find().version == "12.6", "of Paddle's version of CUDA"
    monkeypatch.setattr(paddle.version, "cuda", lambda: "13.0")
    assert nvrtc.find().version == "13.1"
    (tmp_path / "site-packages/nvidia/cu13/lib/libnvrtc.so.13.9").write_bytes(b"damaged")
    assert nvrtc.find().version == "13.1", "what cannot be opened is passed over"


# ---- A GPU that NVRTC does not know, as it is newer


def test_of_several_one_that_knows_the_gpu_comes_first(places, monkeypatch):
    monkeypatch.setattr(paddle.version, "cuda", lambda: "12.6")
    places("site-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.12", (12, 6))
    places("cuda/lib64/libnvrtc.so.13", (13, 0), (80, 90, 120))
    assert [nvrtc.find(architecture).version for architecture in (80, 120, 75)] == ["12.6", "13.0", "12.6"]
    assert nvrtc.find(999).version == "12.6", "where none knows it, to say so"
    places("conda/lib/libnvrtc.so.12", (12, 9), ())
    assert nvrtc.find(120).version == "13.0"


@pytest.fixture
def blackwell(places, monkeypatch, tmp_path):
    """A GPU of sm_120 under Paddle for CUDA 12.6, whose NVRTC does not know it."""
    monkeypatch.setattr(paddle.version, "cuda", lambda: "12.6")
    monkeypatch.setattr(paddle.device.cuda, "get_device_capability", lambda: (12, 0))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "none"))
    places("site-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.12", (12, 6))
    return tmp_path / "site-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.12"


def test_nvcc_serves_where_nvrtc_does_not_know_the_gpu_and_one_line_says_so(blackwell, monkeypatch, capsys, tmp_path):
    nvcc = tmp_path / "nvcc"
    nvcc.write_text(
        '#!/bin/sh\ncase "$*" in *--version*) echo release 13.0; exit;; esac\n'
        'while [ "$1" != -o ]; do [ "$1" = -c ] && exec touch "$4"; shift; done\n'
        'echo "int nothing;" | g++ -x c++ -shared -fPIC - -o "$2"\n'
    )
    nvcc.chmod(0o755)
    monkeypatch.setattr(build, "find_nvcc", lambda: str(nvcc))
    assert isinstance(cuda_kernels.load(), cuda_kernels.KernelsOfNvcc)
    assert capsys.readouterr().err.splitlines()[0] == (
        f"building the fused operators for GPUs (sm_120) with nvcc (NVRTC 12.6 ({blackwell}) does not know GPUs of sm_120, "
        "only sm_75 to sm_90), once for this Paddle and compiler ..."
    )
    assert isinstance(cuda_kernels.load(), cuda_kernels.KernelsOfNvcc)
    assert capsys.readouterr().err == "", "the second time it is in the cache"


def test_without_nvcc_either_one_line_names_the_gpu_and_the_remedy(blackwell, monkeypatch):
    def none():
        raise BuildError("no nvcc to build the CUDA kernels with")

    monkeypatch.setattr(build, "find_nvcc", none)
    with pytest.raises(BuildError) as caught:
        cuda_kernels.load()
    assert str(caught.value) == (
        f"NVRTC 12.6 ({blackwell}) does not know GPUs of sm_120, only sm_75 to sm_90 "
        "(pip install --upgrade nvidia-cuda-nvrtc-cu12), and no nvcc to build the CUDA kernels with"
    )


def test_nvcc_is_not_asked_where_nvrtc_knows_the_gpu(blackwell, monkeypatch):
    opened = []
    monkeypatch.setattr(paddle.device.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(cuda_kernels, "KernelsOfNvrtc", lambda compiler, driver: opened.append((compiler.path, driver)))
    monkeypatch.setattr(build, "find_nvcc", lambda: pytest.fail("nvcc"))
    cuda_kernels.load()
    assert opened == [(str(blackwell), "libcuda.so.1")]


# ---- The real one


COMPILER = nvrtc.find()
needs_nvrtc = pytest.mark.skipif(COMPILER is None, reason="NVRTC is not installed: pip install -r requirements-dev.txt")


def functions_of(cubin):
    """The names of the functions in a cubin, an ELF file."""
    start, count, of_names = (int.from_bytes(cubin[at : at + size], "little") for at, size in ((40, 8), (60, 2), (62, 2)))
    sections = [cubin[start + 64 * i : start + 64 * (i + 1)] for i in range(count)]
    names = cubin[int.from_bytes(sections[of_names][24:32], "little") :]
    found = (names[int.from_bytes(section[:4], "little") :].split(b"\0")[0].decode() for section in sections)
    return {name[len(".text.") :] for name in found if name.startswith(".text.")}


@needs_nvrtc
@pytest.mark.parametrize(
    ("dtype", "layout", "names"),
    [
        (0, (4, 64, 4), {"forward", "backward"}),
        (1, (4, 8, 7), {"forward", "backward"}),
        (2, (1, 8, 7), {"forward", "backward"}),
        (2, (2, 0, 1), {"forward", "backward"}),  # NHWC, with attention
        (-1, (0, 0, 0), {"channels", "parameters", "attention", "join"}),
    ],
)
def test_nvrtc_compiles_the_kernels_without_any_header(tmp_path, monkeypatch, dtype, layout, names):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    architecture = max(number for number in COMPILER.architectures() if number <= 90)
    code = build.built(cuda_kernels.Cubin(COMPILER, dtype, layout, architecture)).read_bytes()
    assert code[:4] == b"\x7fELF"
    assert functions_of(code) == names


@needs_nvrtc
def test_nvrtc_says_what_is_wrong(tmp_path):
    with pytest.raises(BuildError, match=f"NVRTC {COMPILER.version} .* does not know GPUs of sm_999, only sm_[0-9]+ to sm_"):
        COMPILER.compile(build.SOURCES / "block_end_cubin.cu", [], 999)
    source = tmp_path / "wrong.cu"
    source.write_text("__global__ void kernel() { no_such_function(); }")
    with pytest.raises(BuildError, match=r"NVRTC .* failed: .*1 error detected") as caught:
        COMPILER.compile(source, [], COMPILER.architectures()[-1])
    assert "no_such_function" in caught.value.output
