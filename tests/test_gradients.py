"""Gradients between the backward pass and the update: those of several batches, shortened ones, scaled ones."""

import numpy as np
import paddle
import pytest
from paddle import nn

from data.loader import BatchOfStep
from training.epoch_metrics import EPOCH_METRICS
from training.gradients import LossScaling, shorten, total_norm
from training.losses import TrainingLoss
from training.model import TrainingModel
from training.state import TrainingDiverged, seed_generators


class WithoutNorm(nn.Layer):
    """float64 and no batch norm: batches of a step are independent, and rounding is small. Images [N, 3, 8, 8] -> [N, 3]."""

    def __init__(self):
        super().__init__()
        self.hidden, self.head = nn.Linear(192, 16), nn.Linear(16, 3)
        self.to(dtype="float64")

    def forward(self, images):
        return self.head(paddle.tanh(self.hidden(images.flatten(1).astype("float64") / 255)))


def model(seed=1, **options):
    paddle.seed(seed)
    made = TrainingModel(WithoutNorm(), **options)
    optimizer = paddle.optimizer.Momentum(0.1, parameters=made.network.parameters())
    made.prepare(optimizer, Loss(), [metric() for metric in EPOCH_METRICS])
    return made


class Loss(TrainingLoss):
    """In float64: the toolkit's own is in float32."""

    def forward(self, logits, labels, weights=None):
        return nn.functional.cross_entropy(logits, labels)


def photographs(count):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, 3, 8, 8), dtype=np.uint8), rng.integers(0, 3, count)


def step(made, sizes, count=13):
    """One step over ``count`` photographs in batches of ``sizes``."""
    images, labels = photographs(count)
    ends = np.cumsum(sizes)
    parts = [slice(end - size, end) for size, end in zip(sizes, ends)]
    batches = [
        (
            [paddle.to_tensor(images[part]), paddle.to_tensor(labels[part])],
            BatchOfStep(place, size, size / count, place == len(sizes) - 1),
        )
        for place, (part, size) in enumerate(zip(parts, sizes))
    ]
    made._train_step(iter(batches), seed=0, epoch=0, step=0)


def weights(made):
    return {name: value.numpy().copy() for name, value in made.network.named_parameters()}


def same(left, right, **tolerance):
    for name, value in left.items():
        np.testing.assert_allclose(value, right[name], err_msg=name, **tolerance)


@pytest.mark.parametrize("sizes", [[7, 6], [5, 4, 4], [10, 2, 1]])
@pytest.mark.parametrize("clip_norm", [0.0, 0.1])
def test_a_step_of_several_batches_equals_one_of_a_large_batch(sizes, clip_norm):
    large, several = model(clip_norm=clip_norm), model(clip_norm=clip_norm)
    before = weights(large)
    for _ in range(3):
        step(large, [13])
        step(several, sizes)
    same(weights(several), weights(large), rtol=1e-12, atol=1e-15)
    assert all((value != before[name]).any() for name, value in weights(large).items())
    assert several._values() == pytest.approx(large._values()), "loss and accuracy are those of the photographs"


def test_a_loss_that_is_no_number_in_a_later_batch_updates_nothing(monkeypatch):
    made = model()
    before = weights(made)
    losses = iter([False, True])
    right = Loss.forward
    monkeypatch.setattr(Loss, "forward", lambda *of: right(*of) * (float("nan") if next(losses) else 1.0))
    with pytest.raises(TrainingDiverged):
        step(made, [7, 6])
    same(weights(made), before, rtol=0)
    assert all(parameter.grad is None or not parameter.grad.numpy().any() for parameter in made.network.parameters())


def test_each_batch_of_a_step_draws_its_own_random_numbers_and_the_first_those_of_a_step_of_one():
    def drawn(*of):
        seed_generators(*of)
        return tuple(paddle.rand([3]).numpy()), tuple(np.random.rand(3))

    assert len({drawn(5, 1, 2, batch) for batch in range(4)}) == 4
    assert drawn(5, 1, 2) == drawn(5, 1, 2, 0)
    state = np.random.SeedSequence((5, 1, 2)).generate_state(3)
    np.random.seed(state[1])
    assert drawn(5, 1, 2)[1] == tuple(np.random.RandomState(state[1]).rand(3)), "as before steps had several batches"


def gradients(*lengths):
    rng = np.random.default_rng(3)
    made = []
    for length in lengths:
        values = rng.normal(size=(2, 3, 4))
        made.append(paddle.to_tensor(values / np.sqrt((values**2).sum()) * length))
    return made


def test_a_gradient_is_shortened_as_a_whole_and_keeps_its_direction():
    found, before = gradients(3.0, 4.0), gradients(3.0, 4.0)
    assert float(total_norm(found)) == pytest.approx(5.0)
    shorten(found, 2.0)
    assert float(total_norm(found)) == pytest.approx(2.0)
    for value, other in zip(found, before):
        np.testing.assert_allclose(value.numpy(), other.numpy() * 0.4, rtol=1e-12)


@pytest.mark.parametrize("most", [5.0 + 1e-9, 100.0])
def test_a_shorter_gradient_keeps_its_bits(most):
    found, before = gradients(3.0, 4.0), gradients(3.0, 4.0)
    shorten(found, most)
    assert all((value.numpy() == other.numpy()).all() for value, other in zip(found, before))


@pytest.mark.parametrize("groups", [False, True])
def test_all_weights_together_are_clipped_whatever_the_optimisers_groups(groups):
    """One step of plain SGD moves the weights by learning rate * the clipped norm."""
    made = model(clip_norm=0.01)
    weight, *others = made.network.parameters()
    chosen = [{"params": [weight]}, {"params": others, "weight_decay": 0.0}] if groups else [weight, *others]
    made._optimizer = paddle.optimizer.Momentum(1.0, momentum=0.0, parameters=chosen)
    before = weights(made)
    step(made, [13])
    moved = sum(((value - before[name]) ** 2).sum() for name, value in weights(made).items())
    assert np.sqrt(moved) == pytest.approx(0.01, rel=1e-6)


def test_scaled_gradients_are_those_of_the_unscaled_loss():
    scaled, plain = model(clip_norm=0.1), model(clip_norm=0.1)
    scaled.loss_scaling = LossScaling()
    for _ in range(2):
        step(scaled, [7, 6])
        step(plain, [7, 6])
    same(weights(scaled), weights(plain), rtol=1e-12, atol=1e-15)
    assert scaled.loss_scaling.state() == {"scale": 2.0**16, "good_steps": 2}


def test_a_step_whose_gradients_overflow_is_skipped_and_the_scale_halves():
    made = model()
    made.loss_scaling = LossScaling()
    step(made, [13])
    before = weights(made)
    made.network.head.weight.register_hook(lambda gradient: gradient * float("inf"))
    step(made, [13])
    same(weights(made), before, rtol=0)
    assert made.loss_scaling.state() == {"scale": 2.0**15, "good_steps": 0}
    for _ in range(28):
        step(made, [13])
    assert made.loss_scaling.scale == LossScaling.LEAST * 2**1
    step(made, [13])
    with pytest.raises(TrainingDiverged, match=r"the gradients are not finite in float16.*lower --learning_rate"):
        step(made, [13])
    same(weights(made), before, rtol=0)


def test_the_scale_doubles_after_many_good_steps_and_goes_on_where_it_was(monkeypatch):
    monkeypatch.setattr(LossScaling, "PATIENCE", 5)
    first = LossScaling()
    for _ in range(LossScaling.PATIENCE - 1):
        assert first.unscaled(gradients(1.0))
    second = LossScaling()
    second.restore(first.state())
    for scaling in (first, second):
        assert scaling.unscaled(gradients(1.0))
        assert scaling.state() == {"scale": 2.0**17, "good_steps": 0}
