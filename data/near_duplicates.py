"""Photographs that are nearly equal: the same one saved twice, reduced, or a neighbour in a series.

Two are nearly equal if they agree both in 8 x 8 differences of brightness to the right and as many downwards (the difference
hash of N. Krawetz, "Kind of Like That", 2013), 128 bits, and in 32 x 32 grey values. Photographs that have nothing to do with
each other differ in about 64 bits; but those of one object each on white, or of one organ, have most bits in common, and only
the finer grey values tell them apart.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

SIDE, FINE = 8, 32
LIMIT = 12
"""Bits in which two photographs differ at most to be nearly equal."""
CORRELATION = 0.97
"""Of their grey values, at least."""
_BITS = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)


class Traits(NamedTuple):
    """What photographs are compared by: ``bits``, 16 uint8; ``grey``, float32 [1024] of mean 0 and length 1, or 0."""

    bits: np.ndarray
    grey: np.ndarray


def traits_of(photograph: Image.Image) -> Traits:
    """The Traits of a photograph of any mode and size."""
    image = photograph.convert("L")
    across, down, fine = (
        np.asarray(image.resize(size, Image.Resampling.LANCZOS), np.int16)
        for size in ((SIDE + 1, SIDE), (SIDE, SIDE + 1), (FINE, FINE))
    )
    bits = np.concatenate([(across[:, 1:] > across[:, :-1]).ravel(), (down[1:] > down[:-1]).ravel()])
    grey = fine.ravel() - fine.mean(dtype=np.float32)
    return Traits(np.packbits(bits), grey / max(float(np.linalg.norm(grey)), 1e-6))


def clusters_of(traits: Sequence[Traits]) -> np.ndarray:
    """[n] of int: equal for photographs that are nearly equal to the first one of their cluster.

    Not to any of it: in a row of photographs, each like the one before, the first and the last may have nothing in common.
    """
    found = np.arange(len(traits))
    heads: list[int] = []  # the first photograph of each cluster
    bits = np.empty((len(traits), 2 * SIDE), np.uint8)
    for place, own in enumerate(traits):
        near = np.flatnonzero(_BITS[bits[: len(heads)] ^ own.bits].sum(axis=1, dtype=np.int16) <= LIMIT)
        like = [heads[one] for one in near if traits[heads[one]].grey @ own.grey >= CORRELATION]
        if like:
            found[place] = like[0]
        else:
            bits[len(heads)] = own.bits
            heads.append(place)
    return found


def nearest_of(traits: Sequence[Traits], others: Sequence[Traits]) -> np.ndarray:
    """[n] of int: the index in ``others`` of the photograph that each of ``traits`` is nearly equal to, of several the one with
    the most similar grey values; -1 where there is none."""
    found = np.full(len(traits), -1)
    if not others:
        return found
    bits = np.stack([other.bits for other in others])
    for place, own in enumerate(traits):
        near = np.flatnonzero(_BITS[bits ^ own.bits].sum(axis=1, dtype=np.int16) <= LIMIT)
        if len(near):
            alike = np.array([others[one].grey @ own.grey for one in near])
            if alike.max() >= CORRELATION:
                found[place] = near[alike.argmax()]
    return found
