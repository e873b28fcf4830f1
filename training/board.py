"""The run's log for VisualDL: scalars of every epoch. No training is lost for want of it."""

from pathlib import Path
from typing import Any, Optional

from messages.reason import reason_of
from messages.terminal import print_line
from trained.run_folder import folder_in

_obstacle: Optional[Exception] = None
try:
    from visualdl import LogWriter
except Exception as error:  # it makes folders in the home, and fails with protobuf and NumPy newer than itself
    _obstacle = error

SCALARS = ("train_loss", "train_acc", "val_loss", "val_acc", "val_balanced_acc", "learning_rate")


class Board:
    """The log in the folder ``vdl`` of ``run``. VisualDL starts a new file each time, so older ones are removed and the rows of
    ``history`` are written again.

    Where VisualDL cannot be imported, one line says so, and there is no log. Raises OSError where the log cannot be written,
    RunError where its folder is a link.
    """

    def __init__(self, run: Path, history: list[dict]):
        self.writer: Any = None
        if _obstacle is not None:
            print_line(f"note: the run has no log for VisualDL, which cannot be imported: {reason_of(_obstacle)}")
            return
        folder = folder_in(run, "vdl")
        for file in folder.glob("vdlrecords.*"):
            file.unlink()
        self.writer = LogWriter(logdir=str(folder), flush_secs=5)
        for row in history:
            self.show(row)

    def show(self, row: dict) -> None:
        """Add the row of an epoch."""
        for name in SCALARS if self.writer else ():
            if row[name] is not None:  # an epoch of an older version lacks it
                self.writer.add_scalar(name, row[name], row["epoch"])

    def close(self) -> None:
        """Write what is left."""
        if self.writer:
            self.writer.close()
