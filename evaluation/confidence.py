"""How far confidences can be believed: the calibration error before and after temperature scaling."""

from typing import Any, NamedTuple, Optional

import numpy as np

from evaluation.scores import Reliability, error_of_calibrated, reliability
from trained.calibration import FOLDS, cross_fitted, probabilities_of
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
    found = probabilities_of(logits)
    if run.is_calibrated:
        found = cross_fitted(logits, labels) if fitted_here else probabilities_of(logits, run.temperature)
    correct = logits.argmax(axis=1) == labels
    return Calibration(
        run.temperature if run.is_calibrated else None,
        run.is_calibrated and fitted_here,
        reliability(probabilities_of(logits).max(axis=1), correct),
        reliability(found.max(axis=1), correct) if run.is_calibrated else None,
        error_of_calibrated(found.max(axis=1)),
    )
