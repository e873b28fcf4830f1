"""Trains every network twice, each time in a process of its own, and compares the bits of all that is left.

``python tests/torture/same_again.py [NETWORK ...]``, with the readers in processes of their own, augmentation and label
smoothing. Not the pictures: their content is that of the history, which is compared.
"""

import sys
import tempfile
import time
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
warnings.filterwarnings("ignore", message="No ccache found")

from tiny_network import outcome  # noqa: E402
from torture import Torture  # noqa: E402

from comparison.script_process import run_script  # noqa: E402
from networks import NETWORKS  # noqa: E402

MIN_SIDES = {"tower_net": 128}  # pixels a side; the others take 32


def main(names) -> int:
    different = []
    with tempfile.TemporaryDirectory() as folder:
        torture = Torture(folder)
        for name in names:
            started = time.monotonic()
            found = []
            for runs_dir in ("first", "second"):
                settings = ["--net", name, "--data", torture.folder / "data", "--runs_dir", Path(folder) / runs_dir,
                            "--image_size", MIN_SIDES.get(name, 32), "--epochs", 2, "--batch_size", 9, "--num_workers", 2,
                            "--label_smoothing", 0.1, "--rotation", 10]  # fmt: skip
                run_script("train.py", settings, quiet=True)
                run = Path(folder) / runs_dir / name / "001"
                found.append(outcome(run))
                for file in run.glob("*.safetensors"):
                    file.unlink()
            if found[0] != found[1]:
                different.append(name)
            print(
                f"{name}: {'the same bits' if found[0] == found[1] else 'DIFFERENT'}, {time.monotonic() - started:.0f} s",
                flush=True,
            )
    print(f"{len(names)} networks, each trained twice: {len(different)} that differ {' '.join(different)}")
    return int(bool(different))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(NETWORKS)))
