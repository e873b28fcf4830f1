"""The measurements of gpu_check.py: each call of the fused operators in a training step, and whole training steps."""

import collections
import statistics
import time
from typing import NamedTuple

import numpy as np
import paddle
import paddle.nn.functional as F

from networks import build_network
from ops import fused
from ops.batch_norm import Norm, batch_norm, batch_norm_reference
from ops.shuffle_functional import shuffle_attention, shuffle_attention_reference

NET = "sa_resnet50"
ROUNDS, REPEATS = 5, 10
COPIED = 2**26  # float32 values of the copy that gives the memory's speed


class Call(NamedTuple):
    """One kind of call of an operator in a training step; ``half``: of Shuffle Attention, 0 without it."""

    operator: str
    channels: int
    height: int
    width: int
    half: int
    norm: bool
    relu: bool
    channels_last: bool

    def shape(self, batch):
        sides = [self.height, self.width]
        return [batch, *sides, self.channels] if self.channels_last else [batch, self.channels, *sides]

    def maps(self):
        """Feature maps that (the forward, the backward pass) must read or write; batch norm needs what it reads twice."""
        residual = self.operator == "block_end"
        return 2 + self.norm + residual, 3 + 2 * residual + 2 * self.norm

    def text(self):
        parts = [*(["batch norm"] if self.norm else []), *(["attention"] if self.half else [])]
        end = "residual, ReLU" if self.operator == "block_end" else "ReLU" if self.relu else ""
        return ", ".join([*parts, *([end] if end else [])])


class Bench:
    """The measurements on Paddle's current device."""

    def __init__(self, batch, image_size):
        self.name, self.batch, self.image_size = NET, batch, image_size
        self.on_gpu = paddle.get_device().startswith("gpu")
        self.types = ("float32", "float16", "bfloat16") if self.on_gpu else ("float32", "float64")
        self.precisions = ("float32", "bfloat16", "float16") if self.on_gpu else ("float32",)
        self.layouts = ("nchw", "nhwc") if self.on_gpu else ("nchw",)

    def network(self, layout):
        """One in training, with feature maps in a layout."""
        network = build_network(self.name, 10, layout=layout)
        network.train()
        return network

    def synchronize(self):
        if self.on_gpu:
            paddle.device.synchronize()

    def seconds(self, *works, repeats=None):
        """The median time of one call of each of ``works``, which are measured in turn.

        The device works on while the next call is prepared, so on a GPU a small map takes the time of preparing it.
        """
        for work in works:
            work()
        times = []
        repeats = repeats or REPEATS
        for _ in range(ROUNDS):
            times.append([])
            for work in works:
                self.synchronize()
                started = time.perf_counter()
                for _ in range(repeats):
                    work()
                self.synchronize()
                times[-1].append((time.perf_counter() - started) / repeats)
        return [statistics.median(of_work) for of_work in zip(*times)]

    def copy_speed(self):
        """Bytes a second, read and written, of a copy."""
        source = paddle.ones([COPIED], "float32")
        return 8 * COPIED / self.seconds(source.clone)[0]

    def calls(self, layout):
        """{Call: how often a training step has it}; found by running one."""
        found = collections.Counter()
        run, lanes = fused.run, fused.lanes

        def noted(operator, x, *arguments):
            if operator not in ("block_end", "block_norm"):
                return run(operator, x, *arguments)
            has_residual = operator == "block_end"
            tensors, numbers = arguments[has_residual : has_residual + 10], arguments[has_residual + 10 :]
            relu, channels_last = bool(has_residual or numbers[1]), bool(numbers[-1])
            sides = list(x.shape[1:])
            channels = sides.pop(-1 if channels_last else 0)
            found[Call(operator, channels, *sides, numbers[0], bool(tensors[0].size), relu, channels_last)] += 1
            return run(operator, x, *arguments)

        network = self.network(layout)
        fused.run, fused.lanes = noted, lambda x: 0  # in planes, as on a GPU
        try:
            network(paddle.zeros([2, 3, self.image_size, self.image_size]))
        finally:
            fused.run, fused.lanes = run, lanes
        return found

    def step_of(self, call, kind, plain=False):
        """(the forward pass as a function, its inputs that have gradients, the gradient of its output)."""
        random = np.random.default_rng(0)
        wide = "float64" if kind == "float64" else "float32"

        def drawn(*shape, of=wide, mean=0.0):
            return paddle.to_tensor((random.normal(size=shape) + mean).astype("float32")).astype(kind).astype(of)

        own = wide if plain else kind  # plain operators get the same values
        x, residual, dout = (drawn(*call.shape(self.batch), of=own) for _ in range(3))
        weights = [drawn(call.channels, mean=1), drawn(call.channels)]
        attention = [drawn(1, call.half, 1, 1) for _ in range(4)] + [drawn(call.half) for _ in range(2)] if call.half else []
        inputs = [x, *([residual] if call.operator == "block_end" else []), *(weights if call.norm else []), *attention]
        for each in inputs:
            each.stop_gradient = False
        running = [paddle.zeros([call.channels], wide), paddle.ones([call.channels], wide)]
        norm = Norm(*weights, *running, True) if call.norm else None
        added = residual if call.operator == "block_end" else None
        last = {"channels_last": True} if call.channels_last else {}
        if call.half:
            function, groups = shuffle_attention_reference if plain else shuffle_attention, call.channels // (2 * call.half)
            return lambda: function(x, *attention, groups, added, norm, **last), inputs, dout
        function = batch_norm_reference if plain else batch_norm
        return lambda: function(x, norm, added, call.relu, **last), inputs, dout

    def error(self, call, kind):
        """The largest relative error of the output and of a gradient, against plain operators on the same values."""
        results = []
        for plain in (False, True):
            forward, inputs, dout = self.step_of(call, kind, plain)
            out = forward()
            tensors = [out, *paddle.grad([out], inputs, [dout])]
            results.append([tensor.astype("float64").numpy() for tensor in tensors])
        norm = np.linalg.norm
        return max(norm(found - wanted) / max(norm(wanted), 1e-6) for found, wanted in zip(*results))

    def times(self, call, kind):
        """Seconds of the forward pass and of the backward pass."""
        forward, inputs, dout = self.step_of(call, kind)
        alone, both = self.seconds(forward, lambda: paddle.grad([forward()], inputs, [dout]))
        return alone, max(0.0, both - alone)

    def step_errors(self, layout):
        """Relative errors of the loss and of all weights' gradient in one training step in float32, fused against plain."""
        losses, gradients = [], []
        for mode in ("on", "off"):
            network, images, labels = self.start(mode, layout)
            loss = F.cross_entropy(network(images), labels)
            loss.backward()
            losses.append(float(loss))
            learned = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
            gradients.append(np.concatenate([gradient.numpy().astype("float64").ravel() for gradient in learned]))
        norm = np.linalg.norm
        return abs(losses[0] - losses[1]) / abs(losses[1]), norm(gradients[0] - gradients[1]) / norm(gradients[1])

    def start(self, mode, layout):
        """(a network, images, labels), the same each time."""
        fused.set_mode(mode)
        paddle.seed(0)
        network = self.network(layout)
        images = paddle.randn([self.batch, 3, self.image_size, self.image_size])
        return network, images, paddle.zeros([self.batch], "int64")

    def training(self, mode, precision, layout):
        """Seconds of one step of the network."""
        network, images, labels = self.start(mode, layout)
        optimizer = paddle.optimizer.Momentum(0.01, parameters=network.parameters())

        def step():
            with paddle.amp.auto_cast(precision != "float32", dtype=precision if precision != "float32" else "float16"):
                loss = F.cross_entropy(network(images), labels)
            loss.backward()
            optimizer.step()
            optimizer.clear_grad(set_to_zero=False)

        return self.seconds(step, repeats=1)[0]
