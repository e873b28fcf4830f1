"""The exported network in the programs that it is for, each installed in a folder of its own: `make clients`.

    python tests/clients/run_clients.py                      trains a small network on drawn animals, and exports it
    python tests/clients/run_clients.py --run runs/NET/001   that run, which export.py has exported in all forms

Every client gets up to 64 photographs of the validation list. Prints how far its probabilities and classes are from the
toolkit's, and ends with code 1 where a class differs that is no tie, or a probability by more than 1e-4. PaddleX prepares
photographs by itself: it is held to the toolkit's network on photographs that are resized and cut in its two steps, and how far
that is from evaluation is shown as well.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent.parent
CLIENTS = {  # name: (packages, whether it gets pixels)
    "onnxruntime": ("onnxruntime numpy pillow", True),
    "paddle": (None, True),  # Paddle Inference comes with Paddle
    "openvino": ("openvino>=2025 numpy", True),
    "paddlex": ("paddlepaddle==3.3.1 paddlex==3.7.2 opencv-contrib-python==4.10.0.84 pypdfium2", False),
}
NAMES = {"onnxruntime": "ONNX Runtime", "paddle": "Paddle Inference", "openvino": "OpenVINO", "paddlex": "PaddleX"}
TOLERANCE = 1e-4


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="an exported run; by default a small one is trained")
    parser.add_argument("--clients", nargs="+", choices=CLIENTS, default=list(CLIENTS))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        run = (options.run or trained_and_exported(Path(place))).resolve()
        sample = write_sample(run, Path(place))
        failed = [name for name in options.clients if not agrees(name, run / "export", sample, Path(place))]
    sys.exit(f"differ: {', '.join(failed)}" if failed else 0)


def trained_and_exported(place):
    """The folder of a run on drawn animals, exported."""
    data, runs = place / "animals", place / "runs"
    here = {"cwd": ROOT, "check": True}
    common = ["--net", "resnet18", "--runs_dir", runs, "--fused", "off"]
    training = ["--data", data, "--image_size", 64, "--epochs", 2, "--batch_size", 16, "--num_workers", 0]
    for words in (
        ["sample_animals.py", "--data", data, "--per_class", 20],
        ["train_val_split.py", "--data", data],
        ["train.py", *training, *common],
        ["export.py", *common],
    ):
        subprocess.run([sys.executable, *map(str, words)], **here)
    return runs / "resnet18" / "001"


def write_sample(run, place):
    """The photographs for the clients: a JSON file with their paths, classes and the toolkit's probabilities; their pixels."""
    sys.path.insert(0, str(ROOT))
    from machine import processor

    processor.configure()
    from trained.trained_run import TrainedRun

    trained = TrainedRun.open(run)
    dataset = trained.open_validation_set()
    chosen = np.unique(np.linspace(0, len(dataset) - 1, min(64, len(dataset))).round().astype(int)).tolist()
    paths = [str(place / f"{number}.png") for number in chosen]
    for number, path in zip(chosen, paths):
        dataset.photograph(number).save(path)
    pixels = np.stack([trained.read_photograph(path) for path in paths])  # not dataset[number]: a JPEG is decoded smaller
    np.save(place / "pixels.npy", pixels)
    np.save(place / "probabilities.npy", trained.predict(pixels, 8))
    twice = np.stack([in_two_steps(dataset.photograph(number), trained) for number in chosen])
    np.save(place / "in_two_steps.npy", trained.predict(twice, 8))
    sample = {"paths": paths, "pixels": str(place / "pixels.npy"), "classes": trained.classes}
    (place / "sample.json").write_text(json.dumps(sample))
    return place / "sample.json"


def in_two_steps(photograph, trained):
    """uint8 [3, S, S] of a photograph as PaddleX prepares it: the whole resized, then the middle cut."""
    from PIL import Image

    size, crop = trained.settings.image_size, trained.settings.eval_crop == "center"
    scale = round(size * 256 / 224) / min(photograph.size)
    sides = [round(side * scale) for side in photograph.size] if crop else [size, size]
    left, top = ((side - size) // 2 for side in sides)
    resized = photograph.resize(sides, Image.Resampling.BILINEAR).crop((left, top, left + size, top + size))
    return np.asarray(resized).transpose(2, 0, 1)  # from [S, S, 3]


def agrees(name, export, sample, place):
    """Whether the client ``name`` answers as the toolkit does; prints by how much it differs."""
    packages, gets_pixels = CLIENTS[name]
    answers = place / f"{name}.npy"
    python = sys.executable if packages is None else python_with(name, packages.split())
    environment = {"HOME": str(place), "PATH": "/usr/bin:/bin", "ORT_DISABLE_TELEMETRY": "1"}
    environment["PADDLE_PDX_DISABLE_MODEL_SOURCE_CHECK"] = "True"  # PaddleX would look for models in the network
    command = [python, Path(__file__).with_name(f"with_{name}.py"), export, sample, answers]
    subprocess.run([*map(str, command)], check=True, env=environment)
    ok = differ(NAMES[name], place / ("probabilities.npy" if gets_pixels else "in_two_steps.npy"), answers)
    if not gets_pixels:
        differ("  and evaluation", place / "probabilities.npy", answers)
    return ok


def differ(title, expected, answers):
    """Print by how much the answers differ from those expected; whether it is no more than TOLERANCE."""
    wanted, found = np.load(expected), np.load(answers)
    apart = np.abs(wanted - found).max()
    chosen = np.take_along_axis(wanted, found.argmax(axis=1)[:, None], axis=1)[:, 0]
    other = int((wanted.max(axis=1) - chosen > 2 * TOLERANCE).sum())
    print(f"{title:17} {len(wanted)} photographs, {other} of another class, probabilities at most {apart:.1e} apart")
    return not other and apart <= TOLERANCE


def python_with(name, packages):
    """The Python of the environment .venv-clients/NAME, made where it is missing."""
    folder = ROOT / ".venv-clients" / name
    python, done = folder / "bin" / "python", folder / ".installed"
    if not done.exists() or done.read_text() != " ".join(packages):
        print(f"installing {' '.join(packages)} into {folder.relative_to(ROOT)}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages], check=True)
        done.write_text(" ".join(packages))
    return python


if __name__ == "__main__":
    main()
