"""EPSANet: a ResNet with pyramids of four kernel sizes, weighted by channel attention, in place of its 3x3 convolutions.

H. Zhang et al., "EPSANet: An Efficient Pyramid Squeeze Attention Block on Convolutional Neural Network", 2021 (arXiv
2105.14447). Layout, names and initialisation are those of the "small" variant in the authors' code; the paper describes a large
one too, which was never published.
"""

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from attention.fixed_convolution import convolution_in_blocks
from attention.initial_values import uniform_by_fan_in
from sa_resnet import BOTTLENECKS, ResNet, conv

KERNEL_SIZES, GROUPS = (3, 5, 7, 9), (1, 4, 8, 16)


class SEWeight(nn.Layer):
    """Channel weights in (0, 1) of channel means, [N, C, M, 1] for M maps -> the same shape: the excitation of equation 6.

    With the data format "NHWC" [N, M, 1, C].
    """

    def __init__(self, channels: int, reduction: int = 16, data_format: str = "NCHW"):
        super().__init__()
        hidden = channels // reduction
        self.fc1, self.fc2 = _biased_conv(channels, hidden, data_format), _biased_conv(hidden, channels, data_format)

    def forward(self, x: Tensor) -> Tensor:
        return F.sigmoid(self.fc2(F.relu(self.fc1(x))))


def _biased_conv(in_channels, out_channels, data_format):
    """A 1x1 convolution: the weights start as all of the authors', the bias, which they leave alone, by PyTorch."""
    weight, bias = nn.initializer.KaimingNormal(fan_in=out_channels), uniform_by_fan_in(in_channels)
    return nn.Conv2D(in_channels, out_channels, 1, weight_attr=weight, bias_attr=bias, data_format=data_format)


class PyramidSqueezeAttention(nn.Layer):
    """[N, in_channels, H, W] -> [N, channels, H / stride, W / stride]; with "NHWC" the channels come last.

    Equation 1: four convolutions over the whole input, with kernel sizes 3, 5, 7, 9 and 1, 4, 8, 16 groups, give a quarter of
    the channels each. Equations 3 and 4: one shared SEWeight computes the weights of each; equation 5: softmax over the four,
    channel by channel; equations 7 and 8: the weighted quarters, concatenated.
    """

    def __init__(self, in_channels: int, channels: int, stride: int = 1, data_format: str = "NCHW"):
        super().__init__()
        self.data_format = data_format
        quarter = channels // len(KERNEL_SIZES)
        for index, (size, groups) in enumerate(zip(KERNEL_SIZES, GROUPS), start=1):
            setattr(self, f"conv_{index}", conv(in_channels, quarter, size, stride, groups, data_format))
        self.se = SEWeight(quarter, data_format=data_format)

    def forward(self, x: Tensor) -> Tensor:
        scales = [getattr(self, f"conv_{index + 1}")(x) for index in range(len(KERNEL_SIZES))]
        means = [F.adaptive_avg_pool2d(scale, 1, self.data_format) for scale in scales]  # each [N, C / 4, 1, 1]
        channels, height = (3, 1) if self.data_format == "NHWC" else (1, 2)
        # The weights are shared, so one convolution computes all four
        pooled = paddle.concat(means, axis=height)  # [N, C / 4, 4, 1] or [N, 4, 1, C / 4]
        weights = F.softmax(self.se(pooled), axis=height).split(len(scales), axis=height)  # each like one of the means
        # The authors' loop prepends each scale: 9x9 comes first. Published weights depend on that order.
        return paddle.concat([scale * weight for scale, weight in zip(scales[::-1], weights[::-1])], axis=channels)

    def export_form(self) -> "PyramidSqueezeAttention":
        for index in range(1, len(KERNEL_SIZES) + 1):
            name = f"conv_{index}"
            self.add_sublayer(name, convolution_in_blocks(getattr(self, name)))
        return self


def epsanet(num_classes: int, depth: int = 50, zero_init_residual: bool = False, layout: str = "nchw") -> ResNet:
    """EPSANet of ``depth`` 50 (22,561,715 learnable parameters at 1000 classes) or 101 (38,900,279).

    ``layout``: of the feature maps, "nchw" or "nhwc".
    """
    return ResNet(
        BOTTLENECKS[depth],
        num_classes,
        None,
        zero_init_residual,
        spatial_conv=PyramidSqueezeAttention,
        data_format=layout.upper(),
    )
