"""ResNet with a pluggable attention layer; SA-ResNet is this ResNet with Shuffle Attention.

K. He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, with the stride on the 3x3 convolution as
torchvision has it. Shuffle Attention sits after the last batch norm of a block, before the residual addition, as in the SA-Net
authors' code; parameter names and initialisation are theirs (and torchvision's), so that published weights map one
to one: ``bn.running_mean`` is Paddle's ``bn._mean``, ``bn.running_var`` is ``bn._variance``, ``fc.weight`` is transposed,
``bn.num_batches_tracked`` has no counterpart.

ResNet50 and SA-ResNet50 differ in the argument ``attention`` alone, so that comparing them compares attention.
"""

import inspect
import math

import paddle
from paddle import nn
from paddle.nn.initializer import KaimingNormal, Uniform

from attention import attention_layer
from ops.batch_norm import BatchNorm2D

BOTTLENECKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
BASIC_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
"""Depth -> number of blocks in each of the four stages."""


def conv(in_channels, out_channels, kernel_size, stride=1, groups=1):
    """Convolution without bias, padded to keep the size at stride 1, initialised for ReLU by its fan-out."""
    # Paddle's KaimingNormal computes fan-in; the authors initialise by fan-out, which it takes as an argument
    fan_out = out_channels * kernel_size**2
    return nn.Conv2D(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        padding=kernel_size // 2,
        groups=groups,
        weight_attr=KaimingNormal(fan_in=fan_out),
        bias_attr=False,
    )


def conv3x3(in_channels, out_channels, stride=1):
    """The 3x3 convolution of a residual block."""
    return conv(in_channels, out_channels, 3, stride)


class ResidualBlock(nn.Layer):
    """The shortcut, and the place for an attention layer, of both kinds of block."""

    def add_ends(self, in_channels, out_channels, stride, attention, spatial_channels):
        """Attention and shortcut, after the block's own layers: so the authors' code orders the parameters."""
        self.inside, self.at_end = None, None
        if attention is not None and attention.place == "inside":
            self.inside = attention.name
            self.add_sublayer(attention.name, attention(spatial_channels))
        elif attention is not None:
            self.at_end = attention.name
            self.add_sublayer(attention.name, attention(out_channels))
        self.downsample = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(conv(in_channels, out_channels, 1, stride), BatchNorm2D(out_channels))

    def spatial(self, x):
        """What the block's spatial convolution gives, with the attention that belongs there."""
        return x if self.inside is None else getattr(self, self.inside)(x)

    def end(self, out, norm, x):
        """relu(attention(norm(out)) + shortcut(x)); ``norm``: the block's last batch norm."""
        identity = x if self.downsample is None else self.downsample(x)
        if self.at_end is None:
            return norm(out, residual=identity)
        return getattr(self, self.at_end).end_block(out, norm, identity)


class BasicBlock(ResidualBlock):
    """Two 3x3 convolutions with batch norm: [N, in, H, W] -> [N, planes, H / stride, W / stride]."""

    expansion = 1

    def __init__(self, in_channels, planes, stride=1, attention=None, spatial_conv=conv3x3):
        super().__init__()
        self.conv1 = spatial_conv(in_channels, planes, stride)
        self.bn1 = BatchNorm2D(planes)
        self.conv2 = spatial_conv(planes, planes)
        self.bn2 = BatchNorm2D(planes)
        self.add_ends(in_channels, planes, stride, attention, planes)

    @property
    def last_conv(self):
        return self.conv2

    @property
    def last_norm(self):
        return self.bn2

    def forward(self, x):
        out = self.bn1(self.conv1(x), relu=True)
        return self.end(self.spatial(self.conv2(out)), self.bn2, x)


class Bottleneck(ResidualBlock):
    """1x1, 3x3, 1x1 convolutions with batch norm: [N, in, H, W] -> [N, 4 * planes, H / stride, W / stride]."""

    expansion = 4

    def __init__(self, in_channels, planes, stride=1, attention=None, spatial_conv=conv3x3):
        super().__init__()
        out_channels = planes * self.expansion
        self.conv1 = conv(in_channels, planes, 1)
        self.bn1 = BatchNorm2D(planes)
        self.conv2 = spatial_conv(planes, planes, stride)
        self.bn2 = BatchNorm2D(planes)
        self.conv3 = conv(planes, out_channels, 1)
        self.bn3 = BatchNorm2D(out_channels)
        self.add_ends(in_channels, out_channels, stride, attention, planes)

    @property
    def last_conv(self):
        return self.conv3

    @property
    def last_norm(self):
        return self.bn3

    def forward(self, x):
        out = self.bn1(self.conv1(x), relu=True)
        out = self.bn2(self.spatial(self.conv2(out)), relu=True)
        return self.end(self.conv3(out), self.bn3, x)


class BlockAttention:
    """An attention layer for every block of a network: its name in the block, its place, and how to build it.

    ``name``: one of attention.ATTENTIONS; ``options`` go to the layer. Raises ValueError for an option that it does not have.
    """

    def __init__(self, name, **options):
        self.layer, self.options = attention_layer(name), options
        self.place = self.layer.place
        self.name = "sa" if name == "shuffle" else name  # as in the authors' checkpoints
        known = list(inspect.signature(self.layer).parameters)[1:]
        for option in options:
            if option not in known:
                raise ValueError(f"{name} has no option {option!r}; it has: {', '.join(known) or 'none'}")

    def __call__(self, channels):
        return self.layer(channels, **self.options)


class ResNet(nn.Layer):
    """float32 images [N, 3, H, W] -> logits [N, num_classes].

    ``blocks``: number of blocks in each of the four stages. ``attention``: a ``BlockAttention``; None for a plain ResNet.
    ``block``: ``Bottleneck`` or ``BasicBlock``. ``spatial_conv``: a function (in_channels, out_channels, stride) -> layer in
    place of the 3x3 convolutions. ``zero_init_residual``: let each block start as the identity, its last batch norm's weight at
    zero (P. Goyal et al., "Accurate, Large Minibatch SGD", 2017, section 5.1); the authors' code has it as an option, off by
    default.
    """

    def __init__(self, blocks, num_classes, attention=None, zero_init_residual=False, block=Bottleneck, spatial_conv=conv3x3):
        super().__init__()
        self.conv1 = conv(3, 64, 7, stride=2)
        self.bn1 = BatchNorm2D(64)
        self.maxpool = nn.MaxPool2D(3, stride=2, padding=1)
        in_channels = 64
        for stage, (count, planes) in enumerate(zip(blocks, (64, 128, 256, 512)), start=1):
            layers = []
            for index in range(count):
                stride = 2 if stage > 1 and index == 0 else 1
                layers.append(block(in_channels, planes, stride, attention, spatial_conv))
                in_channels = planes * block.expansion
            setattr(self, f"layer{stage}", nn.Sequential(*layers))
        self.avgpool = nn.AdaptiveAvgPool2D(1)
        bound = 1 / math.sqrt(in_channels)  # PyTorch's default for a linear layer, which the authors leave as it is
        self.fc = nn.Linear(in_channels, num_classes, weight_attr=Uniform(-bound, bound), bias_attr=Uniform(-bound, bound))
        if zero_init_residual:
            for layer in self.sublayers():
                if isinstance(layer, ResidualBlock):
                    layer.last_norm.weight.set_value(paddle.zeros_like(layer.last_norm.weight))

    def forward(self, x):
        x = self.maxpool(self.bn1(self.conv1(x), relu=True))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))  # [N, 512 * expansion, H / 32, W / 32]
        return self.fc(self.avgpool(x).flatten(1))


def resnet(num_classes, depth=50, attention="none", zero_init_residual=False, sa_groups=None, sa_gate=None, e_lambda=None):
    """ResNet of ``depth`` 18, 34, 50, 101 or 152 with the attention layer ``attention`` in every block.

    ``sa_groups``, ``sa_gate``: options of "shuffle"; ``e_lambda``: of "simam"; None leaves the layer's own default. Raises
    ValueError for an option of another layer, or one that does not fit the channels.
    """
    options = {"groups": sa_groups, "gate": sa_gate, "e_lambda": e_lambda}
    options = {name: value for name, value in options.items() if value is not None}
    if attention == "none" and options:
        raise ValueError(f"without attention there is no option {', '.join(options)}")
    layer = None if attention == "none" else BlockAttention(attention, **options)
    block, blocks = (BasicBlock, BASIC_BLOCKS) if depth in BASIC_BLOCKS else (Bottleneck, BOTTLENECKS)
    return ResNet(blocks[depth], num_classes, layer, zero_init_residual, block)
