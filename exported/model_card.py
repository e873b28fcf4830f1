"""What goes with an exported network: labels.txt, model_card.json and the same for people, model_card.md."""

import json
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Optional

import numpy as np
import paddle
import PIL

from data.boxes import RESIZE_OVER_CROP
from data.photographs import GREY
from evaluation.report import EvaluationError, read_metrics
from evaluation.scores import wilson_interval
from exported.equality import BATCHES, TOLERANCE, Difference
from exported.onnx_model import PACKAGES
from machine.regular_file import sha256_of
from machine.whole_file import write_json, write_text
from messages.markdown import in_markdown
from networks.summary import parameter_counts
from trained.result import read_result
from trained.trained_run import TrainedRun

FORMAT = 1
"""Of model_card.json."""
TOOLKIT_LICENCE = "Apache-2.0"
SIDES = {
    "val": "the validation list, which also chose the best epoch: expect a little less on new photographs",
    "test": "the test list, which training never read",
}


def crop_share(run: TrainedRun) -> float:
    """The share of a photograph's shorter side that the central square has which the network sees; 0: it sees all."""
    return 1 / RESIZE_OVER_CROP if run.settings.eval_crop == "center" else 0.0


def facts_of(run: TrainedRun) -> dict[str, str]:
    """What an ONNX file says about itself, in its metadata: values are ASCII text."""
    return {
        "classes": json.dumps(run.classes),
        "image_size": str(run.settings.image_size),
        "eval_crop": run.settings.eval_crop,
        "crop_share": repr(crop_share(run)),
        "temperature": repr(float(run.temperature)),
        "network": run.net,
        "input": f"uint8 RGB pixels [N, 3, {run.settings.image_size}, {run.settings.image_size}], 0 to 255, not normalised",
        "preparation": _preparation(run),
        "output": f"probabilities float32 [N, {len(run.classes)}], in the order of classes",
    }


def write_labels(run: TrainedRun, folder: Path) -> None:
    """Write labels.txt, one class name a line, in the order of the probabilities. Raises OSError."""
    write_text(folder / "labels.txt", "".join(f"{name}\n" for name in run.classes))


def write_model_card(run: TrainedRun, folder: Path, checks: Mapping[str, Difference], licence: Optional[str]) -> None:
    """Write model_card.json and model_card.md into the folder of the export. Raises OSError.

    ``checks``: {form: how it agrees with the network}; ``licence``: of the network, as the user states it. Names of places on
    this machine are left out: the card leaves it.
    """
    card = _card(run, folder, checks, licence)
    write_json(folder / "model_card.json", card)
    write_text(folder / "model_card.md", _as_markdown(card))


def _card(run, folder, checks, licence):
    config = run.settings
    learnable, running = parameter_counts(run.classifier().network)
    best, result = run.header["best"] or {}, read_result(run.folder)
    return {
        "format": FORMAT,
        "network": {
            "name": run.net, "attention": config.attention_of_network(), "options": config.network_options(),
            "learnable_parameters": learnable, "running_statistics": running, "epoch": run.epoch,
        },
        "classes": list(run.classes),
        "input": {"name": "images", "type": "uint8", "shape": ["N", 3, config.image_size, config.image_size]},
        "output": {"name": "probabilities", "type": "float32", "shape": ["N", len(run.classes)]},
        "preparation": {
            "image_size": config.image_size, "eval_crop": config.eval_crop, "crop_share": crop_share(run),
            "text": _preparation(run), "inside_the_network": {"mean": list(config.mean), "std": list(config.std)},
        },
        "temperature": float(run.temperature),
        "training": {
            "dataset": config.dataset, "data": Path(config.data).name, "photographs": result.get("photographs"),
            "epochs": config.epochs, "seed": config.seed, "list_sha256": run.header["list_sha256"],
            "pretrained": bool(config.pretrained or config.init_from),
        },
        "accuracy_while_training": best.get("val_acc"),
        "evaluation": {side: found for side in SIDES if (found := _evaluation(run, side))},
        "checked": {form: {**found._asdict(), "batches": BATCHES, "tolerance": TOLERANCE} for form, found in checks.items()},
        "versions": {"trained_with": run.header["versions"], "exported_with": _versions("onnx" in checks)},
        "licence": {"network": licence, "toolkit": TOOLKIT_LICENCE},
        "files": {
            file.relative_to(folder).as_posix(): {"bytes": file.stat().st_size, "sha256": sha256_of(file)}
            for file in sorted(folder.rglob("*")) if file.is_file() and not file.name.startswith(".")
        },
    }  # fmt: skip


def _preparation(run):
    size = run.settings.image_size
    part = "the whole photograph, whose aspect may change"
    if run.settings.eval_crop == "center":
        part = f"the square in the middle whose side is {crop_share(run):.4g} of the photograph's shorter side"
    resized = f"{part}; resized to {size} x {size}, bilinear"
    if run.settings.eval_crop == "letterbox":
        resized = (
            f"the whole photograph, resized so that its longer side is {size}, bilinear; in the middle of {size} x {size} "
            f"pixels of the grey {', '.join(map(str, GREY))}"
        )
    return f"upright by its EXIF orientation, in sRGB, on white where transparent; {resized}"


def _evaluation(run, side):
    """The accuracy of the best epoch on the run's own list of ``side``, with its interval; None where eval.py has not run."""
    try:
        found = read_metrics(run.folder, side)
    except EvaluationError:
        return None
    total = found.get("photographs")
    if total is None or found["epoch"] != run.epoch or not found["same_list_as_in_training"]:
        return None
    interval = wilson_interval(round(found["acc"] * total), total)
    return {"accuracy": found["acc"], "interval_95": list(interval), "photographs": total}


def _versions(with_onnx):
    found = {"python": platform.python_version(), "paddle": paddle.__version__, "numpy": np.__version__}
    found["pillow"] = PIL.__version__
    for package in PACKAGES if with_onnx else ():
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # it is in the other environment
            continue
    return found


def _as_markdown(card):
    network, preparation, training, versions = (card[key] for key in ("network", "preparation", "training", "versions"))
    photographs = training["photographs"] or {}
    counts = ", ".join(f"{number} {side}" for side, number in photographs.items() if isinstance(number, int))
    mean, std = (", ".join(f"{value:g}" for value in preparation["inside_the_network"][key]) for key in ("mean", "std"))
    lines = [
        f"# {network['name']}, {len(card['classes'])} classes",
        "",
        "| | |",
        "|---|---|",
        f"| network | {network['name']}, {network['learnable_parameters']:,} learnable parameters, epoch {network['epoch']} |",
        *[f"| {side} | {text} |" for side, text in _accuracies(card)],
        f"| data | {in_markdown(training['data'])}{f' ({counts})' if counts else ''} |",
        f"| input | `{card['input']['name']}`: {card['input']['type']} {_shape(card['input'])}, RGB, 0 to 255 |",
        f"| preparation | {preparation['text']} |",
        f"| inside the network | pixels / 255, minus {mean}, over {std} |",
        f"| output | `{card['output']['name']}`: {card['output']['type']} {_shape(card['output'])} |",
        f"| temperature | {card['temperature']:.4g}{' (none fitted)' if card['temperature'] == 1 else ''} |",
        f"| trained with | {_listed(versions['trained_with'])} |",
        f"| exported with | {_listed(versions['exported_with'])} |",
        f"| licence of the network | {in_markdown(card['licence']['network'] or 'not stated: ask those who trained it')} |",
        f"| licence of the program that made it | {card['licence']['toolkit']} |",
        "",
        "## Equal to the trained network",
        "",
        "| form | photographs | same class | probabilities at most apart |",
        "|---|---|---|---|",
        *[f"| {form} | {c['total']} | {c['same']} | {c['largest']:.1e} |" for form, c in card["checked"].items()],
        "",
        "## Classes",
        "",
        *[f"{label}. {in_markdown(name)}" for label, name in enumerate(card["classes"])],
    ]
    return "\n".join(lines) + "\n"


def _accuracies(card):
    """(name, text) of each accuracy that is known."""
    for side, found in card["evaluation"].items():
        low, high = found["interval_95"]
        interval = f"95% interval {low:.1%} to {high:.1%}"
        yield (
            f"accuracy, {side}",
            f"{found['accuracy']:.1%} ({interval}) on {found['photographs']:,} photographs of {SIDES[side]}",
        )
    if not card["evaluation"]:
        seen = card["accuracy_while_training"]
        in_training = "" if seen is None else f"; {seen:.1%} in training, on the validation list, which chose the epoch"
        yield "accuracy", f"not evaluated (eval.py){in_training}"


def _shape(value):
    return f"[{', '.join(map(str, value['shape']))}]"


def _listed(versions):
    return ", ".join(f"{in_markdown(name)} {in_markdown(version)}" for name, version in versions.items()) or "unknown"
