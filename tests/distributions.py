"""From which distribution initial values were drawn: each check looks at deviation, mean, quartiles and range."""

import numpy as np
import pytest


def is_uniform(values, bound):
    """Raise unless ``values`` can have been drawn uniformly from [-bound, bound]."""
    values = np.concatenate([value.ravel() for value in values])
    assert np.abs(values).max() <= bound * (1 + 1e-6)
    assert np.abs(values).max() > 0.95 * bound
    check_deviation(values, bound / np.sqrt(3))
    # its quartiles, which tell it from a normal distribution cut off there
    np.testing.assert_allclose(np.quantile(values, [0.25, 0.75]), [-bound / 2, bound / 2], atol=4 * bound / len(values) ** 0.5)


def is_normal(values, deviation):
    """Raise unless ``values`` can have been drawn from a normal distribution around 0."""
    values = np.concatenate([value.ravel() for value in values])
    check_deviation(values, deviation)
    quartile = 0.6745 * deviation
    np.testing.assert_allclose(
        np.quantile(values, [0.25, 0.75]), [-quartile, quartile], atol=6 * deviation / len(values) ** 0.5
    )


def check_deviation(values, expected):
    allowed = 4 / np.sqrt(len(values))  # over five standard errors for both distributions
    assert len(values) >= 400, "too few to tell"
    assert values.std() == pytest.approx(expected, rel=allowed)
    assert abs(values.mean()) < expected * allowed
