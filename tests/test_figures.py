"""Pictures that must come out well whatever the names in them are."""

import warnings

import numpy as np
import pytest
from PIL import Image

from plots.figures import draw_confusion_matrix


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
