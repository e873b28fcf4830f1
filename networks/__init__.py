"""The networks that the scripts know by name, and the classifier around them.

``NETWORKS`` is a plain dict from name to builder. A builder takes ``(num_classes, **options)`` and returns a
``paddle.nn.Layer`` from float32 images [N, 3, H, W] to logits [N, num_classes]. To add a network: write one file with such a
function and add one line here; help, tests, comparison and benchmarks pick it up.

Builders import their file only when called, so that ``--help`` can list the names without importing Paddle.
"""

import difflib
import importlib
import inspect

__all__ = ["NETWORKS", "Classifier", "build_network"]


class _Builder:
    """Calls ``function`` of ``module``, importing it at the first call."""

    def __init__(self, module, function):
        self.module, self.function = module, function

    def load(self):
        return getattr(importlib.import_module(self.module), self.function)

    def __call__(self, num_classes, **options):
        return self.load()(num_classes, **options)


NETWORKS = {
    "sa_resnet": _Builder("sa_resnet", "sa_resnet50"),
    "sa_resnet50": _Builder("sa_resnet", "sa_resnet50"),
    "sa_resnet101": _Builder("sa_resnet", "sa_resnet101"),
    "sa_resnet152": _Builder("sa_resnet", "sa_resnet152"),
    "resnet": _Builder("sa_resnet", "resnet50"),
    "resnet50": _Builder("sa_resnet", "resnet50"),
    "resnet101": _Builder("sa_resnet", "resnet101"),
    "resnet152": _Builder("sa_resnet", "resnet152"),
}


def build_network(name, num_classes, **options):
    """Build the network ``name`` with random weights: float32 [N, 3, H, W] -> logits [N, num_classes].

    Raises ValueError for an unknown name (the message lists the names), an option that this network does not have, or a
    class count below one.
    """
    if name not in NETWORKS:
        near = difflib.get_close_matches(name, NETWORKS, n=1)
        hint = f", did you mean {near[0]}?" if near else ""
        raise ValueError(f"unknown network {name!r}{hint}; one of: {', '.join(NETWORKS)}")
    if num_classes < 1:
        raise ValueError(f"num_classes = {num_classes}: a classifier needs at least one class")
    function = NETWORKS[name].load()
    accepted = [p for p in inspect.signature(function).parameters if p != "num_classes"]
    for option in options:
        if option not in accepted:
            raise ValueError(f"{name} has no option {option!r}; it has: {', '.join(accepted) or 'none'}")
    return function(num_classes, **options)


def __getattr__(name):
    if name == "Classifier":
        from networks.classifier import Classifier

        return Classifier
    raise AttributeError(f"module 'networks' has no attribute {name!r}")
