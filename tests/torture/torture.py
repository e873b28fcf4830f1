"""Kills trainings with SIGKILL, again and again, and checks that each ends exactly as one that nobody killed.

``python tests/torture/torture.py --kills 200``. About half of the kills come after a random time, the others at a random point
at which the process writes (see killed_train.py). After each kill every file must be whole and no process and no shared memory
may be left; then the run is resumed, and killed again, until it has been killed a few times and is let through to its end.
"""

import argparse
import concurrent.futures
import itertools
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

warnings.filterwarnings("ignore", message="No ccache found")

from conftest import random_photograph  # noqa: E402
from processes_started import processes_of  # noqa: E402
from tiny_network import check_whole, outcome  # noqa: E402

from data.splitting import split_folder  # noqa: E402

KILLS_OF_A_RUN = 4  # at most; then it is let through to its end
POINTS = 90  # fewer than a run of these sizes has
SHARED = Path("/dev/shm")  # where Paddle's readers put their batches
VARIANTS = (
    ("--num_workers", "0", "--save_every_steps", "1"),
    ("--num_workers", "2", "--save_every_steps", "2", "--optimizer", "adamw"),
    ("--num_workers", "0", "--optimizer", "adam", "--early_stop", "3", "--schedule", "step", "--step_epochs", "1"),
    ("--num_workers", "1", "--save_best_above", "0.2", "--decay_norm_and_bias"),
)


class Torture:
    """Kills trainings on a few photographs in ``folder``; kills, runs, lost, different and unclean are the figures."""

    def __init__(self, folder, seed=0):
        self.folder, self.random = Path(folder), random.Random(seed)
        self.kills, self.runs, self.lost, self.different, self.unclean = 0, 0, 0, 0, []
        self.references = {}
        for label in range(3):
            (self.folder / "data" / f"kind {label}").mkdir(parents=True)
            for index in range(8):
                random_photograph((label, index)).save(self.folder / "data" / f"kind {label}" / f"{index}.png")
        split_folder(self.folder / "data", 0.25)

    def settings(self, variant, runs_dir):
        return [
            "--net", "resnet18", "--data", self.folder / "data", "--runs_dir", runs_dir, "--image_size", "32", "--epochs", "4",
            "--batch_size", "4", "--threads", "1", "--label_smoothing", "0.1", "--rotation", "10", *variant,
        ]  # fmt: skip

    def start(self, arguments, kill_at=0):
        command = [sys.executable, ROOT / "tests" / "torture" / "killed_train.py", *arguments]
        return subprocess.Popen(
            [str(word) for word in command], env={**os.environ, "KILL_AT": str(kill_at)}, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip

    def reference(self, variant):
        """(outcome, seconds) of a training that nobody kills."""
        if variant not in self.references:
            runs_dir = self.folder / f"whole {len(self.references)}"
            started = time.monotonic()
            process = self.start(self.settings(variant, runs_dir))
            printed, _ = process.communicate()
            if process.returncode:
                raise RuntimeError(f"the training itself fails:\n{printed}")
            self.references[variant] = outcome(runs_dir / "resnet18" / "001"), time.monotonic() - started
        return self.references[variant]

    def run(self, variant, most_kills=KILLS_OF_A_RUN) -> None:
        """Train one run to its end, with up to ``most_kills`` kills, and compare it."""
        expected, seconds = self.reference(variant)
        self.runs += 1
        runs_dir = self.folder / f"killed {self.runs}"
        begin, go_on = self.settings(variant, runs_dir), ["--resume", "latest", "--runs_dir", runs_dir]
        began = False
        for attempt in itertools.count():
            by_time = 0 < attempt < most_kills and self.random.random() < 0.6
            kill_at = 0 if by_time or attempt >= most_kills else self.random.randint(1, POINTS)
            before = set(SHARED.glob("paddle_*"))  # a process of the same number may have left some
            process = self.start(go_on if began else begin, kill_at)
            printed, members = self.watch(process, self.random.uniform(0.3, 1.1) * seconds if by_time else None)
            if process.returncode == 0:
                break
            if process.returncode != -signal.SIGKILL:
                self.lost += 1
                print(f"{runs_dir}: exit code {process.returncode}:\n{printed}", flush=True)
                return
            self.kills += 1
            self.check_after_kill(process, members, before, runs_dir)
            began = any(runs_dir.glob("resnet18/*/config.yaml"))
        if outcome(next(config.parent for config in runs_dir.glob("resnet18/*/config.yaml"))) != expected:
            self.different += 1
            print(f"{runs_dir}: another result", flush=True)

    def watch(self, process, killed_after):
        """(what it prints, all processes that were seen of it); kills it after so many seconds, None: lets it live."""
        started, members = time.monotonic(), set()
        with concurrent.futures.ThreadPoolExecutor(1) as reader:
            printed = reader.submit(process.stdout.read)
            while process.poll() is None:
                members.update(processes_of(process.pid))
                if killed_after is not None and time.monotonic() - started > killed_after:
                    process.kill()
                time.sleep(0.02)
            return printed.result(), members

    def check_after_kill(self, process, members, before, runs_dir):
        """Every file whole, no process left, no shared memory left."""
        deadline = time.monotonic() + 5
        while processes_of(process.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        for worker in processes_of(process.pid):
            self.unclean.append(f"process {worker} outlived the kill")
            os.kill(worker, signal.SIGKILL)
        left = {file for member in members for file in SHARED.glob(f"paddle_{member}_*")} - before
        self.unclean += [f"{file} is left in shared memory" for file in sorted(left)]
        self.unclean += files_not_whole(runs_dir)


def files_not_whole(runs_dir) -> list:
    """A line for each file of the runs that a reader cannot read to its end."""
    lines = []
    for file in runs_dir.glob("resnet18/*/*"):
        try:
            check_whole(file)
        except Exception as error:
            lines.append(f"{file} is not whole: {error!r}")
    return lines


def parse(description, kills):
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--kills", type=int, default=kills)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> int:
    options = parse(__doc__, 200)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        torture = Torture(folder, options.seed)
        for variant in itertools.cycle(VARIANTS):
            torture.run(variant)
            print(f"{torture.kills} kills, {torture.runs} runs, {time.monotonic() - started:.0f} s", flush=True)
            if torture.kills >= options.kills:
                break
    for line in torture.unclean:
        print(line)
    print(
        f"{torture.kills} kills in {torture.runs} runs: {torture.lost} runs lost, {torture.different} results that differ, "
        f"{len(torture.unclean)} things left behind; {time.monotonic() - started:.0f} s"
    )
    return int(bool(torture.lost or torture.different or torture.unclean))


if __name__ == "__main__":
    sys.exit(main())
