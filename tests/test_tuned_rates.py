"""compare.py --tune: each network is trained with the rates that tune.py found for it."""

import re

import pytest
from both_languages import same_in_both
from conftest import write_listed_photographs
from test_compare import replace_networks

import compare
import tune
from comparison import side_by_side, tuned_rates
from comparison.run_groups import ComparisonError
from comparison.script_process import ProcessFailed
from comparison.tuned_rates import check_tune, note_of_rates
from config import load_config, parse_config
from trained.result import read_result
from tuning import planning
from tuning.grid import Grid, Pair
from tuning.rungs import Rung

pytestmark = [pytest.mark.usefixtures("quick_pictures"), pytest.mark.python_independent]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--folds", "3"], "tune = 5: with --folds"),
        (["--learning_rate", "0.1"], "tune = 5 chooses learning_rate, which is given as well"),
        (["--weight_decay", "0.1"], "tune = 5 chooses weight_decay"),
    ],
)
def test_what_contradicts_a_search_is_refused(options, reason):
    with pytest.raises(ComparisonError, match=re.escape(reason)):
        check_tune(parse_config(["--tune", "5", *options], "compare"))


@pytest.fixture
def scripts(monkeypatch):
    """tune.py, train.py and eval.py in this process, with tiny networks; a search tries the pairs of a small grid once.

    Returns the list of scripts that ran.
    """
    ran = replace_networks(monkeypatch)
    here = side_by_side.run_script
    small = Grid((0.003, 0.03), (0.05,), Pair(0.003, 0.05))
    monkeypatch.setattr(planning, "grid_of", lambda config: small)
    monkeypatch.setattr(planning, "plan_rungs", lambda pairs, *_: [Rung(pairs, 1)])
    monkeypatch.setattr(side_by_side, "run_script", lambda script, arguments, **_: here(script, arguments))

    def tune_here(script, arguments):
        ran.append(script)
        code = tune.main(parse_config([str(word) for word in arguments], "tune"))
        if code:
            raise ProcessFailed("tune.py: error: as its last line says")

    monkeypatch.setattr(tuned_rates, "run_script", tune_here)
    return ran


def options_of(folder):
    if not (folder / "photographs").exists():
        write_listed_photographs(folder / "photographs", of_each_class=8)
    return [
        "--nets", "resnet", "se_resnet50", "--data", str(folder / "photographs"), "--runs_dir", str(folder / "runs"),
        "--image_size", "32", "--batch_size", "4", "--num_workers", "0", "--threads", "1", "--epochs", "2",
        "--baseline", "se_resnet50",
    ]  # fmt: skip


def test_each_network_is_trained_with_its_own_rates(tmp_path, scripts, capsys):
    options = ["--tune", "3", *options_of(tmp_path)]
    assert compare.main(parse_config(options, "compare")) == 0
    text = capsys.readouterr().out
    assert scripts[0] == "tune.py"
    for net in ("resnet", "se_resnet50"):
        (run,) = (tmp_path / "runs" / net).iterdir()
        trained = load_config(run / "config.yaml")
        assert trained.learning_rate in (0.003, 0.03)
        assert read_result(run)["status"] == "finished"
        assert f"{net} {trained.learning_rate:g} and 0.05" in text
    assert "with a learning rate and weight decay of its own." in text
    assert "Against se_resnet50:" in text
    assert "The runs differ in learning_rate" not in text
    # Again: neither a search nor a training is made anew
    scripts.clear()
    assert compare.main(parse_config(options, "compare")) == 0
    assert scripts == ["tune.py", "tune.py"]
    again = capsys.readouterr().out
    assert again.count("holds this search already") == 2
    assert again.count("is there already") == 2


def test_a_search_that_fails_ends_the_comparison_before_any_training(tmp_path, scripts, monkeypatch, capsys):
    def fail(script, arguments):
        raise ProcessFailed("tune.py: error: budget = 0.1: the smallest search takes 3 min; give --budget 3")

    monkeypatch.setattr(tuned_rates, "run_script", fail)
    assert compare.main(parse_config(["--tune", "0.1", *options_of(tmp_path)], "compare")) == 2
    expected = (
        "tune = 0.1, which is the budget of tune.py: resnet: tune.py: error: budget = 0.1: the smallest search takes 3 min"
    )
    assert expected in capsys.readouterr().err
    assert scripts == []


def test_a_baseline_that_is_not_compared_is_refused_before_any_training(tmp_path, scripts, capsys):
    options = [*options_of(tmp_path)[:-1], "resnet18"]
    assert compare.main(parse_config(options, "compare")) == 2
    expected = "baseline = 'resnet18': compared are resnet, se_resnet50; name one of them"
    assert expected in capsys.readouterr().err
    assert scripts == []


def test_the_note_names_what_was_found():
    note = note_of_rates({"a": {"learning_rate": 0.003, "weight_decay": 0.05}}, 5.0)
    assert note.endswith("by tune.py within 5 min each on the training list alone: a 0.003 and 0.05.")
    assert same_in_both(note)
