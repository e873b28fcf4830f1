"""From raw pixels to logits: every classifier first normalises by its own mean and standard deviation."""

from collections.abc import Sequence

import paddle
from paddle import Tensor, nn

from networks import IMAGENET_MEAN, IMAGENET_STD


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
        self.register_buffer("mean", paddle.to_tensor(mean, dtype="float32").reshape([1, 3, 1, 1]))  # from [3]
        self.register_buffer("std", paddle.to_tensor(std, dtype="float32").reshape([1, 3, 1, 1]))  # from [3]

    def forward(self, images: Tensor) -> Tensor:
        # (pixel / 255 - mean) / std as one multiply and one add over the images
        scale = 1.0 / (255.0 * self.std)
        return self.network(images.astype("float32") * scale - self.mean / self.std)
