"""compare.py --tune: learning rate and weight decay of each network, found by tune.py in equal time before the seeds begin."""

import hashlib
from pathlib import Path
from typing import Any

from comparison.bilingual import Bilingual
from comparison.compared_settings import as_options
from comparison.run_groups import ComparisonError
from comparison.script_process import ProcessFailed, run_script
from comparison.shared_work import share
from config import Config, load_config, names_of, options_of_others

SOUGHT = ("learning_rate", "weight_decay")


def check_tune(config: Config) -> None:
    """Raise ComparisonError where --tune does not go with the other settings."""
    if config.tune is None:
        return
    if config.folds:
        raise ComparisonError(
            f"tune = {config.tune:g}: with --folds a search on the training list would see photographs of the folds; choose "
            f"one of the two"
        )
    for name in SOUGHT:
        if name in config.given:
            raise ComparisonError(f"tune = {config.tune:g} chooses {name}, which is given as well; choose one of the two")


def tuned_rates(config: Config) -> dict[str, dict[str, Any]]:
    """{network: {"learning_rate", "weight_decay"}}, each from a search of ``config.tune`` minutes; empty without --tune.

    A search that was made before is not made again, and one that was interrupted goes on; comparisons at the same time wait for
    each other's. Raises ComparisonError where one fails: without its rates the network could not be compared fairly. Raises
    OSError where ``runs_dir`` cannot be made.
    """
    if config.tune is None:
        return {}
    found: dict[str, dict[str, Any]] = {}
    options = {net: _options(config, net) for net in dict.fromkeys(config.nets)}
    folder = Path(config.runs_dir) / "tune"  # of all searches
    told = set()

    def name_of(net):
        digest = hashlib.sha256(repr(sorted(options[net].items())).encode("utf-8", "backslashreplace")).hexdigest()
        return f"{net}-{digest[:16]}"

    def search(net, begun):
        found[net] = _search(options[net], folder / f"{name_of(net)}.yaml")
        return True

    def wait(net):
        if net not in told:
            told.add(net)
            print(f"{net}: another process searches for its learning rate; this comparison goes on when that ends", flush=True)

    folder.mkdir(parents=True, exist_ok=True)
    share(list(options), lambda net: folder / f".{name_of(net)}", search, wait)
    return {net: found[net] for net in options}


def _options(config, net):
    """What tune.py is to search by, by name: what the user set, as far as it concerns this network."""
    values = config.as_dict()
    names = set(names_of("compare")) & set(names_of("tune")) & config.given - {"budget"} - options_of_others(net)
    return {**{name: values[name] for name in names}, "net": net, "budget": config.tune}


def _search(options, recipe):
    net, minutes = options["net"], options["budget"]
    print(f"{net}: learning rate and weight decay, by tune.py in {minutes:g} min", flush=True)
    try:
        run_script("tune.py", as_options({**options, "recipe": str(recipe)}, "tune"))
    except ProcessFailed as error:
        raise ComparisonError(f"tune = {minutes:g}, which is the budget of tune.py: {net}: {error}") from None
    found = load_config(recipe)
    return {name: getattr(found, name) for name in SOUGHT}


def note_of_rates(rates: dict[str, dict[str, Any]], minutes: float) -> Bilingual:
    """What was found, for the reader; ``rates``: of ``tuned_rates``."""
    found, found_in_chinese = (
        "; ".join(f"{net} {own['learning_rate']:g} {both} {own['weight_decay']:g}" for net, own in rates.items())
        for both in ("and", "和")
    )
    return Bilingual(
        f"Each network has its own learning rate and weight decay, found by tune.py within {minutes:g} min each on the "
        f"training list alone: {found}.",
        f"每个网络都有各自的学习率和权重衰减，由 tune.py 只用训练列表、各用 {minutes:g} 分钟找到：{found_in_chinese}。",
    )
