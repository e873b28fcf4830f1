"""A trained run as an object: what it tells, and what its network says of photographs."""

import csv
import dataclasses
import shutil

import numpy as np
import paddle
import pytest
import yaml
from conftest import CLASSES, random_photograph

import eval as eval_script
import networks
from config import Config
from data.data_source import DataSource
from data.lists import DataError, write_lists
from networks.classifier import Classifier
from trained.checkpoint import CheckpointError, load_network_state
from trained.run_folder import RunError, newest_finished_run, write_config
from trained.trained_run import TrainedRun


@pytest.fixture(autouse=True)
def tiny_network(register_tiny_network):
    """The name resnet stands for a tiny network here."""


@pytest.fixture(scope="module")
def place(tiny_run_place):
    return tiny_run_place


@pytest.fixture
def run(place):
    return TrainedRun.open(place / "runs" / "resnet" / "001")


def test_a_run_tells_what_it_is(place, run):
    assert (run.net, run.name, run.classes, run.epoch) == ("resnet", "resnet 001", list(CLASSES), 1)
    assert run.folder == place / "runs" / "resnet" / "001" == newest_finished_run(place / "runs", "resnet")
    assert run.checkpoint == run.folder / "best.safetensors"
    assert run.settings.image_size == run.view["image_size"] == 32
    assert run.view["eval_crop"] == "resize"


def test_its_classifier_has_its_weights_and_normalises_as_it_does(run):
    classifier = run.classifier()
    assert run.classifier() is classifier
    assert not any(layer.training for layer in classifier.sublayers(include_self=True))
    np.testing.assert_array_equal(classifier.mean.flatten().numpy(), np.float32([0.5, 0.25, 0.75]))
    np.testing.assert_array_equal(classifier.std.flatten().numpy(), np.float32([0.5, 0.25, 1.0]))
    other = Classifier(networks.build_network("resnet", len(CLASSES)))
    load_network_state(run.checkpoint, other)
    for name, value in other.state_dict().items():
        np.testing.assert_array_equal(classifier.state_dict()[name].numpy(), value.numpy(), name)


def test_predictions_are_those_of_eval(place, run):
    assert eval_script.main(Config(run=str(run.folder), num_workers=0, given=frozenset({"run"}))) == 0
    with open(run.folder / "eval" / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    dataset = run.open_validation_set()
    images = np.stack([dataset[index][0] for index in range(len(dataset))])
    for image, row in zip(images, rows):
        np.testing.assert_array_equal(run.read_photograph(place / "data" / row["path"]), image)
    probabilities = run.predict(images, batch_size=4)
    assert (probabilities.shape, probabilities.dtype) == ((6, 3), np.float32)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert [CLASSES[label] for label in probabilities.argmax(axis=1)] == [row["prediction"] for row in rows]
    np.testing.assert_allclose(probabilities.max(axis=1), [float(row["confidence"]) for row in rows], atol=1e-5)
    np.testing.assert_allclose(run.predict(images), probabilities, rtol=1e-4)
    assert paddle.is_grad_enabled()
    assert run.predict(images[:0]).shape == (0, 3)
    with pytest.raises(DataError, match=r"labels\.txt: not an image"):
        run.read_photograph(place / "data" / "labels.txt")


def test_a_validation_set_can_be_elsewhere(place, run, tmp_path):
    (tmp_path / "dog").mkdir()
    random_photograph(1).save(tmp_path / "dog" / "1.png")
    write_lists(tmp_path, CLASSES, [("dog/1.png", 1)], [("dog/1.png", 1)])
    source = DataSource("folder", str(tmp_path))
    own, other = run.open_validation_set(), run.open_validation_set(source)
    assert (len(own), len(other)) == (6, 1)
    assert run.check_val_list(own, run.settings.data_source(), asked_for=False)
    assert not run.check_val_list(other, source, asked_for=True)
    with pytest.raises(CheckpointError, match="it may hold photographs that the run was trained on"):
        run.check_val_list(other, source, asked_for=False)
    run.check_classes(other)
    write_lists(tmp_path, CLASSES[::-1], [("dog/1.png", 1)], [("dog/1.png", 1)])
    with pytest.raises(DataError, match=r"trained on 3 classes, .* has 3 \(the same names in another order\)"):
        run.check_classes(run.open_validation_set(DataSource("folder", str(tmp_path))))


def test_the_run_is_chosen_by_its_folder_or_is_the_newest_of_its_network(place, run):
    config = Config(runs_dir=str(place / "runs"), net="resnet")
    assert TrainedRun.chosen(config).folder == TrainedRun.newest(place / "runs", "resnet").folder == run.folder
    named = dataclasses.replace(config, run=str(run.folder), net="vgg19")
    assert TrainedRun.chosen(named).folder == run.folder, "the default network was not asked for"
    with pytest.raises(CheckpointError, match=r"001 holds resnet, not vgg19"):
        TrainedRun.chosen(dataclasses.replace(named, given=frozenset({"run", "net"})))
    with pytest.raises(RunError, match="no finished run of vgg19"):
        TrainedRun.newest(place / "runs", "vgg19")
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        TrainedRun.open(place)


def test_the_data_are_where_config_yaml_says_and_the_rest_is_of_the_checkpoint(place, tmp_path):
    copy = tmp_path / "001"
    shutil.copytree(place / "runs" / "resnet" / "001", copy)
    before = TrainedRun.open(copy).settings
    written = yaml.safe_load((copy / "config.yaml").read_text())
    moved = {"data": "new", "follow_links": True, "lists_dir": "new lists"}
    write_config(copy, {**written, **moved, "eval_crop": "center", "runs_dir": "elsewhere"})
    settings = TrainedRun.open(copy).settings
    assert settings == dataclasses.replace(before, **moved)
    assert settings.data_source() == DataSource("folder", "new", True, "new lists")
    for unusable in (b"data: [", b"format: 999\n", b"data: 5\n"):
        (copy / "config.yaml").write_bytes(unusable)
        assert TrainedRun.open(copy).settings == before
    (copy / "config.yaml").unlink()
    assert TrainedRun.open(copy).settings == before
