"""Python imports this file at its start if its folder is in PYTHONPATH: resnet18 and resnet34 are tiny then, in all scripts.

Their learning curves are a picture of noise: importing matplotlib and drawing after each epoch take longer than the training.
"""

import importlib
import sys
import types
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS.parent), str(TESTS)]

import networks  # noqa: E402

networks.NETWORKS["resnet18"] = networks.Lazy("tiny_network", "TinyNetwork")
networks.NETWORKS["resnet34"] = networks.Lazy("tiny_network", "TinyResNet")


def draw_noise(history, path, title, balanced=False):
    from PIL import Image

    from machine.whole_file import whole_file

    with whole_file(path) as temporary:
        Image.effect_noise((220, 220), 64).save(temporary, "PNG")


class QuickCurves(types.ModuleType):
    """plots.figures for a script that draws learning curves alone; whatever else is asked of it is the real module's."""

    draw_curves = staticmethod(draw_noise)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules[self.__name__] is self:
            del sys.modules[self.__name__]
        figures = importlib.import_module(self.__name__)
        figures.draw_curves = draw_noise
        return getattr(figures, name)


sys.modules["plots.figures"] = QuickCurves("plots.figures")
