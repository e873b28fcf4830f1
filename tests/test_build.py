"""Building the fused operators on first use: once, whole or not at all, and never in the way of a training."""

import ctypes
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import paddle
import pytest

from machine import temporary_folder
from ops import build

ROOT = Path(__file__).resolve().parent.parent
IMPORTS = """
import os, sys
sys.path.insert(0, {root!r})
from machine import processor
processor.configure(1)
import paddle
from attention.shuffle_attention import ShuffleAttention
from ops import fused
"""
IN_EIGHT = """
children = []
while len(children) < 8 and 0 not in children:
    children.append(os.fork())
if 0 not in children:
    sys.exit(max([os.waitpid(child, 0)[1] for child in children]) > 0)
"""
FORKS = """
import json
for order in map(json.loads, sys.stdin):
    child = os.fork()
    if not child:
        os.environ.update(order["environment"])
        for stream, path in ((1, order["out"]), (2, order["errors"])):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream)
        exec(order["code"])
        sys.exit()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
STEP = """
fused.set_mode({mode!r})
layer, x = ShuffleAttention(16, groups=2), paddle.ones([2, 16, 5, 7])
x.stop_gradient = False
layer(x, residual=x).sum().backward()
os.write(1, ("fused " if fused._runner else "plain ").encode() + f"{{float(x.grad.sum())}}\\n".encode())  # all at once
"""

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ to build with")


@pytest.fixture(scope="module")
def run_step(tmp_path_factory):
    """A function that runs one training step of an attention layer in a process of its own: (exit code, stdout, stderr).

    The processes are forked from one that has imported Paddle, and nothing else has happened in it.
    """
    folder = tmp_path_factory.mktemp("steps")
    command = [sys.executable, "-c", IMPORTS.format(root=str(ROOT)) + FORKS]
    parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def run(cache, mode="auto", code=STEP, **environment):
        out, errors = (Path(tempfile.mkstemp(dir=folder)[1]) for _ in range(2))
        order = {"environment": {"XDG_CACHE_HOME": str(cache), **environment}, "code": code.format(mode=mode)}
        print(json.dumps({**order, "out": str(out), "errors": str(errors)}), file=parent.stdin, flush=True)
        return int(parent.stdout.readline()), out.read_text(), errors.read_text()

    yield run
    parent.stdin.close()
    assert parent.wait(timeout=60) == 0


def digested(result):
    """(exit code, words of the last line of stdout, lines of stderr that are ours) of what ``run_step`` returns."""
    code, out, errors = result
    return code, (out.splitlines() or [""])[-1].split(), own_lines(errors)


def own_lines(errors):
    known = ("building", "built in", "plain operators", "the cache folder")
    return [line for line in errors.splitlines() if line.startswith(known) or "FusedError" in line]


@pytest.fixture(scope="module")
def expected(run_step):
    """What the step prints without the fused operators."""
    code, (kind, value), own = digested(run_step("/nowhere", mode="off"))
    assert (code, kind, own) == (0, "plain", [])
    return float(value)


@pytest.fixture
def script_folder(tmp_path):
    """A PATH on which ``g++`` is what the test writes, and nothing else is found."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def write(text):
        (folder / "g++").write_text(f"#!/bin/sh\n{text}\n")
        (folder / "g++").chmod(0o755)
        return str(folder)

    return write


@pytest.fixture
def compiler_in_no_time(tmp_path_factory):
    """$CXX: a compiler that gives, after half a second, the library that is in this machine's cache."""
    compiler = tmp_path_factory.mktemp("compiler") / "g++"
    compiler.write_text(
        f"""#!/bin/sh
[ "$1" = --version ] && exec {shutil.which("g++")} --version
for word; do [ "$before" = -o ] && target=$word; before=$word; done
[ "$1" = -shared ] && exec cp '{build.built(build.Operators())}' "$target"
sleep 0.5
touch "$target"
"""
    )
    compiler.chmod(0o755)
    return str(compiler)


@pytest.mark.version_independent
def test_eight_cold_processes_build_once_and_all_run_fused(tmp_path, run_step, expected, compiler_in_no_time, monkeypatch):
    # forked when Paddle is imported: they reach the cold cache together, and in half the time
    monkeypatch.setenv("CXX", compiler_in_no_time)
    code, out, errors = run_step(tmp_path, code=IN_EIGHT + STEP, CXX=compiler_in_no_time)
    assert code == 0, errors
    results = [line.split() for line in out.splitlines()]
    assert [kind for kind, _ in results] == ["fused"] * 8
    assert all(float(value) == pytest.approx(expected, rel=1e-5) for _, value in results)
    lines = own_lines(errors)
    assert sum(line.startswith("building the fused operators for CPU (generic") for line in lines) == 1
    assert sum(line.startswith("built in ") for line in lines) == 1
    assert len(lines) == 2
    left = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    assert left == ["block_end.so", "lock"]

    started = time.monotonic()
    monkey = pytest.MonkeyPatch()
    monkey.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert build.built(build.Operators()).name == "block_end.so"
    assert time.monotonic() - started < 2, "a second start must not build again"
    monkey.undo()


def check_trains_on_plain(result, expected, reason):
    code, (kind, value), own = result
    assert (code, kind) == (0, "plain")
    assert float(value) == pytest.approx(expected, rel=1e-5)
    said = [line for line in own if line.startswith("plain operators")]
    assert len(said) == 1
    assert reason in said[0]
    return said[0]


def test_without_a_compiler(tmp_path, run_step, expected):
    empty = tmp_path / "empty"
    empty.mkdir()
    result = digested(run_step(tmp_path, PATH=str(empty)))
    check_trains_on_plain(result, expected, "no C++ compiler (g++, c++ or clang++) on PATH")
    assert len(result[2]) == 1


def test_with_a_compiler_that_fails(tmp_path, run_step, expected, script_folder):
    path = script_folder('[ "$1" = --version ] && echo "g++ 99" && exit 0; echo "internal compiler error: no luck" >&2; exit 4')
    said = check_trains_on_plain(digested(run_step(tmp_path, PATH=path)), expected, "internal compiler error: no luck")
    log = Path(said.split("(all of it: ")[1].rstrip(")"))
    assert "exit code 4" in log.read_text()
    assert not list(tmp_path.rglob("building-*"))


def test_with_a_compiler_that_does_not_start(tmp_path, run_step, expected, script_folder):
    path = script_folder("exit 127")
    check_trains_on_plain(digested(run_step(tmp_path, PATH=path)), expected, "exit code 127")


@pytest.mark.version_independent
def test_where_the_cache_folder_cannot_be_used_the_build_is_temporary(tmp_path, run_step, expected, compiler_in_no_time):
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    before = set(Path("/tmp").glob("sa-net-paddle-*"))
    code, (kind, value), own = digested(run_step(in_the_way, CXX=compiler_in_no_time))
    assert (code, kind, float(value)) == (0, "fused", pytest.approx(expected, rel=1e-5))
    assert [line.split(" (")[0] for line in own if not line.startswith(("building", "built in"))] == [
        "the cache folder cannot be used"
    ]
    assert set(Path("/tmp").glob("sa-net-paddle-*")) <= before, "the temporary build is removed again"


def test_on_insists(tmp_path, run_step):
    code, _, own = digested(run_step(tmp_path, mode="on", PATH=str(tmp_path)))
    assert code == 1
    assert "fused = 'on': no C++ compiler" in own[-1]


@pytest.fixture
def temporary_build():
    """What is built in a temporary folder is gone after the test, as it is when a process ends."""
    yield
    temporary_folder.remove_temporary_folder()


@pytest.mark.usefixtures("temporary_build")
def test_a_folder_of_another_user_is_not_trusted(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = build.cache_root() / build.Operators().digest()
    folder.mkdir(parents=True)
    (folder / build.Operators.name).write_text("not a library")
    monkeypatch.setattr(build.os, "geteuid", lambda: folder.stat().st_uid + 1)
    monkeypatch.setattr(build, "build", lambda commands, folder, **options: (folder / build.Operators.name).write_text("built"))
    assert build.built(build.Operators()).read_text() == "built"
    assert (folder / build.Operators.name).read_text() == "not a library"


@pytest.mark.parametrize("change", ["source", "header", "flag", "paddle", "compiler"])
def test_whatever_changes_the_result_changes_the_folder(tmp_path, monkeypatch, change):
    sources = tmp_path / "csrc"
    shutil.copytree(build.SOURCES, sources)
    monkeypatch.setattr(build, "SOURCES", sources)
    before = build.Operators().digest()
    assert build.Operators().digest() == before
    if change in ("source", "header"):
        with open(sources / {"source": "cpu_kernels.cc", "header": "block_end.h"}[change], "a") as file:
            file.write("\n// changed\n")
    elif change == "flag":
        monkeypatch.setattr(build, "BASE_FLAGS", [*build.BASE_FLAGS, "-g"])
    elif change == "paddle":
        monkeypatch.setattr(paddle, "__version__", "9.9.9")
    else:
        monkeypatch.setattr(build, "version", lambda compiler: "g++ 99")
    assert build.Operators().digest() != before


def test_the_compiler_of_the_environment_is_taken(monkeypatch):
    monkeypatch.setenv("CXX", "g++ -pipe")
    assert build.find_compiler() == ["g++", "-pipe"]
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(build.BuildError, match="CXX = 'no-such-compiler': there is no such compiler"):
        build.find_compiler()


@pytest.mark.parametrize("variable", ["CUDA_HOME", "CUDA_PATH"])
def test_nvcc_is_found_where_people_have_it(tmp_path, monkeypatch, variable):
    folder = tmp_path / "cuda"
    nvcc = folder / "bin" / "nvcc"
    for name in ("CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(folder))
    monkeypatch.setattr(build.shutil, "which", lambda path: path if path == str(nvcc) and nvcc.is_file() else None)
    with pytest.raises(build.BuildError, match=f"neither on PATH nor at {nvcc} or /usr/local/cuda/bin/nvcc"):
        build.find_nvcc()
    nvcc.parent.mkdir(parents=True)
    nvcc.write_text("")
    assert build.find_nvcc() == str(nvcc)


@pytest.mark.skipif(not paddle.is_compiled_with_cuda(), reason="needs a build of Paddle for CUDA; a GPU it does not need")
def test_paddle_for_cuda_has_the_function_that_names_the_stream():
    """Its headers declare it only with CUDA's beside them, so the binding declares it by itself."""
    assert "_ZNK6paddle6Tensor6streamEv" in (build.SOURCES / "paddle_gpu.cc").read_text()
    library = ctypes.CDLL(str(build.built(build.Operators())))
    assert library["_ZNK6paddle6Tensor6streamEv"]
