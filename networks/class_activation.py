"""Grad-CAM: which parts of a photograph speak for a class.

R. R. Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV 2017.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Union

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from networks import NetworkError

GLOBAL_POOLINGS = (nn.AdaptiveAvgPool2D, nn.AdaptiveMaxPool2D)


def grad_cam(
    classifier: nn.Layer,
    images: np.ndarray,
    classes: Union[Sequence[int], np.ndarray, None] = None,
    temperature: float = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Grad-CAM for one class a photograph: (maps float32 [N, H, W] in 0..1, probabilities float32 [N, C]).

    ``classifier``: a layer from images [N, 3, H, W] to logits [N, C]. ``images``: uint8 [N, 3, H, W]. ``classes``: N class
    indices; None: the predicted class of each photograph. ``temperature``: of the probabilities, see trained.calibration.

    With the K feature maps A of the last stage and the logit y of the class c, equation 1: alpha_k = mean over the positions of
    dy / dA_k; equation 2: map = relu(sum over k of alpha_k A_k), here enlarged to H x W bilinearly and divided by its maximum.
    A map of zeros: nothing at the last stage speaks for the class.

    The output of the last stage is the input of the network's last adaptive pooling; without such a pooling, the last output
    of a layer with the shape [N, K, h, w] and more than one position. Runs in evaluation mode and leaves parameters, gradients,
    running statistics and the mode unchanged. Raises ValueError for classes that the network does not have or a wrong number
    of them, NetworkError for a network without such an output.
    """
    with evaluation_mode(classifier), paddle.set_grad_enabled(True), _watched(classifier) as seen:
        # The input requires a gradient, so that networks with frozen parameters have gradients too
        logits = classifier(paddle.to_tensor(np.asarray(images, "float32"), stop_gradient=False))
        probabilities = F.softmax(logits.detach() / temperature, axis=1).numpy()
        chosen = _checked(probabilities.argmax(axis=1) if classes is None else classes, *logits.shape)
        features = _last_feature_maps(seen)
        # In evaluation mode a photograph's logits depend on that photograph alone: one backward pass serves them all
        score = (logits * F.one_hot(paddle.to_tensor(chosen), logits.shape[1])).sum()
        [gradient] = paddle.grad(score, [features])
    with paddle.no_grad():
        alpha = gradient.mean(axis=[2, 3], keepdim=True)  # [N, K, 1, 1]
        maps = F.relu((alpha * features).sum(axis=1, keepdim=True))  # [N, 1, h, w]
        maps = F.interpolate(maps, size=list(images.shape[2:]), mode="bilinear")[:, 0].numpy()
    largest = maps.max(axis=(1, 2), keepdims=True)
    return maps / np.where(largest > 0, largest, 1), probabilities


@contextlib.contextmanager
def evaluation_mode(network: nn.Layer) -> Iterator[None]:
    """Switch to evaluation mode within the block; afterwards restore the mode of every layer."""
    modes = [(layer, layer.training) for layer in network.sublayers(include_self=True)]
    network.eval()
    try:
        yield
    finally:
        for layer, training in modes:
            layer.training = training


@contextlib.contextmanager
def hooks(handles: Iterable) -> Iterator[None]:
    """Keep the hooks of ``handles`` (returned when they were registered) within the block; remove them afterwards."""
    handles = list(handles)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def _watched(network):
    """Yield a dict that records the last input of an adaptive pooling and the last output that is a feature map."""
    seen = {}

    def pooling(layer, inputs):
        seen["pooled"] = inputs[0]

    def given(layer, inputs, output):
        if isinstance(output, paddle.Tensor) and output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
            seen["given"] = output

    def register(layer):
        if isinstance(layer, GLOBAL_POOLINGS):
            return layer.register_forward_pre_hook(pooling)
        return layer.register_forward_post_hook(given)

    with hooks(register(layer) for layer in network.sublayers()):
        yield seen


def _last_feature_maps(seen):
    features = seen.get("pooled", seen.get("given"))
    if features is None:
        raise NetworkError("no layer of this network gives feature maps [N, channels, height, width], as Grad-CAM needs")
    return features


def _checked(classes, photographs, count):
    classes = np.asarray(classes, dtype="int64")
    if classes.shape != (photographs,):
        raise ValueError(f"classes of shape {classes.shape}: expected one for each of {photographs} photographs")
    if ((classes < 0) | (classes >= count)).any():
        raise ValueError(f"classes {classes.tolist()}: the network has {count} (0 to {count - 1})")
    return classes
