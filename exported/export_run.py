"""The work of export.py: a trained network as files for other programs."""

import shutil
import sys
import tempfile
from pathlib import Path

import paddle

from config import Config, names_of
from exported.equality import Difference, check_equal, sample_of
from exported.export_error import ExportError
from exported.model_card import facts_of, write_labels, write_model_card
from exported.onnx_model import find_python, write_onnx
from exported.paddle_program import write_program
from exported.paddlex_folder import why_not_paddlex, write_inference_yml
from inference.program import program_file
from machine.temporary_folder import temporary_folder
from machine.whole_folder import whole_folder
from messages.terminal import print_line, printable
from ops import fused
from trained.trained_run import TrainedRun

FOLDER = "export"
EXAMPLE = Path(__file__).with_name("example.py")


def export_run(config: Config) -> Path:
    """Write the folder ``export`` of the run that ``config`` chooses, and return it.

    It appears, in the place of an older one, once every form in it has answered photographs as the network does. Raises a
    UserError where it cannot.
    """
    run = TrainedRun.chosen(config)
    forms = _forms(run, config)
    weights = _identity(run.checkpoint)
    config = config.inherit(run.settings, names_of(inherited_by="export")).resolved()
    paddle.set_device("cpu")  # where every form can be run
    fused.set_mode(config.fused)
    python = find_python() if "onnx" in forms else sys.executable  # fails before any work is done
    sample = sample_of(run, run.source(config))
    checks: dict[str, Difference] = {}
    with tempfile.TemporaryDirectory(dir=temporary_folder(config.runs_dir)) as place:
        scratch = Path(place)
        with whole_folder(run.folder / FOLDER) as folder:
            for form in forms:
                model = FORMS[form](run, folder, scratch, python)
                if _identity(run.checkpoint) != weights:
                    raise ExportError(
                        f"{run.checkpoint} has changed meanwhile: the run is being trained; export it once that ends"
                    )
                runner = python if form == "onnx" else sys.executable
                checks[form] = check_equal(sample, run.classes, form, model, scratch, runner, config.threads or 1)
                print(f"{form}: {checks[form]}")
            write_labels(run, folder)
            write_model_card(run, folder, checks, config.licence)
    print(f"exported: {printable(run.folder / FOLDER)}")
    return run.folder / FOLDER


def _forms(run, config):
    """The forms to write, each once; raises ExportError where the user asks for one that there is none of."""
    forms = list(dict.fromkeys(config.export_formats))
    reason = why_not_paddlex(run) if "paddlex" in forms else None
    if reason and "export_formats" in config.given:
        raise ExportError(f"format = 'paddlex': {reason}; --format onnx paddle exports the others")
    if reason:
        print_line(f"note: no paddlex: {printable(reason)}")
        forms.remove("paddlex")
    return forms


def _identity(file):
    """What tells whether a file was replaced."""
    status = file.stat()
    return status.st_ino, status.st_mtime_ns, status.st_size


def _program(run, scratch):
    """The file of the program that takes raw pixels; written at the first call: tracing a network takes long."""
    folder = scratch / "program"
    return program_file(folder) if folder.exists() else write_program(run, folder)


def _write_onnx(run, folder, scratch, python):
    write_onnx(_program(run, scratch), folder / "model.onnx", facts_of(run), scratch, python)
    shutil.copyfile(EXAMPLE, folder / EXAMPLE.name)
    return folder / "model.onnx"


def _write_paddle(run, folder, scratch, python):
    program = _program(run, scratch)
    shutil.copytree(program.parent, folder / "paddle")
    return folder / "paddle" / program.name


def _write_paddlex(run, folder, scratch, python):
    program = write_program(run, folder / "paddlex", "float32")
    write_inference_yml(run, folder / "paddlex")
    return program


FORMS = {"onnx": _write_onnx, "paddle": _write_paddle, "paddlex": _write_paddlex}
"""For each form, the function that writes it and returns its file that a runtime opens."""
