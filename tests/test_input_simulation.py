"""benchmarks/input_simulation.py: what bounds the photographs a second that it gives."""

import numpy as np
import pytest

from benchmarks.input_simulation import Times, photographs_per_second

pytestmark = pytest.mark.version_independent
EACH = 0.002  # seconds for a photograph
STEADY = Times(np.array([EACH]), 0.0, 0.0, 0.0)


def rate(times=STEADY, processes=1, workers=1, batch=10, step=0.001, photographs=10_000, cores=64):
    return photographs_per_second(times, processes, workers, batch, step, photographs, cores)


def test_reading_bounds_short_steps_and_steps_bound_fast_reading():
    assert rate() == pytest.approx(1 / EACH, rel=0.01)
    assert rate(workers=4) == pytest.approx(4 / EACH, rel=0.01)
    assert rate(step=0.1) == pytest.approx(10 / 0.1, rel=0.01)
    assert rate(STEADY._replace(taking=0.02), step=0.1) == pytest.approx(10 / 0.12, rel=0.01)


def test_workers_beyond_the_cores_gain_nothing():
    assert rate(workers=8, cores=2) == pytest.approx(2 / EACH, rel=0.02)
    assert rate(processes=4, workers=2, cores=4) == pytest.approx(4 / EACH, rel=0.02)


def test_every_step_waits_for_the_slowest_process():
    uneven = STEADY._replace(photographs=np.array([EACH / 2] * 9 + [5.5 * EACH]))  # the same mean
    assert uneven.photographs.mean() == pytest.approx(EACH)
    alone, eight = rate(uneven), rate(uneven, processes=8, photographs=80_000) / 8
    assert alone == pytest.approx(1 / EACH, rel=0.03)
    assert eight < 0.96 * alone, "the batches that lie ready do not make up for all"
    steady = rate(processes=8, photographs=80_000) / 8
    assert steady == pytest.approx(rate(), rel=1e-6)


def test_an_epoch_begins_with_the_start_of_its_workers():
    assert rate(STEADY._replace(start=20.0)) == pytest.approx(10_000 / (10_000 * EACH + 20), rel=0.01)
