"""Run docs/ai_studio.ipynb from its first cell to its last, as Jupyter would, and fail on any error: what `make notebook` does.

python docs/run_notebook.py
python docs/run_notebook.py --output executed.ipynb      keeps the notebook with its outputs

It runs in a temporary copy of the project, so the user's runs/ and work/ stay as they are, and unpacks archives and builds
the fused operators into a temporary cache folder. Needs requirements-notebook.txt.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "docs" / "ai_studio.ipynb"
CELL_SECONDS = 3600  # a step that takes longer hangs

# IPython goes on after a shell line that fails. Here it must not: this replaces what a line with ! calls.
STOP_AT_FAILURES = """
def _system(_line, _run=get_ipython().system):
    _run(_line)
    _code = get_ipython().user_ns.get("_exit_code")
    if _code != 0:
        raise RuntimeError(f"exit code {_code}: !{_line}")
get_ipython().system = _system
"""


def main() -> int:
    """Run the notebook that the command line names; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", metavar="FILE.ipynb", type=Path, help="write the notebook with its outputs into this file")
    options = parser.parse_args()
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="notebook-") as folder:
        project = Path(folder) / "project"
        copy_project(project)
        error = run(notebook, project / "docs", Path(folder))
    if options.output:
        nbformat.write(notebook, options.output)
    if error:
        print(f"{NOTEBOOK.relative_to(ROOT)}: FAILED after {time.monotonic() - started:.0f} s: {error}", file=sys.stderr)
        return 1
    cells = sum(cell.cell_type == "code" for cell in notebook.cells)
    print(f"{NOTEBOOK.relative_to(ROOT)}: all {cells} code cells ran in {time.monotonic() - started:.0f} s")
    return 0


def copy_project(folder: Path) -> None:
    """Copy scripts, requirements, rooms, docs/ and recipes/ into the new ``folder``, and nothing else that lies beside them."""
    folder.mkdir()
    for path in ROOT.iterdir():
        if path.suffix in (".py", ".txt"):
            shutil.copy(path, folder)
        elif (path / "__init__.py").is_file() or path.name in ("docs", "recipes"):
            shutil.copytree(path, folder / path.name, ignore=shutil.ignore_patterns("__pycache__"))


def run(notebook: NotebookNode, folder: Path, temporary: Path) -> str:
    """Run ``notebook`` in ``folder``, filling in its outputs, and print them cell by cell; returns the error, "" without one.

    A shell line with an exit code other than 0 is an error. Jupyter's own files go into the folder ``temporary``.
    """
    for name in ("XDG_CACHE_HOME", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):
        os.environ[name] = str(temporary / name.lower())
    guard = nbformat.v4.new_code_cell(STOP_AT_FAILURES)
    started = []

    def begin(cell: NotebookNode, cell_index: int) -> None:
        started.append(time.monotonic())

    def end(cell: NotebookNode, cell_index: int, execute_reply: dict) -> None:
        if cell is not guard:
            print(f"--- cell {cell_index}, {time.monotonic() - started[-1]:.0f} s\n{cell.source}\n{text_of(cell)}", flush=True)

    notebook.cells.insert(0, guard)
    client = NotebookClient(
        notebook, timeout=CELL_SECONDS, kernel_name="python3", resources={"metadata": {"path": str(folder)}},
        on_cell_start=begin, on_cell_executed=end,
    )  # fmt: skip
    try:
        client.execute()
    except CellExecutionError as error:
        return f"{error.ename}: {error.evalue}"
    finally:
        notebook.cells.remove(guard)
    return ""


def text_of(cell: NotebookNode) -> str:
    """What a cell printed, each line of a progress bar as it was last drawn, and the kinds of what it showed."""
    parts = []
    for output in cell.outputs:
        if output.output_type == "stream":
            parts.append(output.text)  # the next output may go on with the same line
        elif output.output_type == "error":
            parts.append("\n".join(output.traceback) + "\n")
        else:
            parts.append(f"[{', '.join(output.data)}]\n")
    lines = "".join(parts).split("\n")
    return "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in lines)


if __name__ == "__main__":
    sys.exit(main())
