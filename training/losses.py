"""The losses that training minimises: functions of logits [N, C] and the target probabilities of the classes.

Labels are class indices, int64 [N], or soft: float32 [N, C], the share of each class. Label smoothing takes a part e of the
target and spreads it over all classes: q = (1 - e) * label + e / C (Szegedy et al., CVPR 2016, section 7). Every loss is linear
in q: that of a mixed photograph is the mix of the losses for its classes. All are computed in float32, from 16-bit logits too:
sums over many classes need more than half precision.
"""

from collections.abc import Sequence
from typing import Optional

import paddle
import paddle.nn.functional as F
from paddle import Tensor

COSINE_SHARE = 0.1
"""lambda of Barz and Denzler (WACV 2020): the weight of the cross-entropy beside the cosine loss."""
SHORTEST = 0.01
"""Shorter logit vectors than this count as no longer: the cosine has no gradient at zero, and an endless one beside it."""
SMALLEST = 1e-12
"""A probability of error below this counts as this: 0 ** gamma has no finite derivative where gamma is below 1."""


def cross_entropies(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """[N, C] logits, labels [N] or soft [N, C] -> the cross-entropy of each photograph, float32 [N]."""
    logits = logits.astype("float32")
    losses = F.cross_entropy(logits, labels, soft_label=labels.ndim == 2, label_smoothing=label_smoothing, reduction="none")
    return losses.reshape([-1])  # soft or smoothed labels give [N, 1] -> [N]


def cosine_losses(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Cosine loss plus a tenth of the cross-entropy: logits [N, C], labels [N] or soft [N, C] -> float32 [N].

    1 - <z / |z|, q> + 0.1 * cross-entropy, where z are the logits: the cosine loss of Barz and Denzler (WACV 2020) for one-hot
    class embeddings, and its combination with the cross-entropy, which they call L_cos+xent. There a further layer computes the
    cross-entropy's logits from z; here both parts act on the same logits, so that the network and its export stay as they are.
    """
    logits = logits.astype("float32")
    # divided by its largest value first, so that no square is infinite; the cosine stays the same
    largest = logits.detach().abs().max(axis=1, keepdim=True).clip(min=1.0)  # [N, 1]
    scaled = logits / largest
    directions = scaled / scaled.square().sum(axis=1, keepdim=True).clip(min=SHORTEST**2).sqrt()  # [N, C]
    cosines = (directions * targets(labels, logits.shape[1], label_smoothing)).sum(axis=1)
    return 1 - cosines + COSINE_SHARE * cross_entropies(logits, labels, label_smoothing)


def focal_losses(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0, gamma: float = 2.0) -> Tensor:
    """Focal loss without alpha: logits [N, C], labels [N] or soft [N, C] -> float32 [N].

    The sum over classes of q * (1 - p) ** gamma * -log p, where p is the softmax: Lin et al. (ICCV 2017), equation 4, for each
    class as far as it is the target. Gamma 0 is the cross-entropy.
    """
    if not gamma:
        return cross_entropies(logits, labels, label_smoothing)
    log_p = F.log_softmax(logits.astype("float32"), axis=1)  # [N, C]
    errors = (-paddle.expm1(log_p)).clip(min=SMALLEST)  # 1 - p, also where p is nearly 1
    return (targets(labels, logits.shape[1], label_smoothing) * errors**gamma * -log_p).sum(axis=1)


def targets(labels: Tensor, classes: int, label_smoothing: float = 0.0) -> Tensor:
    """Labels [N] or soft [N, C] -> the target probability of each class, float32 [N, C]."""
    shares = labels.astype("float32") if labels.ndim == 2 else F.one_hot(labels, classes)
    return shares * (1 - label_smoothing) + label_smoothing / classes if label_smoothing else shares


class TrainingLoss(paddle.nn.Layer):
    """The loss that training minimises: the mean of a batch, with targets smoothed by ``label_smoothing``.

    ``loss``: "cross_entropy", "cosine" (see cosine_losses) or "focal", with ``focal_gamma`` (see focal_losses).
    ``class_weights``: one number for each class, which multiplies the losses of its photographs; of a soft label it is the mean
    of its classes, by their shares. The sum is divided by the number of photographs, not by the weights of those that happen to
    be in the batch: then the gradient does not depend on how an epoch falls into batches.
    """

    def __init__(
        self, label_smoothing: float = 0.0, loss: str = "cross_entropy", focal_gamma: float = 2.0,
        class_weights: Optional[Sequence[float]] = None,
    ):  # fmt: skip
        super().__init__()
        self.label_smoothing, self.loss, self.focal_gamma = label_smoothing, loss, focal_gamma
        self.class_weights = None if class_weights is None else paddle.to_tensor(list(class_weights), "float32")  # [C]

    def forward(self, logits: Tensor, labels: Tensor, weights: Optional[Tensor] = None) -> Tensor:
        """[N, C] logits, labels [N] or soft [N, C], weights of the photographs [N] or None -> the mean, a scalar.

        The mean is that of the photographs as often as ``weights`` counts them.
        """
        losses = self._of_each(logits, labels)
        if self.class_weights is not None:
            losses = losses * self._of_classes(labels)
        return losses.mean() if weights is None else (losses * weights).sum() / weights.sum()

    def _of_each(self, logits, labels):
        if self.loss == "cosine":
            return cosine_losses(logits, labels, self.label_smoothing)
        if self.loss == "focal":
            return focal_losses(logits, labels, self.label_smoothing, self.focal_gamma)
        return cross_entropies(logits, labels, self.label_smoothing)

    def _of_classes(self, labels):
        """The class weight of each photograph, [N]."""
        if labels.ndim == 2:
            return (labels.astype("float32") * self.class_weights).sum(axis=1)  # [N, C] * [C] -> [N]
        return paddle.gather(self.class_weights, labels)
