"""Pictures that must come out well whatever the names in them are."""

import os
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
from matplotlib import font_manager
from PIL import Image

from evaluation import report
from plots import confusion, figures
from plots.confusion import confused_pairs, draw_confused_pairs, draw_confusion, draw_confusion_matrix


@pytest.mark.parametrize("name", ["cat", "x" * 255, "猫" * 85])
def test_long_names_of_classes_leave_the_confusion_matrix_its_place(tmp_path, name):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="constrained_layout not applied")
        draw_confusion_matrix(np.array([[3, 0], [0, 3]]), [name, "dog"], tmp_path / "matrix.png", "a title")
    with Image.open(tmp_path / "matrix.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    dark = (pixels[..., 2] - pixels[..., 0] > 60) & (
        pixels.sum(axis=2) < 350
    )  # the full cells' blue, that of the bar's end too
    assert dark.mean() > 0.08, "the cells of right predictions fill a good part of the picture"


@pytest.fixture
def drawn(monkeypatch):
    """The figures that would be written."""
    found = []
    monkeypatch.setattr(figures, "save_figure", lambda figure, path: found.append(figure))
    return found


def test_of_many_classes_the_most_confused_pairs_are_drawn(tmp_path, drawn):
    number = 5000
    classes = [f"class {label}" for label in range(number)]
    matrix = np.diag(np.full(number, 4))
    for pair, count in {(7, 8): 9, (8, 7): 5, (1, 4999): 5, (4, 2): 1}.items():
        matrix[pair] = count
    matrix[8, 8] = 0
    assert confused_pairs(matrix, 3) == [(7, 8, 9, 13), (8, 7, 5, 5), (1, 4999, 5, 9)]
    draw_confusion(matrix, classes, tmp_path / "matrix.png", "resnet18: accuracy 0.9")
    [figure] = drawn
    [axes] = figure.axes
    assert [text.get_text() for text in axes.get_yticklabels()] == [
        "class 7 → class 8", "class 8 → class 7", "class 1 → class 4999", "class 4 → class 2",
    ]  # fmt: skip
    assert [text.get_text().strip() for text in axes.texts] == ["9 of 13", "5 of 5", "5 of 9", "1 of 5"]
    title = "resnet18: accuracy 0.9\n5,000 classes; the 4 pairs of classes confused most: 20 of 20 wrong answers"
    assert figure.get_suptitle() == title


def test_no_more_pairs_are_drawn_than_fit(tmp_path, drawn):
    matrix = np.ones((200, 200), int)
    draw_confusion(matrix, [str(label) for label in range(200)], tmp_path / "matrix.png", "a title")
    assert len(drawn[0].axes[0].patches) == confusion.PAIRS


def test_few_classes_are_drawn_as_their_matrix(tmp_path, drawn):
    draw_confusion(np.eye(100, dtype=int), [str(label) for label in range(100)], tmp_path / "matrix.png", "a title")
    assert len(drawn[0].axes[0].images) == 1


@pytest.mark.parametrize("name", ["cat", "x" * 255, "猫" * 85])
def test_the_pairs_come_out_with_any_names_and_with_none(tmp_path, name):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="constrained_layout not applied")
        draw_confused_pairs(np.array([[3, 2], [0, 3]]), [name, f"dog{name}"], tmp_path / "pairs.png", "a title")
        draw_confused_pairs(np.eye(2, dtype=int), [name, "dog"], tmp_path / "none.png", "a title")
    with Image.open(tmp_path / "pairs.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert (pixels[..., 2] - pixels[..., 0] > 60).mean() > 0.02, "the bar has its place"


def test_the_figures_of_an_evaluation_are_safe_before_anything_is_drawn(tmp_path, monkeypatch):
    """Of thousands of classes a picture may take all memory or time; without metrics.json the evaluation is lost."""
    (tmp_path / "eval").mkdir()
    for name in report.PICTURES:
        (tmp_path / "eval" / name).write_text("of an earlier evaluation")

    def killed(*arguments):
        raise MemoryError

    monkeypatch.setattr(report, "draw_confusion", killed)
    dataset = SimpleNamespace(
        classes=["cat", "dog"], samples=[SimpleNamespace(name="1.png"), SimpleNamespace(name="2.png")], source="list",
        digest=lambda: "0" * 64,
        photographs_digest=lambda: None,
    )  # fmt: skip
    logits = np.array([[1.0, 0.0], [0.5, 0.0]], np.float32)
    calibration = SimpleNamespace(temperature=1.0, entries=dict)
    with pytest.raises(MemoryError):
        report.write_evaluation(
            tmp_path, dataset, logits, np.array([0, 1]), calibration=calibration, split="val", loss=0.7, acc=0.5, net="resnet",
            epoch=1, same_list=True,
        )  # fmt: skip
    assert report.read_metrics(tmp_path)["acc"] == 0.5
    assert sorted(file.name for file in (tmp_path / "eval").iterdir()) == [
        "confusion_matrix.csv", "metrics.json", "predictions.csv",
    ]  # fmt: skip


def test_pictures_are_drawn_where_a_notebook_of_another_python_started_the_script(tmp_path):
    """Its kernel sets MPLBACKEND for its children, to a module that the script's Python may lack."""
    code = (
        "import sys; from pathlib import Path; from PIL import Image; from plots.figures import draw_photographs; "
        "draw_photographs([(Image.new('RGB', (8, 8)), 'cat')], Path(sys.argv[1]))"
    )
    environment = {**os.environ, "MPLBACKEND": "module://ipympl.backend_nbagg"}
    picture = tmp_path / "grid.png"
    subprocess.run([sys.executable, "-c", code, picture], env=environment, cwd=Path(__file__).parent.parent, check=True)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_picture_of_costs_shows_each_seed(tmp_path, drawn):
    rows = [
        {
            "network": name, "seeds": len(accuracies), "accuracy": np.mean(accuracies), "accuracy_sd": 0.01,
            "accuracy_of_seeds": accuracies, "balanced_accuracy": None, "training_images_per_second": speed, "latency_ms": 5.0,
        }
        for name, accuracies, speed in (("one", [0.5, 0.6, 0.7], 10.0), ("single", [0.8], 20.0))
    ]  # fmt: skip
    figures.draw_tradeoff(rows, tmp_path / "tradeoff.png")
    axes = drawn[0].axes[0]
    dots = [line for line in axes.get_lines() if line.get_marker() == "."]
    assert [(list(line.get_xdata()), list(line.get_ydata())) for line in dots] == [([10.0] * 3, [0.5, 0.6, 0.7])]


def test_a_font_that_was_installed_since_matplotlib_listed_them_is_found(tmp_path, monkeypatch, capfd):
    fonts, rare = font_manager.fontManager, "\u20e4"  # of matplotlib's own fonts STIX alone has it
    path = font_manager.findfont("STIXGeneral")
    without = [font for font in fonts.ttflist if font.name != "STIXGeneral"]
    monkeypatch.setattr(figures, "CHINESE_FONTS", ("STIXGeneral",))
    monkeypatch.setattr(fonts, "ttflist", without)
    monkeypatch.setitem(matplotlib.rcParams, "font.family", ["DejaVu Sans"])
    figures._find_new_fonts.cache_clear()
    figures._mention.cache_clear()
    pictures = []
    for found in ([], [path]):
        monkeypatch.setattr(font_manager, "findSystemFonts", lambda found=found: found)
        draw_confusion_matrix(np.eye(2, dtype=int), [rare, "dog"], tmp_path / "matrix.png", "a title")
        pictures.append((tmp_path / "matrix.png").read_bytes())
        assert (rare in capfd.readouterr().err) == (not found)
        figures._find_new_fonts.cache_clear()
    assert pictures[0] != pictures[1]
