"""Run folders: numbered, never shared, found again."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from trained.run_folder import RunError, create_run, newest_finished_run, read_history, write_history, write_result


def test_runs_started_at_once_never_share_a_folder(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: create_run(tmp_path, "resnet"), range(24)))
    assert sorted(run.name for run in runs) == [f"{number:03d}" for number in range(1, 25)]


def test_numbers_go_on_after_the_highest(tmp_path):
    for name in ("001", "1005", "notes"):
        (tmp_path / "resnet" / name).mkdir(parents=True)
    assert create_run(tmp_path, "resnet").name == "1006"


def test_newest_finished_run_passes_over_the_others(tmp_path):
    for status in ("finished", "finished", "interrupted", None):
        run = create_run(tmp_path, "resnet")
        if status:
            write_result(run, {"status": status})
    assert newest_finished_run(tmp_path, "resnet").name == "002"
    with pytest.raises(RunError, match=r"no finished run of sa_resnet .* python train.py --net sa_resnet makes one"):
        newest_finished_run(tmp_path, "sa_resnet")


def test_history_keeps_every_digit(tmp_path):
    row = {"epoch": 1, "learning_rate": 0.1 / 3, "train_loss": 2.0 / 3, "train_acc": 1 / 7, "val_loss": 1e-17,
           "val_acc": 0.8678266178266179, "seconds": 1.5, "images_per_second": 1e3 / 7}  # fmt: skip
    write_history(tmp_path, [row])
    assert read_history(tmp_path) == [row]


def test_a_folder_without_history_is_named(tmp_path):
    with pytest.raises(RunError, match=r"has no history\.csv"):
        read_history(tmp_path)
    (tmp_path / "history.csv").write_text("epoch,acc\n1,x\n")
    with pytest.raises(RunError, match="cannot be read"):
        read_history(tmp_path)
