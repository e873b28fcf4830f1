"""benchmarks/gpu_sanitize.py and cuda_small_shapes.py, without a GPU: stand-ins for CUDA's driver, nvcc and compute-sanitizer.

The kernels run on CPU threads, as in test_cuda_kernels.py.
"""
# ruff: noqa: F811, fixtures come from another file, and tests name them

import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_cuda_driver import (
    Compiler,
    driver,  # noqa: F401, a fixture
    kernels,  # noqa: F401, a fixture
    launcher,  # noqa: F401, a fixture
    opened,  # noqa: F401, a fixture
    pytestmark,  # noqa: F401, of the whole file
    stand_in,  # noqa: F401, a fixture
)
from test_cuda_kernels import library  # noqa: F401, a fixture

from benchmarks import block_end_interface, cuda_small_shapes, gpu_sanitize
from benchmarks.block_end_interface import BACKWARD, FORWARD, TYPES

ROOT = Path(__file__).resolve().parent.parent
SETS = 40
"""Of kernels, a forward and a backward one: those of each type and layout."""
OTHERS = {"channels", "parameters", "attention", "join"}
SANITIZER = """#!/bin/sh
echo "$@" >> {log}
[ "$2" != racecheck ] || {{ echo "========= Error: Race reported"; exit 77; }}
[ "$2" != synccheck ] || {{ echo "========= Error: no injection library"; exit 13; }}
"""


@pytest.fixture
def device(stand_in):
    chosen = cuda_small_shapes.Device(str(stand_in))
    yield chosen
    assert chosen.library.stand_in_blocks_of_memory() == 0, "all is freed"


# ---- The program that calls the kernels


def test_the_cases_launch_every_kernel_there_is(device, driver, opened, monkeypatch):
    compiler = Compiler()
    opened_kernels = opened(compiler)
    kernels = block_end_interface.typed(opened_kernels.library)
    monkeypatch.setattr(cuda_small_shapes, "finite", lambda values: True)  # nothing is computed
    for case in cuda_small_shapes.cases():
        cuda_small_shapes.run(device, kernels, case)
    assert len(set(compiler.compiled)) == SETS + 1
    launched = {(kernel, code) for kernel, code, *_ in driver.launches}
    assert {kernel for kernel, code in launched if not code} == OTHERS
    assert len(launched) == 2 * SETS + len(OTHERS)


@pytest.mark.parametrize("dtype", TYPES)
def test_every_output_of_a_case_is_written(device, library, dtype):
    """The stand-in's memory is full of NaN."""
    for case in cuda_small_shapes.cases():
        if case.dtype == dtype and case.plane in (49, 784):
            assert cuda_small_shapes.run(device, library, case) is None, case


def test_an_output_that_is_not_written_is_named(device, library):
    class Lazy:
        """The kernels, but for a backward pass that does nothing."""

        block_end_forward_workspace = library.block_end_forward_workspace
        block_end_backward_workspace = library.block_end_backward_workspace
        block_end_forward = library.block_end_forward

        @staticmethod
        def block_end_backward(*_):
            return 0

    case = next(cuda_small_shapes.cases())
    assert cuda_small_shapes.run(device, Lazy, case) == "dx"


def test_the_names_of_the_pointers_are_those_of_the_structs_in_order():
    """ops/csrc/block_end.h has the structs whose members block_end_capi.h takes as pointers."""
    text = (ROOT / "ops" / "csrc" / "block_end.h").read_text(encoding="utf-8")

    def members(struct):
        body = text.split(f"struct {struct} {{", 1)[1].split("\n};", 1)[0]
        code = " ".join(line.split("//")[0] for line in body.splitlines())
        names = [word.strip(" *") for part in code.split(";") if part.strip() for word in part.replace("*", " ").split(",")]
        return [name.split()[-1] for name in names]

    attention = members("Attention")
    flat = {
        "Forward": [name for each in members("Forward") for name in (attention if each == "attention" else [each])],
        "Backward": [
            name
            for each in members("Backward")
            for name in {"attention": attention, "dattention": [f"d{name}" for name in attention]}.get(each, [each])
        ],
    }
    assert flat == {"Forward": list(FORWARD), "Backward": list(BACKWARD)}


# ---- compute-sanitizer


@pytest.fixture
def machine(tmp_path, stand_in, library):
    """A function that runs gpu_sanitize.py on a machine that has what the arguments say."""
    commands = tmp_path / "commands"
    commands.mkdir()

    def command(name, script):
        path = commands / name
        path.write_text(script)
        path.chmod(0o755)

    def run(*arguments, gpu=True, sanitizer=True, works=True):
        if sanitizer:
            command("compute-sanitizer", SANITIZER.format(log=tmp_path / "log"))
        copied = library._name if works else "/dev/null"
        command("nvcc", f'#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done\nexec /bin/cp {copied} "$2"\n')
        environment = {**os.environ, "PATH": str(commands), "LD_LIBRARY_PATH": str(stand_in.parent)}
        environment.update(CUDA_HOME=str(tmp_path / "none"), CUDA_PATH=str(tmp_path / "none"))
        start = "import sys; from benchmarks import block_end_interface as b, cuda_small_shapes as c, gpu_sanitize as g; "
        start += (
            f"b.TOOLKIT = {str(tmp_path)!r}; c.DRIVER = {('libcuda.so.1' if gpu else 'no-driver.so.1')!r}; sys.exit(g.main())"
        )
        words = [sys.executable, "-c", start, *arguments]
        return subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    return run


def test_without_a_gpu_one_line_says_so(machine):
    ended = machine(gpu=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("this check needs an NVIDIA GPU: no NVIDIA driver (no-driver.so.1: ")
    assert ended.stderr.count("\n") == 1


def test_without_compute_sanitizer_one_line_says_where_it_is_to_be_had(machine):
    ended = machine(sanitizer=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        "compute-sanitizer is not installed: install a CUDA toolkit, or pip install nvidia-cuda-sanitizer-api-cu12\n"
    )


def test_each_tool_watches_the_program_and_a_clean_one_takes_one_line(machine, tmp_path):
    ended = machine("--tools", "memcheck", "initcheck", "--planes", "49", "196")
    assert (ended.returncode, ended.stderr) == (0, "")
    count = len(list(cuda_small_shapes.cases([49, 196])))
    assert ended.stdout.splitlines() == [
        f"Stand-in (sm_86): {count} calls of both passes, every output is finite",
        "memcheck (accesses outside an array, or not aligned): nothing found",
        "initcheck (reads of values that were never written): nothing found",
        "compute-sanitizer found nothing",
    ]
    first, second = (tmp_path / "log").read_text().splitlines()
    assert first.startswith(f"--tool memcheck --error-exitcode 77 --padding 64 {sys.executable} ")
    assert second.startswith(f"--tool initcheck --error-exitcode 77 {sys.executable} ")
    assert "cuda_small_shapes.py --compiler nvcc --planes 49 196 --library " in second


def test_what_a_tool_finds_is_printed_and_the_others_still_run(machine):
    ended = machine("--planes", "49")
    assert ended.returncode == 1
    assert ended.stdout.splitlines()[1:] == [
        "memcheck (accesses outside an array, or not aligned): nothing found",
        "========= Error: Race reported",
        "racecheck (races in shared memory): FOUND, see above",
        "initcheck (reads of values that were never written): nothing found",
        "========= Error: no injection library",
        "synccheck (barriers that not all threads reach): FAILED with exit code 13",
        "NOT ALL IS RIGHT, see above",
    ]


def test_kernels_that_do_not_run_alone_are_not_run_under_a_tool(machine, tmp_path):
    ended = machine(works=False)
    assert ended.returncode == 1
    assert ended.stderr.endswith("the kernels do not run without compute-sanitizer either, see above\n")
    assert not (tmp_path / "log").exists()


def test_compute_sanitizer_of_pypi_is_told_where_its_libraries_are(tmp_path, monkeypatch):
    program = tmp_path / "nvidia" / "cuda_sanitizer_api" / "bin" / "compute-sanitizer"
    program.parent.mkdir(parents=True)
    program.touch()
    spec = type("Spec", (), {"submodule_search_locations": [str(tmp_path / "nvidia")]})
    monkeypatch.setattr(gpu_sanitize.importlib.util, "find_spec", lambda name: spec)
    monkeypatch.setattr(block_end_interface, "find_tool", lambda name: None)
    assert gpu_sanitize.find_sanitizer() is None, "it cannot be started"
    program.chmod(0o755)
    assert gpu_sanitize.find_sanitizer() == [str(program), "--injection-path", str(program.parent.parent / "lib")]


def test_the_tools_of_cuda_are_found_where_people_have_them(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("CUDA_PATH", raising=False)
    monkeypatch.setattr(block_end_interface, "TOOLKIT", str(tmp_path / "cuda"))
    assert block_end_interface.find_tool("compute-sanitizer") is None
    for place in ("cuda/bin", "home/bin", "path"):  # each before the last
        path = tmp_path / place / "compute-sanitizer"
        path.parent.mkdir(parents=True)
        path.touch()
        path.chmod(0o755)
        assert block_end_interface.find_tool("compute-sanitizer") == str(path)
