"""Evaluate a trained network on the validation list: accuracy, per-class figures, confusion matrix, every prediction."""

from config import parse_config
from machine import runtime


def main(config) -> int:
    return runtime.run("eval", lambda config: print(evaluate(config)), config)


def evaluate(config) -> dict:
    """Evaluate the run that ``config`` chooses: see evaluation.evaluate_run.evaluate_run."""
    from evaluation.evaluate_run import evaluate_run

    return evaluate_run(config)


if __name__ == "__main__":
    runtime.leave(main(parse_config()))
