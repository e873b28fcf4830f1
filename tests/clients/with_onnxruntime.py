"""python with_onnxruntime.py EXPORT SAMPLE.json ANSWERS.npy: the ONNX file and its example, where nothing else is installed."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime

export, sample, answers = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text()), sys.argv[3]
session = onnxruntime.InferenceSession(str(export / "model.onnx"), providers=["CPUExecutionProvider"])
probabilities = session.run(None, {"images": np.load(sample["pixels"])})[0]
for path, row in list(zip(sample["paths"], probabilities))[:3]:
    said = subprocess.run([sys.executable, export / "example.py", path], capture_output=True, text=True, check=True).stdout
    best = sample["classes"][row.argmax()]
    if not said.splitlines()[0].endswith(f"{row.max():.1%}  {best}"):
        sys.exit(f"{path}: example.py says\n{said}, and ONNX Runtime {row.max():.1%} {best}")
np.save(answers, probabilities)
