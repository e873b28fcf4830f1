"""A trained ResNet with attention inserted into some of its stages, by the exact warm start, and all frozen but its gates."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Optional

import paddle
from paddle import Tensor

from attention import ATTENTIONS
from attention.base import Attention
from messages.user_error import UserError
from networks import NETWORKS, build_network, options_of
from networks.classifier import Classifier
from sa_resnet import BlockAttention, ResidualBlock, block_attention
from trained.trained_run import TrainedRun
from weights.warm_start import start_from

NORM = "norm"
"""In the place of an attention layer: the last batch norm of each block is trained instead, which costs nothing at work."""
SA_GROUPS = (64, 32)  # the published number, and what fits the 64 channels of ResNet-18 and 34
CHANNELS = 512  # which every layer takes


class SurgeryError(UserError):
    """A run that no attention can be inserted into, or an attention layer that cannot be inserted."""


class Operation(NamedTuple):
    """``block``: the name of an attention layer, or NORM; ``stages``: where it is inserted; ``sa_groups``: of "shuffle"."""

    block: str
    stages: tuple[int, ...]
    sa_groups: Optional[int] = None

    def options(self) -> dict[str, Any]:
        """The options of the network, as networks.build_network takes them."""
        if self.block == NORM:
            return {}
        chosen: dict[str, Any] = {"attention": self.block, "attention_stages": self.stages}
        return {**chosen, **({"sa_groups": self.sa_groups} if self.block == "shuffle" and self.sa_groups else {})}


class Operated(NamedTuple):
    """The ``classifier`` with what an operation inserted, in evaluation mode, and its ``gates``: {name: parameter to train}."""

    classifier: Classifier
    gates: dict[str, Tensor]


def check_operable(run: TrainedRun) -> None:
    """Raise SurgeryError unless the network of ``run`` is a ResNet without attention."""
    plain = [name for name in NETWORKS if {"attention", "attention_stages"} <= set(options_of(name))]
    remedy = f"give the --run of a plain ResNet, which python train.py --net {plain[0]} trains"
    if run.net not in plain:
        raise SurgeryError(f"{run.folder} holds {run.net}: attention is inserted into {', '.join(plain)}: {remedy}")
    own = run.settings.attention_of_network()
    if own not in (None, "none"):
        raise SurgeryError(f"{run.folder} holds {run.net} with attention = {own!r}, so its blocks have one already: {remedy}")


def exact_blocks() -> list[str]:
    """The attention layers that a trained network can begin with exactly: whose initial map has a factor."""
    return [name for name in ATTENTIONS if is_exact(name)]


def is_exact(block: str) -> bool:
    """Whether a network with this ``block`` computes at its start what the network without it does."""
    return block == NORM or BlockAttention(block)(CHANNELS).initial_map(CHANNELS).factor is not None


def fitting_groups(channels: Sequence[int]) -> int:
    """The groups of Shuffle Attention that fit the ``channels`` of all stages: as published, or fewer.

    Raises SurgeryError where none of SA_GROUPS do.
    """
    for groups in SA_GROUPS:
        if all(count % (2 * groups) == 0 for count in channels):
            return groups
    raise SurgeryError(f"blocks = 'shuffle' with {' '.join(map(str, channels))} channels in the stages: give --sa_groups")


def check_buildable(block: str, channels: Sequence[int], sa_groups: Optional[int]) -> None:
    """Raise SurgeryError unless the layer ``block`` takes the ``channels`` of all stages."""
    layer = block_attention(block, sa_groups=sa_groups if block == "shuffle" else None)
    assert layer is not None
    for stage, count in enumerate(channels, start=1):
        try:
            layer(count)
        except ValueError as error:
            raise SurgeryError(f"blocks = {block!r}: it does not fit the {count} channels of stage {stage}: {error}") from None


def operate(run: TrainedRun, operation: Operation, seed: int = 0) -> Operated:
    """The network of ``run`` after ``operation``, with gates at their initial values; ``seed``: of those that are random.

    Raises as networks.build_network and weights.warm_start.start_from do.
    """
    paddle.seed(seed)
    own = {name: value for name, value in run.settings.network_options().items() if name != "attention"}
    network = build_network(run.net, len(run.classes), **{**own, **operation.options()})
    start_from(run.checkpoint, network)
    classifier, source = Classifier(network), run.classifier()
    for buffer, value in ((classifier.mean, source.mean), (classifier.std, source.std)):
        buffer.set_value(value)
    classifier.eval()
    gates = _gates(network, operation)
    for parameter in network.parameters():
        parameter.stop_gradient = True
    for parameter in gates.values():
        parameter.stop_gradient = False
    return Operated(classifier, gates)


def _gates(network, operation):
    if operation.block == NORM:
        blocks = [(path, layer) for path, layer in network.named_sublayers() if isinstance(layer, ResidualBlock)]
        trained = [layer.last_norm for path, layer in blocks if int(path[len("layer")]) in operation.stages]
    else:
        trained = [layer for layer in network.sublayers() if isinstance(layer, Attention)]
    own = {parameter.name for layer in trained for parameter in layer.parameters()}
    return {name: value for name, value in network.named_parameters() if value.name in own and not value.stop_gradient}
