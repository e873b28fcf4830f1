"""A network's parts in the order in which it computes: its stages, and the layer that its logits come from.

A network names its stages in a method ``stages()``: for each stage a list of its layers. The first one holds the stem as well;
the last layer, which gives the logits, is in none of them.
"""

from __future__ import annotations

from paddle import nn

from networks import NetworkError


def first_stages(network: nn.Layer, count: int, name: str) -> list[nn.Layer]:
    """The layers of the first ``count`` stages of ``network``, which the user calls ``name``.

    Raises NetworkError if it has fewer, or does not say what its stages are.
    """
    if not hasattr(network, "stages"):
        raise NetworkError(f"freeze = {count}: {name} does not name its stages; leave --freeze out")
    stages = network.stages()
    if count > len(stages):
        raise NetworkError(f"freeze = {count}: {name} has {len(stages)} stages, so give at most --freeze {len(stages)}")
    return [layer for stage in stages[:count] for layer in stage]


def last_linear(network: nn.Layer) -> tuple[str, nn.Linear] | None:
    """The last linear layer, the classifier's head: its name in ``network`` and the layer; None where there is none."""
    linear = [(name, layer) for name, layer in network.named_sublayers() if isinstance(layer, nn.Linear)]
    return linear[-1] if linear else None
