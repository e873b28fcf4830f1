"""benchmarks/gpu_check.py: what it reports of a machine, here without a GPU."""

import pytest

from benchmarks import gpu_check
from ops import fused


@pytest.fixture
def check(monkeypatch):
    """The script, with a small network and few repeats."""
    for name, value in {"NET": "resnet18", "ROUNDS": 1, "REPEATS": 1, "COPIED": 2**10}.items():
        monkeypatch.setattr(gpu_check, name, value)
    yield gpu_check
    fused.set_mode("auto")


def test_it_checks_each_call_of_a_training_step(check):
    lines = list(check.report(check.Bench(2, 33)))
    assert "nothing below was checked on a GPU" in lines[1]
    assert lines[-1] == "all calls agree with plain operators"
    stem = [line for line in lines if line.startswith("| batch norm, ReLU | 64 x 17 x 17 | 1 |")]
    assert len(stem) == 2, "in float32 and float64"
    ends = [line for line in lines if line.startswith("| batch norm, residual, ReLU | 512 x 2 x 2 | 2 |")]
    assert len(ends) == 2
    assert any(line.startswith("training step, float32: ") for line in lines)


def test_it_finds_a_call_that_computes_something_else(check, monkeypatch):
    run = fused.run
    monkeypatch.setattr(fused, "run", lambda name, *arguments: run(name, *arguments) * (1.01 if name == "block_end" else 1))
    lines = list(check.report(check.Bench(2, 33)))
    assert lines[-1].endswith(" calls are WRONG")
    assert all(("WRONG" in line) == ("residual" in line) for line in lines if line.startswith("| batch norm"))


def test_it_says_why_the_operators_cannot_run(check, monkeypatch):
    def refuse(mode):
        raise fused.FusedError("fused = 'on': no compiler")

    monkeypatch.setattr(fused, "set_mode", refuse)
    assert list(check.report(check.Bench(2, 33)))[-1] == "the fused operators cannot run here: fused = 'on': no compiler"
    monkeypatch.undo()  # set_mode, which the end of this test calls
