"""The long form of test_hostile_roots.py and test_damaged_photographs.py, each script in a process of its own: `make hostile`.

Every hostile data folder goes through train_val_split, train, eval, compare, gradcam, predict and show_photographs; lists of
damaged photographs through all but the first and the last, with 0 and with 2 workers, and all damaged photographs through
predict; the largest photographs through both ways of reading. What must not be: a hang, a traceback, a killed process, a raw
control character on the terminal, a refusal of more than one line, a wrong label, a photograph that predict moves or leaves
without an answer and a reason. The last lines are the figures; the exit code is 1 where anything of this was.
"""

import collections
import csv
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

import matplotlib.figure  # noqa: F401
import paddle  # noqa: F401
from damaged_photographs import big_photographs, damaged_photographs
from hostile_roots import CLASSES, HOSTILE_ROOTS, plain, with_lists

import compare
import eval as eval_script
import gradcam
import plots.figures  # noqa: F401
import predict
import show_photographs
import train
import train_val_split
from config import parse_config
from data.data_folder import DataFolder
from data.lists import TRAIN_LIST, VAL_LIST, DataError
from data.photographs import PhotographError, read_photograph

SCRIPTS = {
    "train_val_split": train_val_split, "train": train, "eval": eval_script, "compare": compare, "gradcam": gradcam,
    "predict": predict, "show_photographs": show_photographs,
}  # fmt: skip
ROOT = Path(__file__).resolve().parent.parent
LIMIT = 120  # seconds for a script; what takes longer counts as a hang
NET = "resnet18"
PLAIN = ("--fused", "off", "--threads", "1")
TRAINING = ("--image_size", "32", "--epochs", "1", "--batch_size", "4", *PLAIN)
LISTS_OF_DAMAGED = 6
RAW = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xaa-\xae]")
OF_PADDLE = re.compile(r"^W\d{4} .*eager_utils\.cc.*\n", re.MULTILINE)  # where one process traces network after network
SIDE_LINES = ("note: ", "left out: ", "plain operators run", "unpacking ", "train.py: error: ", "eval.py: error: ")
MEASURE = """
import sys, time
from data.boxes import central_box
from data.photographs import PhotographError, read_crop, read_photograph
try:
    read_photograph(sys.argv[1]) if sys.argv[2] == "whole" else read_crop(sys.argv[1], central_box(224), 224)
except PhotographError:
    pass
print(time.process_time(), next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


class Record:
    """What the runs came to."""

    def __init__(self):
        self.faults, self.ends, self.slowest = [], collections.Counter(), (0.0, "")

    def fault(self, what, name, detail=""):
        self.faults.append(f"{what}: {name} {detail}")
        print(f"FAULT {self.faults[-1]}", flush=True)

    def run(self, name, script, *arguments):
        """Run a script; returns its exit code, None where it hung."""
        started = time.monotonic()
        code, out, err = run_process(script, list(map(os.fspath, arguments)))
        seconds = time.monotonic() - started
        if code is None:
            self.fault("hang", name, script)
            return None
        self.slowest = max(self.slowest, (seconds, f"{script}, {name}"))
        self.ends[script, code] += 1
        said = err.decode("utf-8", "replace")
        said = OF_PADDLE.sub("", said)
        lines = [line for line in said.splitlines() if not line.startswith(SIDE_LINES) or line.startswith(f"{script}.py")]
        if b"Traceback" in err or code not in (0, 1, 2) or (code == 1 and script != "compare"):
            self.fault("crash", name, f"{script} {code} {said[-2000:]}")
        elif code == 2 and (len(lines) != 1 or not lines[0].startswith(f"{script}.py: error: ")):
            self.fault("not one line", name, f"{script} {said[-1000:]!r}")
        elif code == 0 and lines:
            self.fault("noise", name, f"{script} {said[-1000:]!r}")
        if RAW.search(out + err):
            self.fault("raw control character", name, script)
        return code


def run_process(script, arguments):
    """(exit code, stdout, stderr) of a script in a process of its own; the code is None where it hung.

    The process is forked from this one, which has imported Paddle but computed nothing: importing takes longer than the rest.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if not child:
            code = 1
            try:
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                sys.stdout, sys.stderr = open(1, "w", encoding="utf-8"), open(2, "w", encoding="utf-8")  # noqa: SIM115
                code = SCRIPTS[script].main(parse_config(arguments, script))
            except SystemExit as end:
                code = end.code
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        deadline = time.monotonic() + LIMIT
        while time.monotonic() < deadline:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                out.seek(0)
                err.seek(0)
                return os.waitstatus_to_exitcode(status), out.read(), err.read()
            time.sleep(0.02)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return None, b"", b""


def check_labels(record, name, data, run):
    """The lists, and what was evaluated, have each photograph under the class of its folder."""
    try:
        listed = DataFolder(data).class_of_paths()
    except (DataError, OSError):
        return
    if any(label not in (path.split("/")[-2], path.split("/")[0]) for path, label in listed.items()):
        record.fault("wrong label", name, "in the lists")
    predictions = run / "eval" / "predictions.csv"
    if predictions.is_file():
        with open(predictions, encoding="utf-8", newline="") as file:
            labels = {row["path"]: row["label"] for row in csv.DictReader(file)}
        if any(labels.get(path) not in (None, label) for path, label in listed.items()):
            record.fault("wrong label", name, "in the evaluation")


def check_predictions(record, name, images, run, folder, *words):
    """Predict ``images``, sort them and show them: every photograph has an answer or a reason, and none has moved."""
    before = files_below(images)
    output, place = folder / "predicted" / "predictions.csv", folder / "sorted"
    output.parent.mkdir()
    options = ("--output", output, "--sort_into", place, "--unsure_below", "0.5", "--page", *PLAIN, *words)
    code = record.run(name, "predict", "--images", images, "--run", run, *options)
    if files_below(images) != before:
        record.fault("photographs changed", name, "predict")
    if code == 0:
        with open(output, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        if not rows or any(bool(row["prediction"]) == bool(row["reason"]) for row in rows):
            record.fault("neither answer nor reason", name, f"predict, {len(rows)} rows")
    elif any(output.parent.iterdir()) or place.exists():
        record.fault("something is left", name, f"predict {code}")


def files_below(folder):
    """{path: (size, time of the last change)} of what is in a folder."""
    found = [os.path.join(place, name) for place, _, names in os.walk(folder) for name in names]
    return {path: (os.lstat(path).st_size, os.lstat(path).st_mtime_ns) for path in found}


def try_root(record, root, number, folder, trained):
    """All scripts on one hostile folder: evaluation of a run of its own where it can be trained on, else of ``trained``."""
    data = root.build(folder / "data") or folder / "data"
    runs = ("--runs_dir", folder / "runs")
    code = 0
    if root.split is not None:
        code = record.run(root.name, "train_val_split", "--data", data)
        if (code == 0) != (root.split is True):
            record.fault("unexpected", root.name, f"train_val_split {code}")
    code = record.run(root.name, "train", "--data", data, "--net", NET, *runs, "--num_workers", "0", *TRAINING)
    if root.train is not None and (code == 0) != (root.train is True):
        record.fault("unexpected", root.name, f"train {code}")
    own = folder / "runs" / NET / "001"
    run = own if code == 0 else trained
    record.run(root.name, "eval", "--data", data, "--run", run, "--num_workers", "0", *PLAIN)
    record.run(root.name, "gradcam", "--data", data, "--run", run, *PLAIN, "--picture", folder / "gradcam.png")
    check_predictions(record, root.name, data, run, folder)
    record.run(root.name, "show_photographs", "--data", data, "--picture", folder / "grid.png")
    if code or number % 4 == 0:  # where nothing is refused, two trainings and two evaluations
        record.run(root.name, "compare", "--data", data, "--nets", NET, "resnet34", *runs, "--num_workers", "0", *TRAINING)
    if root.split:  # else the lists say what is right, not the folders
        check_labels(record, root.name, data, own)


def try_damaged(record, folder, trained, workers, refused, seed):
    """All scripts on lists that name some damaged photographs beside whole ones."""
    data = with_lists(folder / "data")
    chosen = random.Random(seed).sample(sorted(refused), 2)
    for file, name in zip((TRAIN_LIST, VAL_LIST), chosen):
        (data / "cat" / name).write_bytes(refused[name])
        with open(data / file, "a", encoding="utf-8") as opened:
            opened.write(f"cat/{name} 0\n")
    name, flags = f"damaged: {chosen}", ("--num_workers", str(workers))
    runs = ("--data", data, "--runs_dir", folder / "runs")
    ends = {
        "train": record.run(name, "train", *runs, "--net", NET, *flags, *TRAINING),
        "eval": record.run(name, "eval", "--data", data, "--run", trained, *flags, *PLAIN),
        "gradcam": record.run(
            name, "gradcam", "--data", data, "--run", trained, "--picture", folder / "g.png", "--threads", "1"
        ),
        "compare": record.run(name, "compare", *runs, "--nets", NET, "resnet34", *flags, *TRAINING),
    }
    if ends != {"train": 2, "eval": 2, "gradcam": 0, "compare": 2}:
        record.fault("unexpected", name, str(ends))
    check_predictions(record, name, data, trained, folder, *flags)


def measure_big(record, folder):
    """[(name, way, seconds of CPU time, MB)] of the largest photographs that are read."""
    rows = []
    for name, content in big_photographs():
        (folder / name).write_bytes(content)
        for way in ("whole", "crop"):
            command = [sys.executable, "-c", MEASURE, folder / name, way]
            done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, cwd=ROOT)
            seconds, kilobytes = map(float, done.stdout.split())
            rows.append((name, way, seconds, kilobytes / 1024))
            if rows[-1][2] > 10 or done.stderr:
                record.fault("slow or noisy", name, done.stderr)
    return rows


def damaged_and_refused(folder):
    """{name: bytes} of the damaged photographs that are not readable and whose names a list can hold."""
    refused = {}
    for name, content in damaged_photographs():
        (folder / name).write_bytes(content)
        try:
            read_photograph(folder / name)
        except PhotographError:
            refused[name] = content
    return refused


def main():
    record, started = Record(), time.monotonic()
    build = "from machine import processor; processor.configure(); from ops import fused; fused.set_mode('on')"
    subprocess.run([sys.executable, "-c", build], cwd=ROOT, check=True)  # which says so, in whatever script comes first
    with tempfile.TemporaryDirectory(prefix="hostile-") as place:
        place = Path(place)
        good = plain(place / "good" / "data")
        record.run("good", "train_val_split", "--data", good)
        record.run("good", "train", "--data", good, "--net", NET, "--runs_dir", place / "good" / "runs", *TRAINING)
        trained = place / "good" / "runs" / NET / "001"
        assert DataFolder(good).read_classes() == list(CLASSES)
        roots = HOSTILE_ROOTS[: int(sys.argv[1])] if len(sys.argv) > 1 else HOSTILE_ROOTS
        for number, root in enumerate(roots):
            (place / str(number)).mkdir()
            try_root(record, root, number, place / str(number), trained)
            print(f"{number + 1}/{len(roots)} {root.name}", flush=True)
        (place / "corpus").mkdir()
        refused = damaged_and_refused(place / "corpus")
        for workers in (0, 2):
            (place / f"corpus {workers}").mkdir()
            flags = ("--num_workers", str(workers))
            check_predictions(record, "all damaged photographs", place / "corpus", trained, place / f"corpus {workers}", *flags)
        for number in range(LISTS_OF_DAMAGED):
            (place / f"list {number}").mkdir()
            try_damaged(record, place / f"list {number}", trained, 2 * (number % 2), refused, number)
        (place / "big").mkdir()
        big = measure_big(record, place / "big")
    for name, way, seconds, megabytes in big:
        print(f"largest {name}, {way}: {seconds:.1f} s of CPU time, {megabytes:.0f} MB")
    ends = {f"{script} {code}": count for (script, code), count in sorted(record.ends.items())}
    print(json.dumps({
        "roots": len(roots), "lists_of_damaged": LISTS_OF_DAMAGED, "runs": sum(record.ends.values()), "exit_codes": ends,
        "slowest": record.slowest, "seconds": round(time.monotonic() - started), "faults": len(record.faults),
    }, indent=2))  # fmt: skip
    return 1 if record.faults else 0


if __name__ == "__main__":
    sys.exit(main())
