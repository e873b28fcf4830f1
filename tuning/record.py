"""``tune.json`` in the folder of a search: what is searched, the plan, and the trials so far."""

from pathlib import Path
from typing import Any, NamedTuple, Optional

from machine.whole_file import write_json
from messages.reason import reason_of
from settings.format_number import FormatError
from trained.json_file import read_values
from trained.rules import Rule, is_count, is_dict, is_flag, is_number, is_positive_or_zero, is_share
from tuning.grid import Pair
from tuning.rungs import Costs, Rung
from tuning.tune_error import TuneError

NAME = "tune.json"
FORMAT = 1
MAX_TRIALS = 1_000_000


class Trial(NamedTuple):
    """A pair that has been tried. ``rung`` counts from 1; ``run``: the folder of its training, in ``trials`` of the search.

    ``accuracy`` and ``loss``: on the photographs held out, of the best epoch; None where the training diverged.
    ``seconds``: of the trial, its start included.
    """

    rung: int
    epochs: int
    pair: Pair
    accuracy: Optional[float]
    loss: Optional[float]
    seconds: float
    run: str


class Search(NamedTuple):
    """A search as tune.json holds it; a changed one is another object.

    ``sought``: what tells one search from another, plain values by name. ``photographs``: numbers "train" and "val" of those
    that trials train and are ranked on. ``pairs``: those of the first rung, in their order. ``seconds``: spent so far.
    ``stopped``: why the plan was not carried out to its end; None where it was, or goes on.
    """

    sought: dict[str, Any]
    photographs: dict[str, int]
    learning_rates: tuple[float, ...]
    weight_decays: tuple[float, ...]
    pairs: tuple[Pair, ...]
    usual: Optional[Pair]
    costs: Costs
    rungs: tuple[Rung, ...]
    trials: tuple[Trial, ...] = ()
    seconds: float = 0.0
    stopped: Optional[str] = None
    finished: bool = False


def write_search(folder: Path, search: Search) -> None:
    """Write ``search`` to tune.json, whole. Raises OSError."""
    trials = [trial._asdict() | {"pair": list(trial.pair)} for trial in search.trials]
    costs = search.costs[:2]  # how many run at once is the command's to say
    write_json(folder / NAME, {"format": FORMAT, **search._asdict(), "costs": costs, "trials": trials})


def read_search(folder: Path) -> Optional[Search]:
    """The Search of a folder; None where there is no tune.json. Raises FormatError for a newer one, TuneError for a damaged
    one."""
    path = folder / NAME
    try:
        values = read_values(path, RULES, FORMAT)
    except FormatError:
        raise
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise TuneError(f"{path} cannot be read: {reason_of(error, path)}; remove {folder}, and tune again") from None
    missing = [name for name in RULES if name not in values.good]
    if missing:
        fault = values.faults[0] if values.faults else f"no {missing[0]}"
        raise TuneError(f"{path} has {fault}, which no search writes; remove {folder}, and tune again")
    good = dict(values.good)
    for name in ("learning_rates", "weight_decays"):
        good[name] = tuple(good[name])
    good |= {
        "pairs": tuple(Pair(*pair) for pair in good["pairs"]),
        "usual": good["usual"] and Pair(*good["usual"]),
        "costs": Costs(*good["costs"]),
        "rungs": tuple(Rung(*rung) for rung in good["rungs"]),
        "trials": tuple(Trial(**{**trial, "pair": Pair(*trial["pair"])}) for trial in good["trials"]),
    }
    search = Search(**good)
    if not _is_consistent(search):
        raise TuneError(f"{path} contradicts itself, as no search writes it; remove {folder}, and tune again")
    return search


def _is_consistent(search: Search) -> bool:
    """Whether its trials are of its rungs, and all pairs of its grid."""
    pairs = {*search.pairs, *(trial.pair for trial in search.trials), *filter(None, [search.usual])}
    on_grid = all(rate in search.learning_rates and decay in search.weight_decays for rate, decay in pairs)
    return on_grid and all(1 <= trial.rung <= len(search.rungs) for trial in search.trials)


def _is_list_of(fits: Rule, least: int = 0) -> Rule:
    return lambda value: isinstance(value, list) and least <= len(value) <= MAX_TRIALS and all(map(fits, value))


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(is_positive_or_zero, value))


def _is_rung(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(is_count(number) and number > 0 for number in value)


def _is_trial(value: object) -> bool:
    rules: dict[str, Rule] = {
        "rung": is_count,
        "epochs": is_count,
        "pair": _is_pair,
        "accuracy": lambda number: number is None or is_share(number),
        "loss": lambda number: number is None or is_number(number),
        "seconds": is_positive_or_zero,
        "run": lambda text: isinstance(text, str) and text.isascii() and text.isdigit(),
    }
    return isinstance(value, dict) and value.keys() == rules.keys() and all(rules[name](value[name]) for name in rules)


RULES: dict[str, Rule] = {
    "sought": is_dict,
    "photographs": lambda value: is_dict(value) and value.keys() == {"train", "val"} and all(map(is_count, value.values())),
    "learning_rates": _is_list_of(is_positive_or_zero, least=1),
    "weight_decays": _is_list_of(is_positive_or_zero, least=1),
    "pairs": _is_list_of(_is_pair, least=1),
    "usual": lambda value: value is None or _is_pair(value),
    "costs": _is_pair,
    "rungs": _is_list_of(_is_rung, least=1),
    "trials": _is_list_of(_is_trial),
    "seconds": is_positive_or_zero,
    "stopped": lambda value: value is None or isinstance(value, str),
    "finished": is_flag,
}
"""The values of tune.json."""
