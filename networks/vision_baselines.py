"""Baselines from paddle.vision, under their usual names."""

import numpy as np
import paddle
from paddle import Tensor, nn
from paddle.vision import models
from paddle.vision.models import vgg

from ops.convolution import convolve_by_onednn


def vgg19(num_classes: int) -> nn.Layer:
    """VGG-19 without batch norm, with dropout before the last two linear layers; 143,667,240 parameters at 1000 classes."""
    network = VGG(vgg.make_layers(vgg.cfgs["E"]), num_classes=num_classes)
    network.avgpool = PoolingToSeven(7)
    return convolve_by_onednn(network)


class VGG(models.VGG):
    """Paddle's VGG, whose stages are known."""

    def stages(self) -> list[list[nn.Layer]]:
        """Six: convolutions up to each of the five poolings, then the two hidden linear layers."""
        stages: list[list[nn.Layer]] = [[]]
        for layer in self.features:
            stages[-1].append(layer)
            if isinstance(layer, nn.MaxPool2D):
                stages.append([])
        return [*stages[:-1], list(self.classifier)[:-1]]


class PoolingToSeven(nn.AdaptiveAvgPool2D):
    """VGG's pooling of its last map to 7 x 7."""

    def export_form(self) -> "PoolingByProduct":
        return PoolingByProduct()


class PoolingByProduct(nn.Layer):
    """Export form: ONNX has no adaptive pooling, so a matrix product pools [N, C, H, W] to [N, C, 7, 7]."""

    def forward(self, x: Tensor) -> Tensor:
        channels, height, width = x.shape[1:]
        if (height, width) == (7, 7):  # of images of 224 x 224
            return x
        weights = paddle.to_tensor(np.kron(averages(height, 7), averages(width, 7)).T.copy())  # [H * W, 49]
        # Of two dimensions, because oneDNN multiplies others wrongly after a convolution: [N, C, H, W] -> [N * C, H * W]
        return paddle.matmul(x.reshape([-1, height * width]), weights).reshape([-1, channels, 7, 7])  # from [N * C, 49]


def averages(values: int, parts: int) -> np.ndarray:
    """float32 [parts, values]: its product with a vector is the mean of each part, as adaptive pooling cuts them."""
    matrix = np.zeros((parts, values), np.float32)
    for part in range(parts):
        start, end = part * values // parts, -(-(part + 1) * values // parts)
        matrix[part, start:end] = 1 / (end - start)
    return matrix


def mobilenet_v2(num_classes: int) -> nn.Layer:
    """MobileNetV2 of width 1, with dropout before the linear layer; 3,504,872 learnable parameters at 1000 classes."""
    return convolve_by_onednn(MobileNetV2(num_classes=num_classes))


class MobileNetV2(models.MobileNetV2):
    """Paddle's MobileNetV2, whose stages are known."""

    def stages(self) -> list[list[nn.Layer]]:
        """Five, as many as there are sizes of maps: each but the first begins where a block halves the sides."""
        layers = list(self.features)
        starts = [index for index, layer in enumerate(layers) if getattr(layer, "stride", 1) == 2]  # the stem has no ``stride``
        return [layers[start:end] for start, end in zip([0, *starts], [*starts, len(layers)])]
