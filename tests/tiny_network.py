"""A network small enough to be trained hundreds of times, and what two trainings of one network must agree in."""

import paddle
from paddle import nn
from PIL import Image
from safetensors.numpy import load_file

from config import load_config
from ops.batch_norm import BatchNorm2D, apply_norm
from sa_resnet import BasicBlock, BlockAttention, conv
from trained.checkpoint import read_header
from trained.history import read_history
from trained.result import read_result

TIMES = ("seconds", "images_per_second", "peak_memory_mb", "energy_joules")


class TinyNetwork(nn.Layer):
    """Two convolutions with batch norm, and dropout, which draws from Paddle's generator; [N, 3, H, W] -> [N, num_classes]."""

    def __init__(self, num_classes, zero_init_residual=False):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2D(3, 8, 3, stride=2), nn.BatchNorm2D(8), nn.ReLU(),
            nn.Conv2D(8, 16, 3, stride=2), nn.BatchNorm2D(16), nn.ReLU(),
        )  # fmt: skip
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(16, num_classes)

    def forward(self, x):
        return self.head(self.dropout(paddle.mean(self.features(x), axis=[2, 3])))

    def stages(self):
        return [list(self.features)[:3], [*list(self.features)[3:], self.dropout]]


class TinyResNet(nn.Layer):
    """Three residual blocks of up to 32 channels: what a ResNet does, in a fifth of the time of one of one block a stage."""

    def __init__(self, num_classes, attention=None, zero_init_residual=False, layout="nchw"):
        super().__init__()
        attention = BlockAttention(attention) if isinstance(attention, str) else attention
        self.axes, form = ([2, 3], {}) if layout == "nchw" else ([1, 2], {"data_format": "NHWC"})
        self.conv1, self.bn1 = conv(3, 16, 3, stride=2, **form), BatchNorm2D(16, **form)
        self.layer1 = nn.Sequential(BasicBlock(16, 16, 1, attention, **form))
        self.layer2 = nn.Sequential(BasicBlock(16, 32, 2, attention, **form), BasicBlock(32, 32, 1, attention, **form))
        self.fc = nn.Linear(32, num_classes)
        for block in [*self.layer1, *self.layer2] if zero_init_residual else ():
            block.last_norm.weight.set_value(paddle.zeros_like(block.last_norm.weight))

    def forward(self, x):
        x = x.transpose([0, 2, 3, 1]) if self.axes == [1, 2] else x  # [N, 3, H, W] -> [N, H, W, 3]
        x = apply_norm(self.bn1, self.conv1(x), relu=True)
        return self.fc(paddle.mean(self.layer2(self.layer1(x)), axis=self.axes))


def outcome(run) -> dict:
    """All that a training is for, apart from times: the bits of its weights and of its optimiser, history and result."""
    tensors = {name: load_file(run / f"{name}.safetensors") for name in ("best", "last")}
    result = {key: value for key, value in read_result(run).items() if key not in TIMES}
    result["best"] = {key: value for key, value in result["best"].items() if key not in TIMES}
    return {
        "bits": {(file, name): value.tobytes() for file, found in tensors.items() for name, value in found.items()},
        "history": [{key: value for key, value in row.items() if key not in TIMES} for row in read_history(run)],
        "result": result,
        "epochs": {name: read_header(run / f"{name}.safetensors")["epoch"] for name in tensors},
        "temperatures": {name: read_header(run / f"{name}.safetensors")["temperature"] for name in tensors},
    }


def check_whole(file) -> None:
    """Raise unless the file of a run folder can be read to its end."""
    if file.name.startswith(".") or file.is_dir():
        return
    if file.suffix == ".safetensors":
        load_file(file)
    elif file.suffix == ".png":
        Image.open(file).load()
    elif file.name == "config.yaml":
        load_config(file)
    elif file.name == "history.csv":
        read_history(file.parent)
    elif file.name == "result.json" and not read_result(file.parent):
        raise ValueError("no JSON")
