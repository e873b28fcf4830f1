"""Compare finished runs: their validation curves in one picture and their figures in one table."""

import sys
from pathlib import Path

from config import parse_config


class ComparisonError(ValueError):
    """Runs that cannot be compared; the message names the difference."""


def main(config) -> int:
    from training.run_folder import RunError

    try:
        compare(config)
    except (ComparisonError, RunError, OSError) as error:
        print(f"compare.py: error: {error}", file=sys.stderr)
        return 2
    return 0


def compare(config) -> Path:
    """Write comparison.png and table.md into the next free ``runs_dir/compare/NNN`` and return that folder."""
    from reporting.plots import draw_comparison
    from reporting.whole_file import write_text
    from training.run_folder import create_run, newest_finished_run, read_history, read_result

    if config.runs:
        runs = [Path(run) for run in config.runs]
    else:
        runs = [newest_finished_run(config.runs_dir, net) for net in config.nets]
    results = [read_result(run) for run in runs]
    histories = [read_history(run) for run in runs]
    check_comparable(runs, results)
    names = _names(runs)
    table = _table(names, runs, results)
    folder = create_run(config.runs_dir, "compare")
    draw_comparison(list(zip(names, histories)), folder / "comparison.png")
    write_text(folder / "table.md", table)
    print(table, end="")
    print(f"comparison picture and table: {folder}")
    return folder


def check_comparable(runs, results) -> None:
    """Raise ComparisonError unless all runs finished, on the same training and validation lists."""
    if len(runs) < 2:
        raise ComparisonError(f"{len(runs)} run: a comparison needs at least two")
    for run, result in zip(runs, results):
        if result.get("status") != "finished":
            raise ComparisonError(f"{run} is {result.get('status', 'no finished run')}: only finished runs are compared")
        for side in ("train", "val"):
            if result["list_sha256"][side] != results[0]["list_sha256"][side]:
                raise ComparisonError(f"{run} and {runs[0]} saw different photographs: their {side} lists differ")


def _names(runs):
    """The networks' names, with the run's number where a network is there twice."""
    nets = [run.resolve().parent.name for run in runs]
    return [net if nets.count(net) == 1 else f"{net} {run.resolve().name}" for net, run in zip(nets, runs)]


def _table(names, runs, results):
    lines = [
        "| network | best accuracy | epoch | loss there | images/s | seconds | run |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, run, result in zip(names, runs, results):
        best = result["best"]
        lines.append(
            f"| {name} | {best['val_acc']:.4f} | {best['epoch']} of {result['epochs']} | {best['val_loss']:.4f} | "
            f"{result['images_per_second']:.1f} | {result['seconds']:.0f} | {run} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(parse_config()))
