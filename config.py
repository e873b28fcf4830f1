"""Every setting of the toolkit, once: name, type, default, help, allowed values.

A setting's value comes from its default, then from the recipe (``--config FILE.yaml``), then from the command line; the
later one wins. ``python train.py --help`` lists the settings that a script reads. Nothing here imports Paddle, so that
``--help`` and a mistyped flag answer at once.
"""

import argparse
import dataclasses
import difflib
import functools
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from attention import ATTENTIONS
from data import DATASETS
from machine.runtime import available_cores, default_threads
from messages.quoting import quoted
from messages.terminal import print_error
from networks import IMAGENET_MEAN, IMAGENET_STD, NETWORKS
from settings.declaration import SCRIPTS, ConfigError, as_float, check_value, from_text, nearest, setting, type_of

LARGEST_SEED = 2**31 - 1
NETWORK_OPTIONS = ("attention", "sa_groups", "sa_gate", "e_lambda", "zero_init_residual")
NOT_LEARNED = frozenset({
    "data", "follow_links", "runs_dir", "device", "threads", "num_workers", "fused", "deterministic", "summary", "resume",
    "save_every_steps",
})  # fmt: skip
"""Settings of a training that decide where it reads and writes and how fast it is, not what it learns."""
PARTS = {
    "view": ("image_size", "train_crop", "eval_crop", "crop_min_area", "flip", "rotation"),
    "normalization": ("mean", "std"),
    "network": NETWORK_OPTIONS,
    "optimizer": ("optimizer", "learning_rate", "momentum", "weight_decay", "decay_norm_and_bias"),
    "schedule": ("schedule", "warmup_epochs", "step_epochs", "step_gamma"),
}
VIEW_OPTIONS = ("image_size", "train_crop", "eval_crop", "crop_min_area", "flip", "rotation")


@dataclass(frozen=True)
class Config:
    """All settings of one invocation, checked. Immutable; ``dataclasses.replace`` makes a changed copy."""

    # fmt: off
    dataset: str = setting("folder", "a folder of class folders, or CIFAR-10, which comes split", choices=tuple(DATASETS),
                           group="data", scripts="train compare")
    data: str = setting("work/dataset", "folder of class folders, in which the lists lie, or a .zip, .tar.gz, .tgz or .tar of "
                        "it. For CIFAR-10 Paddle's cifar-10-python.tar.gz or its folder, without which Paddle downloads it",
                        metavar="PATH", group="data",
                        scripts="sample_animals train_val_split show_photographs train eval compare gradcam")
    follow_links: bool = setting(False, "take photographs outside of the data folder too, where links or lists lead there",
                                 group="data", scripts="train_val_split show_photographs train eval compare gradcam")
    per_class: int = setting(40, "pictures to draw for each class", low=2, high=100_000,
                             group="data", scripts="sample_animals")
    val_fraction: float = setting(0.2, "share of each class that goes to the validation list", above=0.0, high=0.9,
                                  group="data", scripts="train_val_split")
    max_per_class: Optional[int] = setting(None, "use at most this many photographs of each class", default_text="all",
                                           low=2, group="data", scripts="train_val_split")
    image_size: int = setting(224, "side of the square that the network sees, in pixels", low=8, high=4096,
                              group="data", scripts="train compare")
    train_crop: str = setting("random", "what training shows of a photograph: a random part, or the whole of it resized to a "
                              "square", choices=("random", "resize"), group="data", scripts="train compare")
    eval_crop: str = setting("center", "what evaluation shows: the central part, or the whole resized to a square",
                             choices=("center", "resize"), group="data", scripts="train compare")
    crop_min_area: float = setting(0.08, "smallest share of a photograph that a random part has", above=0.0, high=1.0,
                                   needs=("train_crop", "random"), group="data", scripts="train compare")
    flip: bool = setting(True, "mirror photographs in training at even odds", group="data", scripts="train compare")
    rotation: float = setting(0.0, "turn photographs in training by up to this many degrees, either way", low=0, high=180,
                              group="data", scripts="train compare")
    mean: tuple[float, ...] = setting(IMAGENET_MEAN, "what is subtracted from red, green and blue, as fractions of full "
                                      "brightness", low=0, high=1, length=3, default_text="ImageNet's",
                                      group="data", scripts="train compare")
    std: tuple[float, ...] = setting(IMAGENET_STD, "what red, green and blue are then divided by", above=0, high=1, length=3,
                                     default_text="ImageNet's", group="data", scripts="train compare")
    images: Optional[tuple[str, ...]] = setting(None, "photographs, or folders of them, to explain", metavar="FILE",
                                                default_text="the validation list", group="data", scripts="gradcam")
    sample: int = setting(16, "of more photographs than this, so many are drawn at random", low=1, high=200,
                          group="data", scripts="gradcam")

    net: str = setting("sa_resnet", "network", choices=tuple(NETWORKS), group="network", scripts="train eval gradcam")
    nets: tuple[str, ...] = setting(("sa_resnet", "resnet"), "networks to compare; compare.py trains what is not trained yet",
                                    default_text="sa_resnet resnet; one network with gradcam.py",
                                    choices=tuple(NETWORKS), group="network", scripts="compare gradcam")
    attention: Optional[str] = setting(None, "attention layer in every block of a resnet or of tower_net", group="network",
                                       choices=("none", *ATTENTIONS), default_text="the network's own",
                                       scripts="train")
    sa_groups: Optional[int] = setting(None, "groups of Shuffle Attention", low=1, default_text="64, as published",
                                       group="network", scripts="train")
    sa_gate: Optional[str] = setting(None, "gate of Shuffle Attention: one weight and bias a channel, as published, "
                                     "or a 1x1 convolution over a group's channels", default_text="scale",
                                     choices=("scale", "conv"), group="network", scripts="train")
    e_lambda: Optional[float] = setting(None, "lambda of SimAM", above=0.0, group="network", scripts="train",
                                        default_text="0.0001, as published; the authors take 0.1 for ImageNet")
    zero_init_residual: bool = setting(False, "let each residual block start as the identity (its last batch norm's weight "
                                       "at zero), which helps short trainings", group="network", scripts="train compare")
    init_from: Optional[str] = setting(None, "start from the weights in this file: PyTorch's .pth, Paddle's .pdparams or "
                                       ".safetensors, also of a run", metavar="FILE", default_text="weights drawn at random",
                                       group="network", scripts="train compare")
    pretrained: bool = setting(False, "start from Paddle's ImageNet weights, downloaded once: the ResNets with any attention, "
                               "vgg19, mobilenet_v2", group="network", scripts="train compare")
    summary: bool = setting(False, "print parameters and multiply-adds of the network and stop",
                            group="network", scripts="train")

    epochs: int = setting(100, "passes over the training list", low=1, group="training", scripts="train compare")
    batch_size: int = setting(32, "photographs in a batch", low=1, group="training", scripts="train eval compare")
    optimizer: str = setting("momentum", "SGD with momentum, Adam or AdamW", choices=("momentum", "adam", "adamw"),
                             group="training", scripts="train compare")
    learning_rate: Optional[float] = setting(None, "peak learning rate", above=0.0,
                                             default_text="0.1 * batch_size / 256; 0.001 for adam and adamw",
                                             group="training", scripts="train compare")
    momentum: float = setting(0.9, "momentum of SGD", low=0.0, high=0.9999, needs=("optimizer", "momentum"),
                              group="training", scripts="train compare")
    weight_decay: float = setting(1e-4, "L2 decay; decoupled with adamw", low=0.0, high=1.0,
                                  group="training", scripts="train compare")
    decay_norm_and_bias: bool = setting(True, "let weight decay act on biases and on batch norm, group norm and "
                                        "attention gates as well", group="training", scripts="train compare")
    schedule: str = setting("cosine", "learning rate over time: to zero along a cosine, with every step or from epoch to "
                            "epoch, in steps, or constant", choices=("cosine", "cosine_by_epoch", "step", "constant"),
                            group="training", scripts="train compare")
    warmup_epochs: Optional[float] = setting(None, "epochs over which the learning rate rises from zero",
                                             default_text="5, at most a tenth of --epochs", low=0.0,
                                             group="training", scripts="train compare")
    step_epochs: int = setting(30, "with --schedule step: epochs between two steps", low=1, needs=("schedule", "step"),
                               group="training", scripts="train compare")
    step_gamma: float = setting(0.1, "with --schedule step: factor of each step", above=0.0, high=1.0,
                                needs=("schedule", "step"), group="training", scripts="train compare")
    label_smoothing: float = setting(0.0, "share of the target spread over all classes", low=0.0, high=0.9,
                                     group="training", scripts="train compare")
    early_stop: int = setting(0, "stop after this many epochs without a better validation accuracy (0: never)", low=0,
                              group="training", scripts="train compare")
    save_best_above: float = setting(0.0, "save best.safetensors only at a validation accuracy above this (0: at any)", low=0,
                                     high=1, group="training", scripts="train compare")
    seed: int = setting(0, "decides the split, weights, shuffling, augmentation and what is drawn at random", low=0,
                        high=LARGEST_SEED, group="training",
                        scripts="sample_animals train_val_split show_photographs train compare gradcam")

    resume: Optional[str] = setting(None, "continue a training that was interrupted: its run folder, or latest, the run of "
                                    "--net, or of any network, that was trained last; its settings hold, --epochs may grow",
                                    metavar="FOLDER", group="training", scripts="train")
    save_every_steps: int = setting(0, "save the state of the training after so many steps within an epoch as well (0: "
                                    "after each epoch alone)", low=0, group="training", scripts="train compare")
    seeds: int = setting(1, "trainings of each network, from seed, seed + 1, ...", low=1, high=100,
                         group="training", scripts="compare")

    runs_dir: str = setting("runs", "folder of all runs", metavar="FOLDER",
                            group="output", scripts="train eval compare gradcam")
    run: Optional[str] = setting(None, "run folder of the network", default_text="newest finished run of --net",
                                 metavar="FOLDER", group="output", scripts="eval gradcam")
    runs: Optional[tuple[str, ...]] = setting(None, "finished run folders to compare as they are, instead of --nets",
                                              metavar="FOLDER", group="output", scripts="compare gradcam")

    picture: str = setting("photographs.png", "file that the grid of photographs is drawn into", metavar="FILE.png",
                           default_text="photographs.png; gradcam.py: gradcam.png in the run folder",
                           group="output", scripts="show_photographs gradcam")

    device: str = setting("auto", "auto takes the GPU where Paddle can use one", choices=("auto", "cpu", "gpu"),
                          group="machine", scripts="train eval compare gradcam")
    threads: Optional[int] = setting(None, "CPU threads for the network's arithmetic", low=1, default_text="all cores",
                                     high=1024, group="machine", scripts="train eval compare gradcam")
    fused: str = setting("auto", "the fused operators: auto uses them where they can be built, on insists, off never",
                         choices=("auto", "on", "off"), group="machine", scripts="train eval compare gradcam")
    deterministic: bool = setting(False, "on a GPU: ask cuDNN for algorithms that give the same bits every time, which "
                                  "may be slower; on a CPU training always does", group="machine", scripts="train compare")
    num_workers: Optional[int] = setting(None, "processes that read photographs; 0 reads in the main one",
                                         default_text="cores - 1, at most 8; 0 but on Linux", low=0, high=256,
                                         group="machine", scripts="train eval compare")
    # fmt: on

    given: frozenset = field(default=frozenset(), compare=False, repr=False)
    """Names that the recipe or the command line set; not a setting itself."""

    def __post_init__(self):
        for item in settings():
            check_value(item, getattr(self, item.name))
        if self.pretrained and self.init_from is not None:
            raise ConfigError(
                f"init_from = {self.init_from!r} with pretrained: a network starts from one of them, give only that"
            )
        if self.warmup_epochs is not None and self.warmup_epochs > self.epochs:
            raise ConfigError(f"warmup_epochs = {self.warmup_epochs:g}: the warm-up cannot outlast epochs = {self.epochs}")
        if self.resume and self.summary:
            raise ConfigError("summary: it says nothing of a training; leave out one of --summary and --resume")
        if self.seed + self.seeds - 1 > LARGEST_SEED:
            raise ConfigError(f"seeds = {self.seeds}: from seed = {self.seed} on they pass the largest, {LARGEST_SEED:,}")

    def resolved(self) -> "Config":
        """The same settings with every value that a default leaves to the others, or to the machine, filled in."""
        scale = {"momentum": 0.1 * self.batch_size / 256}.get(self.optimizer, 1e-3)
        filled = {
            "learning_rate": scale,
            "warmup_epochs": min(5.0, self.epochs / 10),
            "threads": default_threads(),
            # Paddle forks its workers; where it cannot, it warns and reads in the main process
            "num_workers": min(available_cores() - 1, 8) if sys.platform == "linux" else 0,
        }
        missing = {name: value for name, value in filled.items() if getattr(self, name) is None}
        return dataclasses.replace(self, **missing)

    def network_options(self) -> dict:
        """The options of the network that were chosen; those left alone keep the network's own defaults."""
        chosen = {name: getattr(self, name) for name in NETWORK_OPTIONS}
        return {name: value for name, value in chosen.items() if value not in (None, False)}

    def view_options(self) -> dict:
        """How photographs are shown to the network: the arguments of data.photograph_dataset.PhotographDataset."""
        return {name: getattr(self, name) for name in VIEW_OPTIONS}

    def part(self, name) -> dict:
        """The settings of the part ``name``, by name: what the function that this part is for takes as arguments."""
        return {setting_name: getattr(self, setting_name) for setting_name in PARTS[name]}

    def inherit(self, other: "Config", names) -> "Config":
        """Take the settings ``names`` from ``other`` wherever the user did not set them for this invocation."""
        taken = {name: getattr(other, name) for name in names if name not in self.given}
        return dataclasses.replace(self, **taken)

    def continuing(self, trained: "Config", run) -> "Config":
        """The settings to continue the run ``run`` with: ``trained``, those that it had, but for what the user may change.

        Raises ConfigError where the user set one for this invocation that would change what the run learns.
        """
        names = {item.name for item in settings("train")}
        for name in sorted(self.given & names - NOT_LEARNED - {"epochs"}):
            now, then = getattr(self, name), getattr(trained, name)
            if now is not None and now != then:  # None: left to the other settings, as it was then
                raise ConfigError(f"{name} = {now!r}: {run} is trained with {then!r}, which cannot change on --resume")
        if "epochs" in self.given and self.epochs < trained.epochs:
            raise ConfigError(f"epochs = {self.epochs}: {run} is to have {trained.epochs}; with --resume they may only grow")
        free = self.given & names & (NOT_LEARNED | {"epochs"}) - {"resume", "runs_dir"}
        return dataclasses.replace(trained, **{name: getattr(self, name) for name in free}, given=self.given)

    def as_dict(self) -> dict:
        """Plain values of every setting, in order, ready for YAML or JSON."""
        values = {item.name: getattr(self, item.name) for item in settings()}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def settings(script=None):
    """The dataclass fields that are settings; with ``script``, those that this script reads."""
    fields = [item for item in dataclasses.fields(Config) if item.metadata]
    return [item for item in fields if script is None or script in item.metadata["scripts"]]


def read_recipe(path) -> dict:
    """Settings of a YAML recipe, types as YAML gives them; raises ConfigError naming file, key and rule."""
    from settings.recipe_yaml import RecipeError, read_yaml

    try:
        content, keys = read_yaml(path)
    except RecipeError as error:
        raise ConfigError(f"config = {str(path)!r}: {error}") from None
    known = {item.name: item for item in settings()}
    values = {}
    for key, value in content.items():
        if key not in known:
            raise ConfigError(f"{path}: unknown key {quoted(key)}{nearest(key, known)}; --help lists the settings")
        if keys.count(key) > 1:  # YAML itself would take the last one silently
            raise ConfigError(f"{path}: key {key!r} is there twice")
        kind, is_tuple = type_of(known[key])
        if kind is float:
            value = [as_float(known[key], part) for part in value] if isinstance(value, list) else as_float(known[key], value)
        if is_tuple and isinstance(value, list):
            value = tuple(value)
        try:
            check_value(known[key], value)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None
        values[key] = value
    return values


class _OneLineParser(argparse.ArgumentParser):
    def error(self, message):
        raise ConfigError(message)


def _build_parser(script, description):
    wide = 100
    parser = _OneLineParser(
        prog=f"{script}.py" if script else None,
        description=textwrap.fill(" ".join((description or "").split()), wide),
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=28, width=wide),
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("--config", metavar="FILE.yaml", help="recipe: settings in YAML; the command line wins")
    groups = {}
    for item in settings(script):
        rule = item.metadata
        if rule["group"] not in groups:
            groups[rule["group"]] = parser.add_argument_group(rule["group"])
        kind, is_tuple = type_of(item)
        options = {"help": _help_text(item)}
        if kind is bool:
            options["action"] = argparse.BooleanOptionalAction
        else:
            options["metavar"] = rule["metavar"] or {int: "N", float: "X", str: "NAME"}[kind]
            options["type"] = functools.partial(from_text, item)
            if is_tuple:
                options["nargs"] = "+"
        groups[rule["group"]].add_argument(f"--{item.name}", **options)
    return parser


def _with_underscores(word):
    """``--batch-size`` as ``--batch_size``: Paddle's users write the one, most other tools the other."""
    if not word.startswith("--"):
        return word
    flag, equals, value = word[2:].partition("=")
    flag = flag.replace("-", "_")
    if flag.startswith("no_"):
        flag = "no-" + flag[3:]  # argparse's own name for the negative of a switch
    return f"--{flag}{equals}{value}"


def _help_text(item):
    text = item.metadata["help"]
    if item.metadata["choices"]:
        text += f": {', '.join(item.metadata['choices'])}"
    shown = item.metadata["default_text"] or item.default
    if isinstance(shown, bool):
        shown = "on" if shown else "off"
    if shown is not None:
        text += f" (default: {' '.join(shown) if isinstance(shown, tuple) else shown})"
    return text.replace("%", "%%")


def load_config(path) -> Config:
    """The Config that a run's ``config.yaml`` holds; raises ConfigError."""
    values = read_recipe(path)
    try:
        return Config(**values)
    except ConfigError as error:  # each value is good, but not beside another
        raise ConfigError(f"{path}: {error}") from None


def config_of_checkpoint(header, path) -> Config:
    """The Config that the header of the checkpoint ``path`` holds, as trained.checkpoint reads it; raises ConfigError."""
    names = {item.name for item in settings()}
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in header["config"].items()}
    try:
        for name in sorted(values.keys() - names)[:1]:
            raise ConfigError(f"unknown setting {quoted(name)}, of another version of this toolkit?")
        return Config(**values)
    except ConfigError as error:
        raise ConfigError(f"{path}: its settings cannot be used: {error}") from None


def read_command_line(argv, script=None, description=None) -> Config:
    """As parse_config, but a bad setting raises ConfigError."""
    parser = _build_parser(script, description)
    words = [_with_underscores(word) for word in (sys.argv[1:] if argv is None else argv)]
    parsed, unknown = parser.parse_known_args(words)
    flags = [word.split("=")[0] for word in unknown if word.startswith("--")]
    if flags:
        name = flags[0][2:].removeprefix("no-")
        names = [item.name for item in settings(script)] + ["config", "help"]
        everywhere = {item.name: item for item in settings()}
        if name in everywhere and name not in names:
            raise ConfigError(
                f"--{name} is no option of {script}.py, but of "
                f"{', '.join(s + '.py' for s in everywhere[name].metadata['scripts'])}"
            )
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f", did you mean --{near[0]}?" if near else ""
        raise ConfigError(f"unknown option {flags[0]}{hint}; --help lists them all")
    if unknown:
        raise ConfigError(f"unexpected {unknown[0]!r}: settings are written --name value; --help lists them all")
    typed = {name: tuple(value) if isinstance(value, list) else value for name, value in vars(parsed).items()}
    recipe = typed.pop("config", None)
    values = {**(read_recipe(recipe) if recipe else {}), **typed}
    config = Config(**values, given=frozenset(values))
    for item in settings(script):
        other, value = item.metadata["needs"] or (None, None)
        if item.name in typed and other and getattr(config, other) != value:
            raise ConfigError(f"--{item.name} has no effect with {other} = {getattr(config, other)!r}, only with {value!r}")
    return config


def parse_config(argv=None, script=None) -> Config:
    """Settings of one invocation: defaults, then the recipe, then ``argv`` (default: the process's own arguments).

    ``script`` limits the flags to those that this script reads (default: the running script, if it is one of ours).
    A recipe may hold settings of any script, so that one file serves them all. A bad setting prints one line that names
    it and ends the process with exit code 2.
    """
    main = sys.modules["__main__"]
    running = Path(getattr(main, "__file__", None) or "").stem
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a class name may have letters that the terminal has not
    script = script or (running if running in SCRIPTS else None)
    description = main.__doc__ if script == running else None
    try:
        return read_command_line(argv, script, description)
    except ConfigError as error:
        print_error(script or "config", error)
        raise SystemExit(2) from None
