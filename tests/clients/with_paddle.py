"""python with_paddle.py EXPORT SAMPLE.json ANSWERS.npy: the exported program in Paddle Inference."""

import json
import sys
from pathlib import Path

import numpy as np
from paddle import inference

export, sample, answers = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text()), sys.argv[3]
program = next(file for file in (export / "paddle").iterdir() if file.suffix in (".json", ".pdmodel"))
config = inference.Config(str(program), str(export / "paddle" / "inference.pdiparams"))
config.disable_gpu()
config.disable_glog_info()
predictor = inference.create_predictor(config)
images = np.load(sample["pixels"])
entrance = predictor.get_input_handle("images")
entrance.reshape(images.shape)
entrance.copy_from_cpu(images)
predictor.run()
np.save(answers, predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu())
