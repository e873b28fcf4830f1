"""EPSANet: a ResNet whose 3x3 convolutions are pyramids of four kernel sizes, weighed against each other by channel attention.

H. Zhang et al., "EPSANet: An Efficient Pyramid Squeeze Attention Block on Convolutional Neural Network", 2021 (arXiv
2105.14447). Layout, names and initialisation are those of the authors' code, its "small" variant; a large one is described in
the paper, but was never published.
"""

import paddle
import paddle.nn.functional as F
from paddle import nn

from sa_resnet import BOTTLENECKS, ResNet, conv

KERNEL_SIZES, GROUPS = (3, 5, 7, 9), (1, 4, 8, 16)


class SEWeight(nn.Layer):
    """Channel weights in (0, 1): [N, C, H, W] -> [N, C, 1, 1]; squeeze and excitation (equation 6) without the scaling."""

    def __init__(self, channels, reduction=16):
        super().__init__()
        self.fc1 = nn.Conv2D(channels, channels // reduction, 1)
        self.fc2 = nn.Conv2D(channels // reduction, channels, 1)

    def forward(self, x):
        return F.sigmoid(self.fc2(F.relu(self.fc1(x.mean(axis=[2, 3], keepdim=True)))))


class PyramidSqueezeAttention(nn.Layer):
    """[N, in_channels, H, W] -> [N, channels, H / stride, W / stride].

    Equation 1: four convolutions over the whole input, kernel sizes 3, 5, 7, 9 in 1, 4, 8, 16 groups, give a quarter of the
    channels each. Equations 3 and 4: one shared SEWeight weighs each; equation 5: softmax over the four, channel by channel;
    equations 7 and 8: the weighted quarters side by side.
    """

    def __init__(self, in_channels, channels, stride=1):
        super().__init__()
        quarter = channels // len(KERNEL_SIZES)
        for index, (size, groups) in enumerate(zip(KERNEL_SIZES, GROUPS), start=1):
            setattr(self, f"conv_{index}", conv(in_channels, quarter, size, stride, groups))
        self.se = SEWeight(quarter)

    def forward(self, x):
        scales = [getattr(self, f"conv_{index + 1}")(x) for index in range(len(KERNEL_SIZES))]
        weights = F.softmax(paddle.stack([self.se(scale) for scale in scales]), axis=0)  # [4, N, C / 4, 1, 1]
        # The authors' loop puts each scale before those it has: 9x9 first. Published weights depend on that order.
        return paddle.concat([scale * weight for scale, weight in zip(scales[::-1], weights[::-1])], axis=1)


def epsanet(num_classes, depth=50, zero_init_residual=False):
    """EPSANet of ``depth`` 50 (22,561,715 learnable parameters at 1000 classes) or 101 (38,900,279)."""
    network = ResNet(BOTTLENECKS[depth], num_classes, None, zero_init_residual, spatial_conv=PyramidSqueezeAttention)
    for layer in network.sublayers():
        if isinstance(layer, SEWeight):
            for linear in (layer.fc1, layer.fc2):
                # as all convolutions of the authors' code: normal, by the fan-out
                nn.initializer.KaimingNormal(fan_in=linear.weight.shape[0])(linear.weight)
    return network
