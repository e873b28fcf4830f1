"""The defaults of training settings that depend on what is known before the training begins: one rule for all of them.

docs/recipes.md has the measurements behind it. Whatever the user sets stays.
"""

from typing import Any, NamedTuple, Optional


class Situation(NamedTuple):
    """What is known before a training.

    ``photographs``: on the training list; ``epochs``: passes over it; ``batch_size``: photographs in an update of the weights;
    ``from_weights``: whether it starts from the weights of another training; ``optimizer``: the user's choice, or None;
    ``depth``: the network's number of layers, where it has one to choose, else None; ``has_norm``: whether it has normalisation
    layers.
    """

    photographs: int
    epochs: int
    batch_size: int
    from_weights: bool = False
    optimizer: Optional[str] = None
    depth: Optional[int] = None
    has_norm: bool = True

    def __str__(self) -> str:
        start = "from given weights" if self.from_weights else "from random weights"
        epochs = f"{self.epochs:,} epoch{'s' * (self.epochs != 1)}"
        return f"{self.photographs:,} photographs, {epochs}, batches of {self.batch_size}, {start}"


SHALLOW = 18
"""Layers up to which a ResNet learns more if its blocks do not start as the identity; with 50 it is the other way round."""
WITHOUT_NORM = 0.1
"""Share of the usual rate at which a network without normalisation learns from random weights."""
SHORT = 1_000_000
"""Photographs shown in a training, all epochs together, below which it sees too few of them to learn from small crops."""


def training_defaults(situation: Situation) -> dict[str, Any]:
    """{name of a setting: its default in this situation}, for each setting of NAMES, in its order."""
    scratch = not situation.from_weights
    optimizer = situation.optimizer or ("adamw" if scratch else "momentum")
    with_adam = 1e-3 if scratch else 1e-4
    rate = 0.1 * situation.batch_size / 256 if optimizer == "momentum" else with_adam
    shown = situation.photographs * situation.epochs
    return {
        "optimizer": optimizer,
        "learning_rate": rate if situation.has_norm or not scratch else rate * WITHOUT_NORM,
        "weight_decay": 0.05 if optimizer == "adamw" else 1e-4,  # decoupled, and so multiplied by the rate
        "warmup_epochs": min(5.0, situation.epochs / 10),
        "crop_min_area": 0.35 if shown < SHORT else 0.08,
        "zero_init_residual": scratch and (situation.depth is None or situation.depth > SHALLOW),
        "ema_epochs": 0.0,
    }


NAMES = tuple(training_defaults(Situation(1, 1, 1)))
"""The settings that the rule gives a default."""
