"""The short form of the torture: see torture.py."""

import sys

import pytest
from torture import VARIANTS, Torture


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_a_killed_training_ends_as_one_that_was_not(tmp_path):
    torture = Torture(tmp_path, seed=1)
    torture.run(VARIANTS[1], most_kills=3)
    assert torture.kills >= 1
    assert (torture.lost, torture.different, torture.unclean) == (0, 0, [])
