"""Attention layers, one file each, by the names that ``--attention`` takes; each maps [N, C, H, W] to the same shape.

To add one: write one file with a layer that is built as ``Layer(channels, **options)`` and add one line to ATTENTIONS. Where it
needs tensors of five dimensions or operators that few runtimes have, it has an ``export_form`` as well; with an option
``data_format``, networks can have it with ``--layout nhwc``. Nothing here imports Paddle until a layer is requested, so that
``--help`` can list the names quickly.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attention.base import Attention

ATTENTIONS = {
    "shuffle": ("attention.shuffle_attention", "ShuffleAttention"),
    "se": ("attention.squeeze_excitation", "SqueezeExcitation"),
    "cbam": ("attention.cbam", "CBAM"),
    "eca": ("attention.efficient_channel", "EfficientChannelAttention"),
    "sge": ("attention.spatial_group", "SpatialGroupEnhance"),
    "simam": ("attention.simam", "SimAM"),
}
"""Name -> (module, class)."""


def attention_layer(name: str) -> type[Attention]:
    """The class of the attention layer ``name``, one of ATTENTIONS; raises KeyError for another name."""
    module, layer = ATTENTIONS[name]
    return getattr(importlib.import_module(module), layer)
