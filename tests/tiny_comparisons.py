"""Comparisons of two tiny networks in processes of their own, and what two of them must have in common."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from processes_started import heed_interruption

ROOT = Path(__file__).resolve().parent.parent
TINY = str(ROOT / "tests" / "tiny_networks_everywhere")
"""In PYTHONPATH it makes the networks tiny."""
MEASURED = (
    "latency_ms", "latency_ms_of_rounds", "training_images_per_second", "training_images_per_second_of_seeds", "peak_memory_mb",
    "peak_memory_mb_of_seeds", "energy_wh", "energy_wh_of_seeds", "seconds_to_best",
)  # fmt: skip


def start_comparison(data: Path, runs: Path, *options: str) -> subprocess.Popen:
    """compare.py with resnet34 and resnet18, which are tiny, in a session of its own."""
    command = [sys.executable, str(ROOT / "compare.py"), "--nets", "resnet34", "resnet18", "--data", str(data)]
    command += ["--runs_dir", str(runs), "--image_size", "32", "--batch_size", "9", "--num_workers", "0", "--threads", "1"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(
        [*command, *options],
        env={**os.environ, "PYTHONPATH": TINY},
        start_new_session=True,
        preexec_fn=heed_interruption,
        **pipes,
    )


def without_prices(verdict: str) -> str:
    """The verdict without the times that a difference costs, which are measured."""
    return re.sub(r" for [-+]\d+%( \([^)]*\))? training time, [-+.0-9]+( \([^)]*\))? ms an image", "", verdict)


def table_of(runs: Path) -> dict:
    """table.json of the first comparison in ``runs``, without what was measured, how many ran at a time, and the folder."""
    table = json.loads((runs / "compare" / "001" / "table.json").read_text(encoding="utf-8"))
    for row in table["networks"]:
        for measured in MEASURED:
            row.pop(measured)
    for measured in ("baseline", "gains", "fronts"):
        table.pop(measured)
    table["verdict"] = without_prices(table["verdict"])
    table["notes"] = [note for note in table["notes"] if "at a time" not in note and not note.startswith("On the front")]
    return json.loads(json.dumps(table).replace(str(runs), "RUNS"))
