"""The trained network as a program: what Paddle Inference runs, and what every export is made of."""

from pathlib import Path

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from inference.export_form import use_export_forms
from networks.classifier import Classifier
from ops import fused
from trained.trained_run import TrainedRun

NAME = "inference"
"""The files of a program are NAME.json, or NAME.pdmodel with Paddle 2.6, and NAME.pdiparams."""
INPUT = "images"


class PixelsToProbabilities(nn.Layer):
    """Images [N, 3, H, W], pixel values 0 to 255 -> class probabilities float32 [N, C]: softmax(logits / ``temperature``)."""

    def __init__(self, classifier: Classifier, temperature: float = 1.0):
        super().__init__()
        self.classifier, self.temperature = classifier, temperature

    def forward(self, images: Tensor) -> Tensor:
        return F.softmax(self.classifier(images) / self.temperature, axis=1)


def save_program(run: TrainedRun, folder: Path, dtype: str = "uint8") -> None:
    """Write the network of ``run`` to ``folder`` as a program from images [N, 3, S, S] to probabilities [N, C], N free.

    ``dtype``: of the images, whose values are 0 to 255 all the same: "uint8", or "float32" for a runtime that has no other.
    Raises OSError, and as TrainedRun.classifier does.
    """
    network = PixelsToProbabilities(run.load_classifier(), run.temperature)
    network.eval()
    size = run.settings.image_size
    images = paddle.static.InputSpec([None, 3, size, size], dtype, name=INPUT)
    with paddle.no_grad(), fused.plain_operators():
        use_export_forms(network)
        traced = paddle.jit.to_static(network, input_spec=[images], full_graph=True)
        paddle.jit.save(traced, str(folder / NAME))


def program_file(folder: Path) -> Path:
    """The file in ``folder`` that holds the program itself, without its weights."""
    newer = folder / f"{NAME}.json"
    return newer if newer.exists() else folder / f"{NAME}.pdmodel"
