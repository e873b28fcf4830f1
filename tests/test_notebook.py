"""docs/ai_studio.ipynb: its form, and that every script line in it is one that the script takes.

`make notebook` runs it; that takes minutes and packages of its own, the checks here neither.
"""

import ast
import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from config import SCRIPTS, parse_config

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "docs" / "ai_studio.ipynb"
SHELL_LINE = re.compile(r"^(\s*)!(.*)$")

pytestmark = pytest.mark.version_independent


def cells(kind):
    """The sources of the cells of one kind, "code" or "markdown"."""
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == kind]


def shell_lines():
    """All lines that IPython hands to the shell, without their exclamation mark."""
    found = [SHELL_LINE.match(line) for source in cells("code") for line in source.splitlines()]
    return [match[2] for match in found if match]


def user_values():
    """{name: value} of the one cell that a user changes: plain assignments."""
    [source] = [source for source in cells("code") if source.startswith("zip_file = ")]
    return {node.targets[0].id: ast.literal_eval(node.value) for node in ast.parse(source).body}


def parsed(line, **values):
    """The Config that a line ``python SCRIPT.py ...`` gives with ``values`` in place of {name}; None for another program."""
    words = shlex.split(line.format(**values))
    assert words[0] == "python", f"!{line}: no such program where only Python is installed"
    script = Path(words[1]).stem
    return parse_config(words[2:], script) if script in SCRIPTS else None


def test_the_file_is_a_notebook_of_format_4_without_outputs():
    text = NOTEBOOK.read_text(encoding="utf-8")
    notebook = json.loads(text)
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 4)  # 5 wants an id in each cell
    assert set(notebook) == {"cells", "metadata", "nbformat", "nbformat_minor"}
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    for cell in notebook["cells"]:
        assert isinstance(cell["source"], list)
        assert all(isinstance(line, str) for line in cell["source"])
        assert all(line.endswith("\n") for line in cell["source"][:-1])
        assert cell["metadata"] == {}
        keys = {"cell_type", "metadata", "source"}
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None), "committed without outputs"
            keys |= {"outputs", "execution_count"}
        assert set(cell) == keys
    assert text == json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", "written as Jupyter writes it"


def test_the_code_is_python_and_plain_shell_lines():
    """`make notebook` sees the exit code of ``!line``, not that of ``name = !line``, of a magic or of a part of a line."""
    for source in cells("code"):
        ast.parse("\n".join(SHELL_LINE.sub(r"\1pass", line) for line in source.splitlines()))
    assert [line for line in shell_lines() if set("&|;\\") & set(line)] == []


@pytest.mark.parametrize("line", shell_lines())
def test_every_script_takes_its_line(line, monkeypatch):
    monkeypatch.chdir(ROOT)
    values = {"zip_file": "photographs.zip", **{name: value for name, value in user_values().items() if value}}
    config = parsed(line, **values)
    if config is None:
        words = shlex.split(line)
        requirements = [words[place + 1] for place, word in enumerate(words) if word == "-r"]
        assert words[1] == "install.py" or words[1:4] == ["-m", "pip", "install"]
        assert all((ROOT / name).is_file() for name in requirements)


def test_the_settings_that_the_text_suggests_can_be_put_in(monkeypatch):
    monkeypatch.chdir(ROOT)
    [text] = re.findall(r"\*\*`settings`\*\*.*", "\n".join(cells("markdown")))
    suggested = re.findall(r"`(--[^`]*)`", text)
    for settings in [*suggested, " ".join(suggested)]:
        for line in shell_lines():
            if "{settings}" in line:
                parsed(line, zip_file="photographs.zip", settings=settings)
    assert parsed("python train.py {settings}", settings=suggested[0]).image_size == 224


def test_a_line_that_the_script_does_not_take_is_found(capsys):
    with pytest.raises(SystemExit):
        parsed("python train.py --net sa_resnet --images {new}", new="work/new")
    assert "--images is no option of train.py" in capsys.readouterr().err


def test_one_cell_holds_all_that_a_user_changes():
    values = user_values()
    assert list(values) == ["zip_file", "settings", "new_photographs"]
    assert values["zip_file"] == "", "by default the drawn animals"
    names = {name for line in shell_lines() for name in re.findall(r"{(\w+)}", line)}
    assert names == set(values)


def test_the_steps_of_the_original_project_come_in_order():
    steps = [Path(shlex.split(line)[1]).stem for line in shell_lines()]
    steps = [step for step in steps if step in SCRIPTS and step != "sample_animals"]
    first = ["train_val_split", "show_photographs", "train", "eval", "train", "eval", "compare"]
    assert steps[: len(first)] == first
    assert set(steps[len(first) :]) == {"predict", "export", "gradcam"}


def test_linked_documents_exist():
    targets = [target for source in cells("markdown") for target in re.findall(r"\]\(([^)]+)\)", source)]
    targets = [target.split("#")[0] for target in targets if not target.startswith("http")]
    assert targets
    assert [target for target in targets if not (NOTEBOOK.parent / target).is_file()] == []


@pytest.fixture
def runner(monkeypatch):
    """The module docs/run_notebook.py; its packages come with `make notebook`."""
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.syspath_prepend(str(NOTEBOOK.parent))
    import run_notebook

    return run_notebook


@pytest.mark.parametrize(
    ("sources", "error"),
    [
        (["!python -c 'print(6 * 7)'", "1 + 1"], ""),
        (["!python -c 'raise SystemExit(3)'\nprint('on')", "1"], "exit code 3"),
        (["if True:\n    !false\n    !true"], "exit code 1"),
        (["1 / 0"], "ZeroDivisionError"),
    ],
)
def test_a_failing_line_fails_the_notebook(runner, tmp_path, monkeypatch, capsys, sources, error):
    import nbformat

    for name in ("XDG_CACHE_HOME", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, "restored afterwards")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    said = runner.run(notebook, tmp_path, tmp_path)
    assert error in said if error else said == ""
    assert len(notebook.cells) == len(sources)
    out = capsys.readouterr().out
    assert "42" in out if not error else "\non\n" not in out
