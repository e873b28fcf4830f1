"""What the photographs of a comparison look like: which are nearly equal, and so no independent evidence; dark, or blurred."""

import concurrent.futures
from collections.abc import Sequence
from typing import Callable, NamedTuple, Optional, TypeVar

import numpy as np
from PIL import Image

from comparison.bilingual import Bilingual
from data.lists import DataError
from data.near_duplicates import Traits, clusters_of, traits_of
from machine.processor import available_cores

Found = TypeVar("Found")

MOST = 20_000
"""Of more photographs the search takes minutes, and near duplicates matter little for the verdict."""
MANY = 2000
SIDE = 128


class Alike(NamedTuple):
    """``clusters``: [photographs] of int, equal where photographs are nearly equal, or None; ``note``: what is to be known.

    ``traits``: {"brightness", "sharpness"}: [photographs] each; ``looks``: what is compared to find nearly equal ones; both
    None where they cannot be read.
    """

    clusters: Optional[np.ndarray] = None
    note: Optional[Bilingual] = None
    traits: Optional[dict[str, np.ndarray]] = None
    looks: Optional[list[Traits]] = None


def find_alike(names: Sequence[str], photograph: Callable[[str], Image.Image]) -> Alike:
    """``photograph(name)`` returns an image, or raises DataError; then none count as nearly equal, and the note says so."""
    if len(names) > MOST:
        return Alike(
            note=Bilingual(
                f"Nearly equal photographs were not looked for among {len(names)}.",
                f"照片有 {len(names)} 张，没有从中寻找几乎相同的照片。",
            )
        )
    if len(names) > MANY:
        print(f"looking for nearly equal photographs among {len(names)}", flush=True)
    try:
        seen = of_each(names, lambda name: _look(photograph(name)))
    except (DataError, OSError):
        return Alike(
            note=Bilingual(
                "Nearly equal photographs were not looked for, because not all can be read any more.",
                "没有寻找几乎相同的照片：有的照片已经读不出来了。",
            )
        )
    looks = [look for look, _, _ in seen]
    clusters = clusters_of(looks)
    sizes = np.bincount(clusters)
    traits = {"brightness": np.array([light for _, light, _ in seen]), "sharpness": np.array([sharp for _, _, sharp in seen])}
    if sizes.max() == 1:
        return Alike(clusters, traits=traits, looks=looks)
    equal, groups = sizes[sizes > 1].sum(), np.count_nonzero(sizes > 1)
    note = Bilingual(
        f"{equal} of the {len(clusters)} photographs are nearly equal to others of them, in {groups} groups. The verdict "
        "counts each group as one photograph of so much weight.",
        f"{len(clusters)} 张照片中有 {equal} 张与其他照片几乎相同，共 {groups} 组。结论把每组当作一张照片，权重为该组的张数。",
    )
    return Alike(clusters, note, traits, looks)


def of_each(names: Sequence[str], found: Callable[[str], Found]) -> list[Found]:
    """``found(name)`` of each name, in their order, on all cores: decoding lets other threads work. Raises what it raises."""
    with concurrent.futures.ThreadPoolExecutor(available_cores()) as pool:
        return list(pool.map(found, names))


def _look(image):
    return traits_of(image), *_brightness_and_sharpness(image)


def _brightness_and_sharpness(image):
    """Mean grey value; mean difference of neighbours, in contrasts, at one size for all photographs."""
    grey = np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS), np.float32)
    edges = (np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean()) / max(float(grey.std()), 1.0)
    return float(grey.mean()), float(edges)
