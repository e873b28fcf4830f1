"""The kernel sizes of Efficient Channel Attention in a file of weights, which the network must be built with."""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Optional, Union

import numpy as np

from config import Config
from weights.weight_files import WeightFileError, read_weights

NAME = re.compile(r"^layer([1-4])\.\d+\.eca\.conv\.weight$")


def with_kernel_sizes(config: Config) -> Config:
    """``config`` with the ``eca_kernel_sizes`` of the file that it starts from, where its network has ECA and the file too.

    Raises WeightFileError if the file cannot be read, or contradicts sizes that the user gave.
    """
    if not config.init_from or config.attention_of_network() != "eca":
        return config
    sizes = eca_kernel_sizes(config.init_from, read_weights(config.init_from).arrays)
    given = config.eca_kernel_sizes
    if sizes and given and sizes != given:
        raise WeightFileError(
            f"eca_kernel_sizes = {as_text(given)}: {config.init_from} has {as_text(sizes)}; leave the option out to follow the "
            f"file"
        )
    return dataclasses.replace(config, eca_kernel_sizes=sizes) if sizes else config


def eca_kernel_sizes(path: Union[str, Path], arrays: Mapping[str, np.ndarray]) -> Optional[tuple[int, ...]]:
    """The kernel size in each of the four stages of the network in ``arrays``, {name: array}; None without ECA in all of them.

    Raises WeightFileError, which names the file ``path``, if the sizes within a stage differ.
    """
    stages: dict[int, set[int]] = {}
    for name, array in arrays.items():
        match = NAME.match(name)
        if match and array.ndim == 3:
            stages.setdefault(int(match[1]), set()).add(array.shape[2])
    for stage, sizes in sorted(stages.items()):
        if len(sizes) > 1:
            raise WeightFileError(
                f"{path}: ECA has kernel sizes {as_text(sorted(sizes))} in layer{stage}, this network one for a stage: choose "
                f"weights of another network"
            )
    return tuple(stages[stage].pop() for stage in sorted(stages)) if len(stages) == 4 else None


def as_text(sizes: Iterable[int]) -> str:
    """The sizes as the user writes them."""
    return " ".join(map(str, sizes))
