"""The networks that the scripts know by name, and the classifier around them.

``NETWORKS`` is a plain dict from name to builder. A builder takes ``(num_classes, **options)`` and returns a
``paddle.nn.Layer`` from float32 images [N, 3, H, W] to logits [N, num_classes]. To add a network: write one file with such a
function and add one line here; help, tests, comparison and benchmarks pick it up. The line is ``"my_net":
Lazy("networks.my_net", "my_net")``: ``Lazy`` imports the file only when it is called, so that ``--help`` can list the names
without importing Paddle. A function itself will do too.
"""

import difflib
import importlib
import inspect

__all__ = ["NETWORKS", "Classifier", "Lazy", "NetworkError", "build_network"]


class NetworkError(ValueError):
    """No such network, or options that it cannot be built with."""


class Lazy:
    """A builder: the function ``name`` of ``module``, imported at the first call."""

    def __init__(self, module, name):
        self.module, self.__name__ = module, name

    def load(self):
        """The function itself."""
        return getattr(importlib.import_module(self.module), self.__name__)

    def __call__(self, num_classes, **options):
        return self.load()(num_classes, **options)


NETWORKS = {
    "sa_resnet": Lazy("sa_resnet", "sa_resnet50"),
    "sa_resnet50": Lazy("sa_resnet", "sa_resnet50"),
    "sa_resnet101": Lazy("sa_resnet", "sa_resnet101"),
    "sa_resnet152": Lazy("sa_resnet", "sa_resnet152"),
    "resnet": Lazy("sa_resnet", "resnet50"),
    "resnet50": Lazy("sa_resnet", "resnet50"),
    "resnet101": Lazy("sa_resnet", "resnet101"),
    "resnet152": Lazy("sa_resnet", "resnet152"),
}


def build_network(name, num_classes, **options):
    """Build the network ``name`` with random weights: float32 [N, 3, H, W] -> logits [N, num_classes].

    Raises NetworkError for an unknown name (the message lists the names), an option that this network does not have or cannot
    be built with, or a class count below one.
    """
    if name not in NETWORKS:
        near = difflib.get_close_matches(name, NETWORKS, n=1)
        hint = f", did you mean {near[0]}?" if near else ""
        raise NetworkError(f"unknown network {name!r}{hint}; one of: {', '.join(NETWORKS)}")
    if num_classes < 1:
        raise NetworkError(f"num_classes = {num_classes}: a classifier needs at least one class")
    builder = NETWORKS[name]
    function = builder.load() if isinstance(builder, Lazy) else builder
    accepted = [parameter for parameter in inspect.signature(function).parameters if parameter != "num_classes"]
    for option in options:
        if option not in accepted:
            raise NetworkError(f"{name} has no option {option!r}; it has: {', '.join(accepted) or 'none'}")
    try:
        return function(num_classes, **options)
    except ValueError as error:
        raise NetworkError(f"{name}: {error}") from error


def __getattr__(name):
    if name == "Classifier":
        from networks.classifier import Classifier

        return Classifier
    raise AttributeError(f"module 'networks' has no attribute {name!r}")
