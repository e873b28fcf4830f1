"""A trained network as files that other programs run: ONNX, Paddle Inference, PaddleX; they appear once they are equal."""
