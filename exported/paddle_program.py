"""The network as a program of Paddle Inference, without what only this machine needs."""

from pathlib import Path

import paddle

from inference.program import NAME, program_file, save_program
from trained.trained_run import TrainedRun


def write_program(run: TrainedRun, folder: Path, dtype: str = "uint8") -> Path:
    """Make ``folder`` and write the program of ``run`` into it, see inference.program.save_program; returns the program's file.

    Raises OSError, and as save_program does.
    """
    folder.mkdir()
    save_program(run, folder, dtype)
    program = program_file(folder)
    if program.suffix == ".pdmodel":
        _forget_this_machine(program)
        (folder / f"{NAME}.pdiparams.info").unlink(missing_ok=True)  # for training on
    return program


def _forget_this_machine(program: Path) -> None:
    """Remove the stack, with paths of files, that Paddle 2.6 notes beside every operator of a .pdmodel."""
    content = paddle.base.core.ProgramDesc(program.read_bytes())
    for block in map(content.block, range(content.num_blocks())):
        for operator in map(block.op, range(block.op_size())):
            if operator.has_attr("op_callstack"):
                operator.remove_attr("op_callstack")
    program.write_bytes(content.serialize_to_string())
