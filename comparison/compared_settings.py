"""Which settings a comparison hands on to its trainings, which must be equal, and which differ: asked of the declarations."""

from pathlib import Path
from typing import Any

from config import Config, ConfigError, load_config, names_of, settings
from networks import options_of

HEEDED_WITH_RUNS = {"runs", "runs_dir", *names_of("compare eval", affects="speed")}
"""The settings that mean something for runs that are trained already."""


def check_useful(config: Config) -> None:
    """Raise ConfigError where the user set what has no effect on runs that are trained already."""
    useless = sorted(config.given & set(names_of("compare")) - HEEDED_WITH_RUNS)
    if useless:
        raise ConfigError(f"runs: finished runs are compared as they were trained; without effect: {', '.join(useless)}")


def training_settings(config: Config, net: str, seed: int) -> dict[str, Any]:
    """What decides what a training of ``net`` learns, by name, as plain values; what does not apply to it is left out."""
    values, not_its_own = {**config.as_dict(), "net": net, "seed": seed}, set(names_of(part="network")) - set(options_of(net))
    # None too: the network's own, which a run with an option of another kind must not pass for
    return {
        name: values[name]
        for name in names_of("train", affects="result")
        if config.has_effect(name) and name not in not_its_own
    }


def machine_settings(config: Config) -> dict[str, Any]:
    """The rest of a training's settings: where it reads and writes, and how fast it is."""
    names = (*names_of("train", affects="speed place"), *names_of("train compare", affects="nothing"))
    values = config.as_dict()
    return {name: values[name] for name in names if values[name] is not None}


def has_settings(run: Path, chosen: dict) -> bool:
    """Whether the run in the folder ``run`` was trained with all of ``chosen``, plain values by name.

    What the run does not say has the value from before there was such a setting. False where its settings cannot be read.
    Raises FormatError.
    """
    try:
        found = load_config(run / "config.yaml").as_dict()
    except ConfigError:
        return False
    return all(found[name] == value for name, value in chosen.items())


def learned(config: Config) -> dict[str, Any]:
    """All that decides what a training learned, but for the seed: equal for two runs of one network."""
    values = config.as_dict()
    return {name: values[name] for name in names_of("train", affects="result") if name != "seed"}


def differing_settings(configs: list[Config]) -> list[str]:
    """A line for each setting in which the runs differ, but for those that belong to the networks, the seed and the folders."""
    ignored = {"net", "seed"} | (set(names_of(part="network")) if len({config.net for config in configs}) > 1 else set())
    lines = []
    for item in settings("train", affects="result speed"):
        if item.name in ignored:
            continue
        values = list(dict.fromkeys(getattr(config, item.name) for config in configs))
        if len(values) > 1:
            costs = item.metadata["affects"] == "speed"
            effect = ": their training speed, time and memory do not compare" if costs else ""
            lines.append(f"The runs differ in {item.name} ({', '.join(map(str, values))}){effect}.")
    return lines
