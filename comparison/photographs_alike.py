"""Which photographs of a comparison are nearly equal: they are no independent evidence."""

from collections.abc import Sequence
from typing import Callable, Optional

import numpy as np
from PIL import Image

from data.lists import DataError
from data.near_duplicates import clusters_of, difference_hash


def clusters_of_photographs(names: Sequence[str], photograph: Callable[[str], Image.Image]) -> Optional[np.ndarray]:
    """[photographs] of int, equal where photographs are nearly equal; None where they cannot be read.

    ``photograph(name)`` returns an image, or raises DataError.
    """
    try:
        return clusters_of([difference_hash(photograph(name)) for name in names])
    except (DataError, OSError):
        return None


def line_of_clusters(clusters: np.ndarray) -> str:
    """What is to be known where photographs are nearly equal; empty where none are."""
    sizes = np.bincount(clusters)
    if sizes.max() == 1:
        return ""
    return (
        f"{sizes[sizes > 1].sum()} of the {len(clusters)} photographs are nearly equal to others of them, in "
        f"{np.count_nonzero(sizes > 1)} groups. The verdict counts each group as one photograph of so much weight."
    )
