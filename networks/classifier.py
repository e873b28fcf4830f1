"""From raw pixels to logits: every classifier first normalises by its own mean and standard deviation."""

from collections.abc import Iterable, Sequence
from typing import Any

import paddle
from paddle import Tensor, nn

from networks import IMAGENET_MEAN, IMAGENET_STD
from ops.broadcast import spread


class Classifier(nn.Layer):
    """uint8 RGB images [N, 3, H, W] -> logits [N, num_classes].

    ``mean`` and ``std`` (of red, green and blue, as fractions of full brightness) are buffers, saved with the weights, so that
    training, evaluation, prediction and an exported model normalise alike. Raises ValueError unless each has three values and
    every std is positive.
    """

    def __init__(self, network: nn.Layer, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD):
        super().__init__()
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise ValueError(f"mean {tuple(mean)}, std {tuple(std)}: expected three values each, every std above zero")
        self.network = network
        self.frozen: list[nn.Layer] = []
        self.register_buffer("mean", paddle.to_tensor(mean, dtype="float32").reshape([1, 3, 1, 1]))  # from [3]
        self.register_buffer("std", paddle.to_tensor(std, dtype="float32").reshape([1, 3, 1, 1]))  # from [3]

    def freeze(self, layers: Iterable[nn.Layer]) -> None:
        """Keep the weights and running statistics of ``layers``, parts of the network, from now on.

        They have no gradients, and compute as in evaluation in training as well: without dropout, and their batch norms by the
        running statistics, which stay as they are.
        """
        self.frozen.extend(layers)
        for layer in self.frozen:
            for parameter in layer.parameters():
                parameter.stop_gradient = True

    def train(self, *mode: bool) -> Any:
        """As Paddle's: all layers are in training mode, but those that are frozen."""
        result = super().train(*mode)  # Paddle 2.6 has no ``mode``
        for layer in self.frozen:
            for part in layer.sublayers(include_self=True):
                part.training = False  # not by ``eval``, which switches Paddle itself as well
        return result

    def normalised(self, images: Tensor) -> Tensor:
        """What the network sees of uint8 ``images``: float32 [N, 3, H, W]."""
        # (pixel / 255 - mean) / std as one multiply and one add over the images
        scale = 1.0 / (255.0 * self.std)
        pixels = images.astype("float32")
        return pixels * spread(scale, pixels) - spread(self.mean / self.std, pixels)

    def forward(self, images: Tensor) -> Tensor:
        return self.network(self.normalised(images))
