"""export.py: a trained network for other programs, equal to it or not written."""

import dataclasses
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from conftest import CLASSES

import eval as eval_script
import export
import networks
from config import Config, parse_config
from evaluation.scores import wilson_interval
from exported import apart, onnx_model
from exported.export_error import ExportError
from exported.model_card import facts_of, write_labels, write_model_card
from exported.paddlex_folder import write_inference_yml
from inference.program import program_file
from machine.regular_file import sha256_of
from trained.trained_run import TrainedRun

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "exported" / "example.py"
try:
    onnx_model.find_python()
    WITH_ONNX = True
except ExportError:
    WITH_ONNX = False
needs_onnx = pytest.mark.skipif(not WITH_ONNX, reason="the packages of requirements-export.txt are not installed")


@pytest.fixture(autouse=True)
def tiny_network(register_tiny_network):
    """The name resnet stands for a tiny network here."""


@pytest.fixture
def run(tiny_run_place, tmp_path):
    """A run of a tiny network of its own, whose folder has a space in its path."""
    folder = tmp_path / "my runs" / "resnet" / "001"
    shutil.copytree(tiny_run_place / "runs" / "resnet" / "001", folder)
    return TrainedRun.open(folder)


def exported(run, *words, code=0):
    """Run the script; the folder that it writes."""
    arguments = ["--run", run.folder, "--fused", "off", "--threads", 1, *words]
    assert export.main(parse_config([*map(str, arguments)], "export")) == code
    return run.folder / "export"


def files_of(folder):
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())


@pytest.fixture(scope="module")
def whole_export(tiny_run_place, tmp_path_factory):
    """The export in all forms that can be made here: (run, folder)."""
    folder = tmp_path_factory.mktemp("exported") / "resnet" / "001"
    shutil.copytree(tiny_run_place / "runs" / "resnet" / "001", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(networks.NETWORKS, "resnet", networks.Lazy("tiny_network", "TinyNetwork"))
        run = TrainedRun.open(folder)
        exported(run, "--format", *(["onnx"] if WITH_ONNX else []), "paddle", "paddlex", "--licence", "CC BY 4.0")
    return run, folder / "export"


def photographs_of(run, count=4):
    dataset = run.open_validation_set()
    return np.stack([dataset[index][0] for index in range(count)])


def answers_of(runtime, model, pixels, tmp_path, *batches):
    np.save(tmp_path / "images.npy", pixels)
    apart.run_apart("answer", [runtime, model, tmp_path / "images.npy", tmp_path / "out.npy", 1, *batches], tmp_path, "it")
    return np.load(tmp_path / "out.npy")


def test_every_form_answers_as_the_network_does_for_any_batch(whole_export, tmp_path):
    run, folder = whole_export
    pixels = photographs_of(run)
    forms = {"paddle": program_file(folder / "paddle"), "paddlex": program_file(folder / "paddlex")}
    if WITH_ONNX:
        forms["onnx"] = folder / "model.onnx"
    for runtime, model in forms.items():
        for found in answers_of(runtime, model, pixels, tmp_path, 1, 4):
            np.testing.assert_allclose(found, run.predict(pixels), atol=1e-5)


def test_the_folder_holds_what_it_should_and_nothing_else(whole_export):
    run, folder = whole_export
    program = program_file(folder / "paddle").name
    programs = [f"{form}/{name}" for form in ("paddle", "paddlex") for name in (program, "inference.pdiparams")]
    with_onnx = ["model.onnx", "example.py"] if WITH_ONNX else []
    cards = ["labels.txt", "model_card.json", "model_card.md"]
    assert files_of(folder) == sorted([*programs, "paddlex/inference.yml", *with_onnx, *cards])
    assert [entry.name for entry in run.folder.iterdir() if "export" in entry.name] == ["export"]
    assert (folder / "labels.txt").read_text() == "cat\ndog\nsheep\n"


def test_no_file_names_a_place_of_this_machine(whole_export):
    run, folder = whole_export
    for file in folder.rglob("*"):
        content = file.read_bytes() if file.is_file() else b""
        for place in (str(ROOT), str(run.folder.parent), os.path.dirname(np.__file__), str(Path.home())):
            assert place.encode() not in content, f"{file.name} names {place}"


def test_the_settings_of_paddlex_prepare_photographs_as_evaluation_does(whole_export):
    run, folder = whole_export
    content = yaml.safe_load((folder / "paddlex" / "inference.yml").read_text())
    assert content["PostProcess"]["Topk"] == {"topk": 3, "label_list": list(CLASSES)}
    steps = {name: options for step in content["PreProcess"]["transform_ops"] for name, options in step.items()}
    assert list(steps) == ["ResizeImage", "NormalizeImage", "ToCHWImage"]  # this run shows whole photographs
    assert steps["ResizeImage"] == {"size": [32, 32], "interpolation": "BILINEAR", "backend": "pil"}
    pixels = photographs_of(run).astype(np.float32)
    mean, std = (np.float32(steps["NormalizeImage"][key])[:, None, None] for key in ("mean", "std"))
    np.testing.assert_array_equal((pixels * steps["NormalizeImage"]["scale"] - mean) / std, pixels)


def test_a_central_crop_is_that_of_evaluation_within_a_pixel(run, tmp_path):
    settings = dataclasses.replace(run.settings, eval_crop="center", image_size=224)
    write_inference_yml(SimpleNamespace(settings=settings, classes=run.classes), tmp_path)
    resize, crop, *_ = yaml.safe_load((tmp_path / "inference.yml").read_text())["PreProcess"]["transform_ops"]
    assert (resize["ResizeImage"]["resize_short"], crop) == (256, {"CropImage": {"size": 224}})


def test_the_card_says_what_is_known_and_that_nothing_was_evaluated(whole_export):
    run, folder = whole_export
    card = json.loads((folder / "model_card.json").read_text())
    assert (card["network"]["name"], card["classes"], card["temperature"]) == ("resnet", list(CLASSES), run.temperature)
    assert card["preparation"]["inside_the_network"] == {"mean": [0.5, 0.25, 0.75], "std": [0.5, 0.25, 1.0]}
    assert (card["evaluation"], card["licence"]["network"]) == ({}, "CC BY 4.0")
    assert card["training"]["photographs"]["train"] == 12
    for name, facts in card["files"].items():
        assert facts["sha256"] == sha256_of(folder / name)
    text = (folder / "model_card.md").read_text()
    assert "| accuracy | not evaluated (eval.py); " in text
    assert "| licence of the network | CC BY 4.0 |" in text


def test_the_card_gives_the_accuracy_with_its_interval_once_there_is_an_evaluation(run, tmp_path):
    words = {"run": str(run.folder), "num_workers": 0, "fused": "off", "given": frozenset({"run"})}
    assert eval_script.main(Config(**words)) == 0
    accuracy = json.loads((run.folder / "eval" / "metrics.json").read_text())["acc"]
    write_model_card(run, tmp_path, {}, None)
    found = json.loads((tmp_path / "model_card.json").read_text())["evaluation"]["val"]
    assert found == {
        "accuracy": accuracy, "interval_95": list(wilson_interval(round(6 * accuracy), 6)), "photographs": 6
    }  # fmt: skip
    low, high = found["interval_95"]
    assert (
        f"| accuracy, val | {accuracy:.1%} (95% interval {low:.1%} to {high:.1%}) on 6 photographs of the validation list"
        in (tmp_path / "model_card.md").read_text()
    )


@pytest.mark.parametrize("change", [{"epoch": 9}, {"same_list_as_in_training": False}, {"photographs": "many"}])
def test_an_evaluation_of_something_else_does_not_count(run, tmp_path, change):
    (run.folder / "eval").mkdir()
    metrics = {"format": 2, "acc": 0.5, "photographs": 6, "epoch": run.epoch, "same_list_as_in_training": True}
    (run.folder / "eval" / "metrics.json").write_text(json.dumps({**metrics, **change}))
    write_model_card(run, tmp_path, {}, None)
    assert json.loads((tmp_path / "model_card.json").read_text())["evaluation"] == {}


HOSTILE = [
    "a: b # c",
    "'single' \"double\"",
    "\U0001f431\u200d\u2b1b",
    "- |\t*x*",
    "</script><b>|`",
    "a\u2028b\x85c",
    "\udc80",
    "\x00",
]


def test_hostile_class_names_survive(run, tmp_path):
    run.classes = HOSTILE
    write_inference_yml(run, tmp_path)
    write_labels(run, tmp_path)
    read = yaml.safe_load((tmp_path / "inference.yml").read_text(encoding="utf-8"))
    assert read["PostProcess"]["Topk"]["label_list"] == HOSTILE
    lines = (tmp_path / "labels.txt").read_bytes().decode("utf-8").split("\n")
    assert len(lines) == len(HOSTILE) + 1
    assert json.loads(facts_of(run)["classes"]) == HOSTILE
    assert all(value.isascii() and value.isprintable() for value in facts_of(run).values())
