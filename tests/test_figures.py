"""Pictures that must come out well whatever the names in them are."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

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
