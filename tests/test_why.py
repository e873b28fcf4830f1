"""Why networks differ: photographs that are remembered, contested or wrong for all, and what the verdict says without them."""

import csv

import numpy as np
import paddle
import pytest
from both_languages import same_in_both
from conftest import random_photograph
from listed_pictures import write_test_list
from PIL import Image

from comparison.answers import Answers
from comparison.contested import contested_labels
from comparison.decision import look_at
from comparison.memory import find_remembered
from comparison.object_size import object_shares
from comparison.photographs_alike import Alike, find_alike
from comparison.slices import parts_of
from comparison.until_decided import Decision
from comparison.verdict import best_against_others, differences
from comparison.why import IN_TRAINING, Traits, lines_of_why, write_photographs
from comparison.without import restated, said_of
from data.data_sets import open_side
from data.data_source import DataSource
from data.lists import write_lists
from machine.whole_file import write_csv
from trained.result import write_result


def of_best(correct):
    return best_against_others(correct, differences(correct))


@pytest.fixture
def listed(tmp_path):
    """A source with 12 training and 14 test photographs; two of these are nearly equal to the training photograph 3 and 7."""
    training, test = [f"train_{number}.png" for number in range(12)], [f"test_{number}.png" for number in range(12)]
    for seed, name in enumerate([*training, *test]):
        random_photograph(seed, (96, 72)).save(tmp_path / name)
    random_photograph(3, (96, 72)).save(tmp_path / "again.jpg", quality=30)
    random_photograph(7, (96, 72)).resize((48, 36)).save(tmp_path / "smaller.png")
    write_lists(tmp_path, ["cat", "dog"], [(name, 0) for name in training], [("test_0.png", 1)])
    write_test_list(tmp_path, [(name, 0) for name in [*test, "again.jpg", "smaller.png"]])
    return DataSource("folder", str(tmp_path))


def answers_of(source, folds=None):
    """Answers about the test photographs, and the Alike of them."""
    side = open_side(source, "test", 1)
    names = [sample.name for sample in side.samples]
    answers = Answers(names, ["cat"] * len(names), {"one": np.ones((3, len(names)), bool)}, folds)
    return answers, find_alike(names, lambda name: side.photograph(names.index(name)))


def trained(source, folder):
    """{0: a run that was trained on the training list of ``source``}."""
    folder.mkdir(exist_ok=True)
    lists = {side: open_side(source, side, 1).digest() for side in ("train", "val")}
    write_result(folder, {"status": "finished", "list_sha256": lists})
    return {0: folder}


def test_photographs_with_a_copy_in_training_are_found_across_compression_and_size(listed, tmp_path):
    answers, alike = answers_of(listed)
    like = find_remembered(answers, alike, listed, trained(listed, tmp_path / "run")).like
    found = {name: other for name, other in zip(answers.names, like) if other}
    assert found == {"again.jpg": "train_3.png", "smaller.png": "train_7.png"}


def test_another_training_list_than_that_of_the_runs_tells_nothing(listed, tmp_path):
    answers, alike = answers_of(listed)
    runs = trained(listed, tmp_path / "run")
    list_file = tmp_path / "train_list.txt"
    list_file.write_text("".join(list_file.read_text().splitlines(True)[1:]))
    assert find_remembered(answers, alike, listed, runs).like is None
    assert find_remembered(answers, alike, None, runs).like is None


def test_with_folds_the_photographs_of_the_other_folds_were_trained_on(listed, tmp_path):
    names = ["train_3.png", "test_1.png", "again.jpg", "train_7.png", "smaller.png"]
    folds = np.array([1, 1, 2, 2, 2])
    alike = find_alike(names, lambda name: Image.open(tmp_path / name))
    answers = Answers(names, ["cat"] * 5, {"one": np.ones((1, 5), bool)}, folds)
    assert find_remembered(answers, alike, None, {}).like == ["again.jpg", "", "train_3.png", "", ""]


def write_predictions(folder, names, labels, guesses, confidences):
    (folder / "eval_test").mkdir(parents=True)
    rows = zip(names, labels, guesses, (f"{value:.6f}" for value in confidences))
    write_csv(folder / "eval_test" / "predictions.csv", ["path", "label", "prediction", "confidence"], rows)


def evaluated(folder, accuracy, spoilt, sure=0.99, count=300, classes=5):
    """(Answers, runs) of two networks with three seeds that are right on a share ``accuracy`` of the true classes."""
    rng = np.random.default_rng(0)
    true = np.arange(count) % classes
    labels = true.copy()
    labels[spoilt] = (true[spoilt] + 1) % classes
    names, words = [f"{number}.png" for number in range(count)], np.array([f"kind {label}" for label in range(classes)])
    seeds, correct = {}, {}
    for net in ("one", "other"):
        seeds[net], rights = [], []
        for seed in range(3):
            right = rng.random(count) < accuracy
            guess = np.where(right, true, (true + rng.integers(1, classes, count)) % classes)
            run = folder / net / str(seed)
            write_predictions(run, names, words[labels], words[guess], np.where(right, sure, 0.5))
            seeds[net].append({0: run})
            rights.append(guess == labels)
        correct[net] = np.array(rights)
    return Answers(names, words[labels].tolist(), correct), seeds


def test_spoilt_labels_are_contested_and_others_are_not(tmp_path):
    spoilt = np.arange(10, 250, 19)
    answers, seeds = evaluated(tmp_path, 0.97, spoilt)
    found = contested_labels(answers, seeds, "test")
    assert set(found) <= set(spoilt)
    assert len(found) >= 0.7 * len(spoilt)  # a class is confident only where nearly all trainings agree
    assert all(found[place] == f"kind {place % 5}" for place in found)


def test_with_folds_the_trainings_of_a_fold_answer_for_its_photographs(tmp_path):
    answers, seeds = evaluated(tmp_path, 1.0, np.arange(10, 250, 19))
    whole = contested_labels(answers, seeds, "test")
    halves = {}
    for net, own in seeds.items():
        halves[net] = []
        for seed, of_seed in enumerate(own):
            rows = list(csv.DictReader((of_seed[0] / "eval_test" / "predictions.csv").open()))
            of_folds = {fold: tmp_path / f"{net}_{seed}_{fold}" for fold in (1, 2)}
            for fold, run in of_folds.items():
                part = rows[fold - 1 :: 2]
                columns = ([row[name] for row in part] for name in ("path", "label", "prediction"))
                write_predictions(run, *columns, [float(row["confidence"]) for row in part])
            halves[net].append(of_folds)
    assert len(whole) == 13
    assert contested_labels(answers, halves, "test") == whole


def test_where_nothing_is_spoilt_nothing_is_contested(tmp_path):
    assert contested_labels(*evaluated(tmp_path, 0.9, []), "test") == {}


def test_networks_that_are_not_sure_contest_no_labels(tmp_path):
    assert contested_labels(*evaluated(tmp_path, 0.97, np.arange(10, 250, 19), sure=0.8), "test") == {}


def test_one_network_that_says_the_label_is_enough_to_leave_it_alone(tmp_path):
    answers, seeds = evaluated(tmp_path, 0.97, np.arange(10, 250, 19))
    assert contested_labels(answers, seeds, "test")
    for of_seed in seeds["other"]:
        predictions = of_seed[0] / "eval_test" / "predictions.csv"
        rows = list(csv.DictReader(predictions.open()))
        predictions.unlink()
        predictions.parent.rmdir()
        names, labels = [row["path"] for row in rows], [row["label"] for row in rows]
        write_predictions(of_seed[0], names, labels, labels, [0.9] * len(rows))
    assert contested_labels(answers, seeds, "test") == {}


def wrong_without(rng, photographs=400):
    """Answers where ``one`` is better than ``other`` on the first 60 photographs alone, and the mask of these."""
    labels = ["cat", "dog"] * (photographs // 2)
    base = rng.random((3, photographs)) < 0.7
    one, other = base.copy(), base.copy()
    first = np.arange(photographs) < 60
    one[:, first], other[:, first] = True, False
    return Answers([f"{n}.png" for n in range(photographs)], labels, {"one": one, "other": other}), first


def test_the_verdict_changes_where_it_hangs_on_the_photographs_left_out():
    answers, first = wrong_without(np.random.default_rng(1))
    said = said_of(of_best(answers.correct), None, 2)
    assert said[0].claim(said[0].difference) == "one"
    found = restated(said, answers, first, None)
    assert found.changed() == [0]
    assert found.words().startswith("the verdict would be another one: one against other +0.0 points (")
    assert found.accuracies["one"] == pytest.approx(answers.correct["one"][:, ~first].mean())
    others = restated(said, answers, np.arange(400) >= 390, None)
    assert others.changed() == []
    assert others.words().startswith("the verdict stays: one against other +")


def test_a_decision_is_restated_with_the_seeds_and_the_level_it_was_made_with():
    rng = np.random.default_rng(2)
    answers, first = wrong_without(rng)
    look = look_at(answers.correct, ["one", "other"], 2, worth=0.2)
    later = {"one": np.concatenate([answers.correct["one"], rng.random((2, 400)) < 0.1]), "other": answers.correct["other"]}
    said = said_of([], Decision([look], "", 0.2), 2)
    kept = restated(said, answers._replace(correct=later), np.zeros(400, bool), None)
    assert kept.differences[0].mean == look.pairs[0].difference.mean
    assert kept.differences[0].low == pytest.approx(look.pairs[0].difference.low)
    found = restated(said, answers, first, None)
    assert said[0].claim(found.differences[0]) == "equal"
    assert found.changed() == [0]


def test_the_notes_name_what_the_verdict_hangs_on_and_nothing_else(tmp_path):
    answers, first = wrong_without(np.random.default_rng(3))
    said = said_of(of_best(answers.correct), None, 2)
    nothing = Traits({}, [""] * 400, {}, np.zeros(400, bool), [])
    quiet = answers._replace(correct={"one": answers.correct["other"], "other": answers.correct["other"]})
    assert lines_of_why(quiet, Alike(), nothing, said_of(of_best(quiet.correct), None, 2), 0.05) == []
    wrong = ~(answers.correct["one"].mean(axis=0) > 0.5)
    like = ["cat/1.png" if own else "" for own in first]
    lines = lines_of_why(answers, Alike(), Traits({}, like, {3: "dog"}, wrong, []), said, 0.05)
    assert all(map(same_in_both, lines))
    assert any(line.startswith(f"On {IN_TRAINING} (60 photographs) one is better than other: +") for line in lines)
    (remembered,) = (line for line in lines if "remember" in line)
    assert remembered.startswith("60 of the 400 photographs have a nearly equal one among those of the training")
    assert "the verdict would be another one: one against other +0.0" in remembered
    (contested,) = (line for line in lines if "contests" in line)
    assert contested.startswith("1 of the 400 photographs has a label ")
    assert "which the networks themselves chose, the verdict stays: one against other +" in contested
    write_photographs(tmp_path, answers, Traits({"brightness": np.arange(400.0)}, like, {3: "dog"}, wrong, []))
    with (tmp_path / "photographs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == answers.names
    assert np.mean([float(row["right_one"]) for row in rows]) == pytest.approx(answers.correct["one"].mean(), abs=1e-4)
    assert [row["all_wrong"] == "yes" for row in rows] == wrong.tolist()
    assert (rows[3]["brightness"], rows[3]["like_in_training"], rows[3]["contested_by"]) == ("3.0000", "cat/1.png", "dog")
    assert (rows[90]["like_in_training"], rows[90]["contested_by"]) == ("", "")


class Bright(paddle.nn.Layer):
    """The class 0 is what is bright: its feature map is the brightness of each 8 x 8 cell."""

    def __init__(self):
        super().__init__()
        self.cells, self.pool = paddle.nn.AvgPool2D(8), paddle.nn.AdaptiveAvgPool2D(1)

    def forward(self, x):
        bright = self.pool(self.cells(x.mean(axis=1, keepdim=True)))[:, 0, 0]  # [N, 1]
        return paddle.concat([bright, -bright], axis=1)


def test_large_objects_have_larger_shares_than_small_ones_and_nothing_has_none():
    images = np.zeros((4, 3, 96, 96), np.uint8)
    for image, side in zip(images, (16, 40, 72, 0)):
        image[:, 10 : 10 + side, 5 : 5 + side] = 255
    found = object_shares(Bright(), images, np.zeros(4, int))
    assert found[0] < found[1] < found[2]
    assert found[:3] == pytest.approx(np.array([16, 40, 72]) ** 2 / 96**2, abs=0.06)
    assert np.isnan(found[3])
    assert np.isnan(object_shares(Bright(), images[:1], np.ones(1, int)))  # nothing speaks for the other class


def test_photographs_of_unknown_size_are_in_neither_third():
    shares = np.r_[np.linspace(0.1, 0.9, 60), np.full(30, np.nan)]
    parts = parts_of(["cat"] * 90, {"object_share": shares})
    assert {name: mask.sum() for name, mask in parts.items()} == {
        "the third with the smallest objects by Grad-CAM": 20,
        "the third with the largest objects by Grad-CAM": 20,
    }
    assert not any(mask[60:].any() for mask in parts.values())
    assert parts_of(["cat"] * 90, {"object_share": np.full(90, np.nan)}) == {}
