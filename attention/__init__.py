"""Attention layers, one a file, by the names that ``--attention`` takes; each maps [N, C, H, W] to the same shape.

To add one: one file with a layer that is built as ``Layer(channels, **options)``, one line in ATTENTIONS. Nothing here imports
Paddle before a layer is asked for, so that ``--help`` can list the names.
"""

import importlib

ATTENTIONS = {
    "shuffle": ("attention.shuffle_attention", "ShuffleAttention"),
    "se": ("attention.squeeze_excitation", "SqueezeExcitation"),
    "cbam": ("attention.cbam", "CBAM"),
    "eca": ("attention.efficient_channel", "EfficientChannelAttention"),
    "sge": ("attention.spatial_group", "SpatialGroupEnhance"),
    "simam": ("attention.simam", "SimAM"),
}
"""Name -> (module, class)."""


def attention_layer(name):
    """The class of the attention layer ``name``; None for "none"."""
    if name == "none":
        return None
    module, layer = ATTENTIONS[name]
    return getattr(importlib.import_module(module), layer)


def __getattr__(name):
    for module, layer in ATTENTIONS.values():
        if name == layer:
            return getattr(importlib.import_module(module), layer)
    raise AttributeError(f"module 'attention' has no attribute {name!r}")
