"""Building the fused operators on first use: once, whole or not at all, and never in the way of a training."""

import contextlib
import ctypes
import errno
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import paddle
import pytest

from machine import locks, private_folder, temporary_folder
from ops import build, compilers

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

    built_at = next(tmp_path.rglob("block_end.so")).stat().st_mtime_ns
    with pytest.MonkeyPatch.context() as second_start:
        second_start.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert build.built(build.Operators()).stat().st_mtime_ns == built_at, "a second start must not build again"


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


def build_nothing(monkeypatch):
    """What is built from now on is an empty library. Returns a list that gets the options of each build."""
    builds = []

    def make(library, folder, **options):
        builds.append(options)
        compile_library("", folder / "new")
        os.replace(folder / "new", folder / library.name)

    monkeypatch.setattr(build, "build", make)
    return builds


def compile_library(text, path):
    command = ["g++", "-x", "c", "-shared", "-fPIC", "-", "-o", str(path)]
    subprocess.run(command, input=text, text=True, check=True)


def plant(path):
    """Put a library there that would leave a file beside it once it is loaded; the path of that file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    left = path.parent / "the planted library has run"
    attack = f'__attribute__((constructor)) static void run(void) {{ fclose(fopen("{left}", "w")); }}'
    compile_library(f"#include <stdio.h>\n{attack}\n", path)
    return left


OPEN_FOLDERS = {
    "the cache folder": lambda cache, folder: cache.chmod(0o777),
    "a folder above it": lambda cache, folder: cache.parent.chmod(0o777),
    "the folder of the library": lambda cache, folder: folder.chmod(0o777),
    "the library": lambda cache, folder: (folder / build.Operators.name).chmod(0o666),
    "a folder of a group": lambda cache, folder: (os.chown(cache, -1, 12345), cache.chmod(0o770)),
    "another user's library": lambda cache, folder: os.chown(folder / build.Operators.name, 12345, -1),
    "another user's folder": lambda cache, folder: os.chown(cache.parent, 12345, -1),
    "a link to a library": lambda cache, folder: (
        (folder / build.Operators.name).rename(cache / "elsewhere.so")
        and (folder / build.Operators.name).symlink_to(cache / "elsewhere.so")
    ),
}


@pytest.mark.usefixtures("temporary_build")
@pytest.mark.parametrize("what", OPEN_FOLDERS)
def test_a_planted_library_never_runs(tmp_path, monkeypatch, capsys, what):
    build_nothing(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "shared" / "cache"))
    tmp_path.chmod(0o755)
    folder = build.cache_root() / build.Operators().digest()
    left = plant(folder / build.Operators.name)
    for place in (folder, *folder.parents[:3]):
        place.chmod(0o755)
    (folder / build.Operators.name).chmod(0o644)
    shutil.copy(folder / build.Operators.name, tmp_path / "copy.so")
    ctypes.CDLL(str(tmp_path / "copy.so"))
    assert left.is_file(), "the test would notice"
    left.unlink()
    try:
        OPEN_FOLDERS[what](build.cache_root(), folder)
    except PermissionError:
        pytest.skip("may not give files to others")
    ctypes.CDLL(private_folder.loadable(build.built(build.Operators())))
    assert not left.exists()
    own_file = what in ("the library", "another user's library", "a link to a library")  # in a private folder: built anew
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("the cache folder cannot be used")]
    assert len(said) == (0 if own_file else 1)


def test_where_no_folder_is_private_nothing_is_built(tmp_path, monkeypatch):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "open"))
    monkeypatch.setenv(temporary_folder.VARIABLE, "")
    monkeypatch.setattr(temporary_folder, "_made", None)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "open"))
    try:
        with pytest.raises(compilers.BuildError, match="set XDG_CACHE_HOME to a folder that is yours alone"):
            build.built(build.Operators())
    finally:
        temporary_folder.remove_temporary_folder()


def test_with_umask_0_what_is_built_is_still_private(tmp_path, monkeypatch):
    class Fake(build.Library):
        name, built_for, quiet = "fake.so", "a test", True

        def make(self, folder):
            (folder / self.name).write_text("code")

        def recipe(self):
            return []

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    before = os.umask(0)
    try:
        path = build.built(Fake())
    finally:
        os.umask(before)
    assert path.parent.parent == tmp_path / "cache" / "sa-net-paddle"
    for folder in (path.parent, path.parent.parent, tmp_path / "cache"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert private_folder.is_private(path)


def test_the_compiler_is_not_asked_for_what_is_built(tmp_path, monkeypatch, script_folder):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", script_folder(f"touch {tmp_path / 'asked'}; exit 1"))
    path = build.cache_root() / build.Operators().digest() / build.Operators.name
    private_folder.make_private(path.parent)
    path.write_text("a library")
    path.chmod(0o600)
    assert build.built(build.Operators()) == path
    assert not (tmp_path / "asked").exists()


def alive(groups):
    """The processes of these process groups, apart from dead ones of which nobody has taken note."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, _, group = (process / "stat").read_text().rpartition(")")[2].split()[:3]
            found += [process.name] * (group in groups and state != "Z")
    return found


def test_a_compiler_that_hangs_is_named_and_given_up_with_what_it_started(tmp_path, monkeypatch, script_folder, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(build.Operators, "patience", 0.5)
    monkeypatch.setattr(compilers, "SECONDS_OF_SILENCE", 0.1)
    monkeypatch.setenv("PATH", f"{script_folder(f'echo $$ >> {tmp_path}/started; sleep 1000; :')}:{os.environ['PATH']}")
    with pytest.raises(
        compilers.BuildError, match=r"g\+\+ had not ended after 0.5 s and was given up \(all of it: .*build.log\)"
    ):
        build.built(build.Operators())
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == "g++ has been at work for 0.1 s; it is given up after 0.5 s, and --fused off does without"
    groups = (tmp_path / "started").read_text().split()
    deadline = time.monotonic() + 20
    while alive(groups) and time.monotonic() < deadline:  # a process that was killed may take a moment
        time.sleep(0.05)
    assert not alive(groups)
    assert not list((tmp_path / "cache").rglob("building-*"))


def test_who_waited_for_a_compiler_that_hung_does_not_wait_again(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    @contextlib.contextmanager
    def locked(path):
        (path.parent / build.LOG).write_text("given up")  # by the process that held the lock
        yield True

    monkeypatch.setattr(build, "locked", locked)
    monkeypatch.setattr(build, "build", lambda *arguments, **options: pytest.fail("it waits again"))
    with pytest.raises(compilers.BuildError, match=r"another process could not build them just now: see .*build.log"):
        build.built(build.Operators())


@pytest.mark.skipif(not shutil.which("clang++"), reason="no clang++")
def test_clang_takes_all_sources_without_more_than_its_own_package(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", "clang++")
    for command in build.Operators().compile_commands(tmp_path):
        assert command[0].endswith("clang++")
        subprocess.run([*command, "-fsyntax-only"], check=True, capture_output=True)


def test_without_locks_a_build_leaves_the_others_alone(tmp_path, monkeypatch):
    def none(handle, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    builds = build_nothing(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(locks.fcntl, "flock", none)
    assert build.built(build.Operators()).parent.parent == tmp_path / "cache" / "sa-net-paddle"
    assert builds == [{"tidy": False}]


@pytest.mark.parametrize("change", ["source", "header", "flag", "paddle", "compiler"])
def test_whatever_changes_the_result_changes_the_folder(tmp_path, monkeypatch, change, script_folder):
    sources = tmp_path / "csrc"
    shutil.copytree(build.SOURCES, sources)
    monkeypatch.setattr(build, "SOURCES", sources)
    monkeypatch.setenv("PATH", script_folder("exit 1"))
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
        script_folder("exit 12")
    assert build.Operators().digest() != before


def test_the_compiler_of_the_environment_is_taken(monkeypatch):
    monkeypatch.setenv("CXX", "g++ -pipe")
    assert compilers.find_compiler() == ["g++", "-pipe"]
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(compilers.BuildError, match="CXX = 'no-such-compiler': there is no such compiler"):
        compilers.find_compiler()


@pytest.mark.parametrize("variable", ["CUDA_HOME", "CUDA_PATH"])
def test_nvcc_is_found_where_people_have_it(tmp_path, monkeypatch, variable):
    folder = tmp_path / "cuda"
    nvcc = folder / "bin" / "nvcc"
    for name in ("CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(folder))
    monkeypatch.setattr(compilers.shutil, "which", lambda path: path if path == str(nvcc) and nvcc.is_file() else None)
    with pytest.raises(compilers.BuildError, match=f"neither on PATH nor at {nvcc} or /usr/local/cuda/bin/nvcc"):
        compilers.find_nvcc()
    nvcc.parent.mkdir(parents=True)
    nvcc.write_text("")
    assert compilers.find_nvcc() == str(nvcc)


@pytest.mark.skipif(not paddle.is_compiled_with_cuda(), reason="needs a build of Paddle for CUDA; a GPU it does not need")
def test_paddle_for_cuda_has_the_function_that_names_the_stream():
    """Its headers declare it only with CUDA's beside them, so the binding declares it by itself."""
    assert "_ZNK6paddle6Tensor6streamEv" in (build.SOURCES / "paddle_gpu.cc").read_text()
    library = ctypes.CDLL(str(build.built(build.Operators())))
    assert library["_ZNK6paddle6Tensor6streamEv"]
