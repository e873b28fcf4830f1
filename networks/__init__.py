"""The networks that the scripts know by name.

``NETWORKS`` is a plain dict from name to builder. A builder takes ``(num_classes, **options)`` and returns a
``paddle.nn.Layer`` from float32 images [N, 3, H, W] to logits [N, num_classes]. To add a network: write one file with such a
function and add one line here; help, tests, comparison and benchmarks pick it up. The line is ``"my_net":
Lazy("networks.my_net", "my_net")``: ``Lazy`` imports the file at the first call, so that ``--help`` can list the names without
importing Paddle. The function itself works too. A builder with the option ``layout``, "nchw" or "nhwc", builds a network that
keeps its feature maps so; images, logits and parameters are the same. A new attention layer needs no network: see
attention/__init__.py.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from typing import TYPE_CHECKING, Any, Callable

from messages.user_error import UserError

if TYPE_CHECKING:
    import paddle

# Mean and deviation of ImageNet's training photographs, RGB, as fractions of full brightness: the field's usual choice
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

LAYOUTS = ("nchw", "nhwc")
"""The orders of feature maps in memory: channels before the plane, or after it."""


class NetworkError(UserError):
    """An unknown network, or options with which it cannot be built."""


class Lazy:
    """A builder: the function ``name`` of ``module``, imported at the first call, with some of its options ``fixed``.

    ``title``: the name printed when the network is built; by default the function's name.
    """

    def __init__(self, module: str, name: str, title: str | None = None, **fixed: Any):
        self.module, self.name, self.fixed = module, name, fixed
        self.__name__ = title or name

    def load(self) -> Callable[..., paddle.nn.Layer]:
        """The function itself."""
        return getattr(importlib.import_module(self.module), self.name)

    def __call__(self, num_classes: int, **options: Any) -> paddle.nn.Layer:
        return self.load()(num_classes, **self.fixed, **options)


def _resnet(depth, prefix="", **fixed):
    return Lazy("sa_resnet", "resnet", f"{prefix}resnet{depth}", depth=depth, **fixed)


NETWORKS: dict[str, Callable[..., paddle.nn.Layer]] = {
    "sa_resnet": _resnet(50, "sa_", attention="shuffle"),
    "sa_resnet50": _resnet(50, "sa_", attention="shuffle"),
    "sa_resnet101": _resnet(101, "sa_", attention="shuffle"),
    "sa_resnet152": _resnet(152, "sa_", attention="shuffle"),
    "resnet": _resnet(50),
    "resnet18": _resnet(18),
    "resnet34": _resnet(34),
    "resnet50": _resnet(50),
    "resnet101": _resnet(101),
    "resnet152": _resnet(152),
    "se_resnet50": _resnet(50, "se_", attention="se"),
    "cbam_resnet50": _resnet(50, "cbam_", attention="cbam"),
    "eca_resnet50": _resnet(50, "eca_", attention="eca"),
    "sge_resnet50": _resnet(50, "sge_", attention="sge"),
    "simam_resnet50": _resnet(50, "simam_", attention="simam"),
    "epsanet50": Lazy("networks.epsanet", "epsanet", "epsanet50", depth=50),
    "epsanet101": Lazy("networks.epsanet", "epsanet", "epsanet101", depth=101),
    "tower_net": Lazy("networks.tower_net", "tower_net"),
    "vgg19": Lazy("networks.vision_baselines", "vgg19"),
    "mobilenet_v2": Lazy("networks.vision_baselines", "mobilenet_v2"),
}

WITHOUT_NORM = frozenset({"vgg19"})
"""The networks without normalisation layers: the rates at which the others learn leave them at chance."""


def build_network(name: str, num_classes: int, layout: str = "nchw", **options: Any) -> paddle.nn.Layer:
    """Build the network ``name`` with random weights: float32 [N, 3, H, W] -> logits [N, num_classes].

    ``layout``: of its feature maps, one of LAYOUTS. Raises NetworkError for an unknown name (the message lists the names), a
    layout or an option that this network does not have, a value with which it cannot be built, or fewer than one class.
    """
    if name not in NETWORKS:
        near = difflib.get_close_matches(name, NETWORKS, n=1)
        hint = f", did you mean {near[0]}?" if near else ""
        raise NetworkError(f"unknown network {name!r}{hint}; one of: {', '.join(NETWORKS)}")
    if num_classes < 1:
        raise NetworkError(f"num_classes = {num_classes}: a classifier needs at least one class")
    builder, accepted = NETWORKS[name], options_of(name)
    for option in options:
        if option not in accepted:
            raise NetworkError(f"{name} has no option {option!r}; it has: {', '.join(accepted) or 'none'}")
    check_layout(name, layout)
    if layout != "nchw":
        options["layout"] = layout
    try:
        return builder(num_classes, **options)
    except ValueError as error:
        raise NetworkError(f"{name}: {error}") from error


def options_of(name: str) -> list[str]:
    """The options that the builder of the network ``name`` takes, without ``layout``; raises KeyError for an unknown name."""
    fixed = getattr(NETWORKS[name], "fixed", {})
    return [parameter for parameter in _parameters_of(name) if parameter not in ("num_classes", "layout", *fixed)]


def depth_of(name: str) -> int | None:
    """The number of layers by which the network ``name`` is called, as 18 of resnet18; None where it has no such number."""
    return getattr(NETWORKS.get(name), "fixed", {}).get("depth")


def check_layout(name: str, layout: str) -> None:
    """Raise NetworkError unless ``layout`` is one of LAYOUTS and the network ``name`` can keep its feature maps so."""
    if layout not in LAYOUTS:
        raise NetworkError(f"layout = {layout!r}: unknown; one of: {', '.join(LAYOUTS)}")
    if layout != "nchw" and "layout" not in _parameters_of(name):
        raise NetworkError(f"layout = {layout!r}: {name} has NCHW maps only; leave --layout out, or give --layout nchw")


def _parameters_of(name):
    builder = NETWORKS[name]
    return inspect.signature(builder.load() if isinstance(builder, Lazy) else builder).parameters
