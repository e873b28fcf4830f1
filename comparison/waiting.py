"""What a comparison says while another process does what it needs."""

import time
from pathlib import Path
from typing import Callable, Optional

from messages.terminal import printable
from messages.user_error import UserError
from trained.history import read_history
from trained.run_error import RunError
from trained.run_folder import lock_run

PATIENCE = 10.0  # seconds after which a line comes even if the run's folder is not known yet


class TrainingElsewhere:
    """One line when the waiting for a training begins, and one for each epoch that ends meanwhile.

    ``find_begun(training)``: its run that has not finished, or None; str(training) names it.
    """

    def __init__(self, find_begun: Callable[..., Optional[Path]]):
        self.find_begun = find_begun
        self.training: object = None
        self.since, self.said = 0.0, False
        self.run: Optional[Path] = None
        self.epochs = 0

    def tell(self, training: object) -> None:
        """Say what is new about ``training``, which another process has claimed. Raises FormatError."""
        if training is not self.training:
            self.training, self.since, self.run, self.said = training, time.monotonic(), None, False
        if self.run is None:
            self.run = self.find_begun(training)
            self.epochs = self._epochs()
        if not self.said and (self.run or time.monotonic() > self.since + PATIENCE):
            where = f" in {printable(self.run)}" if self.run else ""
            print(f"{training}: another process trains it{where}; this comparison goes on when that ends", flush=True)
            self.said = True
        epochs = self._epochs()
        if epochs > self.epochs:
            print(f"{training}: {printable(self.run)} has finished epoch {epochs}", flush=True)
            self.epochs = epochs

    def _epochs(self) -> int:
        try:
            return len(read_history(self.run)) if self.run else 0
        except UserError:  # no epoch has finished yet
            return 0


class EvaluationElsewhere:
    """One line when the waiting for an evaluation begins."""

    def __init__(self) -> None:
        self.said: set[Path] = set()

    def tell(self, run: Path) -> None:
        """Say that another process evaluates ``run``."""
        if run not in self.said:
            print(f"another process evaluates {printable(run)}; this comparison goes on when that ends", flush=True)
            self.said.add(run)


def is_being_trained(run: Path) -> bool:
    """Whether a process trains ``run`` now."""
    try:
        with lock_run(run):
            return False
    except RunError:
        return True
    except OSError:  # a folder that cannot be written to
        return False
