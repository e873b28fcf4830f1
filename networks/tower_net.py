"""TowerNet: a small network of convolutions and Inception blocks with SimAM between them, for photographs of 256 x 256."""

import paddle
import paddle.nn.functional as F
from paddle import nn

from networks import NetworkError
from sa_resnet import BlockAttention

SMALLEST = 128  # pixels; the five poolings and the stride halve the sides seven times


def conv_bn_relu(in_channels, out_channels, stride=1):
    return nn.Sequential(
        nn.Conv2D(in_channels, out_channels, 3, stride, padding=1), nn.BatchNorm2D(out_channels, epsilon=1e-3), nn.ReLU()
    )


class Inception(nn.Layer):
    """C. Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, figure 2b: four routes side by side.

    [N, in_channels, H, W] -> [N, ones + threes[1] + fives[1] + pooled, H, W].
    """

    def __init__(self, in_channels, ones, threes, fives, pooled):
        super().__init__()
        self.one = nn.Conv2D(in_channels, ones, 1)
        self.three = nn.Sequential(
            nn.Conv2D(in_channels, threes[0], 1), nn.ReLU(), nn.Conv2D(threes[0], threes[1], 3, padding=1)
        )
        self.five = nn.Sequential(nn.Conv2D(in_channels, fives[0], 1), nn.ReLU(), nn.Conv2D(fives[0], fives[1], 5, padding=2))
        self.pool = nn.Sequential(nn.MaxPool2D(3, 1, padding=1), nn.Conv2D(in_channels, pooled, 1))

    def forward(self, x):
        return F.relu(paddle.concat([self.one(x), self.three(x), self.five(x), self.pool(x)], axis=1))


class TowerNet(nn.Layer):
    """float32 images [N, 3, H, W], both sides at least 128 -> logits [N, num_classes].

    ``attention``: a function from a channel count to a layer; None for none. It stands after the third and the fourth block
    and between the three Inception blocks, each time after the pooling.
    """

    def __init__(self, num_classes, attention=None):
        super().__init__()

        def pool_and_attend():
            return [nn.MaxPool2D(2, 2), *([attention(256)] if attention else [])]

        def inception():
            return Inception(256, 64, (64, 128), (16, 32), 32)

        self.features = nn.Sequential(
            conv_bn_relu(3, 64, stride=2), nn.MaxPool2D(2, 2),
            conv_bn_relu(64, 128), nn.MaxPool2D(2, 2),
            conv_bn_relu(128, 256), *pool_and_attend(),
            conv_bn_relu(256, 256), *pool_and_attend(),
            inception(), *pool_and_attend(),
            inception(), *pool_and_attend(),
            inception(),
        )  # fmt: skip
        self.pool = nn.AdaptiveAvgPool2D(1)
        self.fc = nn.Linear(256, num_classes)

    def forward(self, x):
        if min(x.shape[2:]) < SMALLEST:
            raise NetworkError(f"images of {x.shape[3]} x {x.shape[2]} pixels: tower_net needs at least {SMALLEST} a side")
        return self.fc(self.pool(self.features(x)).flatten(1))


def tower_net(num_classes, attention="simam", e_lambda=None):
    """TowerNet with an attention layer of attention.ATTENTIONS, or "none"; ``e_lambda``: an option of SimAM."""
    options = {} if e_lambda is None else {"e_lambda": e_lambda}
    if attention == "none" and options:
        raise ValueError("without attention there is no option e_lambda")
    return TowerNet(num_classes, None if attention == "none" else BlockAttention(attention, **options))
