"""ResNet with a pluggable attention layer; SA-ResNet is this ResNet with Shuffle Attention.

K. He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, with the stride on the 3x3 convolution as
torchvision has it. The attention layer sits after the last batch norm of a block, before the residual addition, as in the
SA-Net authors' code; parameter names and initialisation are theirs (and torchvision's), so that published weights map one
to one: ``bn.running_mean`` is Paddle's ``bn._mean``, ``bn.running_var`` is ``bn._variance``, ``fc.weight`` is transposed,
``bn.num_batches_tracked`` has no counterpart.

ResNet50 and SA-ResNet50 differ in the argument ``attention`` alone, so that comparing them compares attention.
"""

import functools
import math

import paddle
from paddle import nn
from paddle.nn.initializer import KaimingNormal, Uniform

from attention import ShuffleAttention
from ops.batch_norm import BatchNorm2D

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def conv(in_channels, out_channels, kernel_size, stride=1):
    """Convolution without bias, padded to keep the size at stride 1, initialised for ReLU by its fan-out."""
    # Paddle's KaimingNormal computes fan-in; the authors initialise by fan-out, which it takes as an argument
    fan_out = out_channels * kernel_size**2
    return nn.Conv2D(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        padding=kernel_size // 2,
        weight_attr=KaimingNormal(fan_in=fan_out),
        bias_attr=False,
    )


class Bottleneck(nn.Layer):
    """1x1, 3x3, 1x1 convolutions with batch norm, then attention, then the residual: [N, in, H, W] ->
    [N, 4 * planes, H / stride, W / stride]."""

    expansion = 4

    def __init__(self, in_channels, planes, stride=1, attention=None):
        super().__init__()
        out_channels = planes * self.expansion
        self.conv1 = conv(in_channels, planes, 1)
        self.bn1 = BatchNorm2D(planes)
        self.conv2 = conv(planes, planes, 3, stride)
        self.bn2 = BatchNorm2D(planes)
        self.conv3 = conv(planes, out_channels, 1)
        self.bn3 = BatchNorm2D(out_channels)
        self.sa = attention(out_channels) if attention else None
        self.downsample = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(conv(in_channels, out_channels, 1, stride), BatchNorm2D(out_channels))

    def forward(self, x):
        out = self.bn1(self.conv1(x), relu=True)
        out = self.bn2(self.conv2(out), relu=True)
        out = self.conv3(out)
        identity = x if self.downsample is None else self.downsample(x)
        if self.sa is not None:
            return self.sa(out, residual=identity, norm=self.bn3)
        return self.bn3(out, residual=identity)


class ResNet(nn.Layer):
    """float32 images [N, 3, H, W] -> logits [N, num_classes].

    ``blocks``: number of blocks in each of the four stages. ``attention``: a function from a channel count to a layer that
    is called as ``layer(x, residual=identity, norm=bn)`` and returns relu(attention(bn(x)) + identity); None: a plain ResNet.
    ``zero_init_residual``: let each block start as the identity, its last batch norm's weight at zero (P. Goyal et al.,
    "Accurate, Large Minibatch SGD", 2017, section 5.1); the authors' code has it as an option, off by default.
    """

    def __init__(self, blocks, num_classes, attention=None, zero_init_residual=False):
        super().__init__()
        self.conv1 = conv(3, 64, 7, stride=2)
        self.bn1 = BatchNorm2D(64)
        self.maxpool = nn.MaxPool2D(3, stride=2, padding=1)
        in_channels = 64
        for stage, (count, planes) in enumerate(zip(blocks, (64, 128, 256, 512)), start=1):
            layers = []
            for index in range(count):
                stride = 2 if stage > 1 and index == 0 else 1
                layers.append(Bottleneck(in_channels, planes, stride, attention))
                in_channels = planes * Bottleneck.expansion
            setattr(self, f"layer{stage}", nn.Sequential(*layers))
        self.avgpool = nn.AdaptiveAvgPool2D(1)
        bound = 1 / math.sqrt(in_channels)  # PyTorch's default for a linear layer, which the authors leave as it is
        self.fc = nn.Linear(in_channels, num_classes, weight_attr=Uniform(-bound, bound), bias_attr=Uniform(-bound, bound))
        if zero_init_residual:
            for layer in self.sublayers():
                if isinstance(layer, Bottleneck):
                    layer.bn3.weight.set_value(paddle.zeros_like(layer.bn3.weight))

    def forward(self, x):
        x = self.maxpool(self.bn1(self.conv1(x), relu=True))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))  # [N, 2048, H / 32, W / 32]
        return self.fc(self.avgpool(x).flatten(1))


def _resnet(depth, num_classes, zero_init_residual):
    return ResNet(BLOCKS[depth], num_classes, None, zero_init_residual)


def _sa_resnet(depth, num_classes, sa_groups, sa_gate, zero_init_residual):
    attention = functools.partial(ShuffleAttention, groups=sa_groups, gate=sa_gate)
    return ResNet(BLOCKS[depth], num_classes, attention, zero_init_residual)


def resnet50(num_classes, zero_init_residual=False):
    """ResNet-50; 25,557,032 learnable parameters at 1000 classes."""
    return _resnet(50, num_classes, zero_init_residual)


def resnet101(num_classes, zero_init_residual=False):
    """ResNet-101."""
    return _resnet(101, num_classes, zero_init_residual)


def resnet152(num_classes, zero_init_residual=False):
    """ResNet-152."""
    return _resnet(152, num_classes, zero_init_residual)


def sa_resnet50(num_classes, sa_groups=64, sa_gate="scale", zero_init_residual=False):
    """SA-ResNet-50; 25,557,740 learnable parameters at 1000 classes."""
    return _sa_resnet(50, num_classes, sa_groups, sa_gate, zero_init_residual)


def sa_resnet101(num_classes, sa_groups=64, sa_gate="scale", zero_init_residual=False):
    """SA-ResNet-101; 44,550,684 learnable parameters at 1000 classes."""
    return _sa_resnet(101, num_classes, sa_groups, sa_gate, zero_init_residual)


def sa_resnet152(num_classes, sa_groups=64, sa_gate="scale", zero_init_residual=False):
    """SA-ResNet-152."""
    return _sa_resnet(152, num_classes, sa_groups, sa_gate, zero_init_residual)
