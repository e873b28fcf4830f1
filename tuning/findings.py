"""What a search found: the best pair, a table, a picture, and a recipe for train.py."""

import math
import shlex
from pathlib import Path
from typing import Optional

import yaml

from config import Config, names_of
from machine.whole_file import write_csv, write_text
from messages.terminal import printable
from plots.tuning_map import Panel, draw_tuning
from tuning.grid import beyond
from tuning.ranking import ranked
from tuning.record import Search, Trial

RECIPE, TABLE, PICTURE = "recipe.yaml", "trials.csv", "map.png"
NO_DECAY = 1e-5  # a decay below this changes nothing to speak of
COLUMNS = ("rung", "epochs", "learning_rate", "weight_decay", "accuracy", "loss", "seconds", "run")


def last_rung(search: Search) -> Optional[int]:
    """The highest rung, from 1, in which a trial has ended; None: in none."""
    return max((trial.rung for trial in search.trials), default=None)


def finalists(search: Search) -> list[Trial]:
    """The trials of the last rung, the best first: only trials of equal length compare."""
    return ranked(trial for trial in search.trials if trial.rung == last_rung(search))


def best_trial(search: Search) -> Optional[Trial]:
    """The best of the last rung; None where no trial has ended well."""
    return next((trial for trial in finalists(search) if trial.accuracy is not None), None)


def write_findings(search: Search, config: Config, folder: Path) -> None:
    """Write trials.csv, map.png and the recipe, that one also to ``config.recipe``. Raises OSError."""
    rows = [(t.rung, t.epochs, *t.pair, *("" if v is None else v for v in t[3:])) for t in search.trials]
    write_csv(folder / TABLE, COLUMNS, rows)
    panels = []
    for number, rung in enumerate(search.rungs, start=1):
        cells = {trial.pair: trial.accuracy for trial in search.trials if trial.rung == number}
        if cells:
            panels.append(Panel(f"rung {number}: {rung.epochs} epoch{'s' * (rung.epochs != 1)}", cells))
    best = best_trial(search)
    title = f"{config.net}: accuracy on {search.photographs['val']} photographs held out of the training list"
    draw_tuning(folder / PICTURE, title, search.learning_rates, search.weight_decays, panels, best and best.pair, search.usual)
    text = recipe(search, config, folder)
    for place in dict.fromkeys((str(folder / RECIPE), config.recipe or str(folder / RECIPE))):
        write_text(place, text)


def recipe(search: Search, config: Config, folder: Path) -> str:
    """The text of a recipe: the best pair, and the settings that the user gave for the search. Needs a best trial."""
    best = best_trial(search)
    assert best is not None
    tried = {trial.pair for trial in search.trials}
    place = config.recipe or str(folder / RECIPE)
    data = f" --data {shlex.quote(config.data)}" if "data" in config.given else ""
    lines = [
        f"# python train.py --config {printable(shlex.quote(place))}{printable(data)}",
        "#",
        f"# Learning rate and weight decay of {config.net}, found by tune.py in {search.seconds / 60:.1f} min: the best of",
        f"# {len(tried)} pairs, judged by {search.photographs['val']} photographs held out of the training list:",
        f"# accuracy {_accuracy(best)} after {best.epochs} epochs.{_against_usual(search, best)}",
        f"# The validation list was not read. All trials: {printable(folder)}",
    ]
    given = config.given & set(names_of("train", affects="result"))
    values = {name: value for name, value in config.as_dict().items() if name in given and value is not None}
    values |= {"net": config.net, "learning_rate": best.pair.learning_rate, "weight_decay": best.pair.weight_decay}
    return "\n".join(lines) + "\n" + yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def _accuracy(trial):
    return "diverged" if trial.accuracy is None else f"{trial.accuracy:.4f}"


def _against_usual(search, best):
    usual = next((trial for trial in finalists(search) if trial.pair == search.usual), None)
    return f" The usual {usual.pair} had {_accuracy(usual)}." if usual and usual.pair != best.pair else ""


def report(search: Search, config: Config, folder: Path) -> str:
    """The table of the last rung and what follows from it, for the terminal. Needs a best trial."""
    trials, best = finalists(search), best_trial(search)
    assert best is not None
    lines = [search.stopped + "; the choice is by those that ended"] if search.stopped else []
    lines.append(f"{'learning rate':>13}  {'weight decay':>12}  accuracy    loss   ({best.epochs} epochs)")
    for trial in trials:
        shown = f"{_accuracy(trial):>8}  {'' if trial.loss is None else f'{trial.loss:.4f}':>6}"
        marks = [name for name, pair in (("best", best.pair), ("usual", search.usual)) if pair == trial.pair]
        line = f"{trial.pair.learning_rate:>13g}  {trial.pair.weight_decay:>12g}  {shown}  {', '.join(marks)}"
        lines.append(line.rstrip())
    lines += _how_sure(search, trials, best) + _edges(search, best)
    places = f"{printable(config.recipe or folder / RECIPE)}"
    lines.append(f"finished in {search.seconds / 60:.1f} min: {best.pair}; recipe: {places}; all trials: {printable(folder)}")
    return "\n".join(lines) + "\n"


def _how_sure(search, trials, best):
    """A line on what the number of photographs allows to say: the standard error of a difference of two accuracies."""
    count, share = search.photographs["val"], best.accuracy
    error = math.sqrt(2 * share * (1 - share) / count)
    others = [trial for trial in trials if trial is not best and trial.accuracy is not None]
    near = [trial.pair for trial in others if share - trial.accuracy <= error]
    if not near:
        return []
    chance = f"the best by no more than chance explains: a standard error is {error:.4f} with {count} photographs"
    if search.usual in near:
        return [f"the usual pair is behind {chance}"]
    return [f"{len(near)} pair{'s are' if len(near) > 1 else ' is'} behind {chance}"]


def _edges(search, best):
    """A line for each side of the grid whose end is the best: beyond it there may be a better one."""
    sides = (
        ("learning rate", "learning_rates", search.learning_rates, best.pair.learning_rate),
        ("weight decay", "weight_decays", search.weight_decays, best.pair.weight_decay),
    )
    lines = []
    for name, option, values, value in sides:
        further = beyond(values, value)
        if further is not None and not (option == "weight_decays" and further < NO_DECAY):
            which = "lowest" if value == values[0] else "highest"
            low, high = sorted((value, further))
            lines.append(f"the best {name} is the {which} of the grid: --{option} {low:g} {high:g} looks beyond")
    return lines
