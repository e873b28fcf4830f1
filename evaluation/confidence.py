"""How far confidences can be believed: the calibration error before and after temperature scaling."""

from pathlib import Path
from typing import Any, NamedTuple, Optional

import numpy as np

from evaluation.scores import Reliability, error_of_calibrated, reliability
from plots.reliability import draw_reliability
from trained.calibration import FOLDS, confidences_of, cross_fitted
from trained.trained_run import TrainedRun


class Calibration(NamedTuple):
    """The reliability of the confidences that a network gives.

    ``before``: of softmax(logits). ``after``: of softmax(logits / temperature), None where the run has no temperature; with
    ``is_cross_fitted``, each photograph's temperature is from other photographs of this list, else it is the run's.
    ``by_chance``: the error that confidences show that are exactly right.
    """

    temperature: Optional[float]
    is_cross_fitted: bool
    before: Reliability
    after: Optional[Reliability]
    by_chance: float

    def line(self) -> str:
        """The errors in one line for the terminal."""
        if self.after is None:
            return f"expected calibration error {self.before.error:.4f}; {self.by_chance:.4f} by chance alone"
        fitted = f"cross-fitted in {FOLDS} folds" if self.is_cross_fitted else "of the training"
        return (
            f"expected calibration error {self.before.error:.4f} before, {self.after.error:.4f} after temperature scaling "
            f"(T = {self.temperature:.3f}, {fitted}); {self.by_chance:.4f} by chance alone"
        )

    def entries(self) -> dict[str, Any]:
        """The entries of metrics.json."""
        if self.after is None:
            return {"calibration_error": self.before.error, "calibration_error_by_chance": self.by_chance}
        return {
            "temperature": self.temperature,
            "calibration_error": self.before.error,
            "calibration_error_after": self.after.error,
            "calibration_error_by_chance": self.by_chance,
            "cross_fitted": self.is_cross_fitted,
        }


def calibration_of(run: TrainedRun, logits: np.ndarray, labels: np.ndarray, fitted_here: bool) -> Calibration:
    """The Calibration of ``run``, from its logits [N, C] of photographs and their labels [N].

    ``fitted_here``: the photographs are those that the run's temperature was fitted on; it would flatter itself there.
    """
    before = after = confidences_of(logits)
    if run.is_calibrated:
        after = confidences_of(logits, cross_fitted(logits, labels) if fitted_here else run.temperature)
    correct = logits.argmax(axis=1) == labels
    return Calibration(
        run.temperature if run.is_calibrated else None,
        run.is_calibrated and fitted_here,
        reliability(before, correct),
        reliability(after, correct) if run.is_calibrated else None,
        error_of_calibrated(after),
    )


def draw_calibration(calibration: Calibration, path: Path, title: str) -> None:
    """Draw the reliability diagram, before and after temperature scaling. Raises OSError."""
    panels = [("before temperature scaling", calibration.before)]
    if calibration.after:
        panels.append((f"after temperature scaling, T = {calibration.temperature:.3f}", calibration.after))
    draw_reliability(panels, path, title)
