"""ResNet with a pluggable attention layer; SA-ResNet is this ResNet with Shuffle Attention.

K. He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, with the stride on the 3x3 convolution as in
torchvision. Shuffle Attention follows the last batch norm of a block, before the residual addition, as in the SA-Net authors'
code; parameter names and initialisation are theirs (and torchvision's), so that published weights map one to one:
``bn.running_mean`` is Paddle's ``bn._mean``, ``bn.running_var`` is ``bn._variance``, ``fc.weight`` is transposed,
``bn.num_batches_tracked`` has no counterpart.

ResNet50 and SA-ResNet50 differ in the argument ``attention`` alone, so that comparing them compares attention.

Feature maps are NCHW or, with the data format "NHWC", NHWC from the stem to the last pooling; images, logits, parameters and
their names are the same. On a CPU the stages work in blocks of channels where they can (ops/channel_blocks.py).
"""

import copy
import inspect
from collections.abc import Sequence
from typing import Any, Callable, Optional

import numpy as np
import paddle
from paddle import Tensor, nn
from paddle.nn.initializer import KaimingNormal

from attention import attention_layer
from attention.base import Attention
from attention.fixed_convolution import FoldedNorm, fold_norm
from attention.initial_values import uniform_by_fan_in
from ops import channel_blocks
from ops.batch_norm import BatchNorm2D, apply_norm
from ops.convolution import Conv2D
from ops.norm_convolution import convolve_normed
from ops.pooling import MaxPool2D

BOTTLENECKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
BASIC_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
"""Depth -> number of blocks in each of the four stages."""


def conv(
    in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1, data_format: str = "NCHW"
) -> Conv2D:
    """Convolution without bias, padded to keep the size at stride 1, initialised for ReLU by its fan-out."""
    # Paddle's KaimingNormal computes the fan-in itself; the authors initialise by fan-out, so it gets that as the fan-in
    fan_out = out_channels * kernel_size**2
    return Conv2D(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        padding=kernel_size // 2,
        groups=groups,
        weight_attr=KaimingNormal(fan_in=fan_out),
        bias_attr=False,
        data_format=data_format,
    )


def conv3x3(in_channels: int, out_channels: int, stride: int = 1, data_format: str = "NCHW") -> Conv2D:
    """The 3x3 convolution of a residual block."""
    return conv(in_channels, out_channels, 3, stride, data_format=data_format)


class BlockAttention:
    """An attention layer for every block of a network: its name in the block, its place, and how to build it.

    ``name``: one of attention.ATTENTIONS; ``stages``: those of the network that have it, from 1, None: all; ``options`` are
    passed to the layer; a tuple has one value for each stage of the network, see ``in_stage``. Raises ValueError for an option
    that the layer does not have.
    """

    def __init__(self, name: str, stages: Optional[Sequence[int]] = None, **options: Any):
        self.layer: Any = attention_layer(name)  # whose options are its own
        self.options, self.stages = options, stages
        self.place = self.layer.place
        self.name = "sa" if name == "shuffle" else name  # as in the authors' checkpoints
        known = list(inspect.signature(self.layer).parameters)[1:]  # without ``channels``
        self.takes_nhwc = "data_format" in known
        known = [option for option in known if option != "data_format"]
        for option in options:
            if option not in known:
                raise ValueError(f"{name} has no option {option!r}; it has: {', '.join(known) or 'none'}")

    def __call__(self, channels: int, data_format: str = "NCHW") -> Attention:
        """The layer for C = ``channels``; raises ValueError where it does not take maps of the ``data_format``."""
        if data_format == "NCHW":
            return self.layer(channels, **self.options)
        if not self.takes_nhwc:
            layer = self.layer.__name__
            raise ValueError(f"layout = 'nhwc': {layer} has NCHW maps only; leave --layout out, or give --layout nchw")
        return self.layer(channels, **self.options, data_format=data_format)

    def in_stage(self, stage: int) -> Optional["BlockAttention"]:
        """The same for the blocks of ``stage``, from 1: an option with a value for each stage has that of this one.

        None where the blocks of this stage have no attention.
        """
        if self.stages is not None and stage not in self.stages:
            return None
        chosen = copy.copy(self)
        chosen.options = {
            option: value[stage - 1] if isinstance(value, tuple) else value for option, value in self.options.items()
        }
        return chosen


OPTION_OF = {"sa_groups": "groups", "sa_gate": "gate", "eca_kernel_sizes": "kernel_size", "earlier_attention": "earlier"}
"""Network option -> the layer's option, where the two have different names."""


STAGES = (1, 2, 3, 4)


def block_attention(name: str, stages: Optional[Sequence[int]] = None, **options: Any) -> Optional[BlockAttention]:
    """The ``BlockAttention`` of ``name`` with those network ``options`` that are set; None where ``name`` is "none".

    ``stages``: the network option attention_stages. None and False leave an option at the layer's own default. Raises
    ValueError for an option that the layer does not have, and for stages that are not some of STAGES, each once.
    """
    chosen = {option: value for option, value in options.items() if value not in (None, False)}
    if name == "none":
        if chosen or stages:
            named = ", ".join([*chosen, *["attention_stages"] * bool(stages)])
            raise ValueError(f"without attention there is no option {named}")
        return None
    if stages is not None and (not set(stages) <= set(STAGES) or len(set(stages)) < len(stages)):
        raise ValueError(f"attention_stages = {' '.join(map(str, stages))}: expected some of 1 2 3 4, each once")
    known = inspect.signature(attention_layer(name)).parameters
    for option in chosen:
        if OPTION_OF.get(option, option) not in known:
            raise ValueError(f"{name} has no option {option!r}: leave it out")
    return BlockAttention(name, stages or None, **{OPTION_OF.get(option, option): value for option, value in chosen.items()})


class ResidualBlock(nn.Layer):
    """What both kinds of block share: the shortcut, and the places for an attention layer.

    A subclass calls ``add_ends`` at the end of its constructor.
    """

    expansion: int
    """The output has ``expansion`` times as many channels as the 3x3 convolutions."""
    normed: tuple[tuple[str, str], ...]
    """The names of its convolutions, each with that of its batch norm; attention inside comes between the second two."""
    spatial: tuple[str, ...]
    """Those of its 3x3 convolutions, which another layer may stand for."""

    @property
    def last_conv(self) -> nn.Conv2D:
        return getattr(self, self.normed[-1][0])

    @property
    def last_norm(self) -> BatchNorm2D:
        return getattr(self, self.normed[-1][1])

    def add_ends(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        attention: Optional[BlockAttention],
        spatial_channels: int,
        data_format: str,
    ) -> None:
        """Add attention and shortcut; ``spatial_channels``: those of the block's 3x3 convolution.

        They come after the block's own layers because the authors' code orders the parameters in this way.
        """
        self.inside, self.at_end = None, None
        if attention is not None and attention.place == "inside":
            self.inside = attention.name
            self.add_sublayer(attention.name, attention(spatial_channels, data_format))
        elif attention is not None:
            self.at_end = attention.name
            self.add_sublayer(attention.name, attention(out_channels, data_format))
        self.downsample = None
        if stride != 1 or in_channels != out_channels:
            shortcut = conv(in_channels, out_channels, 1, stride, data_format=data_format)
            self.downsample = nn.Sequential(shortcut, BatchNorm2D(out_channels, data_format=data_format))

    def attend_inside(self, x: Tensor) -> Tensor:
        """``x``, the output of the block's 3x3 convolution, after the attention layer that belongs there, if any."""
        return x if self.inside is None else channel_blocks.through(getattr(self, self.inside), x)

    def takes_blocks(self, lanes: int) -> bool:
        """Whether it takes feature maps in blocks of ``lanes`` channels (ops/channel_blocks.py).

        Its norms and 1x1 convolutions must; attention, and what stands for a 3x3 convolution, works on planes where it has to.
        """
        layers = [getattr(self, norm) for _, norm in self.normed]
        layers += [getattr(self, conv) for conv, _ in self.normed if conv not in self.spatial]
        layers += [] if self.downsample is None else self.downsample
        return all(channel_blocks.takes_blocks(layer, lanes) for layer in layers)

    def use_export_form(self, order: np.ndarray) -> np.ndarray:
        """Let the trained block compute the same in the form of ``Attention.end_form``; returns the order of its output.

        ``order``: from now on, channel i of the block's input is channel order[i] of what it was. The returned one says the
        same of the output.
        """
        reorder_inputs(self.conv1, order)
        if self.downsample is not None:
            reorder_inputs(self.downsample[0], order)
            order = self.end_order()
            reorder_outputs(self.downsample[0], self.downsample[1], order)
            fold_norm(self.downsample, "0", "1")
        if self.at_end is not None:
            attention, self.at_end = getattr(self, self.at_end), None
            conv, norm = self.normed[-1]
            setattr(self, conv, attention.end_form(self.last_conv, self.last_norm))
            setattr(self, norm, FoldedNorm())
        for place, (conv, norm) in enumerate(self.normed):
            if place != 1 or self.inside is None:
                fold_norm(self, conv, norm)
        return order

    def end_order(self) -> np.ndarray:
        """The order of the output that the block's own form for export prefers, as ``use_export_form`` returns it."""
        channels = self.last_norm.weight.shape[0]
        return np.arange(channels) if self.at_end is None else getattr(self, self.at_end).end_order(channels)

    def end(self, out: Tensor, x: Tensor) -> Tensor:
        """relu(attention(last_norm(out)) + shortcut(x)); ``out``: of the block's last convolution, ``x``: the block's input."""
        identity = x if self.downsample is None else self.downsample(x)
        if self.at_end is None:
            return apply_norm(self.last_norm, out, residual=identity)
        return getattr(self, self.at_end).end_block(out, self.last_norm, identity)


def reorder_inputs(conv: nn.Conv2D, order: np.ndarray) -> None:
    """Let ``conv`` compute the same of an input whose channel i is channel order[i] of what it was."""
    conv.weight.set_value(paddle.index_select(conv.weight, paddle.to_tensor(order), axis=1))


def reorder_outputs(conv: nn.Conv2D, norm: BatchNorm2D, order: np.ndarray) -> None:
    """Let channel i of ``norm``(``conv``(x)) be channel order[i] of what it was."""
    for values in (conv.weight, norm.weight, norm.bias, norm._mean, norm._variance):
        values.set_value(paddle.index_select(values, paddle.to_tensor(order), axis=0))


class BasicBlock(ResidualBlock):
    """Two 3x3 convolutions with batch norm: [N, in, H, W] -> [N, planes, H / stride, W / stride]."""

    expansion = 1
    normed = ("conv1", "bn1"), ("conv2", "bn2")
    spatial = "conv1", "conv2"

    def __init__(
        self,
        in_channels: int,
        planes: int,
        stride: int = 1,
        attention: Optional[BlockAttention] = None,
        spatial_conv: Callable[..., nn.Layer] = conv3x3,
        data_format: str = "NCHW",
    ):
        super().__init__()
        self.conv1 = spatial_conv(in_channels, planes, stride, data_format=data_format)
        self.bn1 = BatchNorm2D(planes, data_format=data_format)
        self.conv2 = spatial_conv(planes, planes, data_format=data_format)
        self.bn2 = BatchNorm2D(planes, data_format=data_format)
        self.add_ends(in_channels, planes, stride, attention, planes, data_format)

    def forward(self, x: Tensor) -> Tensor:
        out = convolve_normed(self.conv2, self.bn1, channel_blocks.through(self.conv1, x))
        return self.end(self.attend_inside(out), x)


class Bottleneck(ResidualBlock):
    """1x1, 3x3, 1x1 convolutions with batch norm: [N, in, H, W] -> [N, 4 * planes, H / stride, W / stride]."""

    expansion = 4
    normed = ("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3")
    spatial = ("conv2",)

    def __init__(
        self,
        in_channels: int,
        planes: int,
        stride: int = 1,
        attention: Optional[BlockAttention] = None,
        spatial_conv: Callable[..., nn.Layer] = conv3x3,
        data_format: str = "NCHW",
    ):
        super().__init__()
        out_channels = planes * self.expansion
        self.conv1 = conv(in_channels, planes, 1, data_format=data_format)
        self.bn1 = BatchNorm2D(planes, data_format=data_format)
        self.conv2 = spatial_conv(planes, planes, stride, data_format=data_format)
        self.bn2 = BatchNorm2D(planes, data_format=data_format)
        self.conv3 = conv(planes, out_channels, 1, data_format=data_format)
        self.bn3 = BatchNorm2D(out_channels, data_format=data_format)
        self.add_ends(in_channels, out_channels, stride, attention, planes, data_format)

    def forward(self, x: Tensor) -> Tensor:
        out = convolve_normed(self.conv2, self.bn1, self.conv1(x))
        return self.end(convolve_normed(self.conv3, self.bn2, self.attend_inside(out)), x)


class ResNet(nn.Layer):
    """float32 images [N, 3, H, W] -> logits [N, num_classes].

    ``blocks``: number of blocks in each of the four stages. ``attention``: a ``BlockAttention``; None for a plain ResNet.
    ``block``: ``Bottleneck`` or ``BasicBlock``. ``spatial_conv``: a function (in_channels, out_channels, stride, data_format)
    -> layer that replaces the 3x3 convolutions. ``zero_init_residual``: let each block start as the identity, with its last
    batch norm's weight at zero (P. Goyal et al., "Accurate, Large Minibatch SGD", 2017, section 5.1); an option, off by
    default, in the authors' code too. ``data_format``: of the feature maps, "NCHW" or "NHWC"; for the latter the images are
    transposed once, before the stem.
    """

    def __init__(
        self,
        blocks: Sequence[int],
        num_classes: int,
        attention: Optional[BlockAttention] = None,
        zero_init_residual: bool = False,
        block: type[ResidualBlock] = Bottleneck,
        spatial_conv: Callable[..., nn.Layer] = conv3x3,
        data_format: str = "NCHW",
    ):
        super().__init__()
        self.data_format = data_format
        self.conv1 = conv(3, 64, 7, stride=2, data_format=data_format)
        self.bn1 = BatchNorm2D(64, data_format=data_format)
        self.maxpool = MaxPool2D(3, stride=2, padding=1, data_format=data_format)
        in_channels = 64
        for stage, (count, planes) in enumerate(zip(blocks, (64, 128, 256, 512)), start=1):
            layers = []
            for index in range(count):
                stride = 2 if stage > 1 and index == 0 else 1
                own = attention and attention.in_stage(stage)
                layers.append(block(in_channels, planes, stride, own, spatial_conv, data_format))
                in_channels = planes * block.expansion
            setattr(self, f"layer{stage}", nn.Sequential(*layers))
        self.avgpool = nn.AdaptiveAvgPool2D(1, data_format=data_format)
        start = uniform_by_fan_in(in_channels)  # which the authors keep
        self.fc = nn.Linear(in_channels, num_classes, weight_attr=start, bias_attr=start)
        if zero_init_residual:
            for layer in self.sublayers():
                if isinstance(layer, ResidualBlock):
                    layer.last_norm.weight.set_value(paddle.zeros_like(layer.last_norm.weight))

    def forward(self, x: Tensor) -> Tensor:
        if self.data_format == "NHWC":
            x = x.transpose([0, 2, 3, 1])  # [N, 3, H, W] -> [N, H, W, 3]
        stages = (self.layer1, self.layer2, self.layer3, self.layer4)
        x = channel_blocks.split(self._stem(x, stages), stages)  # [N, 64, H / 4, W / 4], where it can be in blocks of channels
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))  # [N, 512 * expansion, H / 32, W / 32]
        x = channel_blocks.join(x)
        return self.fc(self.avgpool(x).flatten(1))  # pooled [N, C, 1, 1] or [N, 1, 1, C] -> [N, C]

    def input_of_stage(self, stage: int, x: Tensor) -> Tensor:
        """What the first block of ``stage``, from 1, sees of the images ``x`` [N, 3, H, W]: [N, C, H', W'], or [N, H', W', C].

        ``from_stage`` gives the logits of it. The two are ``forward`` in two parts; that is spelt out because Paddle 2.6 turns
        it into a program line by line.
        """
        if self.data_format == "NHWC":
            x = x.transpose([0, 2, 3, 1])  # [N, 3, H, W] -> [N, H, W, 3]
        stages = self._stages_of_blocks()[: stage - 1]
        return self._through(stages, self._stem(x, stages))

    def from_stage(self, stage: int, x: Tensor) -> Tensor:
        """The logits [N, num_classes] from what ``input_of_stage`` returned for the same ``stage``."""
        x = self._through(self._stages_of_blocks()[stage - 1 :], x)  # [N, 512 * expansion, H / 32, W / 32]
        return self.fc(self.avgpool(x).flatten(1))  # pooled [N, C, 1, 1] or [N, 1, 1, C] -> [N, C]

    def _stem(self, x, stages):
        """What comes before the ``stages``; in blocks of channels where it can be made so and they take them."""
        lanes = channel_blocks.wanted(x, self.conv1, ((self.bn1, self.maxpool), *stages))
        x = self.conv1(x, lanes) if lanes else self.conv1(x)
        return self.maxpool(apply_norm(self.bn1, x, relu=True))

    def _stages_of_blocks(self):
        return self.layer1, self.layer2, self.layer3, self.layer4

    def _through(self, stages, x):
        """``x`` after ``stages``, [N, C, H, W]; before and in between it may be in blocks of channels."""
        x = channel_blocks.split(x, stages) if stages else x
        for stage in stages:
            x = stage(x)
        return channel_blocks.join(x)

    def stages(self) -> list[list[nn.Layer]]:
        """The four of the paper, the first one with the stem."""
        return [[self.conv1, self.bn1, self.layer1], [self.layer2], [self.layer3], [self.layer4]]

    def export_form(self) -> "ResNet":
        """The network itself, changed: its blocks have the form of ``Attention.end_form``, convolutions take in batch norms.

        The order of channels that suits the blocks goes into the weights around: all else works channel by channel. Runtimes
        fold batch norms themselves, but take seconds for it at each start. Raises ValueError unless maps are NCHW.
        """
        if self.data_format != "NCHW":
            raise ValueError(f"a network of {self.data_format} maps has no form for export: load its weights into an NCHW one")
        first = self.layer1[0]
        order = first.end_order() if first.downsample is None else np.arange(self.bn1.weight.shape[0])
        reorder_outputs(self.conv1, self.bn1, order)
        fold_norm(self, "conv1", "bn1")
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in stage:
                order = block.use_export_form(order)
        self.fc.weight.set_value(paddle.index_select(self.fc.weight, paddle.to_tensor(order), axis=0))  # [C, num_classes]
        return self


def resnet(
    num_classes: int,
    depth: int = 50,
    attention: str = "none",
    zero_init_residual: bool = False,
    sa_groups: Optional[int] = None,
    sa_gate: Optional[str] = None,
    e_lambda: Optional[float] = None,
    eca_kernel_sizes: Optional[Sequence[int]] = None,
    earlier_attention: bool = False,
    attention_stages: Optional[Sequence[int]] = None,
    layout: str = "nchw",
) -> ResNet:
    """ResNet of ``depth`` 18, 34, 50, 101 or 152 with the attention layer ``attention`` in every block.

    ``attention_stages``: only in the blocks of these of the four stages, from 1; None: of all.
    ``sa_groups``, ``sa_gate``: options of "shuffle"; ``e_lambda``: of "simam"; ``eca_kernel_sizes``: of "eca", one for each of
    the four stages; None leaves the layer's own default. ``earlier_attention``: the option ``earlier`` of "sge" and "cbam".
    ``layout``: of the feature maps, "nchw" or "nhwc". Raises ValueError for an option of another layer, or one that does not
    fit the channels.
    """
    layer = block_attention(
        attention,
        tuple(attention_stages) if attention_stages else None,
        sa_groups=sa_groups,
        sa_gate=sa_gate,
        e_lambda=e_lambda,
        eca_kernel_sizes=tuple(eca_kernel_sizes) if eca_kernel_sizes else None,
        earlier_attention=earlier_attention,
    )
    if depth in BASIC_BLOCKS:
        return ResNet(BASIC_BLOCKS[depth], num_classes, layer, zero_init_residual, BasicBlock, data_format=layout.upper())
    return ResNet(BOTTLENECKS[depth], num_classes, layer, zero_init_residual, Bottleneck, data_format=layout.upper())
