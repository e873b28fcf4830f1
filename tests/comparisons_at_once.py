"""Starts pairs of comparisons together and checks that they share their work and give equal reports; kills one if asked to.

    python tests/comparisons_at_once.py --pairs 20
    python tests/comparisons_at_once.py --pairs 20 --kill

A killed one must take its trainings with it, and the other one must end as if it had been alone.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from processes_started import processes_of
from tiny_comparisons import MEASURED, without_prices

ROOT = Path(__file__).resolve().parent.parent
NETS = ("resnet18", "resnet34")
KEPT = {".lock", ".eval.lock"}  # hidden files of a run that stay


def write_photographs(folder: Path) -> None:
    """Three classes of ten noisy pictures, and their lists."""
    sys.path.insert(0, str(ROOT))
    from data.splitting import split_folder

    for label, colour in enumerate(((200, 60, 60), (60, 200, 60), (60, 60, 200))):
        (folder / f"kind_{label}").mkdir(parents=True)
        for number in range(10):
            noise = Image.merge("RGB", [Image.effect_noise((40, 44), 90) for _ in range(3)])
            Image.blend(noise, Image.new("RGB", noise.size, colour), 0.2).save(folder / f"kind_{label}" / f"{number}.png")
    split_folder(folder, 0.4)


def start(data: Path, runs: Path) -> subprocess.Popen:
    """A comparison of two tiny networks, in a session of its own."""
    command = [sys.executable, str(ROOT / "compare.py"), "--nets", *NETS, "--data", str(data), "--runs_dir", str(runs)]
    command += ["--image_size", "32", "--epochs", "12", "--batch_size", "9"]
    command += ["--num_workers", "1", "--threads", "1", "--device", "cpu"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests" / "tiny_networks_everywhere")}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "errors": "replace"}
    return subprocess.Popen(command, env=environment, start_new_session=True, **pipes)


def report(folder: Path, measured: bool) -> dict:
    """table.json of a comparison, without what was measured now, and with ``measured`` with what its runs measured."""
    found = json.loads((folder / "table.json").read_text(encoding="utf-8"))
    for row in found["networks"]:
        for name in MEASURED[:1] if measured else MEASURED:
            row.pop(name)
    found["verdict"] = without_prices(found["verdict"])
    return found


def litter(runs: Path) -> list[str]:
    """What a comparison should have removed."""
    hidden = [path for path in runs.rglob(".*") if path.name not in KEPT]
    return [str(path.relative_to(runs)) for path in hidden]


def wait_for(condition, seconds):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.1)
    return condition()


def pair(data: Path, runs: Path, kill: bool, alone: dict) -> list[str]:
    """Run two comparisons at once; returns what is wrong. ``alone``: the report of one that ran alone."""
    both, faults = [start(data, runs) for _ in range(2)], []
    if kill:
        time.sleep(random.uniform(3, 20))
        victim = both.pop(random.randrange(2))
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        if not wait_for(lambda: not processes_of(victim.pid), 10):
            faults.append("a training outlived its comparison")
    outputs = [process.communicate()[0] for process in both]
    for process, output in zip(both, outputs):
        if process.returncode:
            faults.append(f"exit code {process.returncode}: {output}")
    if faults:
        return faults
    reports = [
        report(folder, measured=True) for folder in sorted((runs / "compare").iterdir()) if (folder / "table.json").exists()
    ]
    if any(one != reports[0] for one in reports):
        faults.append("the reports differ")
    own = json.loads(json.dumps(report(next((runs / "compare").glob("*/table.json")).parent, False)).replace(str(runs), ""))
    if own != alone:
        faults.append(f"another report than that of a comparison alone: {own} {alone}")
    many = {net: len(list((runs / net).glob("[0-9]*"))) for net in NETS}
    if not kill and many != dict.fromkeys(NETS, 1):
        faults.append(f"trained more than once: {many}")
    if litter(runs):
        faults.append(f"left behind: {litter(runs)}")
    return faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--kill", action="store_true")
    options = parser.parse_args()
    bad = 0
    with tempfile.TemporaryDirectory() as place:
        data, runs = Path(place, "photographs"), Path(place, "runs")
        write_photographs(data)
        process = start(data, runs)
        print(process.communicate()[0])
        alone = json.loads(json.dumps(report(runs / "compare" / "001", False)).replace(str(runs), ""))
        for number in range(1, options.pairs + 1):
            shutil.rmtree(runs)
            began = time.monotonic()
            faults = pair(data, runs, options.kill, alone)
            bad += bool(faults)
            print(f"pair {number}: {time.monotonic() - began:.0f} s, {'; '.join(faults) or 'well'}", flush=True)
    print(f"{options.pairs} pairs, {bad} with faults")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
