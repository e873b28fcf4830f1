"""SA-ResNet50 and ResNet50 in PyTorch, written in the usual way, to compare with.

    python benchmarks/torch_sa_resnet.py --layout channels_last

One process, one layout; prints a line of JSON. Needs requirements-bench.txt.
"""

import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn


class ShuffleAttention(nn.Module):
    """Zhang and Yang, ICASSP 2021: [N, C, H, W] -> the same shape."""

    def __init__(self, channels, groups=64):
        super().__init__()
        half = channels // (2 * groups)
        self.groups = groups
        self.cweight = nn.Parameter(torch.zeros(1, half, 1, 1))
        self.cbias = nn.Parameter(torch.ones(1, half, 1, 1))
        self.sweight = nn.Parameter(torch.zeros(1, half, 1, 1))
        self.sbias = nn.Parameter(torch.ones(1, half, 1, 1))
        self.gn = nn.GroupNorm(half, half)

    def forward(self, x):
        n, c, h, w = x.shape
        channel, spatial = x.reshape(n * self.groups, -1, h, w).chunk(2, dim=1)  # two of [N * groups, C / (2 * groups), H, W]
        channel = channel * torch.sigmoid(self.cweight * channel.mean((2, 3), keepdim=True) + self.cbias)
        spatial = spatial * torch.sigmoid(self.sweight * self.gn(spatial) + self.sbias)
        y = torch.cat([channel, spatial], dim=1).reshape(n, 2, c // 2, h, w)
        return y.transpose(1, 2).reshape(n, c, h, w)  # [N, branch, C / 2, H, W] -> [N, C / 2, branch, H, W] -> [N, C, H, W]


class Bottleneck(nn.Module):
    """``attention``: makes the layer before the addition from its number of channels."""

    def __init__(self, in_channels, planes, stride, attention):
        super().__init__()
        channels = 4 * planes
        self.conv1 = nn.Conv2d(in_channels, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.sa = attention(channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = nn.Identity()
        if stride != 1 or in_channels != channels:
            self.downsample = nn.Sequential(nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        return self.relu(self.sa(self.bn3(self.conv3(y))) + self.downsample(x))


def sa_resnet50(num_classes, attention=ShuffleAttention):
    """With ``attention=lambda channels: nn.Identity()`` a ResNet50."""
    layers = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    channels = 64
    for stage, (count, planes) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512))):
        for index in range(count):
            layers.append(Bottleneck(channels, planes, 2 if stage and index == 0 else 1, attention))
            channels = 4 * planes
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))


def measure(net, layout, batch_size, image_size, steps, threads):
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(0)
    memory_format = getattr(torch, layout)
    attention = ShuffleAttention if net == "sa_resnet" else lambda channels: nn.Identity()
    network = sa_resnet50(10, attention).to(memory_format=memory_format)
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9)
    images = torch.rand(batch_size, 3, image_size, image_size).to(memory_format=memory_format)
    labels = torch.arange(batch_size) % 10
    seconds = []
    for _ in range(steps + 1):
        started = time.perf_counter()
        loss = F.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
        seconds.append(time.perf_counter() - started)
    parameters = sum(p.numel() for p in network.parameters())
    return {"seconds": statistics.median(seconds[1:]), "parameters": parameters, "torch": torch.__version__}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--net", choices=("sa_resnet", "resnet"), default="sa_resnet")
    parser.add_argument("--layout", choices=("contiguous_format", "channels_last"), default="contiguous_format")
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="0: PyTorch's own choice")
    arguments = parser.parse_args()
    print(json.dumps(measure(**vars(arguments))))
