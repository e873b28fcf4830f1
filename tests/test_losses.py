"""The losses, against their formulas in NumPy in float64, and their gradients against finite differences."""

import numpy as np
import paddle
import pytest

from training.losses import COSINE_SHARE, TrainingLoss, cross_entropies, focal_losses

KINDS = [("cross_entropy", 2.0), ("cosine", 2.0), ("focal", 2.0), ("focal", 0.5), ("focal", 0.0)]
CLASSES = 5


def drawn(seed=0, photographs=6):
    """(logits [N, C], labels [N], soft labels [N, C]) in float64."""
    rng = np.random.default_rng(seed)
    return (
        rng.normal(0, 2, (photographs, CLASSES)),
        rng.integers(0, CLASSES, photographs),
        rng.dirichlet([0.5] * CLASSES, photographs),
    )


def by_hand(kind, gamma, logits, targets):
    """The loss of each photograph, [N], with the target probabilities ``targets`` [N, C]."""
    shifted = logits - logits.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    entropies = -(targets * log_p).sum(1)
    if kind == "cosine":
        return 1 - (targets * logits / np.linalg.norm(logits, axis=1, keepdims=True)).sum(1) + 0.1 * entropies
    if kind == "focal":
        return (targets * (1 - np.exp(log_p)) ** gamma * -log_p).sum(1)
    return entropies


def smoothed(shares, smoothing):
    return (1 - smoothing) * shares + smoothing / CLASSES


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("soft", [False, True], ids=["classes", "shares"])
@pytest.mark.parametrize(("kind", "gamma"), KINDS)
def test_losses_and_gradients_are_those_of_the_formula(kind, gamma, soft, smoothing):
    logits, labels, shares = drawn()
    of_classes = np.array([0.5, 2.0, 1.0, 0.25, 3.0])
    of_photographs = np.array([1.0, 2.0, 0.0, 1.0, 0.5, 1.0])
    hard = np.eye(CLASSES)[labels]

    def expected(values):
        given = shares if soft else hard
        losses = by_hand(kind, gamma, values, smoothed(given, smoothing)) * (given @ of_classes)
        return (losses * of_photographs).sum() / of_photographs.sum()

    loss = TrainingLoss(smoothing, kind, gamma, of_classes)
    given = paddle.to_tensor(shares.astype("float32") if soft else labels)
    values = paddle.to_tensor(logits.astype("float32"), stop_gradient=False)
    found = loss(values, given, paddle.to_tensor(of_photographs.astype("float32")))
    assert float(found) == pytest.approx(expected(logits), rel=2e-6)
    found.backward()
    gradient, step = np.empty_like(logits), 1e-6
    for place in np.ndindex(*logits.shape):
        change = np.zeros_like(logits)
        change[place] = step
        gradient[place] = (expected(logits + change) - expected(logits - change)) / (2 * step)
    np.testing.assert_allclose(values.grad.numpy(), gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("kind", "gamma"), KINDS)
def test_a_class_and_the_same_class_as_shares_have_one_loss(kind, gamma):
    logits, labels, _ = drawn()
    loss = TrainingLoss(0.1, kind, gamma, [1.0, 2.0, 3.0, 4.0, 5.0])
    values = paddle.to_tensor(logits.astype("float32"))
    shares = paddle.to_tensor(np.eye(CLASSES, dtype="float32")[labels])
    assert float(loss(values, paddle.to_tensor(labels))) == pytest.approx(float(loss(values, shares)), rel=1e-6)


def test_without_anything_set_the_loss_is_paddle_s_cross_entropy_to_the_bit():
    logits, labels, _ = drawn()
    values, classes = paddle.to_tensor(logits.astype("float32")), paddle.to_tensor(labels)
    for smoothing in (0.0, 0.2):
        expected = paddle.nn.CrossEntropyLoss(label_smoothing=smoothing)(values, classes)
        assert float(TrainingLoss(smoothing)(values, classes)) == float(expected)


def test_gamma_zero_is_the_cross_entropy_and_a_small_one_nearly():
    logits, labels, _ = drawn()
    values, classes = paddle.to_tensor(logits.astype("float32")), paddle.to_tensor(labels)
    plain = cross_entropies(values, classes, 0.1).numpy()
    assert (focal_losses(values, classes, 0.1, 0.0).numpy() == plain).all()
    np.testing.assert_allclose(focal_losses(values, classes, 0.1, 1e-7).numpy(), plain, rtol=1e-4)


@pytest.mark.parametrize("kind", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize(("loss", "gamma"), KINDS)
def test_extreme_logits_give_numbers(loss, gamma, kind):
    """A cosine has no direction at zero, (1 - p) ** gamma no slope at p = 1; squares of large logits are infinite."""
    largest = 6e4 if kind == "float16" else 1e30
    logits = np.zeros((6, CLASSES), "float32")
    logits[1, 2], logits[2, 1], logits[3] = largest, -largest, largest
    logits[4, 0] = 60.0  # its p is 1 in float32
    logits[5] = [1e-5, -1e-5, 0, 0, 0]
    values = paddle.to_tensor(logits, stop_gradient=False)
    labels = paddle.to_tensor([0, 2, 1, 3, 0, 1])
    for smoothing in (0.0, 0.1):
        found = TrainingLoss(smoothing, loss, gamma, [1.0] * CLASSES)(values.astype(kind), labels)
        assert found.dtype == paddle.float32
        assert np.isfinite(float(found))
        found.backward()
        gradient = values.grad.numpy()
        assert np.isfinite(gradient).all()
        assert np.abs(gradient).max() <= 1000
        values.clear_grad()


def test_the_cosine_does_not_depend_on_the_length_of_the_logits():
    logits, labels, _ = drawn()
    classes = paddle.to_tensor(labels)

    def cosine(factor):
        values = paddle.to_tensor((logits * factor).astype("float32"))
        both = float(TrainingLoss(loss="cosine")(values, classes))
        return both - COSINE_SHARE * float(TrainingLoss()(values, classes))

    assert cosine(0.1) == pytest.approx(cosine(1.0), abs=1e-6)
    assert cosine(1000.0) == pytest.approx(cosine(1.0), abs=1e-3)


def test_batches_of_any_size_add_up_to_the_loss_of_all_with_class_weights():
    """Divided by the weights in the batch instead, as PyTorch does, a batch of rare classes would count for more."""
    logits, labels, _ = drawn(photographs=7)
    values, classes = paddle.to_tensor(logits.astype("float32")), paddle.to_tensor(labels)
    loss = TrainingLoss(class_weights=[0.1, 1.0, 2.0, 5.0, 10.0])
    parts = [slice(0, 2), slice(2, 3), slice(3, 7)]
    shares = [float(loss(values[part], classes[part])) * len(labels[part]) / 7 for part in parts]
    assert sum(shares) == pytest.approx(float(loss(values, classes)), rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_training_loss_takes_weights_of_photographs(smoothing):
    logits, labels, _ = drawn()
    values, classes = paddle.to_tensor(logits.astype("float32")), paddle.to_tensor(labels)
    loss = TrainingLoss(smoothing)
    weights = paddle.to_tensor([3.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    repeated = paddle.to_tensor([0, 0, 0, 1, 2, 3, 4, 5])
    assert float(loss(values, classes, weights)) == pytest.approx(float(loss(values[repeated], classes[repeated])), rel=1e-6)
