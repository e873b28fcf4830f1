"""The table of networks, and the classifier that takes raw pixels."""

import numpy as np
import paddle
import pytest

from networks import NETWORKS, Classifier, NetworkError, build_network


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_classifies_and_takes_gradients(name):
    network = build_network(name, 5)
    logits = network(paddle.randn([2, 3, 32, 32]))
    assert logits.shape == [2, 5]
    logits.sum().backward()
    without = [n for n, p in network.named_parameters() if not p.stop_gradient and p.grad is None]
    assert without == []


def test_unknown_network_lists_the_names():
    with pytest.raises(
        ValueError, match=r"unknown network 'sa_resnt', did you mean sa_resnet\?; one of: sa_resnet, .*resnet152"
    ):
        build_network("sa_resnt", 10)


def test_option_of_another_network_is_refused():
    with pytest.raises(ValueError, match="resnet has no option 'sa_groups'; it has: zero_init_residual"):
        build_network("resnet", 10, sa_groups=32)
    with pytest.raises(ValueError, match="sa_resnet has no option 'depth'; it has: sa_groups, sa_gate, zero"):
        build_network("sa_resnet", 10, depth=50)


def test_groups_reach_the_attention_layers():
    network = build_network("sa_resnet", 10, sa_groups=32)
    assert network.layer1[0].sa.cweight.shape == [1, 4, 1, 1]
    with pytest.raises(ValueError, match="multiple of 2 \\* groups = 512"):
        build_network("sa_resnet", 10, sa_groups=128 + 128)  # the first stage has 256 channels, 512 would be needed


def test_a_function_of_ones_own_is_a_network(monkeypatch):
    def my_net(num_classes, width=4):
        if width > 8:
            raise ValueError(f"width = {width}: at most 8")
        return paddle.nn.Linear(width, num_classes)

    monkeypatch.setitem(NETWORKS, "my_net", my_net)
    assert build_network("my_net", 3, width=5).weight.shape == [5, 3]
    with pytest.raises(NetworkError, match="my_net: width = 9: at most 8"):
        build_network("my_net", 3, width=9)


class Identity(paddle.nn.Layer):
    def forward(self, x):
        return x


def test_classifier_normalises_raw_pixels_by_its_own_mean_and_deviation():
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 0.125)
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5), dtype=np.uint8)
    normalised = Classifier(Identity(), mean, std)(paddle.to_tensor(images)).numpy()
    expected = (images / 255.0 - np.reshape(mean, (1, 3, 1, 1))) / np.reshape(std, (1, 3, 1, 1))
    np.testing.assert_allclose(normalised, expected, rtol=1e-5, atol=1e-5)


def test_classifier_saves_its_preprocessing_but_does_not_learn_it():
    classifier = Classifier(paddle.nn.Linear(2, 2))
    assert {"mean", "std"} <= set(classifier.state_dict())
    assert {name for name, _ in classifier.named_parameters()} == {"network.weight", "network.bias"}


@pytest.mark.parametrize(("mean", "std"), [((0.5,), (1, 1, 1)), ((0, 0, 0), (1, 0, 1)), ((0, 0, 0), (1, 1))])
def test_classifier_refuses_unusable_preprocessing(mean, std):
    with pytest.raises(ValueError, match="expected three values each"):
        Classifier(Identity(), mean, std)
