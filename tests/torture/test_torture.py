"""The short form of the torture: see torture.py."""

import os
import sys

import pytest
from tiny_network import outcome
from torture import VARIANTS, Torture

import networks
import train
from config import parse_config

pytestmark = pytest.mark.python_independent


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_a_killed_training_ends_as_one_that_was_not(tmp_path):
    torture = Torture(tmp_path, seed=1)
    torture.run(VARIANTS[1], most_kills=3)
    assert torture.kills >= 1
    assert (torture.lost, torture.different, torture.unclean) == (0, 0, [])


def test_training_twice_in_one_process_equals_training_in_two(tmp_path, monkeypatch):
    # Here Paddle was imported before a script could choose the arithmetic's code path: let the other process keep to that one
    monkeypatch.setenv("MKL_DEBUG_CPU_TYPE", os.environ.get("MKL_DEBUG_CPU_TYPE", ""))
    torture = Torture(tmp_path)
    monkeypatch.setitem(networks.NETWORKS, "resnet18", networks.Lazy("tiny_network", "TinyNetwork"))
    expected, _ = torture.reference(VARIANTS[0])  # in a process of its own
    for number in (1, 2):
        arguments = torture.settings(VARIANTS[0], tmp_path / "runs")
        assert train.main(parse_config([str(word) for word in arguments], "train")) == 0
        assert outcome(tmp_path / "runs" / "resnet18" / f"00{number}") == expected
