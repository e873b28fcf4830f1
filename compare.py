"""Compare finished runs: their validation curves in one picture and their figures in one table."""

import sys
from pathlib import Path

from config import ConfigError, load_config, parse_config
from training.runtime import INTERRUPTED


class ComparisonError(ValueError):
    """Runs that cannot be compared; the message names the difference."""


def main(config) -> int:
    from training.run_folder import RunError

    try:
        compare(config)
    except (ComparisonError, ConfigError, RunError, OSError) as error:
        print(f"compare.py: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED
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
    check_comparable(runs, results)
    histories = [read_history(run) for run in runs]
    names = _names(runs, results)
    differing = differing_settings([load_config(run / "config.yaml") for run in runs])
    table = _table(names, runs, results) + "".join(f"\n{line}\n" for line in differing)
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
    if len({run.resolve() for run in runs}) < len(runs):
        raise ComparisonError(f"a run is there twice: {', '.join(map(str, runs))}")
    for run, result in zip(runs, results):
        if result.get("status") != "finished":
            raise ComparisonError(f"{run} is {result.get('status', 'no finished run')}: only finished runs are compared")
        for side in ("train", "val"):
            if result["list_sha256"][side] != results[0]["list_sha256"][side]:
                raise ComparisonError(f"{run} and {runs[0]} saw different photographs: their {side} lists differ")


def differing_settings(configs) -> list:
    """A line for each setting in which the runs differ, but for those of the network itself, the machine and the folders."""
    own = {"net", "sa_groups", "sa_gate", "data", "runs_dir", "device", "threads", "fused", "num_workers"}
    lines = []
    for name in configs[0].as_dict():
        values = [config.as_dict()[name] for config in configs]
        if name not in own and any(value != values[0] for value in values):
            lines.append(f"Note: the runs differ in {name}: {', '.join(map(str, values))}.")
    return lines


def _names(runs, results):
    """The networks' names, with the run's number where a network is there twice."""
    nets = [result["net"] for result in results]
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
