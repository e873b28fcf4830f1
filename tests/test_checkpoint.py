"""Checkpoints: what goes in comes out, and what does not fit is named."""

import json
import struct
from pathlib import Path

import numpy as np
import paddle
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from settings.format_number import FormatError
from trained import header as header_tables
from trained import history
from trained.checkpoint import CheckpointError, load_network_state, load_training_state, read_header, save_checkpoint
from trained.history import COLUMNS
from trained.rules import is_count, is_text

HEADER = {
    "config": {"net": "resnet18"},
    "classes": ["猫", "dog"],
    "epoch": 3,
    "best": {"epoch": 2, "val_acc": 0.5, "val_loss": 1.5},
    "list_sha256": {"train": "0" * 64, "val": "f" * 64},
}
ROW = {**dict.fromkeys(COLUMNS, 0.5), "epoch": 1, "train_size": 8}
METRICS = {"mean_loss": [7.5, 3], "acc": [[1.0], [3]], "balanced_acc": [[1.0, 0.0], [2.0, 1.0]]}
POSITION = {
    "history": [{**ROW, "epoch": number} for number in (1, 2, 3)],
    "step": 4,
    "so_far": {"seconds": 0.5, "metrics": METRICS},
    "seconds": 1.5,
    "peak_memory_mb": None,
}


def trained_network():
    network = paddle.nn.Sequential(paddle.nn.Conv2D(3, 4, 3), paddle.nn.BatchNorm2D(4))
    rate = paddle.optimizer.lr.LambdaDecay(0.1, lambda step: 0.5**step)
    optimizer = paddle.optimizer.Momentum(rate, parameters=network.parameters())
    network(paddle.randn([2, 3, 8, 8])).square().sum().backward()
    optimizer.step()
    rate.step()
    return network, optimizer


def test_network_and_header_come_back(tmp_path):
    network, optimizer = trained_network()
    save_checkpoint(tmp_path / "last.safetensors", network, HEADER, optimizer)
    other = paddle.nn.Sequential(paddle.nn.Conv2D(3, 4, 3), paddle.nn.BatchNorm2D(4))
    header = load_network_state(tmp_path / "last.safetensors", other)
    assert header["classes"] == ["猫", "dog"]
    assert header["versions"]["paddle"] == paddle.__version__
    for name, value in network.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name].numpy(), value.numpy())
    assert read_header(tmp_path / "last.safetensors") == header


def test_optimizer_state_is_stored_under_the_networks_own_names(tmp_path):
    paddle.nn.Linear(3, 3)  # moves Paddle's global parameter names on
    network, optimizer = trained_network()
    save_checkpoint(tmp_path / "last.safetensors", network, HEADER, optimizer)
    with safe_open(str(tmp_path / "last.safetensors"), framework="np") as stored:
        accumulators = {name for name in stored.keys() if name.startswith("optimizer/")}  # noqa: SIM118
        velocity = stored.get_tensor(next(n for n in accumulators if n.startswith("optimizer/0.weight/velocity")))
    assert {name.split("/")[1] for name in accumulators} == {"0.weight", "0.bias", "1.weight", "1.bias"}
    np.testing.assert_array_equal(velocity, network[0].weight.grad.numpy())


@pytest.mark.parametrize("kind", [paddle.optimizer.Momentum, paddle.optimizer.Adam, paddle.optimizer.AdamW])
def test_training_goes_on_from_a_checkpoint_as_it_would_have(tmp_path, kind):
    images = paddle.randn([4, 2, 3, 8, 8])

    def step(network, optimizer, image):
        network(image).square().sum().backward()
        optimizer.step()
        optimizer.clear_grad()

    def made():
        network = paddle.nn.Sequential(paddle.nn.Conv2D(3, 4, 3), paddle.nn.BatchNorm2D(4))
        return network, kind(0.1, parameters=network.parameters())

    first, second = made(), made()
    for image in images[:2]:
        step(*first, image)
    save_checkpoint(tmp_path / "last.safetensors", first[0], {**HEADER, "epoch": 2}, first[1])
    assert load_training_state(tmp_path / "last.safetensors", *second)["epoch"] == 2
    for image in images[2:]:
        step(*first, image)
        step(*second, image)
    for name, value in first[0].state_dict().items():
        np.testing.assert_array_equal(second[0].state_dict()[name].numpy(), value.numpy(), name)


def test_an_optimizer_state_that_does_not_fit_is_named(tmp_path):
    network, optimizer = trained_network()
    path = tmp_path / "last.safetensors"

    def changed(change):
        save_checkpoint(path, network, HEADER, optimizer)
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, str(path), metadata={"header": json.dumps(HEADER)})
        with pytest.raises(CheckpointError) as error:
            load_training_state(path, *trained_network())
        return str(error.value)

    velocity = "optimizer/0.weight/velocity_0"
    assert changed(lambda tensors: tensors.pop(velocity)).endswith("holds no state of the optimiser for 0.weight")
    assert changed(lambda tensors: tensors.update({velocity: np.zeros((2, 2))})).endswith(
        f"{velocity} has shape (2, 2), expected (4, 3, 3, 3)"
    )
    assert changed(lambda tensors: tensors.update({"optimizer/7.weight/x": np.zeros(2)})).endswith(
        "holds 1 unexpected states of the optimiser (the first: optimizer/7.weight/x)"
    )
    assert changed(lambda tensors: tensors.update({velocity: tensors[velocity].astype(np.float64)})).endswith(
        f"{velocity} is of type float64, not float32"
    )
    assert changed(lambda tensors: tensors.update({velocity[:-10] + "moment1_0": tensors.pop(velocity)})).endswith(
        "holds the state of another optimiser for 0.weight: moment1_0; expected velocity_0"
    )


def averages_of(network, factor):
    return {name: value * factor for name, value in network.state_dict().items() if value.ndim == 1}


def test_averages_are_kept_beside_the_weights(tmp_path):
    network, optimizer = trained_network()
    path = tmp_path / "last.safetensors"
    averages = averages_of(network, 3.0)
    save_checkpoint(path, network, HEADER, optimizer, averages)
    other, found = trained_network(), averages_of(network, 0.0)
    assert load_training_state(path, *other, found)["format"] == 3
    assert found.keys() == averages.keys()
    for name, value in averages.items():
        np.testing.assert_array_equal(found[name].numpy(), value.numpy(), name)
        np.testing.assert_array_equal(other[0].state_dict()[name].numpy(), network.state_dict()[name].numpy(), name)
    load_network_state(path, other[0])


def test_averages_that_do_not_fit_are_named(tmp_path):
    network, optimizer = trained_network()
    path = tmp_path / "last.safetensors"

    def refusal(saved, wanted):
        save_checkpoint(path, network, HEADER, optimizer, saved)
        with pytest.raises(CheckpointError) as error:
            load_training_state(path, *trained_network(), wanted)
        return str(error.value)

    averages = averages_of(network, 1.0)
    less = {name: value for name, value in averages.items() if name != "0.bias"}
    assert refusal(less, averages).endswith(
        "holds averages of other weights: 1 tensors are missing (the first: 0.bias), 0 are not in this network"
    )
    assert "0 tensors are missing, 5 are not in this network" in refusal(averages, None)
    assert "holds averages of other weights: 5 tensors are missing" in refusal(None, averages)
    assert "0.bias has shape (2,), the network expects (4,)" in refusal({**averages, "0.bias": paddle.zeros([2])}, averages)
    assert "0.bias" in refusal({**averages, "0.bias": paddle.full([4], float("nan"))}, averages)


def test_an_older_version_refuses_a_file_with_averages_by_its_format(tmp_path, monkeypatch):
    network, optimizer = trained_network()
    save_checkpoint(tmp_path / "with.safetensors", network, HEADER, optimizer, averages_of(network, 1.0))
    save_checkpoint(tmp_path / "without.safetensors", network, HEADER, optimizer)
    monkeypatch.setattr(header_tables, "FORMAT", 2)
    assert read_header(tmp_path / "without.safetensors")["format"] == 2
    with pytest.raises(FormatError, match=r"with\.safetensors: format 3; .* reads up to 2: use a newer one"):
        read_header(tmp_path / "with.safetensors")


def test_another_network_is_refused_and_left_alone(tmp_path):
    network, _ = trained_network()
    save_checkpoint(tmp_path / "a.safetensors", network, HEADER)
    other = paddle.nn.Sequential(paddle.nn.Conv2D(3, 5, 3), paddle.nn.BatchNorm2D(5))
    before = other[0].weight.numpy().copy()
    with pytest.raises(CheckpointError, match=r"0\.weight has shape \(4, 3, 3, 3\), the network expects \(5, 3, 3, 3\)"):
        load_network_state(tmp_path / "a.safetensors", other)
    np.testing.assert_array_equal(other[0].weight.numpy(), before)
    with pytest.raises(CheckpointError, match=r"2 tensors are missing \(the first: bias\), 6 are not in this network"):
        load_network_state(tmp_path / "a.safetensors", paddle.nn.Linear(2, 2))


def test_damaged_foreign_and_missing_files_are_named(tmp_path):
    network, _ = trained_network()
    path = tmp_path / "best.safetensors"
    save_checkpoint(path, network, HEADER)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match="is not a complete checkpoint"):
        read_header(path)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match="is not a complete checkpoint"):
        read_header(path)
    save_file({"a": np.zeros(2)}, str(path))
    with pytest.raises(CheckpointError, match="has no header of this toolkit"):
        read_header(path)
    save_file({"a": np.zeros(2)}, str(path), metadata={"header": json.dumps({})[:-1]})
    with pytest.raises(CheckpointError, match="is not a complete checkpoint"):
        read_header(path)
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        read_header(tmp_path / "missing.safetensors")


WRONG = {
    "config": (None, [], "resnet", 3),
    "classes": (None, "cat dog", {"cat": 0}, [], ["cat"], ["cat", "cat"], ["cat", ""], ["cat", " "], ["cat", 3],
                ["cat", "a\nb"], ["cat", "\ud800"], [["cat"], ["dog"]], [str(number) for number in range(100_001)]),
    "epoch": (None, "x", -1, 1.0, True, float("nan"), [1], 10**400),
    "best": (3, [], {}, {"epoch": 2}, *({**HEADER["best"], name: value} for name, value in (
        ("epoch", 1.5), ("val_acc", None), ("val_acc", float("nan")), ("val_loss", float("inf")), ("seconds", 10**400)))),
    "list_sha256": (3, None, "0" * 64, {"train": "0" * 64}, {"train": "0" * 64, "val": 3},
                    {"train": "0" * 64, "val": "g" * 64}),
    "temperature": ("1", 0, -1.0, 0.01, 30, True, float("nan"), [1.0]),
    "versions": ("3.3.1", None),
    "history": (None, {}, [ROW, ROW], [{**ROW, "epoch": 2}], [{"epoch": 1}], [{**ROW, "val_acc": None}], [3]),
    "step": (None, -1, 1.5, "x"),
    "so_far": (3, {}, {"seconds": 1}, {"seconds": -1, "metrics": METRICS}, {"seconds": 1, "metrics": {"acc": [1, 2]}},
               *({"seconds": 1, "metrics": {**METRICS, "acc": value}} for value in (None, [], [1], [1, "x"], [[None], 1])),
               *({"seconds": 1, "metrics": {**METRICS, "balanced_acc": value}} for value in (
                   None, [1, 2], [[1.0, 2.0]], [[1.0, 2.0], [1.0]], [[1.0, "x"], [1.0, 2.0]]))),
    "seconds": (None, -1, "x", float("nan")),
    "peak_memory_mb": ("x", -1, [3]),
    "energy_joules": ("x", -1, [3]),
    "loss_scaling": (3, {}, {"scale": 2.0}, {"scale": 2.0, "good_steps": -1},
                     *({"scale": scale, "good_steps": 0} for scale in (0, -2.0, 3.0, "x", None, 10**400))),
}  # fmt: skip


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in WRONG.items() for value in values])
def test_a_header_that_lies_is_refused_in_one_line_with_file_key_and_rule(tmp_path, key, value):
    path = tmp_path / "best.safetensors"
    text = json.dumps({**HEADER, **POSITION, key: value})
    save_file({"a": np.zeros(2)}, str(path), metadata={"header": text})
    with pytest.raises(CheckpointError) as error:
        read_header(path)
    message = str(error.value)
    assert message.startswith(f"{path}: its header has {key} = ")
    assert "; expected " in message
    assert message.isprintable()
    assert len(message) < 1000


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"epoch": 1, "history": POSITION["history"][:1]}, "a best epoch 2 and epoch 1"),
        ({"history": POSITION["history"][:2]}, "a history of 2 epochs and epoch 3"),
        ({"history": [], "best": None}, "a history of 0 epochs and epoch 3"),
        (
            {"so_far": {"seconds": 1, "metrics": {**METRICS, "balanced_acc": [[1.0], [1.0]]}}},
            "balanced_acc of 1 classes and 2 classes",
        ),
    ],
)
def test_a_header_that_contradicts_itself_is_refused(tmp_path, changes, expected):
    path = tmp_path / "last.safetensors"
    save_file({"a": np.zeros(2)}, str(path), metadata={"header": json.dumps({**HEADER, **POSITION, **changes})})
    with pytest.raises(CheckpointError, match=rf"last\.safetensors: its header has {expected}\. It is damaged"):
        read_header(path)


@pytest.mark.parametrize("key", POSITION)
def test_half_a_position_is_none(tmp_path, key):
    path = tmp_path / "last.safetensors"
    header = {k: v for k, v in {**HEADER, **POSITION}.items() if k != key}
    save_file({"a": np.zeros(2)}, str(path), metadata={"header": json.dumps(header)})
    with pytest.raises(CheckpointError, match=f"but no {key}"):
        read_header(path)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"so_far": None, "step": 0},
        {"best": None},
        {"temperature": 1.25},
        {"peak_memory_mb": 3.5},
        {"loss_scaling": {"scale": 2.0**16, "good_steps": 7}},
        {"added": "later"},
        {"format": 2},
        {"preprocessing": {"crop": "center"}},  # of format 1, which nothing reads
    ],
)
def test_good_headers_are_read(tmp_path, changes):
    path = tmp_path / "last.safetensors"
    header = {**HEADER, **POSITION, **changes}
    save_file({"a": np.zeros(2)}, str(path), metadata={"header": json.dumps(header)})
    without = ("temperature", "photographs_sha256", "loss_scaling", "class_weights", "energy_joules")
    assert read_header(path) == {"format": 1, "versions": {}, **dict.fromkeys(without), **header}


def test_a_header_gets_what_was_added_since_it_was_written(tmp_path, monkeypatch):
    path = tmp_path / "last.safetensors"
    save_file({"a": np.zeros(2)}, str(path), metadata={"header": json.dumps({**HEADER, **POSITION})})
    monkeypatch.setattr(history, "COLUMNS", {**COLUMNS, "grad_norm": history.Column(default=None)})
    monkeypatch.setattr(header_tables, "METRICS", {**header_tables.METRICS, "top5": [0.0, 0]})
    monkeypatch.setattr(
        header_tables, "KEYS",
        {**header_tables.KEYS, "team": header_tables.Key(is_text, "text", default="ours"),
         "lost": header_tables.Key(is_count, "a number", default=0, of_position=True)},
    )  # fmt: skip
    found = read_header(path)
    assert [row["grad_norm"] for row in found["history"]] == [None] * 3
    assert found["so_far"]["metrics"] == {**METRICS, "top5": [0.0, 0]}
    assert (found["team"], found["lost"]) == ("ours", 0)
    save_file({"a": np.zeros(2)}, str(path), metadata={"header": json.dumps(HEADER)})
    assert "lost" not in read_header(path), "a part of a position that is not there"
    of_before = {name: value for name, value in METRICS.items() if name != "balanced_acc"}
    position = {**POSITION, "so_far": {"seconds": 1, "metrics": of_before}}
    save_file({"a": np.zeros(2)}, str(path), metadata={"header": json.dumps({**HEADER, **position})})
    assert read_header(path)["so_far"]["metrics"]["balanced_acc"] == [[], []]
    save_file({"a": np.zeros(2)}, str(path), metadata={"header": json.dumps({**HEADER, "team": 3})})
    with pytest.raises(CheckpointError, match="its header has team = 3; expected text"):
        read_header(path)


def test_what_a_header_has_beyond_the_tables_is_passed_over(tmp_path):
    path = tmp_path / "last.safetensors"
    rows = [{**row, "note": "text"} for row in POSITION["history"]]
    so_far = {"seconds": 1, "metrics": {**METRICS, "other": "x"}}
    changes = {"history": rows, "so_far": so_far, "best": {**HEADER["best"], "note": "text"}}
    save_file({"a": np.zeros(2)}, str(path), metadata={"header": json.dumps({**HEADER, **POSITION, **changes})})
    found = read_header(path)
    assert found["history"] == POSITION["history"]
    assert found["so_far"]["metrics"] == METRICS


@pytest.mark.parametrize("number", [99, 0, "x", True])
def test_a_newer_format_is_refused_in_one_line(tmp_path, number):
    path = tmp_path / "last.safetensors"
    save_file({"a": np.zeros(2)}, str(path), metadata={"header": json.dumps({**HEADER, "format": number})})
    with pytest.raises(FormatError) as error:
        read_header(path)
    assert str(error.value).startswith(f"{path}: format {number!r}")
    assert "up to 3: use a newer one" in str(error.value) or number != 99


@pytest.mark.parametrize("key", HEADER)
def test_a_header_without_what_is_needed_is_refused(tmp_path, key):
    path = tmp_path / "best.safetensors"
    save_file({"a": np.zeros(2)}, str(path), metadata={"header": json.dumps({k: v for k, v in HEADER.items() if k != key})})
    with pytest.raises(CheckpointError, match=f"its header has no '{key}'; expected "):
        read_header(path)


@pytest.mark.parametrize("text", ["[" * 100_000, "[1]", "3", "null", '"x"', '{"epoch": ' + "9" * 5000 + "}", "{"])
def test_a_header_that_is_no_dict_is_refused(tmp_path, text):
    path = tmp_path / "best.safetensors"
    save_file({"a": np.zeros(2)}, str(path), metadata={"header": text})
    with pytest.raises(CheckpointError, match=r"best\.safetensors"):
        read_header(path)


def stored(path, kind, shape, size, name="weight"):
    """Write a file whose tensor ``name`` is of a type and shape that safetensors' own writer would not write."""
    entry = {"dtype": kind, "shape": shape, "data_offsets": [0, size]}
    outer = {"__metadata__": {"header": json.dumps(HEADER)}, name: entry}
    text = json.dumps(outer).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(size))


@pytest.mark.parametrize(
    ("kind", "shape", "size", "expected"),
    [
        ("F64", [2, 1], 16, "weight is of type float64, the network expects float32"),
        ("I64", [2, 1], 16, "weight is of type int64, the network expects float32"),
        ("BF16", [2, 1], 4, "is not a complete checkpoint ("),
        ("F8_E4M3", [2, 1], 2, "is not a complete checkpoint ("),
        ("F32", [0, 2**62], 0, "is not a complete checkpoint ("),
        ("F32", [2**62, 8], 8, "is not a complete checkpoint ("),
        ("F32", [1] * 70, 4, "is not a complete checkpoint ("),
        ("F32", [1, 2], 8, "weight has shape (1, 2), the network expects (2, 1)"),
    ],
)
def test_tensors_that_lie_are_refused_and_the_network_left_alone(tmp_path, kind, shape, size, expected):
    network = paddle.nn.Linear(2, 1, bias_attr=False)
    before = network.weight.numpy().copy()
    stored(tmp_path / "best.safetensors", kind, shape, size)
    with pytest.raises(CheckpointError) as error:
        load_network_state(tmp_path / "best.safetensors", network)
    assert str(error.value).startswith(str(tmp_path / "best.safetensors"))
    assert expected in str(error.value)
    np.testing.assert_array_equal(network.weight.numpy(), before)


def test_names_of_tensors_are_shown_on_one_line(tmp_path):
    stored(tmp_path / "best.safetensors", "F32", [1], 4, name="a\n\x1b[2J")
    with pytest.raises(CheckpointError, match="1 are not in this network") as error:
        load_network_state(tmp_path / "best.safetensors", paddle.nn.Linear(2, 1))
    assert str(error.value).isprintable()


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    network, _ = trained_network()
    path = tmp_path / "best.safetensors"
    save_checkpoint(path, network, {**HEADER, "epoch": 4})

    def disk_full(tensors, filename, metadata):
        Path(filename).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trained.checkpoint.save_file", disk_full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(path, network, {**HEADER, "epoch": 5})
    assert read_header(path)["epoch"] == 4
    assert [entry.name for entry in tmp_path.iterdir()] == ["best.safetensors"]
