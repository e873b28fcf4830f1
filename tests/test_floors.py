"""Imports go down only, also those of the single files that import-linter does not read; every room has its floor."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = (
    "train", "tune", "eval", "compare", "gradcam", "predict", "export", "serve",
    "train_val_split", "show_photographs", "sample_animals", "suspects", "surgery",
)  # fmt: skip
FLOORS = (  # rooms of one floor do not import each other
    SCRIPTS,
    ("serving", "tuning", "insertion"),
    ("comparison", "explanation", "prediction", "exported", "label_errors"),
    ("evaluation",),
    ("training",),
    ("plots",),
    ("inference", "weights", "drawing"),
    ("trained",),
    ("config",),
    ("animal_dataset", "networks"),
    ("data", "sa_resnet"),
    ("attention",),
    ("ops", "settings", "pickles"),
    ("processes",),
    ("machine",),
    ("messages",),
)
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}
FILES = sorted(path.stem for path in ROOT.glob("*.py") if path.stem != "install")
ROOMS = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))

pytestmark = pytest.mark.version_independent


def imports(name):
    """[(file, imported room or single file), ...] of a room or a single file."""
    files = [ROOT / f"{name}.py"] if name in FILES else sorted((ROOT / name).rglob("*.py"))
    found = []
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
            found += [(file.relative_to(ROOT).as_posix(), module.split(".")[0]) for module in modules]
    return [(file, other) for file, other in found if other in FLOOR and other != name]


def test_every_room_and_file_has_its_floor():
    assert sorted(FLOOR) == sorted(FILES + ROOMS)
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    packages = re.search(r"root_packages = \[(.*?)\]", settings, re.DOTALL)[1]
    assert re.findall(r'"(\w+)"', packages) == ROOMS, "import-linter reads all rooms"
    layers = re.search(r"layers = \[\n(.*?)\n\]", settings, re.DOTALL)[1]
    assert sorted(re.findall(r"\w+", " ".join(re.findall(r'"(.*?)"', layers)))) == ROOMS


@pytest.mark.parametrize("name", sorted(FLOOR))
def test_imports_go_down_only(name):
    upwards = [f"{file} imports {other}" for file, other in imports(name) if FLOOR[other] <= FLOOR[name]]
    assert upwards == []


def test_networks_and_data_do_not_know_each_other():
    sides = ("data", "animal_dataset"), ("networks", "sa_resnet", "attention")
    for here, there in (sides, sides[::-1]):
        assert [(name, other) for name in here for _, other in imports(name) if other in there] == []
