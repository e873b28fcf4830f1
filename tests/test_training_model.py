"""The training step: what it refuses, what it copies to the host, and what may go through it."""

import numpy as np
import paddle
import pytest
from tiny_network import TinyNetwork

from networks.classifier import Classifier
from training.epoch_metrics import EPOCH_METRICS
from training.losses import TrainingLoss
from training.model import TrainingModel
from training.state import TrainingDiverged, seed_generators


def prepared(optimizer=paddle.optimizer.Momentum, **options):
    """A model with random weights, the same each time."""
    paddle.seed(1)
    model = TrainingModel(Classifier(TinyNetwork(3)))
    model.prepare(
        optimizer(0.1, parameters=model.network.parameters(), **options), TrainingLoss(), [metric() for metric in EPOCH_METRICS]
    )
    return model


def batch(count=6):
    rng = np.random.default_rng(0)
    images = paddle.to_tensor(rng.integers(0, 256, (count, 3, 16, 16), dtype=np.uint8))
    return images, paddle.to_tensor(rng.integers(0, 3, count))


def weights(model):
    return {name: value.numpy().copy() for name, value in model.network.named_parameters() if not value.stop_gradient}


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_is_noticed_before_the_weights_are_updated(bad):
    model, (images, labels) = prepared(weight_decay=0.5), batch()
    model.network.network.head.bias.set_value(paddle.full([3], bad))
    before = weights(model)
    with pytest.raises(
        TrainingDiverged, match=r"the training loss became (nan|inf).*at learning rate 0.1.*lower --learning_rate"
    ):
        model.train_batch(images, [labels])
    for name, value in weights(model).items():
        np.testing.assert_array_equal(value, before[name], name)


def test_a_step_copies_one_number_to_the_host(monkeypatch):
    model, (images, labels) = prepared(), batch()
    copies, inside = [], []
    for name in ("numpy", "item", "tolist", "__float__", "__int__", "__array__"):
        original = getattr(paddle.Tensor, name)

        def counted(tensor, *arguments, _original=original, **options):
            if not inside:  # one of them may be made of another
                copies.append(tuple(tensor.shape))
            inside.append(tensor)
            try:
                return _original(tensor, *arguments, **options)
            finally:
                inside.pop()

        monkeypatch.setattr(paddle.Tensor, name, counted)
    model.train_batch(images, [labels])
    assert copies == [()], "the loss, a scalar"
    copies.clear()
    model.eval_batch(images, [labels])
    assert copies == []
    assert model.figures().startswith("loss: ")
    assert copies, "the progress bar's figures do copy, when they are shown"


def test_gradients_add_up_until_an_update():
    model, (images, labels) = prepared(), batch()
    model.network.network.dropout.p = 0.0
    before = weights(model)
    gradients = []
    for _ in range(2):
        model.train_batch(images, [labels], update=False)
        gradients.append(model.network.network.head.weight.grad.numpy().copy())
    np.testing.assert_allclose(gradients[1], 2 * gradients[0], rtol=1e-5)
    for name, value in weights(model).items():
        np.testing.assert_array_equal(value, before[name], name)


def test_soft_labels_and_weights_go_through_the_step():
    images, labels = batch()
    soft = paddle.nn.functional.one_hot(labels, 3)
    outcomes = []
    for targets in ([labels], [soft], [labels, paddle.ones([6])]):
        model = prepared()
        seed_generators(0, epoch=0, step=0)
        loss = model.train_batch(images, targets)
        outcomes.append((loss, model.figures(), weights(model)))
    for loss, figures, found in outcomes[1:]:
        assert loss == pytest.approx(outcomes[0][0], rel=1e-6)
        assert figures == outcomes[0][1]
        for name, value in found.items():
            np.testing.assert_allclose(value, outcomes[0][2][name], rtol=1e-5, atol=1e-7, err_msg=name)
