"""The folder that PaddleX 3 loads with ``create_model(model_name=MODEL_NAME, model_dir=FOLDER)``: inference.yml in it."""

from pathlib import Path
from typing import Optional

import yaml

from data.boxes import RESIZE_OVER_CROP
from machine.whole_file import write_text
from trained.trained_run import TrainedRun

MODEL_NAME = "ResNet50"
"""PaddleX loads only networks whose names it knows. It does not look at the layers, so one of its names does for all."""


def why_not_paddlex(run: TrainedRun) -> Optional[str]:
    """Why PaddleX cannot show photographs to the network of ``run`` as evaluation does; None where it can."""
    if run.settings.eval_crop == "letterbox":
        return f"PaddleX cannot lay grey bars beside a photograph, as eval_crop = 'letterbox' of {run.folder} does"
    return None


def write_inference_yml(run: TrainedRun, folder: Path) -> None:
    """Write how PaddleX prepares photographs for the network of ``run`` and names its classes. Raises OSError.

    The network itself normalises, but PaddleX requires a step that does: this one changes nothing.
    """
    size = run.settings.image_size
    resize = {"interpolation": "BILINEAR", "backend": "pil"}  # "cv2" takes single pixels where it shrinks
    if run.settings.eval_crop == "center":
        steps = [{"ResizeImage": {"resize_short": round(size * RESIZE_OVER_CROP), **resize}}, {"CropImage": {"size": size}}]
    else:
        steps = [{"ResizeImage": {"size": [size, size], **resize}}]
    same = {"mean": [0.0] * 3, "std": [1.0] * 3, "scale": 1.0, "order": "", "channel_num": 3}
    content = {
        "Global": {"model_name": MODEL_NAME},
        "PreProcess": {"transform_ops": [*steps, {"NormalizeImage": same}, {"ToCHWImage": None}]},
        "PostProcess": {"Topk": {"topk": min(5, len(run.classes)), "label_list": list(run.classes)}},
    }
    write_text(folder / "inference.yml", yaml.safe_dump(content, sort_keys=False))
