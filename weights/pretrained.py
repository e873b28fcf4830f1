"""Paddle's own ImageNet weights: which networks have them, and their download."""

import contextlib
import importlib
import io
import logging
import sys
from pathlib import Path

from paddle.utils import download

from machine.private_folder import NotPrivateError, make_private, open_private
from messages.reason import reason_of
from networks import NETWORKS
from weights.weight_files import WeightFileError

VISION = {"vgg19": ("vgg", "vgg19"), "mobilenet_v2": ("mobilenetv2", "mobilenetv2_1.0")}
"""Network -> (module of paddle.vision.models, name in its table of files); for a ResNet both follow from its depth."""


def pretrained_file(net: str) -> Path:
    """The file of Paddle's ImageNet weights for the network ``net``; for a ResNet with attention, those of the plain ResNet.

    Paddle downloads the file into its own folder and checks its MD5; an existing file is kept. Paddle does not load it, because
    its loader runs code from the file. Raises WeightFileError, also where another user could exchange the file.
    """
    module, name = _place(net)
    url, md5 = importlib.import_module(f"paddle.vision.models.{module}").model_urls[name]
    target = Path(download.WEIGHTS_HOME) / url.rpartition("/")[2]
    _check(target.name, make_private, target.parent, "set HOME to a folder that is yours alone")
    if not target.is_file():
        print(f"downloading {target.name} into {target.parent}", flush=True)
    bar = sys.stderr if sys.stderr.isatty() else io.StringIO()
    try:
        # Paddle draws its bar even into pipes, and reports each attempt
        with contextlib.redirect_stderr(bar), contextlib.redirect_stdout(io.StringIO()), _silent(download.__name__):
            file = Path(download.get_weights_path_from_url(url, md5))
    except (OSError, RuntimeError, ImportError) as error:
        raise WeightFileError(
            f"pretrained: {target.name} could not be downloaded ({' '.join(str(error).split())}): download {url} in another "
            f"way and give it with --init_from FILE"
        ) from None
    # In a replaced home it is a link of ours
    _check(target.name, lambda path: open_private(path).close(), file.resolve(), f"remove {file.resolve()}")
    return file


def _check(name, check, place, remedy):
    try:
        check(place)
    except NotPrivateError as error:
        raise WeightFileError(
            f"pretrained: {name} is not used, because {reason_of(error)}: {remedy}, or give the weights with --init_from FILE"
        ) from None
    except OSError as error:
        raise WeightFileError(
            f"pretrained: {name} cannot be used: {reason_of(error)}; --init_from FILE takes another"
        ) from None


@contextlib.contextmanager
def _silent(name):
    """Within the block, the logger ``name`` logs only errors."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _place(net):
    """(module of paddle.vision.models, name in its table of files) of the network ``net``; raises WeightFileError."""
    builder = NETWORKS[net]
    if getattr(builder, "module", None) == "sa_resnet":
        return "resnet", f"resnet{builder.fixed['depth']}"
    if net in VISION:
        return VISION[net]
    raise WeightFileError(
        f"pretrained: Paddle has no ImageNet weights for {net}, only for {', '.join(VISION)} and the ResNets, with any "
        f"attention; --init_from FILE takes weights from elsewhere"
    )
