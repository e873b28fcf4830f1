"""A run whose weights are no numbers, or whose answers are none, as from a training that diverged, or from a stranger."""

import shutil

import numpy as np
import pytest
from conftest import random_photograph
from safetensors import safe_open
from safetensors.numpy import save_file

import eval as eval_script
import gradcam
import predict
from config import Config, parse_config
from evaluation.strangers import predict_strangers
from serving.served_network import ServedNetwork
from trained.checkpoint import CheckpointError
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


@pytest.mark.parametrize("script", MAINS)
def test_answers_that_are_no_numbers_end_a_script_and_write_nothing(script, broken, tmp_path, capsys):
    folder = broken("weight", 3e38)  # each is a number, their sums are none
    before = sorted(path for path in folder.rglob("*"))
    assert ran(script, folder, tmp_path) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "no numbers" in error
    assert "--lr" in error
    assert sorted(path for path in folder.rglob("*")) == before


def test_such_a_network_is_not_served(broken):
    network = ServedNetwork(TrainedRun.open(broken("weight", 3e38)), "resnet", Config(engine="dynamic"))
    with pytest.raises(CheckpointError, match="no numbers"):
        network.warm_up()


def test_strangers_are_looked_at_too(tiny_run_place, tmp_path, monkeypatch):
    random_photograph(1).save(tmp_path / "stranger.png")
    run = TrainedRun.open(tiny_run_place / "runs" / "resnet" / "001")
    monkeypatch.setattr(TrainedRun, "predict", lambda self, images, batch_size: np.full((len(images), 3), np.nan))
    with pytest.raises(CheckpointError, match="1 of 1 photographs are no numbers"):
        predict_strangers(run, str(tmp_path), [tmp_path / "stranger.png"], 4, 0)
