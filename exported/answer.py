"""python -m exported.answer RUNTIME MODEL IMAGES.npy ANSWERS.npy THREADS BATCH ...: an exported model's probabilities.

RUNTIME: onnx, paddle or paddlex, the latter a program of Paddle Inference that takes float32. IMAGES.npy: uint8 [N, 3, S, S].
ANSWERS.npy: float32 [number of BATCHes, N, C], the probabilities with so many images at once. Imports nothing of the toolkit,
so that it sees the model as any other program does.
"""

import sys
from pathlib import Path

import numpy as np


def main(runtime, model, images, answers, threads, *batches):
    np.save(answers, answers_of(runtime, Path(model), np.load(images), int(threads), *map(int, batches)))


def answers_of(runtime, model, pixels, threads, *batches):
    """float32 [number of batches, N, C], the probabilities of ``pixels`` uint8 [N, 3, S, S]; see above."""
    answer = (_with_onnx_runtime if runtime == "onnx" else _with_paddle)(model, threads)
    pixels = pixels.astype(np.float32) if runtime == "paddlex" else pixels
    found = [[answer(pixels[start : start + size]) for start in range(0, len(pixels), size)] for size in batches]
    return np.stack([np.concatenate(parts) for parts in found])


def _with_onnx_runtime(model, threads):
    import onnxruntime  # optional: only an export to ONNX needs it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda pixels: session.run(None, {name: pixels})[0]


def _with_paddle(program, threads):
    from paddle import inference  # ONNX Runtime may run where Paddle is not installed

    config = inference.Config(str(program), str(program.with_suffix(".pdiparams")))
    config.disable_gpu()
    config.disable_glog_info()
    config.set_cpu_math_library_num_threads(threads)
    predictor = inference.create_predictor(config)
    entrance = predictor.get_input_handle(predictor.get_input_names()[0])
    exit_ = predictor.get_output_handle(predictor.get_output_names()[0])

    def answer(pixels):
        entrance.reshape(pixels.shape)
        entrance.copy_from_cpu(np.ascontiguousarray(pixels))
        predictor.run()
        return exit_.copy_to_cpu()

    return answer


if __name__ == "__main__":
    main(*sys.argv[1:])
