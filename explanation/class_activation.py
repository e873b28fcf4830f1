"""Grad-CAM: where in a photograph a network finds what speaks for a class.

R. R. Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV 2017.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Optional

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from networks import NetworkError

GLOBAL_POOLINGS = (nn.AdaptiveAvgPool2D, nn.AdaptiveMaxPool2D)


def grad_cam(
    classifier: nn.Layer, images: np.ndarray, classes: Optional[Sequence[int]] = None
) -> tuple[np.ndarray, np.ndarray]:
    """Grad-CAM of one class a photograph: (maps float32 [N, H, W] in 0..1, probabilities float32 [N, C]).

    ``classifier``: a layer from images [N, 3, H, W] to logits [N, C]. ``images``: uint8 [N, 3, H, W]. ``classes``: N class
    indices; None: the class that each photograph is predicted to have. With the K feature maps A of the last stage and the
    logit y of the class c, equation 1: alpha_k = mean over the positions of dy / dA_k; equation 2: map = relu(sum over k of
    alpha_k A_k), here enlarged to H x W bilinearly and divided by its largest value. A map of zeros: nothing at the last stage
    speaks for the class.

    The last stage's output is what goes into the network's last adaptive pooling; where it has none, the last output of a layer
    that has the form [N, K, h, w] and more than one position. Works in evaluation mode; parameters, gradients, running
    statistics and the mode are afterwards as before. Raises ValueError for classes that the network does not have or a
    wrong number of them, NetworkError for a network without such an output.
    """
    with evaluation_mode(classifier), paddle.set_grad_enabled(True), _watched(classifier) as seen:
        # Gradients are asked for from the input on, so that a network whose parameters are frozen has them too
        logits = classifier(paddle.to_tensor(np.asarray(images, "float32"), stop_gradient=False))
        probabilities = F.softmax(logits.detach(), axis=1).numpy()
        chosen = _checked(probabilities.argmax(axis=1) if classes is None else classes, *logits.shape)
        features = _last_feature_maps(seen)
        # A photograph's logits depend on no other photograph in evaluation mode: one backward pass serves them all
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
    """Within: evaluation mode; afterwards every layer is in the mode that it was in."""
    modes = [(layer, layer.training) for layer in network.sublayers(include_self=True)]
    network.eval()
    try:
        yield
    finally:
        for layer, training in modes:
            layer.training = training


@contextlib.contextmanager
def hooks(handles: Iterable) -> Iterator[None]:
    """Within: the hooks of ``handles`` (what registering them returned); afterwards they are gone."""
    handles = list(handles)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def _watched(network):
    """Within: the dict that is yielded keeps the last input of an adaptive pooling, and the last output that is a map."""
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
