"""TowerNet: a small network of convolutions and Inception blocks with SimAM between them, for photographs of 256 x 256."""

from typing import Callable, Optional

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from networks import NetworkError
from ops.convolution import Conv2D
from sa_resnet import block_attention

MIN_SIDE = 128  # pixels; the stride and the six poolings halve the sides seven times


def conv_bn_relu(in_channels: int, out_channels: int, stride: int = 1, data_format: str = "NCHW") -> nn.Sequential:
    """A 3x3 convolution, batch norm and ReLU: [N, in_channels, H, W] -> [N, out_channels, H / stride, W / stride]."""
    return nn.Sequential(
        Conv2D(in_channels, out_channels, 3, stride, padding=1, data_format=data_format),
        nn.BatchNorm2D(out_channels, epsilon=1e-3, data_format=data_format),
        nn.ReLU(),
    )


class Inception(nn.Layer):
    """C. Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, figure 2b: four parallel branches, concatenated.

    [N, in_channels, H, W] -> [N, ones + threes[1] + fives[1] + pooled, H, W]. ``ones``: channels of the 1x1 branch; ``threes``,
    ``fives``: of the reduction and of the convolution in the 3x3 and 5x5 branches; ``pooled``: of the pooling branch.
    """

    def __init__(
        self,
        in_channels: int,
        ones: int,
        threes: tuple[int, int],
        fives: tuple[int, int],
        pooled: int,
        data_format: str = "NCHW",
    ):
        super().__init__()

        def conv(inputs, outputs, size=1):
            return Conv2D(inputs, outputs, size, padding=size // 2, data_format=data_format)

        self.one = conv(in_channels, ones)
        self.three = nn.Sequential(conv(in_channels, threes[0]), nn.ReLU(), conv(*threes, 3))
        self.five = nn.Sequential(conv(in_channels, fives[0]), nn.ReLU(), conv(*fives, 5))
        self.pool = nn.Sequential(nn.MaxPool2D(3, 1, padding=1, data_format=data_format), conv(in_channels, pooled))
        self.channel_axis = 3 if data_format == "NHWC" else 1

    def forward(self, x: Tensor) -> Tensor:
        # ReLU before the concatenation: after it, Paddle Inference with oneDNN fails while it fuses the two
        branches = [F.relu(branch(x)) for branch in (self.one, self.three, self.five, self.pool)]
        return paddle.concat(branches, axis=self.channel_axis)


class TowerNet(nn.Layer):
    """float32 images [N, 3, H, W], both sides at least 128 -> logits [N, num_classes]; raises NetworkError for smaller ones.

    ``attention``: a function from a channel count and a data format to a layer; None for none. The layer follows the pooling
    after the third and the fourth block and between the three Inception blocks. ``data_format``: of the feature maps, "NCHW" or
    "NHWC".
    """

    def __init__(self, num_classes: int, attention: Optional[Callable[[int, str], nn.Layer]] = None, data_format: str = "NCHW"):
        super().__init__()
        self.data_format = data_format

        def block(in_channels, out_channels, stride=1):
            return conv_bn_relu(in_channels, out_channels, stride, data_format)

        def halve():
            return nn.MaxPool2D(2, 2, data_format=data_format)

        def pool_and_attend():
            return [halve(), *([attention(256, data_format)] if attention else [])]

        def inception():
            return Inception(256, 64, (64, 128), (16, 32), 32, data_format)

        self.features = nn.Sequential(
            block(3, 64, stride=2), halve(),
            block(64, 128), halve(),
            block(128, 256), *pool_and_attend(),
            block(256, 256), *pool_and_attend(),
            inception(), *pool_and_attend(),
            inception(), *pool_and_attend(),
            inception(),
        )  # fmt: skip
        self.pool = nn.AdaptiveAvgPool2D(1, data_format=data_format)
        self.fc = nn.Linear(256, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        if min(x.shape[2:]) < MIN_SIDE:
            raise NetworkError(
                f"images of {x.shape[3]} x {x.shape[2]} pixels: tower_net needs at least {MIN_SIDE} a side: choose a larger "
                f"--image_size, and in training --train_size or --progressive"
            )
        if self.data_format == "NHWC":
            x = x.transpose([0, 2, 3, 1])  # [N, 3, H, W] -> [N, H, W, 3]
        return self.fc(self.pool(self.features(x)).flatten(1))

    def stages(self) -> list[list[nn.Layer]]:
        """Six, one for each block with what follows it; the first has two blocks, the stem and the next."""
        layers = list(self.features)
        blocks = [index for index, layer in enumerate(layers) if isinstance(layer, (nn.Sequential, Inception))]
        return [layers[start:end] for start, end in zip([0, *blocks[2:]], [*blocks[2:], len(layers)])]


def tower_net(
    num_classes: int,
    attention: str = "simam",
    e_lambda: Optional[float] = None,
    earlier_attention: bool = False,
    layout: str = "nchw",
) -> TowerNet:
    """TowerNet with an attention layer of attention.ATTENTIONS, or "none"; ``e_lambda``: an option of SimAM.

    ``earlier_attention``: the option ``earlier`` of "sge" and "cbam". ``layout``: of the feature maps, "nchw" or "nhwc".
    Raises ValueError for an option of another layer.
    """
    layer = block_attention(attention, e_lambda=e_lambda, earlier_attention=earlier_attention)
    return TowerNet(num_classes, layer, layout.upper())
