"""Baselines from paddle.vision, under their usual names."""

from paddle import nn
from paddle.vision import models


def vgg19(num_classes: int) -> nn.Layer:
    """VGG-19 without batch norm, with dropout before the last two linear layers; 143,667,240 parameters at 1000 classes."""
    return models.vgg19(num_classes=num_classes)


def mobilenet_v2(num_classes: int) -> nn.Layer:
    """MobileNetV2 of width 1, with dropout before the linear layer; 3,504,872 learnable parameters at 1000 classes."""
    return models.mobilenet_v2(num_classes=num_classes)
