"""benchmarks/gpu_check.py: what it reports of a machine, here without a GPU."""
# ruff: noqa: F811, fixtures come from another file, and tests name them

import re

import pytest
from test_cuda_kernels import (
    library,  # noqa: F401, a fixture
    operators,  # noqa: F401, a fixture
)

from benchmarks import cuda_block_end, fused_bench, gpu_check
from ops import fused


@pytest.fixture
def check(monkeypatch):
    """The script, with a small network and few repeats."""
    for name, value in {"NET": "resnet18", "ROUNDS": 1, "REPEATS": 1, "COPIED": 2**10}.items():
        monkeypatch.setattr(fused_bench, name, value)
    yield gpu_check
    fused.set_mode("auto")


def test_it_checks_each_call_of_a_training_step(check):
    lines = list(check.report(fused_bench.Bench(2, 33)))
    assert "nothing below was checked on a GPU" in lines[1]
    assert lines[-1] == "all calls agree with plain operators"
    stem = [line for line in lines if line.startswith("| batch norm, ReLU | 64 x 17 x 17 | 1 |")]
    assert len(stem) == 2, "in float32 and float64"
    ends = [line for line in lines if line.startswith("| batch norm, residual, ReLU | 512 x 2 x 2 | 2 |")]
    assert len(ends) == 2
    steps = lines[lines.index("| training step | layout | fused ms | images/s | plain ms | images/s | plain / fused |") + 2 :]
    one = next(line for line in lines if line.startswith("one training step, nchw: the loss of fused and plain operators"))
    loss, gradient = map(float, re.findall(r"by (\S+?)(?:,|$)", one))
    assert loss < 1e-4
    assert gradient < 0.1, "rounding changes signs before ReLU"
    assert steps[0].startswith("| float32 | nchw | ")
    assert all(float(number) > 0 for number in steps[0].strip("| ").split(" | ")[2:])
    assert steps[1] == ""
    assert "Not checked, for want of a GPU" in steps[2]
    assert steps[3].endswith('make GPU_CHECK="--torch" gpu-check')


def test_it_finds_a_call_that_computes_something_else(check, monkeypatch):
    run = fused.run
    monkeypatch.setattr(fused, "run", lambda name, *arguments: run(name, *arguments) * (1.01 if name == "block_end" else 1))
    lines = list(check.report(fused_bench.Bench(2, 33)))
    assert lines[-1].endswith(" calls are WRONG")
    assert all(("WRONG" in line) == ("residual" in line) for line in lines if line.startswith("| batch norm"))


@pytest.mark.version_independent
@pytest.mark.parametrize("half", [0, 2])
def test_a_call_in_nhwc_is_compared_in_nhwc(check, operators, library, monkeypatch, half):
    """By the kernels for GPUs, on CPU threads."""
    call = fused_bench.Call("block_end", 8, 3, 5, half, True, True, True)
    assert call.shape(2) == [2, 3, 5, 8]
    ran = []
    run = fused.run
    monkeypatch.setattr(fused, "_obstacle_in_nhwc", lambda on_gpu: None)  # whose first call runs a step of its own
    monkeypatch.setattr(fused, "run", lambda name, x, *rest: ran.append((x.shape, rest[-1])) or run(name, x, *rest))
    fused.use_kernels(operators, library, on_cpu=True)
    try:
        assert fused_bench.Bench(2, 33).error(call, "float32") < check.BOUNDS["float32"]
    finally:
        fused.use_kernels(operators, None)
    assert ran == [([2, 3, 5, 8], True)]


def test_each_precision_and_layout_has_its_training_step_and_one_that_fails_stops_no_other(check, monkeypatch):
    bench = fused_bench.Bench(8, 33)
    bench.precisions, bench.layouts = ("float32", "bfloat16"), ("nchw", "nhwc")
    asked = []

    def training(mode, precision, layout):
        asked.append((mode, precision, layout))
        if (precision, layout) == ("bfloat16", "nchw"):
            raise RuntimeError("a long story\nno bfloat16 on this card\n")
        return 0.1 if mode == "on" else 0.25

    monkeypatch.setattr(bench, "training", training)
    assert list(check.training_lines(bench))[2:] == [
        "| float32 | nchw | 100.0 | 80.0 | 250.0 | 32.0 | 2.50 |",
        "| float32 | nhwc | 100.0 | 80.0 | 250.0 | 32.0 | 2.50 |",
        "| bfloat16 | nchw | failed: RuntimeError: no bfloat16 on this card | | | | |",
        "| bfloat16 | nhwc | 100.0 | 80.0 | 250.0 | 32.0 | 2.50 |",
    ]
    assert asked[:4] == [(mode, "float32", layout) for layout in ("nchw", "nhwc") for mode in ("on", "off")]


def test_a_layout_that_the_operators_have_no_code_for_is_said_and_the_rest_goes_on(check, monkeypatch):
    bench = fused_bench.Bench(2, 33)
    bench.layouts = ("nhwc", "nchw")

    def calls(layout):
        if layout == "nhwc":
            raise fused.FusedError("fused = 'on': no code for NHWC")
        return {}

    monkeypatch.setattr(bench, "calls", calls)
    monkeypatch.setattr(check, "call_lines", lambda *_: ["| a table |", 0])
    monkeypatch.setattr(check, "training_lines", lambda _: [])
    monkeypatch.setattr(check, "step_lines", lambda _: [])
    lines = list(check.report(bench))
    assert "nhwc: fused = 'on': no code for NHWC" in lines
    assert lines.count("| a table |") == len(bench.types)
    assert lines[-1] == check.AGREE


def test_with_torch_the_same_kernels_are_checked_without_paddle(monkeypatch, capsys):
    monkeypatch.setattr(cuda_block_end, "torch", None)
    monkeypatch.setattr(gpu_check.sys, "argv", ["gpu_check.py", "--torch", "--batch", "8"])
    with pytest.raises(SystemExit) as ended:
        gpu_check.main()
    assert "needs PyTorch: pip install torch" in str(ended.value)


def test_it_says_why_the_operators_cannot_run(check, monkeypatch):
    def refuse(mode):
        raise fused.FusedError("fused = 'on': no compiler")

    monkeypatch.setattr(fused, "set_mode", refuse)
    assert list(check.report(fused_bench.Bench(2, 33)))[-1] == "the fused operators cannot run here: fused = 'on': no compiler"
    monkeypatch.undo()  # set_mode, which the end of this test calls


def test_with_torch_the_calls_are_those_of_a_training_step(check, monkeypatch):
    monkeypatch.setattr(fused_bench, "NET", "sa_resnet50")
    fused.set_mode("on")
    found = fused_bench.Bench(2, 224).calls("nchw")
    named = {
        cuda_block_end.Call(
            call.channels, call.height, call.norm, call.half > 0, call.operator == "block_end", call.relu
        ): count
        for call, count in found.items()
    }
    assert named == dict(cuda_block_end.calls_of_step())
    assert all(call.maps() == theirs.maps() for call, theirs in zip(named, found))
