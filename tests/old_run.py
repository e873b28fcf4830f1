"""Runs that an earlier version of the toolkit wrote, laid out anew: see old_runs/README.md.

What decides whether such a run can be read is kept as it was: its text files, the headers of its checkpoints, the names, types
and shapes of its tensors. The values of the tensors and the photographs are made here, always the same.
"""

import contextlib
import csv
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from conftest import random_photograph
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from tiny_network import TinyNetwork, TinyResNet

import compare
import eval as eval_script
import gradcam
import networks
import train
from config import parse_config
from trained.known_data import note_places

KEPT = Path(__file__).resolve().parent / "old_runs"
FINISHED, OF_ANOTHER_NETWORK = Path("runs/resnet/001"), Path("runs/sa_resnet/001")
"""Finished and evaluated, with the same settings but for the network."""
INTERRUPTED = Path("runs/resnet/002")
"""After two of the four steps of its second epoch."""
FAST = ("--device", "cpu", "--fused", "off", "--threads", "2")
SETTINGS = (
    "--data", "data", "--image_size", "32", "--epochs", "2", "--batch_size", "5", "--num_workers", "0",
    "--decay_norm_and_bias", "--optimizer", "momentum", "--warmup_epochs", "0.2", "--label_smoothing", "0",
    "--crop_min_area", "0.08", "--flip", "--no-zero_init_residual", *FAST,
)  # fmt: skip
"""Those that the finished runs were trained with."""
SCRIPTS = {"train": train, "eval": eval_script, "compare": compare, "gradcam": gradcam}
STEPS = 6  # that the interrupted run has made


def tiny_se_resnet(num_classes):
    return TinyResNet(num_classes, "se")


def replace_networks(patch) -> None:
    """Let the names stand for the networks that the runs were trained with; ``patch``: pytest's monkeypatch."""
    patch.setitem(networks.NETWORKS, "resnet", TinyNetwork)
    patch.setitem(networks.NETWORKS, "sa_resnet", tiny_se_resnet)


def run_script(script, *words) -> int:
    """The exit code of a script with these words as its command line."""
    return SCRIPTS[script].main(parse_config(list(map(str, words)), script))


def lay_out(folder) -> None:
    """Write ``data`` and ``runs`` into ``folder``: where they were, seen from there, when the runs were trained.

    As if this user had trained with that data since: the version that wrote the runs noted nothing.
    """
    data = folder / "data"
    note_places([str(data)])
    data.mkdir()
    for kept in (KEPT / "data").iterdir():
        # byte for byte, whatever ends a line in this checkout: checkpoints name the lists by their SHA-256
        (data / kept.name).write_bytes(kept.read_text(encoding="utf-8").encode())
    for label, name in enumerate((data / "labels.txt").read_text(encoding="utf-8").split("\n")[:-1]):
        (data / name).mkdir()
        for number in range(8):
            random_photograph((label, number)).save(data / name / f"{number}.png")
    for run in (FINISHED, OF_ANOTHER_NETWORK, INTERRUPTED):
        kept = KEPT.joinpath(*run.parts[1:])
        shutil.copytree(kept, folder / run, ignore=shutil.ignore_patterns("*.header.json", "*.tensors.json"))
        for tensors in kept.glob("*.tensors.json"):
            name = tensors.name.split(".")[0]
            header = (kept / f"{name}.header.json").read_text(encoding="utf-8").rstrip("\n")
            values = make_tensors(json.loads(tensors.read_text(encoding="utf-8")), json.loads(header))
            save_checkpoint(folder / run / f"{name}.safetensors", values, header)


def make_tensors(kinds, header) -> dict:
    """Values for the tensors ``kinds``, {name: [type, shape]}, with which a network and an optimiser can go on."""
    rng = np.random.default_rng(0)
    tensors = {}
    for name, (kind, shape) in kinds.items():
        assert kind == "F32", name
        drawn = rng.normal(0, 1, shape)
        if name in ("mean", "std"):
            value = np.reshape(header["preprocessing"][name], shape)
        elif "/beta" in name:  # Adam's power of beta1 or beta2
            value = np.full(shape, (0.9 if "/beta1" in name else 0.999) ** (STEPS + 1))
        elif "/moment2" in name:
            value = 1 + drawn**2  # of gradients that vary as moment1 does
        elif name.endswith("_variance") or (name.endswith(".weight") and len(shape) == 1):
            value = 1 + np.abs(drawn)  # of batch norm
        elif len(shape) > 1 and "/" not in name:
            value = drawn / np.sqrt(np.prod(shape) / max(shape))  # the outputs of a layer vary about as much as its inputs
        else:
            value = drawn
        tensors[name] = value.astype("float32")
    return tensors


def save_checkpoint(file, tensors, header) -> None:
    """Write a checkpoint as that version did; ``header``: a JSON text."""
    save_file(tensors, file, metadata={"format": "pd", "header": header})


def change_header(file, change) -> None:
    """Let ``change`` alter the header, a dict, of a checkpoint that was laid out."""
    with safe_open(file, framework="np") as stored:
        header = json.loads(stored.metadata()["header"])
    change(header)
    save_checkpoint(file, load_file(file), json.dumps(header))


def change_json(file, change) -> None:
    """Let ``change`` alter the dict that a JSON file holds."""
    content = json.loads(file.read_text(encoding="utf-8"))
    change(content)
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_table(file) -> list:
    """The rows of a CSV file, dicts of texts."""
    return list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8"))))


def contents(folder) -> dict:
    """{file: its bytes} of all files below a folder, but for the locks of trainings."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


@contextlib.contextmanager
def no_other_process(patch):
    """Let a script that begins another Python process, as a comparison does for a training, end with an error instead."""
    begin = subprocess.Popen

    def refuse(command, *arguments, **options):
        if not isinstance(command, str) and command[0] == sys.executable:
            raise OSError("a process was to be begun")
        return begin(command, *arguments, **options)

    with patch.context() as inner:
        inner.setattr(subprocess, "Popen", refuse)
        yield
