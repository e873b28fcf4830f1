"""Which photographs of a comparison are nearly equal: they are no independent evidence."""

from collections.abc import Sequence
from typing import Callable, NamedTuple, Optional

import numpy as np
from PIL import Image

from data.lists import DataError
from data.near_duplicates import clusters_of, traits_of

MOST = 20_000
"""Of more photographs the search takes minutes, and near duplicates matter little for the verdict."""
MANY = 2000


class Alike(NamedTuple):
    """``clusters``: [photographs] of int, equal where photographs are nearly equal, or None; ``note``: what is to be known."""

    clusters: Optional[np.ndarray] = None
    note: str = ""


def find_alike(names: Sequence[str], photograph: Callable[[str], Image.Image]) -> Alike:
    """``photograph(name)`` returns an image, or raises DataError; then none count as nearly equal, and the note says so."""
    if len(names) > MOST:
        return Alike(note=f"Nearly equal photographs were not looked for among {len(names)}.")
    if len(names) > MANY:
        print(f"looking for nearly equal photographs among {len(names)}", flush=True)
    try:
        clusters = clusters_of([traits_of(photograph(name)) for name in names])
    except (DataError, OSError):
        return Alike(note="Nearly equal photographs were not looked for, because not all can be read any more.")
    sizes = np.bincount(clusters)
    if sizes.max() == 1:
        return Alike(clusters)
    note = (
        f"{sizes[sizes > 1].sum()} of the {len(clusters)} photographs are nearly equal to others of them, in "
        f"{np.count_nonzero(sizes > 1)} groups. The verdict counts each group as one photograph of so much weight."
    )
    return Alike(clusters, note)
