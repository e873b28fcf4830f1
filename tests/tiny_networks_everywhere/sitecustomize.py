"""Python imports this file at its start if its folder is in PYTHONPATH: resnet18 and resnet34 are tiny then, in all scripts."""

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS.parent), str(TESTS)]

import networks  # noqa: E402

networks.NETWORKS["resnet18"] = networks.Lazy("tiny_network", "TinyNetwork")
networks.NETWORKS["resnet34"] = networks.Lazy("tiny_network", "TinyResNet")
