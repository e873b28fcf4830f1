"""python with_openvino.py EXPORT SAMPLE.json ANSWERS.npy: the exported ONNX file in OpenVINO."""

import json
import sys
from pathlib import Path

import numpy as np
import openvino

export, sample, answers = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text()), sys.argv[3]
exact = {"INFERENCE_PRECISION_HINT": "f32"}  # on some processors OpenVINO computes in bfloat16 by default
model = openvino.Core().compile_model(str(export / "model.onnx"), "CPU", exact)
images = np.load(sample["pixels"])
found = [model({"images": images[start : start + 3]})["probabilities"] for start in range(0, len(images), 3)]
np.save(answers, np.concatenate(found))
