"""The average of the weights: its formula, and that the network's own weights never get lost in it."""

import numpy as np
import paddle
import pytest
from tiny_network import TinyNetwork

from networks.classifier import Classifier
from training.averaging import WeightAverage


def network(seed=0):
    paddle.seed(seed)
    return Classifier(TinyNetwork(3))


def change(made, seed):
    """As a training step does: other weights, running statistics and counters, in the same tensors."""
    rng = np.random.default_rng(seed)
    with paddle.no_grad():
        for value in made.state_dict().values():
            if paddle.is_floating_point(value) and value.shape != [1, 3, 1, 1]:
                paddle.assign(paddle.to_tensor(rng.normal(size=value.shape).astype("float32")), output=value)


def state(made):
    return {name: value.numpy().copy() for name, value in made.state_dict().items()}


def expected(half_life, steps_per_epoch, seen):
    """The average of the states ``seen``, the first before any step, if each step were taken in by itself."""
    decay = 0.5 ** (1 / (half_life * steps_per_epoch))
    average = {name: value.astype("float64") for name, value in seen[0].items()}
    for t, now in enumerate(seen[1:]):
        kept = min(decay, (1 + t) / (10 + t))
        average = {name: kept * value + (1 - kept) * now[name] for name, value in average.items()}
    return average


def test_each_step_counts_half_after_the_half_life():
    made = network()
    average = WeightAverage(made, half_life=0.5, steps_per_epoch=20)
    average.every = 1  # else each third step has the weight of three
    seen = [state(made)]
    for epoch in range(2):
        for step in range(20):
            change(made, (epoch, step))
            average.update(epoch, step)
            seen.append(state(made))
    want = expected(0.5, 20, seen)
    assert {name for name in want if name.endswith(("_mean", "_variance"))} <= average.averages.keys()
    for name, value in average.averages.items():
        np.testing.assert_allclose(value.numpy(), want[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_a_long_half_life_is_averaged_every_few_steps_and_at_the_end_of_an_epoch():
    made = network()
    average = WeightAverage(made, half_life=1.0, steps_per_epoch=50)
    assert average.every == 6
    seen, updates = [state(made)], []
    for epoch in range(4):
        for step in range(50):
            if step % 6 == 0:  # the weights stay as they are until the next update, so that both ways give the same
                change(made, (epoch, step))
            before = average.averages["network.head.weight"].numpy().copy()
            average.update(epoch, step)
            if (before != average.averages["network.head.weight"].numpy()).any():
                updates.append((epoch, step))
            seen.append(state(made))
    assert updates == [(epoch, step) for epoch in range(4) for step in [*range(5, 50, 6), 49]]
    want = expected(1.0, 50, seen)
    for name, value in average.averages.items():
        np.testing.assert_allclose(value.numpy(), want[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_weights_that_stay_the_same_have_themselves_as_average():
    made = network()
    average, before = WeightAverage(made, 1.0, 10), state(made)
    for step in range(10):
        average.update(0, step)
    assert all((value.numpy() == before[name]).all() for name, value in average.averages.items())


def test_frozen_weights_are_not_averaged_and_running_statistics_are():
    made = network()
    made.network.features[0].weight.stop_gradient = True
    names = WeightAverage(made, 1.0, 10).averages.keys()
    assert "network.features.0.weight" not in names
    assert {"network.features.1._mean", "network.features.1._variance", "network.features.3.weight"} <= names


def test_the_network_has_the_averages_within_the_block_and_its_own_weights_after_it():
    made = network()
    average = WeightAverage(made, 1.0, 10)
    change(made, 1)
    average.update(0, 0)
    change(made, 2)
    own = state(made)
    averages = {name: value.numpy().copy() for name, value in average.averages.items()}
    objects = {name: (id(value), value.data_ptr()) for name, value in made.state_dict().items()}
    with average.in_network():
        inside = state(made)
    for name, value in own.items():
        np.testing.assert_array_equal(inside[name], averages.get(name, value), err_msg=name)
        np.testing.assert_array_equal(state(made)[name], value, err_msg=name)
    assert {name: (id(value), value.data_ptr()) for name, value in made.state_dict().items()} == objects
    assert any((averages[name] != own[name]).any() for name in averages)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_the_network_gets_its_own_weights_back_however_the_block_ends(error):
    made = network()
    average = WeightAverage(made, 1.0, 10)
    change(made, 1)
    own = state(made)
    with pytest.raises(error), average.in_network():
        raise error
    assert all((value == own[name]).all() for name, value in state(made).items())


def test_what_changes_within_the_block_belongs_to_the_average():
    """Running statistics that are estimated anew for the averaged weights."""
    made = network()
    average = WeightAverage(made, 1.0, 10)
    own = made.network.features[1]._mean.numpy().copy()
    with average.in_network(), paddle.no_grad():
        paddle.assign(paddle.full([8], 7.0), output=made.network.features[1]._mean)
    assert (made.network.features[1]._mean.numpy() == own).all()
    assert (average.averages["network.features.1._mean"].numpy() == 7).all()
