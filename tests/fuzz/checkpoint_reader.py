"""Checkpoints, as trained.checkpoint and config read them."""

import json
import struct
from pathlib import Path

import numpy as np
import paddle
from harness import Crash, Reader
from json_mutation import dump, mutate_json

from config import Config, ConfigError, config_of_checkpoint
from settings.format_number import FormatError
from trained.checkpoint import CheckpointError, load_network_state, load_training_state, read_header, save_checkpoint
from trained.history import COLUMNS, best_epoch

HEADER = {
    "config": {**Config().as_dict(), "image_size": 32},
    "classes": ["cat", "狗", "sheep"],
    "epoch": 1,
    "best": {**dict.fromkeys(COLUMNS, 0.5), "epoch": 1, "train_size": 8},
    "list_sha256": {"train": "0" * 64, "val": "f" * 64},
}
POSITION = {
    "history": [{**dict.fromkeys(COLUMNS, 0.5), "epoch": 1, "train_size": 8}],
    "step": 3,
    "so_far": {
        "seconds": 0.5,
        "metrics": {"mean_loss": [7.5, 3], "acc": [[1.0], [3]], "balanced_acc": [[1.0, 0.0, 0.0], [1.0, 2.0, 0.0]]},
    },
    "seconds": 1.5,
    "peak_memory_mb": 100.0,
}
TYPES = ("BOOL", "U8", "I8", "I16", "I64", "F16", "BF16", "F32", "F64", "F8_E4M3", "F4", "C64", "X")
SHAPES = ([], [0], [2**62, 0], [2**62, 8], [1] * 70, [-1], [2], [2, 1, 1, 1], [1, 2, 1, 1])
WORDS = (
    b"null", b"NaN", b"-Infinity", b"1e999", b"[" * 2000, b'"\\ud800"', b"\\u0000", b'{"a":', b"9" * 5000, b",", b":", b'"',
    b"}", b"]",
)  # fmt: skip


def network():
    """The network that every input is loaded into, and its optimiser."""
    layers = paddle.nn.Sequential(paddle.nn.Conv2D(1, 2, 1), paddle.nn.BatchNorm2D(2))
    optimizer = paddle.optimizer.Momentum(0.1, parameters=layers.parameters())
    layers(paddle.ones([2, 1, 2, 2])).sum().backward()
    optimizer.step()
    return layers, optimizer


def reader(folder) -> Reader:
    """The reader of checkpoints; they are written into ``folder``, which must exist."""
    file = Path(folder) / "last.safetensors"
    target, optimizer = network()
    untouched = {name: value.numpy().copy() for name, value in target.state_dict().items()}

    def read(data):
        file.write_bytes(data)
        header = read_header(file)
        _use(header, config_of_checkpoint(header, file))
        try:
            load_network_state(file, target)
        except CheckpointError:
            if any((value.numpy() != untouched[name]).any() for name, value in target.state_dict().items()):
                raise Crash("a refused checkpoint changed the network") from None
            raise
        try:
            if "history" in header:
                load_training_state(file, target, optimizer)
        finally:
            target.set_state_dict(untouched)

    return Reader("checkpoints", (CheckpointError, ConfigError, FormatError), (file,), read, _seeds(file), mutate)


def _use(header, config):
    """What eval.py, gradcam.py and train.py --resume do with a header."""
    "\n".join(header["classes"]).encode("utf-8")
    if len(set(header["classes"])) != len(header["classes"]) or not header["list_sha256"]["val"]:
        raise Crash(f"a header that cannot be used: {header}")
    if "history" in header:
        best_epoch([*header["history"], header["best"] or {"val_acc": 0, "val_loss": 0}])
        float(header["seconds"]) + (header["peak_memory_mb"] or 0) + header["step"]
        if header["so_far"]:
            np.asarray(header["so_far"]["metrics"]["acc"][0]) + header["so_far"]["seconds"]
    json.dumps(config.as_dict(), ensure_ascii=False).encode("utf-8", "surrogateescape")
    config.resolved().network_options()


def _seeds(file):
    seeds = []
    for header in (HEADER, {**HEADER, **POSITION}, {**HEADER, **POSITION, "best": None, "so_far": None, "step": 0}):
        source, optimizer = network()
        save_checkpoint(file, source, header, optimizer if "history" in header else None)
        seeds.append(file.read_bytes())
    return tuple(seeds)


def mutate(data, rng, mutate_bytes) -> bytes:
    """Change the header of this toolkit, the list of tensors, the text of either, the length up front; or any bytes."""
    change = rng.randrange(16)
    try:
        (length,) = struct.unpack("<Q", data[:8])
        text, tensors = data[8 : 8 + length], data[8 + length :]
        outer = json.loads(text)
        inner = json.loads(outer["__metadata__"]["header"])
        if change < 10:
            inner = mutate_json(
                inner, rng, (*HEADER, *POSITION, "format", "given", *HEADER["config"]), ({"epoch": 1, "val_acc": 0.1}, "None")
            )
            outer["__metadata__"]["header"] = dump(inner).decode()
            text = dump(outer)
        elif change < 12:
            text = dump(mutate_json(outer, rng, ("0.weight", "dtype", "shape", "header"), (*TYPES, *SHAPES)))
        elif change < 14:
            broken = mutate_bytes(outer["__metadata__"]["header"].encode(), rng, WORDS)
            outer["__metadata__"]["header"] = broken.decode("utf-8", "replace")
            text = dump(outer)
        elif change == 14:
            text = mutate_bytes(text, rng, WORDS)
    except (ValueError, KeyError, TypeError, RecursionError, struct.error):
        return mutate_bytes(data, rng, WORDS)
    if change == 15:
        return mutate_bytes(data, rng, WORDS)
    lie = rng.choice((0, 0, 0, 0, 0, 0, 0, 1, -1, 2**40)) if change == 14 else 0
    return struct.pack("<Q", max(0, len(text) + lie)) + text + tensors
