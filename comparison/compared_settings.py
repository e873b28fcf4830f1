"""Which settings a comparison passes to its trainings, which must be equal, and which differ, by their declarations."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from comparison.bilingual import Bilingual
from config import Config, ConfigError, load_config, names_of, options_of_others, settings
from settings.declaration import flag_of
from weights.kernel_sizes import with_kernel_sizes

USED_WITH_RUNS = {
    *names_of("compare", part="run"),
    *names_of("compare", part="evaluation"),
    *names_of("compare", part="data", affects="place"),
    *names_of("compare eval", affects="speed"),
    "parallel",
    "ray",
    "baseline",
}
"""The settings that have an effect with --runs, on finished runs."""


def check_useful(config: Config) -> None:
    """Raise ConfigError where the user set something that has no effect with --runs."""
    useless = sorted(config.given & set(names_of("compare")) - USED_WITH_RUNS)
    if useless:
        raise ConfigError(f"runs: finished runs are compared as they were trained; without effect: {', '.join(useless)}")


def training_settings(config: Config, net: str, seed: int) -> dict[str, Any]:
    """The settings that decide what a training of ``net`` learns, by name, as plain values.

    Settings that have no effect on this training are omitted. Values that are None (the network's own default) stay, so that a
    run with another value does not match.
    """
    # A run records the kernel sizes that it took from the file
    values = {**with_kernel_sizes(dataclasses.replace(config, net=net)).as_dict(), "seed": seed}
    of_other_networks = options_of_others(net)
    return {
        name: values[name]
        for name in names_of("train", affects="result")
        if config.has_effect(name) and name not in of_other_networks
    }


def machine_settings(config: Config) -> dict[str, Any]:
    """The other settings of a training: where it reads and writes, and how fast it is."""
    names = (*names_of("train", affects="speed place"), *names_of("train compare", affects="nothing"))
    values = config.as_dict()
    return {name: values[name] for name in names if values[name] is not None}


def has_settings(run: Path, chosen: dict[str, Any]) -> bool:
    """Whether the run in the folder ``run`` was trained with the settings ``chosen``, plain values by name.

    A setting that the run's file lacks has the value from before the setting existed. False where the file cannot be read.
    Raises FormatError.
    """
    try:
        found = load_config(run / "config.yaml").as_dict()
    except ConfigError:
        return False
    return all(found[name] == value for name, value in chosen.items())


def differing_settings(configs: list[Config], besides: Sequence[str] = ()) -> list[Bilingual]:
    """A line for each setting in which the runs differ, except network options, seed, fold, folders, and ``besides``."""
    ignored = {"net", "seed", "fold", *besides} | (
        set(names_of(part="network")) if len({config.net for config in configs}) > 1 else set()
    )
    lines = []
    for item in settings("train", affects="result speed"):
        if item.name in ignored:
            continue
        values = list(dict.fromkeys(getattr(config, item.name) for config in configs))
        if len(values) > 1:
            effect = chinese = ""
            if item.metadata["affects"] == "speed":
                effect, chinese = ": their training speed, time and memory do not compare", "：训练速度、时间和内存不能相比"
            found = f"{item.name} ({', '.join(map(str, values))})"
            lines.append(Bilingual(f"The runs differ in {found}{effect}.", f"各次训练的设置不同：{found}{chinese}。"))
    return lines


def as_options(values: Mapping[str, Any], script: str) -> list[str]:
    """The command line of ``script`` that gives it these ``values``, by name; None stands for no option."""
    words = []
    for item in settings(script):
        flag, value = flag_of(item), values.get(item.name)
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, (list, tuple)):
            words += [f"--{flag}", *map(str, value)]
        elif value is not None:
            words.append(f"--{flag}={value}")
    return words
