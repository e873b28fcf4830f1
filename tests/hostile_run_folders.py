"""Damages to a trained run's folder, as a stranger could have made it: a table, and the long form of it, `make hostile`.

Every damage is done to a copy of a trained and evaluated run, and every script that reads runs is started on it in a process of
its own. What must not be: a hang, a traceback, a refusal of more than one line or without the file's name, a raw control
character on the terminal, a folder ``compare/NNN`` without a comparison, a file outside the run that was read or changed.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import socket
import struct
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable, NamedTuple

ESCAPE = "\x1b]0;taken\x07\x1b[2J"
SECRET = "the-secret-of-the-user"
LARGE = 100 * 2**20
STANDS_FOR_NUL = "\ue000"
FILES = (
    "config.yaml", "result.json", "history.csv", "classes.txt", "best.safetensors", "last.safetensors", "eval/metrics.json",
    "eval/predictions.csv",
)  # fmt: skip


class Damage(NamedTuple):
    """``do(run, outside)`` damages the folder ``run``; ``outside``: a folder whose files are not the run's.

    ``refused``: True if every script that reads the file must refuse the run, as with links; None: some read it, some do not.
    """

    name: str
    do: Callable[[Path, Path], object]
    refused: bool | None = None


def _bytes(file, content):
    def do(run, outside):
        (run / file).write_bytes(content() if callable(content) else content)

    return do


def _gone(run, file):
    place = run / file
    shutil.rmtree(place) if place.is_dir() and not place.is_symlink() else place.unlink(missing_ok=True)
    place.parent.mkdir(exist_ok=True)
    return place


def _missing(file):
    return lambda run, outside: _gone(run, file)


def _folder(file):
    return lambda run, outside: _gone(run, file).mkdir()


def _pipe(file):
    return lambda run, outside: os.mkfifo(_gone(run, file))


def _socket(file):
    def do(run, outside):
        place = _gone(run, file)
        before = os.getcwd()
        os.chdir(place.parent)  # a socket's path is at most 107 bytes long
        try:
            with socket.socket(socket.AF_UNIX) as opened:
                opened.bind(place.name)
        finally:
            os.chdir(before)

    return do


def _link(file, target):
    """``target``: a name in the folder outside, or an absolute path."""

    def do(run, outside):
        was = outside / "of-another-run" / file
        place = run / file
        if target is None and place.exists():  # a good file, which only lies elsewhere
            was.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(place, was) if place.is_dir() else shutil.copyfile(place, was)
        _gone(run, file).symlink_to(was if target is None else outside / target)

    return do


def _json(file, change):
    def do(run, outside):
        content = json.loads((run / file).read_text(encoding="utf-8"))
        change(content)
        (run / file).write_text(json.dumps(content), encoding="utf-8")

    return do


def _header(file, change):
    """Change the header of a checkpoint, and leave its tensors."""

    def do(run, outside):
        data = (run / file).read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        outer = json.loads(data[8 : 8 + length])
        header = json.loads(outer["__metadata__"]["header"])
        change(header)
        outer["__metadata__"]["header"] = json.dumps(header)
        text = json.dumps(outer).encode()
        (run / file).write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])

    return do


def _yaml(change):
    """Lines of config.yaml changed by ``change(lines)``."""

    def do(run, outside):
        place = run / "config.yaml"
        lines = place.read_text(encoding="utf-8").splitlines()
        place.write_text("\n".join(change([line.replace("OUTSIDE", str(outside)) for line in lines])).replace(
            "OUTSIDE", str(outside)), encoding="utf-8", errors="surrogateescape")  # fmt: skip

    return do


def _setting(name, text):
    """config.yaml with ``name: text``; lists over several lines included."""

    def change(lines):
        kept, skip = [], False
        for line in lines:
            if line.startswith(f"{name}:"):
                skip = True
                continue
            if skip and line.startswith(("-", " ")):
                continue
            skip = False
            kept.append(line)
        return [*kept, f"{name}: {text}"]

    return _yaml(change)


def _rows(file, change):
    """``change(rows)`` gets the rows of a CSV file, the first of them its header, and returns others."""

    def do(run, outside):
        with open(run / file, encoding="utf-8", newline="") as opened:
            rows = list(csv.reader(opened))
        text = io.StringIO(newline="")
        # Before Python 3.11 the writer takes no NUL
        csv.writer(text).writerows([[str(cell).replace("\0", STANDS_FOR_NUL) for cell in row] for row in change(rows)])
        (run / file).write_bytes(text.getvalue().replace(STANDS_FOR_NUL, "\0").encode())

    return do


def _column(file, name, value):
    def change(rows):
        place = rows[0].index(name)
        return [rows[0], *([*row[:place], value, *row[place + 1 :]] for row in rows[1:])]

    return _rows(file, change)


def _set(*path_and_value):
    *path, last, value = path_and_value

    def change(content):
        for key in path:
            content = content[key]
        content[last] = value

    return change


PLACES = ("eval", "eval_test", "vdl", "export", ".lock")
VALUES = {
    "text": "abc", "NaN": float("nan"), "infinity": float("inf"), "a number beyond floats": 10**400, "negative": -1,
    "negative share": -0.5, "true": True, "nothing": None, "a list": [], "a dict": {}, "escapes": ESCAPE,
    "deep": [[[[[[[[1]]]]]]]], "2**40": 2**40, "half": 0.5, "surrogate": "\ud800",
}  # fmt: skip
OF_RESULT = (
    "status", "net", "epochs", "best", "seconds", "images_per_second", "peak_memory_mb", "energy_joules", "photographs",
    "list_sha256", "best_not_saved", "epochs_before", "stopped_early", "diverged", "init_from_sha256", "class_weights",
    "class_weights_sha256", "format",
)  # fmt: skip
OF_METRICS = (
    "loss", "acc", "acc_interval", "acc_top5", "temperature", "calibration_error", "calibration_error_after", "photographs",
    "list", "list_sha256", "epoch", "same_list_as_in_training", "format",
)  # fmt: skip
OF_HISTORY = ("epoch", "learning_rate", "val_loss", "val_acc", "seconds", "images_per_second", "val_balanced_acc", "format")
OF_PREDICTIONS = ("path", "label", "prediction", "confidence")
CELLS = {
    "text": "abc", "empty": "", "NaN": "nan", "infinity": "inf", "1e400": "1e400", "negative": "-1", "escapes": ESCAPE,
    "a number of 5,000 digits": "9" * 5000, "a formula": "=1+1", "200,000 letters": "x" * 200_000, "NUL": "a\0b",
}  # fmt: skip
SETTINGS = {
    "net": ("vgg19", "nothing", "3", "[resnet]"), "image_size": ("'abc'", ".nan", "1e400", "-1", "[]", "64"),
    "seed": ("9" * 400, "true"), "epochs": ("0", "1.5"), "mean": ("[0.5]", "[a, b, c]", "[.nan, .nan, .nan]"),
    "attention": ("cbam", '"\\e[2J"'), "eca_kernel_sizes": ("[3, 3, 3, 4]",),
    "init_from": ("OUTSIDE/secret.txt", '"\\e]0;x\\a"'), "data": ("OUTSIDE", "/dev/zero", '"\\e[2J"', "''"),
    "lists_dir": ("OUTSIDE", "/proc/self"), "batch_size": ("2147483647",),
    "dataset": ("cifar10", "x"), "format": ("99", "x", "-1"), "device": ("tpu",), "threads": ("1000000",),
}  # fmt: skip
CONTENTS = {
    "empty": b"", "NUL bytes": bytes(5000), "not UTF-8": b"\xff\xfe\xfd\n" * 10, "3,000 brackets": b"[" * 3000,
    "100,000 brackets": b"[" * 100_000, "3,000 braces": b'{"a":' * 3000, "3,000 braces of YAML": b"{a: " * 3000,
    "escapes": ESCAPE.encode() * 3, "a list": b"[1, 2, 3]", "a number": b"3", "null": b"null", "5,000 digits": b"9" * 5000,
    "100 MB in one line": lambda: b"x" * LARGE, "100 MB of zeros": lambda: bytes(LARGE),
    "100 MB in lines": lambda: b"a,b\n" * (LARGE // 4),
    "a pickle": b"\x80\x04cposix\nsystem\n(S'touch taken'\ntR.", "quotes": b'"' * 9999, "a BOM": b"\xef\xbb\xbf",
    "lines of dashes": b"- " * 5000, "questions": b"? " * 5000, "line breaks": b"\n" * 100_000,
}  # fmt: skip


def _whole_files():
    for file in FILES:
        yield Damage(f"{file}: missing", _missing(file))
        yield Damage(f"{file}: a folder", _folder(file))
        yield Damage(f"{file}: a pipe", _pipe(file), True)
        yield Damage(f"{file}: a socket", _socket(file), True)
        yield Damage(f"{file}: a link to /dev/zero", _link(file, "/dev/zero"), True)
        yield Damage(f"{file}: a link to a file outside", _link(file, "secret.txt"), True)
        yield Damage(f"{file}: a link to the same file outside", _link(file, None), True)
        yield Damage(f"{file}: a link to itself", _link(file, "/proc/self/cwd/" + file.split("/")[-1]), True)
        yield Damage(f"{file}: a link to nothing", _link(file, "nothing"), True)
        yield Damage(f"{file}: cut", lambda run, outside, file=file: os.truncate(run / file, (run / file).stat().st_size // 2))
        for what, content in CONTENTS.items():
            yield Damage(f"{file}: {what}", _bytes(file, content))


def _links():
    for name in (*PLACES, "curves.png", "eval/confusion_matrix.csv", "gradcam.png", "notes.txt"):
        yield Damage(f"{name}: a link to a folder outside", _link(name, "."), True)
        yield Damage(f"{name}: a link to a file outside", _link(name, "secret.txt"), True)
        yield Damage(f"{name}: a link to a missing file outside", _link(name, "made-by-the-attack"), True)
    yield Damage(".lock: a pipe", _pipe(".lock"), True)
    yield Damage(".lock: a folder in its place", _folder(".lock"))
    for name in ("eval", "eval_test", "vdl", "export"):
        yield Damage(f"{name}: a file in its place", lambda run, outside, name=name: _gone(run, name).write_text("x"))


def _values():
    for key in OF_RESULT:
        for what, value in VALUES.items():
            yield Damage(f"result.json: {key}: {what}", _json("result.json", _set(key, value)))
    for key in ("epoch", "val_acc", "val_loss"):
        for what, value in VALUES.items():
            yield Damage(f"result.json: best {key}: {what}", _json("result.json", _set("best", key, value)))
    for key in OF_METRICS:
        for what, value in VALUES.items():
            yield Damage(f"eval/metrics.json: {key}: {what}", _json("eval/metrics.json", _set(key, value)))
    for file, keys in (("history.csv", OF_HISTORY), ("eval/predictions.csv", OF_PREDICTIONS)):
        for key in keys:
            for what, value in CELLS.items():
                yield Damage(f"{file}: {key}: {what}", _column(file, key, value))
        yield Damage(f"{file}: no rows", _rows(file, lambda rows: rows[:1]))
        yield Damage(f"{file}: rows twice", _rows(file, lambda rows: rows + rows[1:]))
        yield Damage(f"{file}: short rows", _rows(file, lambda rows: [rows[0], *(row[:2] for row in rows[1:])]))
        yield Damage(f"{file}: long rows", _rows(file, lambda rows: [rows[0], *([*row, "x", "y"] for row in rows[1:])]))
        yield Damage(f"{file}: columns twice", _rows(file, lambda rows: [[*row, *row] for row in rows]))
        yield Damage(f"{file}: other columns", _rows(file, lambda rows: [["x"] * len(rows[0]), *rows[1:]]))
        yield Damage(f"{file}: 200,000 rows", _rows(file, lambda rows: rows + rows[1:2] * 200_000))
    for name, texts in SETTINGS.items():
        for text in texts:
            yield Damage(f"config.yaml: {name}: {text[:40]}", _setting(name, text))
    yield Damage("config.yaml: a key twice", _yaml(lambda lines: [*lines, "net: resnet", "net: resnet"]))
    yield Damage("config.yaml: follow_links", _setting("follow_links", "true"))
    for what, content in {
        "one class": b"cat\n", "another class": b"cat\ndog\nwolf\n", "escapes": f"cat\n{ESCAPE}\nsheep\n".encode(),
        "a class twice": b"cat\ncat\nsheep\n", "blank lines": b"\n\n\n", "100,000 classes": b"x\n" * 100_000,
        "a formula": b"=1+1\ncat\ndog\n", "markup": b"<script>x</script>\n![](http://x)\n|\n",
    }.items():  # fmt: skip
        yield Damage(f"classes.txt: {what}", _bytes("classes.txt", content))
    for file in ("best.safetensors", "last.safetensors"):
        for key in ("config", "classes", "epoch", "best", "list_sha256", "temperature", "history", "step", "so_far", "format"):
            for what, value in VALUES.items():
                yield Damage(f"{file}: {key}: {what}", _header(file, _set(key, value)))
        yield Damage(f"{file}: other classes", _header(file, _set("classes", ["cat", ESCAPE, "=1+1"])))
        yield Damage(f"{file}: its data elsewhere", _header(file, _set("config", "data", "/proc/self")))
        for key in ("net", "image_size", "data", "mean", "eval_crop"):
            for what, value in VALUES.items():
                yield Damage(f"{file}: config {key}: {what}", _header(file, _set("config", key, value)))


def damages() -> list[Damage]:
    """All of them."""
    return [*_whole_files(), *_links(), *_values()]


NETS = {"resnet": "TinyNetwork", "resnet18": "TinyResNet"}
READ_BY = {
    "config.yaml": ("compare", "resume", "eval"), "result.json": ("compare", "eval"), "history.csv": ("compare",),
    "classes.txt": ("compare",), "best.safetensors": ("eval", "gradcam", "predict", "serve", "init_from", "compare"),
    "last.safetensors": ("resume",), "eval/metrics.json": ("compare",), "eval/predictions.csv": ("compare",),
}  # fmt: skip
"""The scripts that are tried on a damaged file; on links and what else no run may hold, all of them."""
EVERY = ("eval", "compare", "gradcam", "predict", "export", "serve", "resume", "init_from")
PLAIN = ("--fused", "off", "--threads", "1")
ALONE = ("--device", "cpu", *PLAIN, "--num_workers", "0")
TRAINING = ("--image_size", "32", "--epochs", "1", "--batch_size", "4")


def commands(place, photograph):
    """{name: (script, words)}: every script that reads a run, on the first run in ``place``."""
    run, other, data = place / "runs" / "resnet" / "001", place / "runs" / "resnet18" / "001", ("--data", place / "data")
    return {
        "eval": ("eval", ("--run", run, *data, *ALONE)),
        "compare": ("compare", ("--runs", run, other, *data, "--runs_dir", place / "runs", *ALONE)),
        "gradcam": ("gradcam", ("--run", run, *data, "--sample", "2", "--device", "cpu", *PLAIN)),
        "predict": ("predict", ("--run", run, "--images", photograph, "--output", place / "predictions.csv", *ALONE)),
        "export": ("export", ("--run", run, *data, "--format", "paddlex", *PLAIN)),
        "serve": ("serve", ("--run", run, "--device", "cpu", "--engine", "dynamic", *PLAIN)),
        "resume": ("train", ("--resume", run, *data, "--epochs", "2", *ALONE)),
        "init_from": ("train", ("--init_from", run / "best.safetensors", "--net", "resnet", *data, *TRAINING,
                                "--runs_dir", place / "others", *ALONE)),
    }  # fmt: skip


def contents(folder):
    """{name: bytes, or None for what is no file} of all that is in a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def replace_networks(hostile_runs):
    """Networks that train in no time; a comparison's scripts in its own process; serve ends once its networks are loaded."""
    import networks
    import serve
    from machine import ending
    from comparison import side_by_side

    for name, of in NETS.items():
        networks.NETWORKS[name] = networks.Lazy("tiny_network", of)

    def run_here(script, arguments, quiet=False):
        from config import parse_config

        name = script.split(".")[0]
        if hostile_runs.SCRIPTS[name].main(parse_config(list(map(str, arguments)), name)):
            raise side_by_side.ProcessFailed(f"{script}: error: see above")

    side_by_side.run_script = run_here

    def load(config):
        from explanation.explain_photographs import trained_runs
        from serving.served_network import ServedNetwork

        for run in trained_runs(config):
            ServedNetwork(run, run.net, config).warm_up()

    serve.main = lambda config: ending.run("serve", load, config)


def try_damage(record, damage, trained, place, photograph, names):
    """``names``: of the commands to try."""
    for name in names:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(trained, place)
        outside = place / "outside"
        outside.mkdir()
        (outside / "secret.txt").write_text(SECRET)
        (outside / "vdlrecords.1").write_text(SECRET)
        damage.do(place / "runs" / "resnet" / "001", outside)
        before = contents(outside)
        script, words = commands(place, photograph)[name]
        code = record.run(damage.name, script, *words)
        if damage.refused and code == 0 and name != "init_from":
            record.fault("not refused", damage.name, name)
        if contents(outside) != before:
            record.fault("reached outside", damage.name, name)
        if code and any(not (folder / "index.html").is_file() for folder in (place / "runs").glob("compare/*")):
            record.fault("something is left", damage.name, name)


def main() -> int:
    import hostile_runs
    from conftest import random_photograph, write_listed_photographs

    import export
    import serve

    hostile_runs.SCRIPTS.update(export=export, serve=serve)
    replace_networks(hostile_runs)
    record, started = hostile_runs.Record(), time.monotonic()
    every = int(sys.argv[1]) if len(sys.argv) > 1 else 1  # of the damages: each, every tenth, ...
    chosen = damages()[::every]
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
        trained, place, photograph = Path(folder) / "trained", Path(folder) / "place", Path(folder) / "photograph.png"
        random_photograph(1).save(photograph)
        write_listed_photographs(trained / "data")
        for net in NETS:
            words = ("--data", trained / "data", "--runs_dir", trained / "runs", "--net", net, *ALONE)
            assert record.run("good", "train", *words, *TRAINING) == 0
            assert record.run("good", "eval", *words) == 0
        for number, damage in enumerate(chosen):
            names = EVERY if damage.refused else READ_BY.get(damage.name.split(":")[0], EVERY)
            try_damage(record, damage, trained, place, photograph, names)
            if number % 100 == 99:
                print(f"{number + 1}/{len(chosen)} {damage.name}", flush=True)
    ends = {f"{script} {code}": count for (script, code), count in sorted(record.ends.items())}
    print(json.dumps({
        "damages": len(chosen), "runs": sum(record.ends.values()), "exit_codes": ends, "slowest": record.slowest,
        "seconds": round(time.monotonic() - started), "faults": len(record.faults),
    }, indent=2))  # fmt: skip
    return 1 if record.faults else 0


if __name__ == "__main__":
    sys.exit(main())
