"""Which precision applies on which device and processor, and that a CPU says what it does not do."""

import contextlib

import paddle
import pytest
from tiny_network import TinyNetwork, TinyResNet

from networks.classifier import Classifier
from ops import fused
from training import precision
from training.epoch_metrics import EPOCH_METRICS
from training.losses import TrainingLoss
from training.model import TrainingModel
from training.precision import choose, logits_of, precision_of

NO_FLOAT16 = "note: precision = 'float16': for GPUs alone: a CPU computes in float32"
NO_BFLOAT16 = "note: precision = 'bfloat16': this processor has neither avx512_bf16 nor amx_bf16: it computes in float32"


@pytest.mark.parametrize(
    ("asked", "device", "capability", "applies"),
    [
        ("auto", "cpu", None, "float32"),
        ("float32", "cpu", None, "float32"),
        ("auto", "gpu", (9, 0), "bfloat16"),
        ("auto", "gpu", (8, 0), "bfloat16"),
        ("auto", "gpu", (7, 5), "float32"),
        ("auto", "gpu", (6, 1), "float32"),
        ("float32", "gpu", (9, 0), "float32"),
        ("bfloat16", "gpu", (8, 6), "bfloat16"),
        ("float16", "gpu", (8, 6), "float16"),
        ("float16", "gpu", (7, 0), "float16"),
    ],
)
def test_the_precision_follows_from_what_is_asked_and_the_device(asked, device, capability, applies):
    assert choose(asked, device, capability) == (applies, None)


@pytest.mark.parametrize(
    ("asked", "device", "capability", "note"),
    [
        ("bfloat16", "cpu", None, NO_BFLOAT16),
        ("float16", "cpu", None, NO_FLOAT16),
        (
            "bfloat16", "gpu", (7, 5),
            "note: precision = 'bfloat16': this GPU has compute capability 7.5, and bfloat16 needs 8.0: it computes in "
            "float32; --precision float16 is for such a GPU",
        ),
        (
            "float16", "gpu", (6, 1),
            "note: precision = 'float16': this GPU has compute capability 6.1, and float16 needs 7.0: it computes in float32",
        ),
    ],
)  # fmt: skip
def test_a_precision_that_does_not_apply_is_said_in_one_line(asked, device, capability, note):
    assert choose(asked, device, capability) == ("float32", note)


@pytest.mark.parametrize(
    ("asked", "flags", "applies"),
    [
        ("auto", {"avx512_bf16"}, "float32"),
        ("bfloat16", {"avx512f", "avx512_bf16"}, "bfloat16"),
        ("bfloat16", {"amx_bf16"}, "bfloat16"),
        ("bfloat16", {"avx512f"}, "float32"),
    ],
)
def test_a_processor_that_multiplies_in_bfloat16_does_so_when_asked(asked, flags, applies):
    assert choose(asked, "cpu", flags=flags).precision == applies


def test_without_the_fused_operators_there_is_no_bfloat16_on_a_processor(monkeypatch, capsys):
    monkeypatch.setattr(precision, "cpu_identity", lambda: ("AuthenticAMD", {"avx512_bf16"}))
    monkeypatch.setattr(fused, "_mode", "off")
    assert precision_of("bfloat16", "cpu") == "float32"
    assert "note: precision = 'bfloat16': --fused off: the processor computes in float32" in "".join(capsys.readouterr())


def test_a_network_on_a_processor_computes_its_convolutions_in_bfloat16(fused_on):
    if fused.obstacle_of_bfloat16():
        pytest.skip("oneDNN has no such convolutions on this processor")
    paddle.seed(0)
    network = Classifier(TinyResNet(3))
    network.eval()
    images = paddle.randint(0, 256, [4, 3, 16, 16]).astype("uint8")
    exact, rounded = (logits_of(network, images, kind).numpy() for kind in ("float32", "bfloat16"))
    assert rounded.dtype == exact.dtype
    assert 0 < abs(rounded - exact).max() < 0.05 * abs(exact).max()


def test_a_gpus_capability_decides(monkeypatch, capsys):
    for capability, applies in (((8, 0), "bfloat16"), ((7, 5), "float32")):
        monkeypatch.setattr(paddle.device.cuda, "get_device_capability", lambda capability=capability: capability)
        assert precision_of("auto", "gpu") == applies
    assert precision_of("float16", "cpu") == "float32"
    out, err = capsys.readouterr()
    assert [*out.splitlines(), *err.splitlines()] == [NO_FLOAT16]


@pytest.fixture
def casts(monkeypatch):
    """Stands for a GPU's auto_cast, which a CPU lacks: what it was asked for, and within it the network gives 16 bits."""
    asked, inside = [], []

    @contextlib.contextmanager
    def auto_cast(**options):
        asked.append(options)
        inside.append(options["dtype"])
        yield
        inside.pop()

    forward = Classifier.forward
    monkeypatch.setattr(precision, "_is_on_cpu", lambda images: False)
    monkeypatch.setattr(paddle.amp, "auto_cast", auto_cast)
    monkeypatch.setattr(
        Classifier, "forward",
        lambda self, images: forward(self, images).astype(inside[-1]) if inside else forward(self, images),
    )  # fmt: skip
    return asked


@pytest.mark.parametrize("kind", ["bfloat16", "float16"])
def test_a_step_and_an_evaluation_compute_in_16_bits_and_give_float32(casts, kind):
    paddle.seed(0)
    model = TrainingModel(Classifier(TinyNetwork(3)), kind)
    model.prepare(
        paddle.optimizer.Momentum(0.1, parameters=model.network.parameters()), TrainingLoss(), [of() for of in EPOCH_METRICS]
    )
    images, labels = paddle.randint(0, 256, [4, 3, 16, 16]).astype("uint8"), paddle.to_tensor([0, 1, 2, 0])
    before = {name: value.numpy().copy() for name, value in model.network.named_parameters()}
    model.train_batch(images, [labels])
    after = dict(model.network.named_parameters())
    assert all(value.dtype == paddle.float32 for value in after.values())
    assert any((value.numpy() != before[name]).any() for name, value in after.items())
    logits = model.eval_batch(images, [labels])
    assert logits.dtype == paddle.float32
    assert casts == [{"dtype": kind, "level": "O1"}] * 2
    assert (model.loss_scaling is not None) == (kind == "float16")


def test_float32_costs_no_cast(casts):
    network = Classifier(TinyNetwork(3))
    network.eval()
    images = paddle.zeros([2, 3, 16, 16], "uint8")
    assert logits_of(network, images).dtype == paddle.float32
    assert casts == []
