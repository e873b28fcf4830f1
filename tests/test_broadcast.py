"""Values that are spread before an operator takes them: which, and what becomes of their gradients."""

import numpy as np
import paddle
import pytest
from paddle.static import InputSpec

from ops.broadcast import spread

pytestmark = pytest.mark.python_independent


@pytest.mark.parametrize("shape", [[1, 3, 1, 1], [2, 1, 4, 5], [2, 1, 1, 1]])
def test_values_are_repeated_on_a_cpu_and_their_gradients_are_added_up(shape):
    rng = np.random.default_rng(0)
    like, values = (paddle.to_tensor(rng.normal(size=size)) for size in ([2, 3, 4, 5], shape))
    values.stop_gradient = False
    found = spread(values, like)
    np.testing.assert_array_equal(found.numpy(), np.broadcast_to(values.numpy(), like.shape))
    gradients = [paddle.grad([(of * like).sum()], [values])[0].numpy() for of in (found, values)]
    np.testing.assert_allclose(*gradients, rtol=1e-12)


def test_a_traced_network_repeats_nothing():
    class Scaled(paddle.nn.Layer):
        def forward(self, x):
            return x * spread(x.mean(axis=1, keepdim=True), x)

    traced = paddle.jit.to_static(Scaled(), input_spec=[InputSpec([None, 3, 4, 4], "float32")], full_graph=True)
    assert "expand" not in str(traced.forward.main_program)
