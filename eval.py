"""Evaluate a trained network on the validation or test list: accuracy, figures by class, confusion matrix, all predictions."""

import os
import sys

if getattr(sys.flags, "safe_path", False):  # PYTHONSAFEPATH=1 or -P: Python leaves the script's own folder out
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from machine import ending
from config import Config, parse_config
from processes import launcher
from processes.environment import is_launched


def main(config: Config) -> int:
    if config.processes != 1 and not is_launched():
        return launcher.run("eval", config.processes, config)
    return ending.run("eval", lambda config: print(evaluate(config)), config)


def evaluate(config: Config) -> dict:
    """Evaluate the run that ``config`` chooses: see evaluation.evaluate_run."""
    from evaluation.evaluate_run import evaluate_run  # imports Paddle, so only once the settings have been checked

    return evaluate_run(config)


if __name__ == "__main__":
    ending.leave(main(parse_config()))
