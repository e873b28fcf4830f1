"""Learning rate over time, and what the optimisers decay."""

import numpy as np
import paddle
import pytest

from training.optimization import build_optimizer, learning_rate_factor


def rates(schedule, epochs=10, steps=4, **options):
    return [learning_rate_factor(step, steps, epochs, schedule, **options) for step in range(epochs * steps)]


def test_warm_up_rises_evenly_and_meets_the_peak():
    factors = rates("cosine", warmup_epochs=2)
    assert np.allclose(np.diff(factors[:9]), 1 / 9)
    assert factors[8] == 1.0


def test_cosine_falls_to_zero_with_the_papers_shape():
    factors = rates("cosine")
    assert factors[0] == 1.0
    assert factors[20] == pytest.approx(0.5)
    assert factors[-1] == pytest.approx(0.5 * (1 + np.cos(np.pi * 39 / 40)))
    assert all(np.diff(factors) < 0)


def test_cosine_by_epoch_is_paddle_s_annealing_stepped_once_an_epoch():
    paddle_s = paddle.optimizer.lr.CosineAnnealingDecay(1.0, T_max=10)
    factors = rates("cosine_by_epoch")
    for epoch in range(10):
        assert set(factors[4 * epoch : 4 * epoch + 4]) == {factors[4 * epoch]}
        assert factors[4 * epoch] == pytest.approx(paddle_s.last_lr, abs=1e-7)
        paddle_s.step()


@pytest.mark.parametrize("warmup_epochs", [2, 0.5, 1.25])
def test_cosine_by_epoch_warms_up_step_by_step(warmup_epochs):
    factors = rates("cosine_by_epoch", warmup_epochs=warmup_epochs)
    first = int(np.ceil(warmup_epochs * 4))
    assert factors[:first] == rates("cosine", warmup_epochs=warmup_epochs)[:first]
    assert all(np.diff(factors[first:]) <= 0)
    assert factors[first] == pytest.approx(1.0, abs=0.01)
    assert len(set(factors[first:])) == 10 - first // 4


def test_steps_and_constant():
    factors = rates("step", step_epochs=3, step_gamma=0.5)
    assert [factors[i] for i in (0, 11, 12, 23, 24, 36)] == [1, 1, 0.5, 0.5, 0.25, 0.125]
    assert set(rates("constant")) == {1.0}


def test_unknown_schedule_and_optimizer_are_refused():
    with pytest.raises(ValueError, match="schedule = 'linear': expected one of cosine, cosine_by_epoch, step, constant"):
        learning_rate_factor(5, 1, 10, "linear")
    with pytest.raises(ValueError, match="optimizer = 'lion': expected momentum, adam or adamw"):
        build_optimizer(paddle.nn.Linear(2, 2), 1, 1, optimizer="lion", schedule={"schedule": "constant"})


class Net(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.conv = paddle.nn.Conv2D(3, 4, 1)
        self.bn = paddle.nn.BatchNorm2D(4)


def step_without_gradients(optimizer, **options):
    """Share of each parameter that is left after one step in which only weight decay acts."""
    net = Net()
    before = {}
    for name, parameter in net.named_parameters():
        parameter.set_value(paddle.full(parameter.shape, 2.0))
        before[name] = 2.0
    built = build_optimizer(
        net, 1, 5, optimizer=optimizer, learning_rate=0.1, weight_decay=0.5, schedule={"schedule": "constant"}, **options
    )
    loss = sum((p * 0.0).sum() for p in net.parameters() if not p.stop_gradient)
    loss.backward()
    built.step()
    return {name: float(p.mean()) / before[name] for name, p in net.named_parameters() if not p.stop_gradient}


@pytest.mark.parametrize("optimizer", ["momentum", "adam", "adamw"])
def test_decay_acts_on_everything_by_default_and_on_weights_alone_on_request(optimizer):
    everything = step_without_gradients(optimizer)
    assert all(share < 0.99 for share in everything.values())
    weights_alone = step_without_gradients(optimizer, decay_norm_and_bias=False)
    assert weights_alone.pop("conv.weight") == pytest.approx(everything["conv.weight"])
    assert all(share == 1.0 for share in weights_alone.values()), weights_alone


def test_momentum_is_stochastic_gradient_descent_with_momentum():
    net = paddle.nn.Linear(1, 1, bias_attr=False)
    net.weight.set_value(paddle.ones([1, 1]))
    optimizer = build_optimizer(net, 1, 9, learning_rate=0.1, momentum=0.5, weight_decay=0.0, schedule={"schedule": "constant"})
    values = []
    for _ in range(3):
        net(paddle.ones([1, 1])).sum().backward()  # the gradient is 1
        optimizer.step()
        optimizer.clear_grad()
        values.append(float(net.weight))
    assert values == pytest.approx([0.9, 0.75, 0.575])  # velocity 1, 1.5, 1.75
