"""What the self-test of the operators notices, before a machine trusts them."""

import paddle
import pytest
from paddle.autograd import PyLayer

from ops import fused, self_test

pytestmark = pytest.mark.skipif(not fused.convolves(paddle.ones([2, 1, 2, 2]), paddle.ones([1])), reason="no operators")


class OtherGradient(PyLayer):
    """The same value; on the way back something else."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, dy):
        return dy.flip(0) * 3


@pytest.mark.parametrize("shape", [[6, 2, 3, 3], [32, 32, 3, 3]])
def test_a_wrong_gradient_of_the_weights_is_noticed(shape):
    def spoilt(name, x, weights, *others):
        return fused.run(name, x, OtherGradient.apply(weights) if weights.shape == shape else weights, *others)

    assert self_test.fault_of_convolution(fused.run) is None
    assert self_test.fault_of_convolution(spoilt) == "a first convolution by oneDNN gives other values than Paddle's"
