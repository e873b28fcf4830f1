"""Which of the trials of one length are the best."""

from collections.abc import Iterable

from tuning.record import Trial


def ranked(trials: Iterable[Trial]) -> list[Trial]:
    """``trials``, all of one rung, the best first; those that diverged come last.

    By the sum of a trial's places in accuracy and in loss; of equal sums the higher accuracy counts, then the lower loss. A few
    hundred photographs measure an accuracy coarsely, and the loss finely. But the loss alone would prefer networks that are
    seldom sure: it grows where a network overfits, long before its accuracy falls.
    """
    trials = list(trials)

    def key(trial):
        if trial.accuracy is None or trial.loss is None:
            return True, 0, 0.0, 0.0
        places = sum(other.accuracy is not None and other.accuracy > trial.accuracy for other in trials)
        places += sum(other.loss is not None and other.loss < trial.loss for other in trials)
        return False, places, -trial.accuracy, trial.loss

    return sorted(trials, key=key)
