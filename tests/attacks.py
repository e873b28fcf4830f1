"""Attacks on the scripts from outside, one for each promise about strangers, shared machines and bad luck.

docs/reliability.md has the promises.

    python tests/attacks.py                all of them
    python tests/attacks.py library disk   some of them

Each has a folder of its own with photographs, two trained tiny networks and an empty cache; the scripts run as processes.
Prints a line for each attack; the exit code is 1 if one succeeded.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import NamedTuple

from comparisons_at_once import NETS, ROOT, pair, report, start, write_photographs
from PIL import Image

PLANTED = '#include <cstdio>\n__attribute__((constructor)) static void run() {{ fclose(fopen("{}", "w")); }}\n'


class Ended(NamedTuple):
    code: int
    text: str  # stdout and stderr
    error: str  # the last line


class Place:
    """A folder with ``data`` and ``runs`` in it, and scripts that run there. ``faults``: what an attack has achieved."""

    def __init__(self, folder: Path):
        self.folder, self.data, self.runs, self.faults = folder, folder / "photographs", folder / "runs", []
        self.environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests" / "tiny_networks_everywhere")}
        self.environment["XDG_CACHE_HOME"] = str(folder / "cache")

    def run(self, script: str, *words: object, seconds: float = 300, fused: str = "off", **variables: str) -> Ended:
        command = [sys.executable, str(ROOT / f"{script}.py"), *map(str, words)]
        if script not in ("train_val_split", "show_photographs", "sample_animals"):
            command += ["--device", "cpu", "--threads", "1", "--fused", fused]
        started = subprocess.Popen(
            command, env={**self.environment, **variables}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", cwd=self.folder,
        )  # fmt: skip
        try:
            text = started.communicate(timeout=seconds)[0]
        except subprocess.TimeoutExpired:
            started.kill()
            text = started.communicate()[0] + f"\nhangs for {seconds:.0f} s"
            self.faults.append(f"{script} hangs")
        self.demand("traceback" not in text.lower(), f"{script}: a traceback: {text[-500:]}")
        return Ended(started.returncode, text, text.rstrip().rpartition("\n")[2])

    def demand(self, held: bool, fault: str) -> None:
        if not held:
            self.faults.append(fault)

    def train(self, net: str, *words: object, **options) -> Ended:
        where = ("--data", self.data, "--runs_dir", self.runs)
        size = ("--image_size", "32", "--epochs", "1", "--batch_size", "9", "--num_workers", "0")
        return self.run("train", "--net", net, *where, *size, *words, **options)

    def refused(self, ended: Ended, reason: str) -> None:
        self.demand(ended.code == 2 and reason in ended.error, f"not refused with {reason!r}: {ended.code} {ended.error}")

    def compared(self, *words: object) -> Ended:
        both = [self.runs / net / "001" for net in NETS]
        return self.run("compare", "--runs", *both, "--runs_dir", self.runs, "--data", self.data, *words)


# ---- A run folder may come from a stranger


def files(place: Place) -> None:
    """Damaged files of a run."""
    run = place.runs / NETS[0] / "001"
    result = run / "result.json"
    good = result.read_text()
    result.write_text(json.dumps({**json.loads(good), "images_per_second": "abc"}))
    place.refused(place.compared(), "images_per_second")
    result.unlink()
    os.mkfifo(result)
    place.refused(place.run("eval", "--run", run, "--data", place.data), "result.json")
    result.unlink()
    result.write_text(good)
    (place.runs / NETS[1] / "002").mkdir()
    (place.runs / NETS[1] / "002" / "config.yaml").write_text("[" * 3000)
    place.demand(place.compared().code == 0, "a damaged neighbour stops a comparison")
    place.demand(not (place.runs / "compare" / "002").exists(), "a folder without a comparison is left")


def outside(place: Place) -> None:
    """A run that leads out of itself."""
    run, private = place.runs / NETS[0] / "001", place.folder / "private"
    private.mkdir()
    Image.new("RGB", (40, 40)).save(private / "me.png")
    (place.data / "val_list.txt").write_text(f"{private / 'me.png'} 0\n")
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("follow_links: false", "follow_links: true"))
    place.refused(place.run("eval", "--run", run, "--data", place.data), "me.png")
    shutil.rmtree(run / "eval")
    (run / "eval").symlink_to(private)
    place.refused(place.run("eval", "--run", run, "--data", place.data), "is a link")
    place.demand(os.listdir(private) == ["me.png"], f"written outside: {os.listdir(private)}")


def figures(place: Place) -> None:
    """An evaluation that claims more than its predictions say."""
    metrics = place.runs / NETS[0] / "001" / "eval" / "metrics.json"
    true = json.loads(metrics.read_text())["acc"]
    metrics.write_text(json.dumps({**json.loads(metrics.read_text()), "acc": 0.99}))
    place.compared()
    (table,) = (place.runs / "compare").glob("*/table.json")
    accuracies = {row["network"]: row["accuracy"] for row in json.loads(table.read_text())["networks"]}
    place.demand(abs(accuracies[NETS[0]] - true) < 1e-6, f"the table believes it: {accuracies}")


def names(place: Place) -> None:
    """Names of classes that a terminal or a spreadsheet would obey."""
    os.rename(place.data / "kind_0", place.data / "=1+1\x1b[2J")
    place.run("train_val_split", "--data", place.data)
    place.train(NETS[0], "--runs_dir", place.folder / "more")
    ended = place.run("eval", "--run", place.folder / "more" / NETS[0] / "001", "--data", place.data)
    cells = (place.folder / "more" / NETS[0] / "001" / "eval" / "predictions.csv").read_text()
    place.demand("\x1b" not in ended.text, "an escape sequence on the terminal")
    place.demand("'=1+1" in cells and ",=1+1" not in cells, "a formula in a table")


def copies(place: Place) -> None:
    """A copy that the user made beside a run."""
    shutil.copytree(place.runs / NETS[0] / "001", place.runs / NETS[0] / "001.bak")
    ended = place.run("eval", "--net", NETS[0], "--runs_dir", place.runs, "--data", place.data)
    place.demand(ended.code == 0 and "001.bak" not in ended.text, f"001.bak is taken for a run: {ended.error}")


# ---- Shared machines


def library(place: Place) -> None:
    """A library that another user has planted in a cache folder that all can write to."""
    if (ended := place.train(NETS[1], fused="auto")).code or not (built := list(place.folder.glob("cache/*/*/block_end.so"))):
        place.faults.append(f"nothing was built: {ended.error}")
        return
    cache, proof = place.folder / "open", place.folder / "planted-code-ran"
    shutil.copytree(place.folder / "cache", cache)
    cache.chmod(0o777)
    source, planted = place.folder / "planted.cc", cache / built[0].relative_to(place.folder / "cache")
    source.write_text(PLANTED.format(proof))
    subprocess.run(["g++", "-shared", "-fPIC", source, "-o", planted], check=True)
    ended = place.train(NETS[1], fused="auto", XDG_CACHE_HOME=str(cache))
    place.demand(not proof.exists(), "the planted code ran")
    place.demand(ended.code == 0 and "other users can write to" in ended.text, f"nothing is said of it: {ended.text[-400:]}")


# ---- Two at once, and killed


def together(place: Place, kill: bool = False) -> None:
    """Two comparisons with one folder of runs."""
    start(place.data, place.folder / "alone").communicate()
    alone = report(place.folder / "alone" / "compare" / "001", False)
    alone = json.loads(json.dumps(alone).replace(str(place.folder / "alone"), ""))
    place.faults += pair(place.data, place.folder / "both", kill, alone)


def killed(place: Place) -> None:
    """The same, and one is killed."""
    together(place, kill=True)


def disk(place: Place) -> None:
    """A disk that is full when the best epoch is written."""
    full = place.folder / "full"
    full.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", str(full)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        print("  not tried: it needs the right to mount")
        return
    try:
        ended = place.train(NETS[0], "--runs_dir", full)
    finally:
        subprocess.run(["umount", str(full)], check=True)
    place.demand(ended.code != 0 and "No space left on device" in ended.text, f"not said as such: {ended.text[-400:]}")


# ---- What changed, and what is large


def photographs(place: Place) -> None:
    """Two photographs that exchange their content."""
    one, other, beside = place.data / "kind_0" / "0.png", place.data / "kind_1" / "0.png", place.data / "beside"
    os.rename(one, beside)
    os.rename(other, one)
    os.rename(beside, other)
    where = ("--data", place.data, "--runs_dir", place.runs)
    resumed = place.run("train", "--resume", place.runs / NETS[0] / "001", *where[:2], "--epochs", "2")
    evaluated = place.run("eval", "--net", NETS[0], *where)
    of_compare = place.run("compare", "--nets", *NETS, *where, "--image_size", "32", "--epochs", "1", "--batch_size", "9")
    for ended in (resumed, evaluated, of_compare):
        place.demand(ended.code != 0 and "not those that the split saw" in ended.text, f"not noticed: {ended.error}")


def classes(place: Place) -> None:
    """A thousand classes."""
    data = place.folder / "many"
    for label in range(1000):
        (data / f"class_{label}").mkdir(parents=True)
        for number in range(2):
            picture = Image.effect_noise((8, 8), 90)
            picture.save(data / f"class_{label}" / f"{number}.png")
    place.run("train_val_split", "--data", data, "--val_fraction", "0.5")
    ended = place.train(NETS[0], "--data", data, "--runs_dir", place.folder / "of_many")
    place.demand(ended.code == 0, f"no training: {ended.error}")
    began = time.monotonic()
    run = place.folder / "of_many" / NETS[0] / "001"
    ended = place.run("eval", "--run", run, "--data", data)
    place.demand(ended.code == 0 and (run / "eval" / "confusion_matrix.png").exists(), f"no evaluation: {ended.error}")
    place.demand(time.monotonic() - began < 60, f"evaluation takes {time.monotonic() - began:.0f} s")


def archive(place: Place) -> None:
    """An archive of 250,000 empty files."""
    bomb = place.folder / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as file:
        for number in range(250_000):
            file.writestr(f"{number % 10}/{number}.png", "")
    ended = place.run("train_val_split", "--data", bomb)
    place.demand(ended.code == 2 and "files" in ended.error, f"not refused: {ended.error}")
    left = sum(len(found) for _, _, found in os.walk(place.folder / "cache"))
    place.demand(left < 10, f"{left} files stay in the cache")


def compiler(place: Place) -> None:
    """A compiler that hangs; and no streams to write to."""
    hanging = place.folder / "hanging"
    hanging.write_text("#!/bin/sh\nexec sleep 1000\n")
    hanging.chmod(0o755)
    ended = place.train(NETS[1], fused="auto", CXX=str(hanging))
    place.demand(ended.code == 0 and "given up" in ended.text, f"not given up: {ended.text[-400:]}")
    command = [sys.executable, str(ROOT / "train_val_split.py"), "--data", str(place.data)]
    closed = subprocess.run(["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *command], env=place.environment, check=False)
    place.demand(closed.returncode == 0, f"exit code {closed.returncode} with closed streams")


ATTACKS = (
    files, outside, figures, names, copies, library, together, killed, disk, photographs, classes, archive, compiler,
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("attacks", nargs="*", help=", ".join(attack.__name__ for attack in ATTACKS))
    chosen = parser.parse_args().attacks
    succeeded = 0
    with tempfile.TemporaryDirectory(prefix="attacks-") as top:
        good = Place(Path(top, "good"))
        write_photographs(good.data)
        for net in NETS:
            for ended in (good.train(net), good.run("eval", "--run", good.runs / net / "001", "--data", good.data)):
                assert ended.code == 0, ended.text
        for attack in ATTACKS:
            if chosen and attack.__name__ not in chosen:
                continue
            place = Place(Path(top, attack.__name__))
            shutil.copytree(good.folder, place.folder)
            shutil.rmtree(place.folder / "cache", ignore_errors=True)
            began = time.monotonic()
            attack(place)
            succeeded += bool(place.faults)
            outcome = "; ".join(place.faults) or "held"
            print(f"{attack.__name__}: {attack.__doc__} {outcome} ({time.monotonic() - began:.0f} s)", flush=True)
            shutil.rmtree(place.folder, ignore_errors=True)
    return 1 if succeeded else 0


if __name__ == "__main__":
    sys.exit(main())
