"""How large the object on a photograph is, as far as Grad-CAM of a network tells.

The share of the image where the map of the photograph's class exceeds half its maximum stands for the size of the object. A map
depends on its network, also on whether that is right; the mean over all networks that are compared favours none of them. The
shares rank photographs, and are no sizes to rely on.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np
import paddle
from paddle import nn

from comparison.bilingual import Bilingual
from data.data_sets import open_side
from data.data_source import DataSource
from messages.reason import reason_of
from messages.user_error import UserError
from networks.class_activation import grad_cam
from trained.trained_run import TrainedRun

MOST = 20_000
"""Photographs."""
MOST_ON_CPU = 10**12
"""Multiply-adds of the network over all photographs: the maps take 1.7 times as long as the evaluation of one training, with so
many half a minute to two minutes on two cores (ResNet18 at 224 pixels: 550 photographs)."""
MANY = 200
LEAST_SIDE = 96
"""Pixels of the image. Of photographs of caltech101_16 that were shown at half their size, the share of a ResNet18 shrank in
85% with 112 pixels, in 76% with 96, and in 48% with 64, where the last stage has two by two positions: that tells nothing."""
HALF = 0.5  # of the map's maximum
BATCH = 16
DIGITS = 4  # that are kept: so that the last bits of a device's sums do not decide which third a photograph is in


class ObjectSizes(NamedTuple):
    """``shares``: [photographs] from 0 to 1, NaN where nothing speaks for the class; None: not measured, and ``note`` says why
    where that is not plain."""

    shares: Optional[np.ndarray] = None
    note: Optional[Bilingual] = None


def measure_objects(
    names: Sequence[str],
    source: Optional[DataSource],
    split: str,
    networks: Sequence[Mapping[int, Path]],
    multiply_adds: float,
) -> ObjectSizes:
    """The ObjectSizes of the photographs ``names``, on Paddle's current device: the mean over the ``networks``.

    ``source``: their place, None where they may not be read; ``networks``: {fold: run} of one seed of each; with folds, each
    run measures those of its fold on the list "val", and the first one all of the list "test". ``multiply_adds``: of all
    networks for one image.
    """
    if source is None:
        return ObjectSizes()
    found = []
    for trainings in networks:
        of_one = _by_one(names, source, split, trainings, multiply_adds)
        if of_one.shares is None:
            return of_one
        found.append(of_one.shares)
    mean = np.mean(found, axis=0).round(DIGITS)  # NaN where nothing speaks for the class in one of them
    return ObjectSizes() if np.isnan(mean).all() else ObjectSizes(mean)


def _by_one(names, source, split, trainings, multiply_adds) -> ObjectSizes:
    """By the runs of one network."""
    shares: dict[str, float] = {}
    wanted = set(names)
    try:
        for fold, folder in trainings.items():
            run = TrainedRun.open(folder)
            if run.settings.image_size < LEAST_SIDE:
                return ObjectSizes()
            if len(names) > MOST or (paddle.get_device() == "cpu" and len(names) * multiply_adds > MOST_ON_CPU):
                return ObjectSizes(
                    note=Bilingual(
                        f"Sizes of objects were not measured: {len(names):,} photographs would take too long.",
                        f"没有测量物体大小：{len(names):,} 张照片需要太长时间。",
                    )
                )
            if len(names) > MANY and not shares:
                print(f"measuring the objects on {len(names):,} photographs by Grad-CAM of {run.name}", flush=True)
            listed = open_side(source._replace(fold=fold), split, **run.view)
            run.check_classes(listed)
            places = [place for place, sample in enumerate(listed.samples) if sample.name in wanted]
            for start in range(0, len(places), BATCH):
                batch = places[start : start + BATCH]
                images, classes = zip(*(listed[place] for place in batch))
                found = object_shares(run.classifier(), np.stack(images), np.array(classes))
                shares.update(zip((listed.samples[place].name for place in batch), found.tolist()))
            if split == "test":
                break
    except (UserError, OSError) as error:
        reason = reason_of(error)
        return ObjectSizes(note=Bilingual(f"Sizes of objects were not measured: {reason}.", f"没有测量物体大小：{reason}。"))
    return ObjectSizes(np.array([shares.get(name, np.nan) for name in names]))


def object_shares(classifier: nn.Layer, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """[N] for images uint8 [N, 3, H, W]: where the map of each one's class, of ``classes`` [N], exceeds half its maximum.

    NaN where nothing speaks for the class. Raises what ``grad_cam`` raises.
    """
    maps, _ = grad_cam(classifier, images, classes)  # [N, H, W]
    found = (maps > HALF).mean(axis=(1, 2)).round(DIGITS)
    return np.where(maps.max(axis=(1, 2)) > 0, found, np.nan)
