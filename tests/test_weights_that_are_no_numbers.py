"""A run whose weights are no numbers, or whose answers are none, as from a training that diverged, or from a stranger."""

import csv
import json
import shutil

import numpy as np
import pytest
from conftest import random_photograph
from safetensors import safe_open
from safetensors.numpy import save_file
from test_serve import application

import eval as eval_script
import gradcam
import predict
from config import parse_config
from trained.trained_run import TrainedRun

MAINS = {"eval": eval_script.main, "gradcam": gradcam.main, "predict": predict.main}


@pytest.fixture(autouse=True)
def tiny_network(register_tiny_network):
    """The name resnet stands for a tiny network here."""


@pytest.fixture
def broken(tiny_run_place, tmp_path):
    """A function that makes a run whose weights named *END are all of one value."""

    def make(end, value):
        folder = tmp_path / "runs" / "resnet" / "001"
        shutil.copytree(tiny_run_place / "runs" / "resnet" / "001", folder)
        checkpoint = TrainedRun.open(folder).checkpoint
        with safe_open(str(checkpoint), framework="np") as stored:
            header, tensors = stored.metadata(), dict.fromkeys(stored.keys())
            tensors = {name: stored.get_tensor(name) for name in tensors}
        names = [name for name in tensors if name.endswith(end)]
        assert names
        for name in names:
            tensors[name] = np.full_like(tensors[name], value)
        save_file(tensors, str(checkpoint), metadata=header)
        return folder

    return make


def ran(script, folder, tmp_path):
    """The exit code of a script on the run, with a photograph for predict.py."""
    photograph = tmp_path / "photograph.png"
    random_photograph(1).save(photograph)
    words = ["--run", folder, "--device", "cpu"]
    words += ["--images", photograph, "--output", tmp_path / "predictions.csv"] if script == "predict" else []
    words += ["--num_workers", 0] if script != "gradcam" else []
    return MAINS[script](parse_config([*map(str, words)], script))


@pytest.mark.parametrize("script", MAINS)
@pytest.mark.parametrize(
    ("end", "value", "said"),
    [("weight", np.nan, "NaN or infinite"), ("bias", -np.inf, "NaN or infinite"), ("._variance", -1.0, "variances below zero")],
)
def test_every_script_refuses_them_in_one_line(script, end, value, said, broken, tmp_path, capsys):
    assert ran(script, broken(end, value), tmp_path) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"{script}.py: error: ")
    assert said in error
    assert "best.safetensors" in error


@pytest.mark.parametrize("script", ["eval", "gradcam"])
def test_answers_that_are_no_numbers_end_a_script_and_write_nothing(script, broken, tmp_path, capsys):
    folder = broken("weight", 3e38)  # each is a number, their sums are none
    before = sorted(path for path in folder.rglob("*"))
    assert ran(script, folder, tmp_path) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "no numbers" in error
    assert "--lr" in error
    assert sorted(path for path in folder.rglob("*")) == before


def test_a_prediction_that_is_no_number_has_its_reason_in_place_of_a_class(broken, tmp_path):
    assert ran("predict", broken("weight", 3e38), tmp_path) == 0
    with open(tmp_path / "predictions.csv", newline="", encoding="utf-8") as file:
        [row] = csv.DictReader(file)
    assert (row["prediction"], row["confidence"]) == ("", "")
    assert "no number" in row["reason"]


def test_the_server_answers_it_with_json(broken, tmp_path):
    random_photograph(1).save(tmp_path / "photograph.png")
    with application(TrainedRun.open(broken("weight", 3e38))) as app:
        answer = app.test_client().post("/api/predict", data=(tmp_path / "photograph.png").read_bytes())
    [record] = json.loads(answer.data, parse_constant=pytest.fail)
    assert "no number" in record["reason"]
