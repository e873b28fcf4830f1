"""Learning rate over time, and what the optimisers decay."""

import numpy as np
import paddle
import pytest
from tiny_network import TinyNetwork

from attention import ATTENTIONS, attention_layer
from networks import build_network
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
def test_decay_acts_on_weights_alone_by_default_and_on_everything_on_request(optimizer):
    everything = step_without_gradients(optimizer, decay_norm_and_bias=True)
    assert all(share < 0.99 for share in everything.values())
    weights_alone = step_without_gradients(optimizer)
    assert weights_alone.pop("conv.weight") == pytest.approx(everything["conv.weight"])
    assert all(share == 1.0 for share in weights_alone.values()), weights_alone


def decayed(network):
    """The names of the parameters that weight decay acts on."""
    names = {parameter.name: name for name, parameter in network.named_parameters()}
    groups = build_optimizer(network, 1, 5, optimizer="adamw")._param_groups
    decays = [parameter for group in groups if group.get("weight_decay") != 0.0 for parameter in group["params"]]
    assert sum(len(group["params"]) for group in groups) == sum(not p.stop_gradient for p in network.parameters())
    return {names[parameter.name] for parameter in decays}


DECAYED = {
    "shuffle": set(),
    "se": {"fc1.weight", "fc2.weight"},
    "cbam": {"fc1.weight", "fc2.weight", "conv.weight"},
    "eca": {"conv.weight"},
    "sge": set(),  # its gates are called ``weight``
    "simam": set(),
}


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_no_gate_of_attention_decays(attention):
    network = paddle.nn.Sequential(attention_layer(attention)(128), paddle.nn.Linear(1, 1))
    assert decayed(network) == {"1.weight", *(f"0.{name}" for name in DECAYED[attention])}


@pytest.mark.usefixtures("weights_not_drawn")
@pytest.mark.parametrize(
    "name", ["resnet18", "sa_resnet", "sge_resnet50", "cbam_resnet50", "epsanet50", "mobilenet_v2", "tower_net"]
)
def test_in_every_network_weights_of_convolutions_and_linear_layers_decay_alone(name):
    network = build_network(name, 3)
    for parameter in decayed(network):
        assert network.state_dict()[parameter].ndim > 1, parameter
        assert parameter.endswith(".weight")
    others = {n for n, p in network.named_parameters() if not p.stop_gradient} - decayed(network)
    assert all(network.state_dict()[n].ndim == 1 or ".sa." in n or ".sge." in n for n in others), others


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


@pytest.mark.parametrize("optimizer", ["momentum", "adam", "adamw"])
@pytest.mark.parametrize("decay_norm_and_bias", [False, True])
def test_the_last_layer_has_its_own_peak_rate_along_the_same_schedule(optimizer, decay_norm_and_bias):
    def trained(**rates):
        paddle.seed(1)
        network = TinyNetwork(3)
        network.eval()
        built = build_optimizer(
            network, 2, 2, optimizer=optimizer, weight_decay=0.1, decay_norm_and_bias=decay_norm_and_bias,
            schedule={"schedule": "cosine"}, **rates,
        )  # fmt: skip
        steps = []
        for step in range(3):
            built._learning_rate.step(step)
            (network(paddle.ones([2, 3, 16, 16])) * paddle.to_tensor([1.0, -2.0, 3.0])).sum().backward()
            for parameter in network.parameters():  # the same gradients, whatever the rates of the steps before
                if parameter.grad is not None:
                    parameter.grad.set_value(paddle.full(parameter.shape, 0.5))
            built.step()
            built.clear_grad()
            steps.append({name: value.numpy().copy() for name, value in network.named_parameters()})
        return steps

    slow, fast = trained(learning_rate=0.01), trained(learning_rate=0.05)
    mixed = trained(learning_rate=0.01, head_lr=0.05)
    for step, found in enumerate(mixed):
        for name, value in found.items():
            expected = (fast if name.startswith("head.") else slow)[step][name]
            np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-7, err_msg=f"{name} after step {step + 1}")
    assert not np.allclose(slow[0]["head.weight"], fast[0]["head.weight"], rtol=1e-3)


def test_a_network_without_a_last_layer_has_no_rate_for_it():
    with pytest.raises(ValueError, match="head_lr: the network has no linear layer; leave it out"):
        build_optimizer(Net(), 1, 5, head_lr=0.1)
