"""Trainings that were interrupted: they go on exactly as if nothing had happened, or say why they cannot."""

import contextlib
import errno
import json
import os
import re
import shutil
import signal
import subprocess

import numpy as np
import paddle
import pytest
from conftest import random_photograph, split_photographs
from safetensors.numpy import load_file, save_file
from tiny_network import check_whole, outcome

import networks
import train
from machine import processor
from comparison.run_plan import find_run
from config import Config, load_config, parse_config
from data.data_sets import Digests
from data.loader import PhotographLoader
from data.splitting import split_folder
from machine.whole_file import PREFIX
from trained.checkpoint import read_header
from trained.history import read_history
from trained.result import read_result
from trained.run_folder import RunError, best_checkpoint, lock_run, newest_run
from training import recorder as run_recorder
from training import session
from training.gradients import LossScaling
from training.model import TrainingModel
from training.state import seed_generators

pytestmark = [pytest.mark.usefixtures("quick_pictures"), pytest.mark.python_independent]

EVERYTHING_DRAWN = {
    "mixup": 0.2, "cutmix": 1.0, "augment": "trivialaugment", "color_jitter": 0.4, "erasing": 0.5,
    "train_crop": "letterbox", "eval_crop": "letterbox",
}  # fmt: skip


@pytest.fixture(autouse=True)
def tiny_networks(monkeypatch):
    monkeypatch.setitem(networks.NETWORKS, "resnet", networks.Lazy("tiny_network", "TinyNetwork"))
    monkeypatch.setitem(networks.NETWORKS, "resnet18", networks.Lazy("tiny_network", "TinyNetwork"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three classes of ten photographs: 24 to train on, 6 to validate."""
    return split_photographs(tmp_path_factory.mktemp("data"))


def settings(data, runs_dir, **changes):
    chosen = {
        "net": "resnet", "data": str(data), "runs_dir": str(runs_dir), "image_size": 32, "epochs": 3, "batch_size": 5,
        "num_workers": 0, "threads": 2, "label_smoothing": 0.1, "rotation": 10.0, "save_every_steps": 2,
    }  # fmt: skip
    return Config(**{**chosen, **changes})


def resume(run, *arguments):
    return train.main(parse_config(["--resume", str(run), *map(str, arguments)], "train"))


def interrupt(monkeypatch, place, method, times=1):
    """Let the method raise as Ctrl-C does when it is called for the ``times``-th time, once it has done its work."""
    original, calls = getattr(place, method), []

    def interrupted(*arguments, **options):
        found = original(*arguments, **options)
        calls.append(method)
        if len(calls) == times:
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(place, method, interrupted)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """A training that nothing interrupts, by its settings."""
    found = {}

    def of(**changes):
        key = tuple(sorted(changes.items()))
        if key not in found:
            folder = tmp_path_factory.mktemp("whole")
            assert train.main(settings(data, folder, **changes)) == 0
            found[key] = outcome(folder / "resnet" / "001")
        return found[key]

    return of


@pytest.mark.parametrize(
    ("place", "method", "times", "changes"),
    [
        (TrainingModel, "train_batch", 3, {}),  # in the first epoch
        (TrainingModel, "train_batch", 8, {"num_workers": 2}),  # in the second, workers reading
        (TrainingModel, "train_batch", 10, {"optimizer": "adamw", "schedule": "step", "step_epochs": 1}),
        (TrainingModel, "train_batch", 9, EVERYTHING_DRAWN),
        (TrainingModel, "eval_batch", 4, {"save_every_steps": 0}),
        (TrainingModel, "train_batch", 9, {"accumulate": 2, "clip_norm": 0.5, "save_every_steps": 1}),  # between two batches
        (TrainingModel, "train_batch", 8, {"ema_epochs": 5.0}),  # between two updates of the average
        (TrainingModel, "eval_batch", 4, {"save_every_steps": 0, "ema_epochs": 0.5}),  # while the network has the average
        (run_recorder, "save_checkpoint", 1, {"save_every_steps": 0, "ema_epochs": 0.5}),
        (run_recorder, "save_checkpoint", 1, {"save_every_steps": 0}),  # after last.safetensors, before best
        (run_recorder, "write_history", 2, {"save_every_steps": 0, "early_stop": 1}),
        (run_recorder.RunRecorder, "_write_result", 1, {"save_every_steps": 0}),  # before anything was trained
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_an_interrupted_training_ends_as_if_nothing_had_happened(
    data, tmp_path, monkeypatch, whole, place, method, times, changes
):
    expected = whole(**changes)
    with monkeypatch.context() as patch:
        interrupt(patch, place, method, times)
        assert train.main(settings(data, tmp_path, **changes)) == 130
    run = tmp_path / "resnet" / "001"
    assert read_result(run)["status"] in ("interrupted", "unfinished")
    if method == "_write_result":
        assert resume(run) == 2, "a run that was ended before its settings were written down"
        return
    assert resume("latest", "--runs_dir", tmp_path) == 0
    assert outcome(run) == expected
    assert load_config(run / "config.yaml") == settings(data, tmp_path, **changes).resolved().resolved_for(24)


def test_weights_that_are_saved_after_an_interruption_have_their_temperature(data, tmp_path, monkeypatch, whole):
    changes = {"epochs": 1, "save_every_steps": 0}
    with monkeypatch.context() as patch:
        interrupt(patch, run_recorder, "save_checkpoint")
        assert train.main(settings(data, tmp_path, **changes)) == 130
    run = tmp_path / "resnet" / "001"
    assert not (run / "best.safetensors").exists()
    assert resume(run) == 0
    assert outcome(run) == whole(**changes)
    assert outcome(run)["temperatures"]["best"] is not None


def test_the_average_is_validated_and_kept_and_training_goes_on_with_its_own_weights(data, tmp_path):
    for name, changes in (("average", {"ema_epochs": 1.0}), ("plain", {})):
        assert train.main(settings(data, tmp_path / name, epochs=1, **changes)) == 0
    run, plain = (tmp_path / name / "resnet" / "001" for name in ("average", "plain"))
    best, last = load_file(run / "best.safetensors"), load_file(run / "last.safetensors")
    averages = {name.removeprefix("average/"): value for name, value in last.items() if name.startswith("average/")}
    assert averages
    for name, value in best.items():
        np.testing.assert_array_equal(value, averages.get(name, last[name]), name)
    assert any((best[name] != last[name]).any() for name in averages)
    for name, value in load_file(plain / "last.safetensors").items():
        np.testing.assert_array_equal(last[name], value, name)
    rows = [read_history(folder)[0] for folder in (run, plain)]
    assert rows[0]["train_loss"] == rows[1]["train_loss"]
    assert rows[0]["val_loss"] != rows[1]["val_loss"]
    assert [read_header(folder / "last.safetensors")["format"] for folder in (run, plain)] == [3, 2]
    assert read_header(run / "best.safetensors")["format"] == 2


def test_the_scale_of_the_loss_goes_on_where_it_was(data, tmp_path, monkeypatch):
    """In float16, which a CPU lacks: the network computes in float32 here, and the loss is scaled all the same."""
    monkeypatch.setattr(session, "precision_of", lambda *_: "float16")
    monkeypatch.setattr(paddle.amp, "auto_cast", lambda **options: contextlib.nullcontext())
    monkeypatch.setattr(LossScaling, "PATIENCE", 4)
    assert train.main(settings(data, tmp_path / "whole", epochs=2)) == 0
    with monkeypatch.context() as patch:
        interrupt(patch, TrainingModel, "train_batch", 9)
        assert train.main(settings(data, tmp_path, epochs=2)) == 130
    run, whole = tmp_path / "resnet" / "001", tmp_path / "whole" / "resnet" / "001"
    assert read_header(run / "last.safetensors")["loss_scaling"] == {"scale": 2.0**17, "good_steps": 3}
    assert resume(run) == 0
    assert outcome(run) == outcome(whole)
    assert read_header(run / "last.safetensors")["loss_scaling"] == {"scale": 2.0**18, "good_steps": 2}


def test_a_training_is_interrupted_again_and_again(data, tmp_path, monkeypatch, whole):
    run = tmp_path / "resnet" / "001"
    codes = []
    while not codes or codes[-1]:
        with monkeypatch.context() as patch:
            interrupt(patch, TrainingModel, "train_batch", 3)
            codes.append(resume(run) if codes else train.main(settings(data, tmp_path)))
        assert len(codes) < 12
    assert codes[:-1] == [130] * (len(codes) - 1)
    assert len(codes) > 5
    assert outcome(run) == whole()


@pytest.fixture
def small_disk(tmp_path):
    """A function that makes a file system of so many kilobytes in tmp_path / "disk", or makes it larger."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = []

    def of_size(kilobytes):
        options = f"{'remount,' if mounted else ''}size={kilobytes}k"
        try:
            subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("may not mount a file system")
        mounted.append(disk)
        return disk

    yield of_size
    if mounted:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("kilobytes", [4, 40, 60, 80, 100, 120, 140])
def test_a_full_disk_costs_nothing_that_was_on_it(data, small_disk, whole, capsys, kilobytes):
    disk = small_disk(kilobytes)
    assert train.main(settings(data, disk)) == 2
    assert re.search(r"train.py: error: .*No space left on device", error := capsys.readouterr().err)
    assert str(disk) in error
    assert "os error" not in error
    for file in disk.rglob("*"):
        check_whole(file)
        assert not file.name.startswith(PREFIX)
    small_disk(8000)
    if newest := list(disk.glob("resnet/*/config.yaml")):
        assert resume("latest", "--runs_dir", disk) == 0
        assert outcome(newest[0].parent) == whole()
    else:
        assert kilobytes == 4


@pytest.mark.parametrize("threshold", [0.0, 0.05])
def test_a_disk_that_is_full_when_the_best_epoch_is_written_is_named_as_the_reason(
    data, tmp_path, capsys, monkeypatch, whole, threshold
):
    def save_checkpoint(path, *arguments):
        if path.name == "best.safetensors":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        save(path, *arguments)

    save = run_recorder.save_checkpoint
    with monkeypatch.context() as patch:
        patch.setattr(run_recorder, "save_checkpoint", save_checkpoint)
        assert train.main(settings(data, tmp_path, save_best_above=threshold)) == 2
    run = tmp_path / "resnet" / "001"
    out, err = capsys.readouterr()
    reason = f"it could not be written (No space left on device: {run}/best.safetensors)"
    assert err.splitlines()[-1] == f"train.py: error: No space left on device: {run}/best.safetensors"
    assert f"failed: no best.safetensors, for {reason}" in out
    assert "save_best_above" not in out
    with pytest.raises(RunError, match=re.escape(f"{run} has no best.safetensors: {reason}; --resume {run} goes on")):
        best_checkpoint(run)
    assert resume(run) == 0
    assert outcome(run) == whole(save_best_above=threshold)
    assert best_checkpoint(run).is_file()


def test_a_finished_run_is_left_alone_and_trained_further_with_more_epochs(data, tmp_path, capsys):
    chosen = settings(data, tmp_path, schedule="constant", warmup_epochs=0.0, epochs=2)
    assert train.main(chosen) == 0
    run = tmp_path / "resnet" / "001"
    before = outcome(run)
    assert resume(run) == 0
    assert "is finished; with more --epochs it is trained further" in capsys.readouterr().out
    assert outcome(run) == before
    assert resume(run, "--epochs", 3) == 0
    assert train.main(settings(data, tmp_path / "whole", schedule="constant", warmup_epochs=0.0, epochs=3)) == 0
    assert {**outcome(run), "result": None} == {**outcome(tmp_path / "whole" / "resnet" / "001"), "result": None}
    assert load_config(run / "config.yaml").epochs == 3
    assert read_result(run)["epochs_before"] == [2]
    lists = Digests(read_result(run)["list_sha256"], None)
    assert find_run(tmp_path, "resnet", {"epochs": 3}, lists) is None, "its learning rate followed another schedule first"
    assert find_run(tmp_path / "whole", "resnet", {"epochs": 3}, lists) is not None
    assert len(list((run / "vdl").iterdir())) == 1
    assert resume(run, "--epochs", 2) == 2
    assert "epochs = 2:" in capsys.readouterr().err


@pytest.fixture(scope="module")
def interrupted(data, tmp_path_factory):
    """A run that ended after its first epoch."""
    folder = tmp_path_factory.mktemp("interrupted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(networks.NETWORKS, "resnet", networks.Lazy("tiny_network", "TinyNetwork"))
        interrupt(patch, PhotographLoader, "set_epoch", 2)
        assert train.main(settings(data, folder)) == 130
    return folder / "resnet" / "001"


def files(folder):
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--batch_size", 6], "batch_size = 6: {run} is trained with 5, which cannot change on --resume"),
        (["--seed", 1], "seed = 1: {run} is trained with 0"),
        (["--net", "resnet18"], "net = 'resnet18': {run} is trained with 'resnet'"),
        (["--learning_rate", 0.5], "learning_rate = 0.5: {run} is trained with 0.001"),
        (["--epochs", 2], "epochs = 2: {run} is trained with 3; with --resume epochs may only grow"),
        (["--summary"], "leave out one of --summary and --resume"),
    ],
)
def test_what_would_change_the_result_is_refused_and_changes_nothing(interrupted, capsys, arguments, complaint):
    before = files(interrupted)
    try:
        code = resume(interrupted, *arguments)
    except SystemExit as end:
        code = end.code
    assert code == 2
    assert complaint.format(run=interrupted) in capsys.readouterr().err
    assert files(interrupted) == before


def test_the_same_setting_given_again_is_no_change(interrupted, tmp_path, whole):
    copy = tmp_path / "001"
    shutil.copytree(interrupted, copy)
    assert resume(copy, "--batch_size", 5, "--net", "resnet", "--epochs", 3) == 0
    assert outcome(copy) == whole()


def test_the_photographs_may_have_moved_but_not_changed(interrupted, data, tmp_path, whole, capsys):
    moved = tmp_path / "moved"
    shutil.copytree(data, moved)
    copy = tmp_path / "001"
    shutil.copytree(interrupted, copy)
    split_folder(moved, 0.3)
    assert resume(copy, "--data", moved) == 2
    assert f"{copy} cannot be continued: its training list has changed since" in capsys.readouterr().err
    split_folder(moved, 0.2)
    assert resume(copy, "--data", moved) == 0
    assert outcome(copy) == whole()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_run_that_is_being_trained_is_left_to_its_process(interrupted, capsys):
    wait, ready = os.pipe()
    child = os.fork()
    if not child:  # another process: locks are a process's own
        with lock_run(interrupted):
            os.write(ready, b".")
            signal.pause()
    os.read(wait, 1)
    before = files(interrupted)
    try:
        assert resume(interrupted) == 2
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert f"{interrupted} is being trained by another process" in capsys.readouterr().err
    assert files(interrupted) == before


def test_unfinished_files_of_a_killed_process_are_removed(interrupted, tmp_path):
    copy = tmp_path / "001"
    shutil.copytree(interrupted, copy)
    left = copy / ".unfinished-abc.safetensors"
    left.write_bytes(b"half a checkpoint")
    assert resume(copy) == 0
    assert not left.exists()


def test_a_best_that_is_gone_is_not_made_up(interrupted, tmp_path, capsys, monkeypatch):
    copy = tmp_path / "001"
    shutil.copytree(interrupted, copy)
    (copy / "best.safetensors").unlink()
    assert resume(copy) == 0, "the last epoch was the best one, so that last.safetensors has it"
    other = tmp_path / "002"
    shutil.copytree(copy, other)
    result = json.loads((other / "result.json").read_text())
    if result["best"]["epoch"] == 3:
        pytest.skip("the best epoch of this machine is the last one")
    (other / "best.safetensors").write_bytes(b"")
    capsys.readouterr()
    assert resume(other, "--epochs", 4) == 2
    assert "but is missing or damaged; put it back, or train anew" in capsys.readouterr().err


def test_latest_is_the_run_that_was_trained_last(data, tmp_path, capsys):
    assert resume("latest", "--runs_dir", tmp_path) == 2
    assert f"there is no run in {tmp_path}" in capsys.readouterr().err
    for net in ("resnet", "resnet18"):
        assert train.main(settings(data, tmp_path, net=net, epochs=1)) == 0
    assert newest_run(tmp_path) == tmp_path / "resnet18" / "001"
    assert newest_run(tmp_path, "resnet") == tmp_path / "resnet" / "001"
    assert resume("latest", "--runs_dir", tmp_path, "--net", "resnet", "--epochs", 2) == 0
    assert newest_run(tmp_path) == tmp_path / "resnet" / "001"


@pytest.mark.parametrize("name", ["", "001"])
def test_a_folder_that_is_no_run_is_refused(tmp_path, capsys, name):
    (tmp_path / name).mkdir(exist_ok=True)
    assert resume(tmp_path / name) == 2
    assert "give the folder of a run, which has a config.yaml" in capsys.readouterr().err


SO_FAR = {"seconds": 1.0, "metrics": {"mean_loss": [1.0, 5], "acc": [[1.0], [5]]}}


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"step": 5, "so_far": SO_FAR}, "last.safetensors is at step 5, but an epoch has 5; train anew"),
        ({"step": 2, "so_far": None}, "its header has step 2 and so_far = None"),
        ({"step": 2, "so_far": {**SO_FAR, "metrics": {"mean_loss": [[1, 2], 3], "acc": [[1], [5]]}}}, "header has so_far"),
        ({"step": 2, "so_far": {**SO_FAR, "metrics": {"mean_loss": [1, 3], "acc": [[], []]}}}, "header has so_far"),
    ],
)
def test_a_position_that_cannot_be_is_refused_and_changes_nothing(interrupted, tmp_path, capsys, changes, complaint):
    copy = tmp_path / "001"
    shutil.copytree(interrupted, copy)
    last = copy / "last.safetensors"
    save_file(load_file(last), last, metadata={"header": json.dumps({**read_header(last), **changes})})
    before = files(copy)
    assert resume(copy) == 2
    assert complaint in capsys.readouterr().err
    assert files(copy) == before


def test_a_run_whose_last_checkpoint_is_gone_is_not_begun_anew(interrupted, tmp_path, capsys):
    copy = tmp_path / "001"
    shutil.copytree(interrupted, copy)
    (copy / "last.safetensors").unlink()
    before = files(copy)
    assert resume(copy) == 2
    assert "its last.safetensors is gone; put it back, or train anew" in capsys.readouterr().err
    assert files(copy) == before


@pytest.mark.parametrize("content", ["[]", "{", "3"])
def test_a_result_that_is_none_does_not_matter(interrupted, tmp_path, whole, content):
    copy = tmp_path / "001"
    shutil.copytree(interrupted, copy)
    (copy / "result.json").write_text(content)
    assert resume(copy) == 0
    assert outcome(copy) == whole()


def test_the_run_s_own_number_of_threads_is_used(interrupted, tmp_path, monkeypatch, capsys):
    used = []
    original = processor.configure
    monkeypatch.setattr(processor, "configure", lambda threads=None: used.append(threads) or original(threads))
    for more, expected in (((), 2), (("--threads", 1), 1)):
        copy = tmp_path / str(expected)
        shutil.copytree(interrupted, copy)
        assert resume(copy, *more) == 0
        assert used[-1] == expected
        assert ("note: threads was 2 and is 1" in capsys.readouterr().out) == bool(more)


@pytest.fixture(scope="module")
def stopped_early(data, tmp_path_factory):
    """A run that stopped after two of its four epochs, because it learns nothing."""
    folder = tmp_path_factory.mktemp("stopped")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(networks.NETWORKS, "resnet", networks.Lazy("tiny_network", "TinyNetwork"))
        assert train.main(settings(data, folder, **LEARNS_NOTHING)) == 0
    assert read_result(folder / "resnet" / "001")["stopped_early"]
    return folder / "resnet" / "001"


LEARNS_NOTHING = {"epochs": 4, "early_stop": 1, "learning_rate": 1e-12, "warmup_epochs": 0.0}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "with --early_stop above 1, or 0 for never, it is trained further"),
        (["--epochs", 20], "it is trained further, with more --epochs alone it is not"),
        (["--early_stop", 1], "it stopped early after epoch 2"),
    ],
)
def test_a_run_that_stopped_early_is_over(stopped_early, capsys, arguments, said):
    before = files(stopped_early)
    assert resume(stopped_early, *arguments) == 0
    out = capsys.readouterr().out
    assert f"{stopped_early} is finished; it stopped early after epoch 2: " in out
    assert said in out
    assert files(stopped_early) == before


@pytest.mark.parametrize(("early_stop", "epochs"), [(2, 3), (0, 4)])
def test_a_run_that_stopped_early_goes_on_with_more_patience_to_the_same_bits(
    stopped_early, tmp_path, whole, capsys, early_stop, epochs
):
    copy = tmp_path / "001"
    shutil.copytree(stopped_early, copy)
    assert resume(copy, "--early_stop", early_stop) == 0
    assert "going on after epoch 2" in capsys.readouterr().out
    assert outcome(copy) == whole(**{**LEARNS_NOTHING, "early_stop": early_stop})
    assert read_result(copy)["epochs"] == epochs
    assert read_result(copy).get("stopped_early", False) == bool(early_stop)
    assert load_config(copy / "config.yaml").early_stop == early_stop


def test_a_run_that_stopped_early_goes_on_with_more_patience_and_epochs(stopped_early, tmp_path, capsys):
    copy = tmp_path / "001"
    shutil.copytree(stopped_early, copy)
    assert resume(copy, "--early_stop", 0, "--epochs", 5) == 0
    assert read_result(copy)["epochs"] == 5
    assert read_result(copy)["epochs_before"] == [4]
    capsys.readouterr()
    assert resume(copy, "--early_stop", 0) == 0
    assert "is finished; with more --epochs it is trained further" in capsys.readouterr().out
    assert resume(copy, "--early_stop", 3) == 2
    assert f"early_stop = 3: {copy} is trained with 0 (0: no limit); with --resume early_stop may only grow" in (
        capsys.readouterr().err
    )


def test_an_interrupted_training_may_get_more_patience(data, tmp_path, monkeypatch, whole):
    with monkeypatch.context() as patch:
        interrupt(patch, TrainingModel, "train_batch", 7)
        assert train.main(settings(data, tmp_path, **LEARNS_NOTHING)) == 130
    assert resume("latest", "--runs_dir", tmp_path, "--early_stop", 2) == 0
    assert outcome(tmp_path / "resnet" / "001") == whole(**{**LEARNS_NOTHING, "early_stop": 2})


def add_classes(folder, *names):
    for name in names:
        (folder / name).mkdir()
        for index in range(2):
            random_photograph((len(name), ord(name[0]), index)).save(folder / name / f"{index}.png")


def with_classes(data, folder, change):
    """A copy of the data folder, split anew after ``change`` of its class folders."""
    shutil.copytree(data, folder)
    change(folder)
    split_folder(folder, 0.2)
    return folder


CHANGES = {
    "class added since: zebra;": lambda folder: add_classes(folder, "zebra"),
    "class gone since: kind 1;": lambda folder: shutil.rmtree(folder / "kind 1"),
    "class added since: dog, class gone since: kind 2;": lambda folder: (folder / "kind 2").rename(folder / "dog"),
    "classes added since: 0, 1, 2, 3, 4 and 2 more;": lambda folder: add_classes(folder, *"0123456"),
}


@pytest.mark.parametrize("epochs_done", [0, 1])
@pytest.mark.parametrize("complaint", CHANGES)
def test_classes_that_came_or_went_are_named(interrupted, data, tmp_path, capsys, complaint, epochs_done):
    copy = tmp_path / "001"
    shutil.copytree(interrupted, copy)
    if not epochs_done:  # as if it had been killed in its first epoch
        for name in ("last.safetensors", "best.safetensors", "history.csv", "result.json"):
            (copy / name).unlink()
    other = with_classes(data, tmp_path / "other", CHANGES[complaint])
    capsys.readouterr()
    before = files(copy)
    assert resume(copy, "--data", other, "--device", "cpu") == 2
    error = capsys.readouterr().err
    assert f"{copy} cannot be continued: {complaint} give --data with the classes that it has, or train anew" in error
    assert error.count("\n") == 1
    assert (f"--init_from {copy / 'best.safetensors'}" in error) == bool(epochs_done)
    assert files(copy) == before


def test_another_order_of_the_classes_is_said(interrupted, data, tmp_path, capsys):
    other = with_classes(data, tmp_path / "other", lambda folder: None)
    labels = other / "labels.txt"
    labels.write_text("".join(f"{name}\n" for name in reversed(labels.read_text().splitlines())))
    assert resume(interrupted, "--data", other) == 2
    assert f"{interrupted} cannot be continued: its classes have another order now" in capsys.readouterr().err


def test_an_interruption_while_the_end_is_written_down_does_not_hide_it(data, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt(patch, run_recorder.RunRecorder, "_print_end", 1)
        assert train.main(settings(data, tmp_path, epochs=1)) == 130
    original, calls = run_recorder.write_result, []

    def interrupted(run, result):
        calls.append(result["status"])
        if calls.count("finished") == 1:
            raise KeyboardInterrupt
        original(run, result)

    monkeypatch.setattr(run_recorder, "write_result", interrupted)
    assert train.main(settings(data, tmp_path, epochs=1)) == 130
    for number in ("001", "002"):
        assert read_result(tmp_path / "resnet" / number)["status"] == "finished"


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_a_cut_checkpoint_is_named(interrupted, tmp_path, capsys, kept):
    copy = tmp_path / "001"
    shutil.copytree(interrupted, copy)
    last = copy / "last.safetensors"
    last.write_bytes(last.read_bytes()[: int(kept * last.stat().st_size)])
    assert resume(copy) == 2
    assert f"{last} is not a complete checkpoint" in capsys.readouterr().err
    shutil.copy(copy / "best.safetensors", last)
    assert resume(copy) == 2
    assert f"{last} holds no state of the optimiser for network.features.0.weight" in capsys.readouterr().err


def test_the_generators_are_seeded_by_the_position(interrupted):
    drawn = []
    for epoch, step in ((0, 0), (0, 1), (1, 0), (0, 1)):
        seed_generators(3, epoch, step)
        drawn.append((np.random.rand(), paddle.rand([1]).item()))
    assert drawn[1] == drawn[3]
    assert len(set(drawn)) == 3
