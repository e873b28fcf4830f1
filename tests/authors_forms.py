"""What the authors' PyTorch code computes, transcribed to NumPy in float64, with the names and layouts of its state_dicts.

Independent of the product: plain loops and sums, no function of it. ``p``: {name: array} of one layer; ``training``: normalise
with the statistics of the batch, and write new running ones into ``p``.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

ECA_SIZES = (3, 5, 5, 7)  # of the published ECA-ResNet50, by stage
CHANNELS, BLOCK_STRIDE = (64, 128, 256, 512), (1, 2, 2, 2)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def relu(x):
    return np.maximum(x, 0)


def conv2d(x, weight, bias=None, stride=1, padding=0, groups=1):
    """torch.nn.functional.conv2d: x [N, C, H, W], weight [out, C / groups, k, k]."""
    k = weight.shape[2]
    x = np.pad(x, ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2))
    windows = sliding_window_view(x, (k, k), axis=(2, 3))[:, :, ::stride, ::stride]  # [N, C, H', W', k, k]
    parts = zip(np.split(windows, groups, axis=1), np.split(weight, groups))
    y = np.concatenate([np.tensordot(part, w, ((1, 4, 5), (1, 2, 3))) for part, w in parts], axis=3)  # [N, H', W', out]
    return y.transpose(0, 3, 1, 2) + (0 if bias is None else bias[:, None, None])


def batch_norm(x, p, name, training, momentum=0.1):
    """torch.nn.BatchNorm2d of the layer ``name`` in ``p``; ``momentum`` in PyTorch's sense.

    Paddle updates the running variance with the batch's biased variance, PyTorch with the unbiased one: this does as Paddle.
    """
    mean, variance = p[f"{name}.running_mean"], p[f"{name}.running_var"]
    if training:
        batch = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))
        p[f"{name}.running_mean"] = (1 - momentum) * mean + momentum * batch[0]
        p[f"{name}.running_var"] = (1 - momentum) * variance + momentum * batch[1]
        mean, variance = batch
    scale = p[f"{name}.weight"] / np.sqrt(variance + 1e-5)
    return (x - mean[:, None, None]) * scale[:, None, None] + p[f"{name}.bias"][:, None, None]


def linear(x, p, name):
    bias = p.get(f"{name}.bias")
    return x @ p[f"{name}.weight"].T + (0 if bias is None else bias)


def se(x, p, training=False):
    """SELayer of implus/PytorchInsight."""
    y = relu(linear(x.mean(axis=(2, 3)), p, "fc.0"))
    return x * sigmoid(linear(y, p, "fc.2"))[:, :, None, None]


def eca(x, p, training=False):
    """eca_layer of BangguWu/ECANet."""
    kernel = p["conv.weight"][0, 0]
    y = np.pad(x.mean(axis=(2, 3)), ((0, 0), ((len(kernel) - 1) // 2,) * 2))
    gates = np.stack([y[:, c : c + len(kernel)] @ kernel for c in range(x.shape[1])], axis=1)
    return x * sigmoid(gates)[:, :, None, None]


def cbam(x, p, training=False):
    """CBAM of Jongchan/attention-module: ChannelGate, then SpatialGate, which puts the maximum before the mean."""

    def mlp(values):
        return linear(relu(linear(values, p, "ChannelGate.mlp.1")), p, "ChannelGate.mlp.3")

    x = x * sigmoid(mlp(x.mean(axis=(2, 3))) + mlp(x.max(axis=(2, 3))))[:, :, None, None]
    pooled = np.stack([x.max(axis=1), x.mean(axis=1)], axis=1)
    y = conv2d(pooled, p["SpatialGate.spatial.conv.weight"], padding=3)
    return x * sigmoid(batch_norm(y, p, "SpatialGate.spatial.bn", training, momentum=0.01))


def sge(x, p, training=False):
    """SpatialGroupEnhance of implus/PytorchInsight; torch.std of a single value is NaN, here it is 0."""
    n, _, h, w = x.shape
    groups = p["weight"].shape[1]
    part = x.reshape(n * groups, -1, h, w)
    t = (part * part.mean(axis=(2, 3), keepdims=True)).sum(axis=1).reshape(n * groups, -1)
    t = t - t.mean(axis=1, keepdims=True)
    deviation = t.std(axis=1, keepdims=True, ddof=1) if h * w > 1 else 0
    t = (t / (deviation + 1e-5)).reshape(n, groups, h, w) * p["weight"] + p["bias"]
    return (part * sigmoid(t.reshape(n * groups, 1, h, w))).reshape(x.shape)


def simam(x, p, training=False, e_lambda=1e-4):
    """simam_module of ZjjConan/SimAM; on 1x1 maps, where it divides by zero, the sum is 0 and so is the quotient."""
    squares = (x - x.mean(axis=(2, 3), keepdims=True)) ** 2
    variance = squares.sum(axis=(2, 3), keepdims=True) / max(x.shape[2] * x.shape[3] - 1, 1)
    return x * sigmoid(squares / (4 * (variance + e_lambda)) + 0.5)


def shuffle(x, p, training=False, groups=64):
    """sa_layer of wofmanaf/SA-Net; with "affine1" in ``p``, a rewrite's gates: 1x1 convolutions in place of weight and bias."""
    n, c, h, w = x.shape
    x_0, x_1 = np.split(x.reshape(n * groups, -1, h, w), 2, axis=1)
    pooled = x_0.mean(axis=(2, 3), keepdims=True)
    normal = (x_1 - x_1.mean(axis=(2, 3), keepdims=True)) / np.sqrt(x_1.var(axis=(2, 3), keepdims=True) + 1e-5)
    normal = normal * p["gn.weight"][:, None, None] + p["gn.bias"][:, None, None]
    if "affine1.weight" in p:
        gates = [conv2d(y, p[f"{i}.weight"], p[f"{i}.bias"]) for i, y in (("affine1", pooled), ("affine2", normal))]
    else:
        gates = [p["cweight"] * pooled + p["cbias"], p["sweight"] * normal + p["sbias"]]
    y = np.concatenate([x_0 * sigmoid(gates[0]), x_1 * sigmoid(gates[1])], axis=1).reshape(n, c, h, w)
    return y.reshape(n, 2, c // 2, h, w).transpose(0, 2, 1, 3, 4).reshape(n, c, h, w)


def psa(x, p, stride=1):
    """PSAModule of murufeng/EPSANet."""
    scales = [
        conv2d(x, p[f"conv_{i}.weight"], stride=stride, padding=i, groups=groups)
        for i, groups in ((1, 1), (2, 4), (3, 8), (4, 16))
    ]

    def weight(y):
        y = y.mean(axis=(2, 3), keepdims=True)
        return sigmoid(conv2d(relu(conv2d(y, p["se.fc1.weight"], p["se.fc1.bias"])), p["se.fc2.weight"], p["se.fc2.bias"]))

    weights = np.exp([weight(y) for y in scales])
    weights = weights / weights.sum(axis=0)
    return np.concatenate([y * w for y, w in zip(scales, weights)][::-1], axis=1)


FORMS = {"shuffle": shuffle, "se": se, "cbam": cbam, "eca": eca, "sge": sge, "simam": simam}
SHORT = {"shuffle": "sa", **{name: name for name in ("se", "cbam", "eca", "sge")}}
"""Attention -> its name in the authors' blocks."""


def layer_shapes(attention, channels, hidden, groups=64, kernel=3):
    """{name: shape} of the parameters of one attention layer, as its authors name them."""
    half = channels // (2 * groups)
    return {
        "se": {"fc.0.weight": (hidden, channels), "fc.0.bias": (hidden,), "fc.2.weight": (channels, hidden),
               "fc.2.bias": (channels,)},
        "cbam": {"ChannelGate.mlp.1.weight": (hidden, channels), "ChannelGate.mlp.1.bias": (hidden,),
                 "ChannelGate.mlp.3.weight": (channels, hidden), "ChannelGate.mlp.3.bias": (channels,),
                 "SpatialGate.spatial.conv.weight": (1, 2, 7, 7), **norm_shapes("SpatialGate.spatial.bn", 1)},
        "eca": {"conv.weight": (1, 1, kernel)},
        "sge": {"weight": (1, groups, 1, 1), "bias": (1, groups, 1, 1)},
        "simam": {},
        "shuffle": {**{name: (1, half, 1, 1) for name in ("cweight", "cbias", "sweight", "sbias")},
                    "gn.weight": (half,), "gn.bias": (half,)},
        "conv gate": {**{f"affine{i}.weight": (half, half, 1, 1) for i in (1, 2)},
                      **{f"affine{i}.bias": (half,) for i in (1, 2)}, "gn.weight": (half,), "gn.bias": (half,)},
    }[attention]  # fmt: skip


def psa_shapes(channels):
    quarter = channels // 4
    convs = {f"conv_{i}.weight": (quarter, channels // groups, 2 * i + 1, 2 * i + 1)
             for i, groups in ((1, 1), (2, 4), (3, 8), (4, 16))}  # fmt: skip
    hidden = quarter // 16
    return {**convs, "se.fc1.weight": (hidden, quarter, 1, 1), "se.fc1.bias": (hidden,),
            "se.fc2.weight": (quarter, hidden, 1, 1), "se.fc2.bias": (quarter,)}  # fmt: skip


def norm_shapes(name, channels):
    return {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}


def drawn(shapes, seed=0):
    """{name: float32 array}: random, not initial, values for ``shapes``; matrices and kernels keep the size of what passes."""
    rng, state = np.random.default_rng(seed), {}
    for name, shape in shapes.items():
        if name.endswith("running_var"):
            value = rng.uniform(0.5, 2.0, shape)
        elif len(shape) > 1 and not (len(shape) == 4 and shape[0] == 1 and shape[2:] == (1, 1)):
            value = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
        else:
            value = rng.normal(0.3, 0.7, shape)
        state[name] = value.astype("float32")
    return state


def resnet_shapes(attention, num_classes, bottleneck=True):
    """{name: shape} of a ResNet of one block a stage, in the authors' names; ``attention``: a key of FORMS, "psa" or None."""
    shapes = {"conv1.weight": (64, 3, 7, 7), **norm_shapes("bn1", 64)}
    inputs = 64
    for stage, planes in enumerate(CHANNELS):
        block, outputs = f"layer{stage + 1}.0", planes * (4 if bottleneck else 1)
        convs = [(inputs, planes, 1), (planes, planes, 3), (planes, outputs, 1)]
        for i, (from_channels, channels, k) in enumerate(
            convs if bottleneck else [(inputs, planes, 3), (planes, planes, 3)], 1
        ):
            if attention == "psa" and i == 2:
                shapes.update({f"{block}.conv2.{name}": shape for name, shape in psa_shapes(planes).items()})
            else:
                inside = ".0" if attention == "simam" and i == 2 else ""
                shapes[f"{block}.conv{i}{inside}.weight"] = (channels, from_channels, k, k)
            shapes.update(norm_shapes(f"{block}.bn{i}", channels))
        if attention in SHORT:
            own = layer_shapes(attention, outputs, outputs // 16, kernel=ECA_SIZES[stage])
            shapes.update({f"{block}.{SHORT[attention]}.{name}": shape for name, shape in own.items()})
        if BLOCK_STRIDE[stage] > 1 or inputs != outputs:
            shapes[f"{block}.downsample.0.weight"] = (outputs, inputs, 1, 1)
            shapes.update(norm_shapes(f"{block}.downsample.1", outputs))
        inputs = outputs
    return {**shapes, "fc.weight": (num_classes, inputs), "fc.bias": (num_classes,)}


def resnet(x, state, attention, bottleneck=True, training=False):
    """Logits of the network of ``resnet_shapes``; ``state`` in float64."""
    x = relu(batch_norm(conv2d(x, state["conv1.weight"], stride=2, padding=3), state, "bn1", training))
    x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    x = sliding_window_view(x, (3, 3), axis=(2, 3))[:, :, ::2, ::2].max(axis=(4, 5))
    for stage, stride in enumerate(BLOCK_STRIDE):
        block = f"layer{stage + 1}.0"
        names = {name: f"{block}.{name}" for name in ("bn1", "bn2", "bn3", "downsample.1")}

        def conv(y, i, stride=1, block=block):
            weight = state[f"{block}.conv{i}.weight"]
            return conv2d(y, weight, stride=stride, padding=weight.shape[2] // 2)

        y = relu(batch_norm(conv(x, 1, 1 if bottleneck else stride), state, names["bn1"], training))
        stride_of_2 = stride if bottleneck else 1
        if attention == "psa":
            y = psa(y, part_of(state, f"{block}.conv2."), stride_of_2)
        elif attention == "simam":
            y = simam(conv2d(y, state[f"{block}.conv2.0.weight"], stride=stride_of_2, padding=1), {})
        else:
            y = conv(y, 2, stride_of_2)
        y = batch_norm(y, state, names["bn2"], training)
        if bottleneck:
            y = batch_norm(conv(relu(y), 3), state, names["bn3"], training)
        if attention in SHORT:
            prefix = f"{block}.{SHORT[attention]}."
            own = part_of(state, prefix)
            y = FORMS[attention](y, own, training)
            state.update({prefix + name: value for name, value in own.items()})
        shortcut = x
        if f"{block}.downsample.0.weight" in state:
            shortcut = conv2d(x, state[f"{block}.downsample.0.weight"], stride=stride)
            shortcut = batch_norm(shortcut, state, names["downsample.1"], training)
        x = relu(y + shortcut)
    return linear(x.mean(axis=(2, 3)), state, "fc")


def part_of(state, prefix):
    return {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}
