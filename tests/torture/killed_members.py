"""Kills single processes of trainings over several, again and again; each must end as one that nobody disturbed.

``python tests/torture/killed_members.py --kills 50``. Each time a random process, at a random time. The command must then end
within 15 seconds with one line, every file must be whole, and no process and no shared memory may be left; the run is resumed,
and killed again, until it has been killed a few times and is let through to its end.
"""

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
from processes_started import members_of  # noqa: E402
from tiny_network import outcome  # noqa: E402
from torture import files_not_whole, parse  # noqa: E402

from data.splitting import split_folder  # noqa: E402

KILLS_OF_A_RUN = 4  # at most; then it is let through to its end
SECONDS = 15  # in which the others must have ended
SHARED = Path("/dev/shm")
VARIANTS = (
    ("--processes", "2", "--num_workers", "0", "--save_every_steps", "1", "--mixup", "0.2"),
    ("--processes", "3", "--num_workers", "1", "--save_every_steps", "2", "--ema_epochs", "1", "--accumulate", "2"),
)


class Torture:
    """Trains on a few photographs in ``folder``; ``kills``, ``runs`` and ``faults`` are the figures."""

    def __init__(self, folder, seed):
        self.folder, self.random = Path(folder), random.Random(seed)
        self.kills, self.runs, self.faults = 0, 0, []
        self.references = {}
        for label in range(3):
            (self.folder / "data" / f"kind {label}").mkdir(parents=True)
            for index in range(12):
                random_photograph((label, index)).save(self.folder / "data" / f"kind {label}" / f"{index}.png")
        split_folder(self.folder / "data", 0.25)

    def start(self, runs_dir, *arguments):
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests" / "tiny_networks_everywhere")}
        command = [sys.executable, ROOT / "train.py", "--runs_dir", runs_dir, *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([str(word) for word in command], env=environment, **pipes)

    def settings(self, variant):
        return [
            "--net", "resnet18", "--data", self.folder / "data", "--image_size", "32", "--epochs", "20", "--batch_size", "6",
            "--threads", "1", *variant,
        ]  # fmt: skip

    def reference(self, variant):
        """(outcome, seconds from the first sign of the run to the end) of a training that nobody disturbs."""
        if variant not in self.references:
            runs_dir = self.folder / f"whole {len(self.references)}"
            process = self.start(runs_dir, *self.settings(variant))
            self.wait_for_run(process, runs_dir)
            started = time.monotonic()
            out, err = process.communicate()
            if process.returncode:
                raise RuntimeError(f"the training itself fails:\n{out}{err}")
            self.references[variant] = outcome(runs_dir / "resnet18" / "001"), time.monotonic() - started
        return self.references[variant]

    def wait_for_run(self, process, runs_dir):
        """Until the run has its folder: before that there is nothing to resume."""
        while process.poll() is None and not any(runs_dir.glob("resnet18/*/config.yaml")):
            time.sleep(0.02)

    def run(self, variant) -> None:
        """Train one run to its end, with up to KILLS_OF_A_RUN kills, and compare it."""
        expected, seconds = self.reference(variant)
        self.runs += 1
        runs_dir = self.folder / f"killed {self.runs}"
        arguments = self.settings(variant)
        for attempt in itertools.count():
            before = set(SHARED.iterdir())
            process = self.start(runs_dir, *arguments)
            self.wait_for_run(process, runs_dir)
            if attempt < KILLS_OF_A_RUN:
                self.kill_one(process, runs_dir, self.random.uniform(0, 1.2) * seconds + 8 * (attempt > 0))
            out, err = process.communicate()
            self.check_after(process, out, err, runs_dir, before)
            if process.returncode == 0:
                break
            arguments = ["--resume", "latest", *variant[:2]]
            if attempt > KILLS_OF_A_RUN:
                self.faults.append(f"{runs_dir}: it never ends:\n{out}{err}")
                return
        if outcome(runs_dir / "resnet18" / "001") != expected:
            self.faults.append(f"{runs_dir}: another result")

    def kill_one(self, process, runs_dir, seconds):
        """Kill one of those that train, after so many seconds if it is still there."""
        end = time.monotonic() + seconds
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        ranks = [pid for rank, pid in members_of(runs_dir).items() if rank.isdecimal()]
        if process.poll() is not None or not ranks:
            return
        try:
            os.kill(self.random.choice(ranks), signal.SIGKILL)
        except ProcessLookupError:
            return
        self.kills += 1
        killed = time.monotonic()
        while process.poll() is None and time.monotonic() < killed + SECONDS:
            time.sleep(0.05)
        if process.poll() is None:
            self.faults.append(f"{runs_dir}: not at its end {SECONDS} s after the kill")

    def check_after(self, process, out, err, runs_dir, before):
        deadline = time.monotonic() + 5
        while members_of(runs_dir) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.faults += [f"{runs_dir}: process {rank} outlived the others" for rank in members_of(runs_dir)]
        if process.returncode not in (0, 1) or len(err.splitlines()) > 1:
            self.faults.append(f"{runs_dir}: exit code {process.returncode}:\n{out}{err}")
        left = sorted(file for file in set(SHARED.iterdir()) - before if not of_living_process(file))
        self.faults += [f"{file} is left in shared memory" for file in left]
        self.faults += files_not_whole(runs_dir)


def of_living_process(file) -> bool:
    """Whether a file of Paddle's loader, paddle_PID_NUMBER_NUMBER, is still in use, by whatever program."""
    return Path("/proc", file.name.split("_")[1]).exists() if file.name.count("_") == 3 else False


def main() -> int:
    options = parse(__doc__, 50)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        torture = Torture(folder, options.seed)
        for variant in itertools.cycle(VARIANTS):
            torture.run(variant)
            print(f"{torture.kills} kills, {torture.runs} runs, {time.monotonic() - started:.0f} s", flush=True)
            if torture.kills >= options.kills:
                break
    print(*torture.faults, sep="\n")
    print(f"{torture.kills} kills in {torture.runs} runs: {len(torture.faults)} faults; {time.monotonic() - started:.0f} s")
    return int(bool(torture.faults))


if __name__ == "__main__":
    sys.exit(main())
