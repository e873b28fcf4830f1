"""What the values of a network's weights must be, whatever file they come from."""

import numpy as np


def problem_of_values(name: str, array: np.ndarray) -> str:
    """What is wrong with the values of the weight ``name``, as a sentence that begins with its name; "" if nothing is."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return f"{name} holds NaN or infinite values: the training that wrote them had diverged, train again with a lower --lr"
    if name.endswith("._variance") and (array < 0).any():
        return f"{name} holds variances below zero: the file is damaged, get another copy"
    return ""
