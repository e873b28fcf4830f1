"""compare.py --until decided: one seed of each network after the other, until what can be decided is."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Optional

from PIL import Image

from comparison.answers import read_answers
from comparison.decision import (
    BETTER,
    CLOSE,
    FUTILE,
    MOST_PHOTOGRAPHS,
    MOST_SEEDS,
    OPEN,
    WORSE,
    Look,
    Pair,
    line_of_pair,
    look_at,
)
from comparison.held_out import ListDigests
from comparison.photographs_alike import Alike, find_alike
from comparison.run_groups import ComparisonError, repetitions
from comparison.run_plan import Plan, evaluate_missing
from comparison.side_by_side import Places
from comparison.significance import LEAST_SEEDS, Difference
from comparison.verdict import listed
from config import Config
from evaluation.evaluation_lock import evaluations_read
from messages.terminal import print_line
from trained.result import read_result


class Decision(NamedTuple):
    """The ``looks`` at a comparison, one after each seed from the third on; ``end``: why there is no further one.

    ``worth``: the least difference that matters, a share; ``alike``: which photographs are nearly equal.
    """

    looks: list[Look]
    end: str
    worth: float
    alike: Alike = Alike()

    def last_of_pairs(self) -> list[tuple[int, Pair]]:
        """(number of seeds, Pair) for each pair of networks, as it was when both were looked at for the last time."""
        found = {(pair.first, pair.second): (look.seeds, pair) for look in self.looks for pair in look.pairs}
        return list(found.values())

    def differences(self) -> dict[tuple[str, str], Difference]:
        """{(network, other): Difference}, each pair in both orders, as it was when both were looked at for the last time."""
        found = {(pair.first, pair.second): pair.difference for _, pair in self.last_of_pairs()}
        return found | {(second, first): difference.turned() for (first, second), difference in found.items()}

    def better(self) -> set[tuple[str, str]]:
        """(network, other) for each pair of which the network is better."""
        beaten = _beaten([pair for _, pair in self.last_of_pairs()])
        return {(better, worse) for better, all_worse in beaten.items() for worse in all_worse}


def check_until(config: Config) -> None:
    """Raise ComparisonError where --until decided does not go with the other settings, or they have no effect without it."""
    if not config.until:
        if "worth" in config.given:
            raise ComparisonError(f"worth = {config.worth:g} has an effect with --until decided only")
        if "budget" in config.given:  # perhaps by a recipe, for tune.py
            print_line(f"note: budget = {config.budget:g} limits a comparison with --until decided only")
        return
    if config.folds:
        raise ComparisonError("until = decided: with --folds each photograph has one training; choose one of the two")
    if "seeds" in config.given and not LEAST_SEEDS <= config.seeds <= MOST_SEEDS:
        raise ComparisonError(
            f"until = decided: seeds = {config.seeds}: {LEAST_SEEDS} to {MOST_SEEDS} are possible, {MOST_SEEDS} without --seeds"
        )


def train_until_decided(
    plan: Plan,
    config: Config,
    places: Places,
    photograph: Callable[[str], Image.Image],
    test_list: Optional[ListDigests] = None,
) -> tuple[Decision, dict[str, list[Path]], dict[str, list[str]]]:
    """Train and evaluate seed after seed; returns the decision, and ({network: evaluated runs}, {network: failures}).

    A network that is worse than another one, or of which a training failed, is trained no more. What was trained before is
    looked at in the same order, so a comparison that was interrupted goes on to the same decision. ``photograph`` reads a
    photograph of the list by its name. Raises what Plan.train and the readers of evaluations raise.
    """
    most = config.seeds if "seeds" in config.given else MOST_SEEDS
    ends = time.monotonic() + config.budget * 60 if "budget" in config.given else None
    live, looks, alike = list(plan.nets), [], Alike()
    groups: dict[str, list[Path]] = {}
    failures: dict[str, list[str]] = {}
    end = f"{most} seeds are the most"
    for seeds in range(LEAST_SEEDS, most + 1):
        if ends is not None and looks and time.monotonic() + _seconds_of_seed(groups, live, places) > ends:
            end = f"the budget of {config.budget:g} min leaves no time for another seed"
            break
        plan.train(live, range(LEAST_SEEDS) if seeds == LEAST_SEEDS else [seeds - 1])
        found, failed = plan.found()
        evaluated = {net: found[net] for net in live if net in found}
        evaluate_missing(evaluated, failed, plan.source, config, places, test_list)
        groups.update(evaluated)
        failures.update({net: why for net, why in failed.items() if net in live})
        live = [net for net in live if net in evaluated and net not in failures]
        if len(live) < 2:
            end = "fewer than two networks could be trained"
            break
        of_live = {net: repetitions(groups[net]) for net in live}
        with evaluations_read(run for net in live for run in groups[net]):
            answers = read_answers(of_live, config.split)
        if not looks:
            alike = find_alike(answers.names, photograph)
        looks.append(look_at(answers.correct, live, len(plan.nets), config.worth / 100, most, alike.clusters))
        for line in lines_of_look(looks[-1], config.worth):
            print(line, flush=True)
        live = [net for net in live if net not in looks[-1].out]
        if len(live) < 2 or looks[-1].is_last:
            end = "nothing is left that a further seed could decide"
            break
    return Decision(looks, end, config.worth / 100, alike), groups, failures


def _seconds_of_seed(groups, live, places):
    """What a further seed of the ``live`` networks will take, by their last trainings."""
    return sum(read_result(groups[net][-1]).get("seconds") or 0.0 for net in live) / places.count


def lines_of_look(look: Look, worth: float) -> list[str]:
    """What is known after a look, for people; ``worth`` in points."""
    words = {
        BETTER: "decided",
        WORSE: "decided",
        CLOSE: f"closer than {worth:g} points",
        OPEN: "open",
        FUTILE: "further seeds could hardly decide it",
    }
    lines = [f"{look.seeds} seeds: {line_of_pair(pair)}: {words[pair.status]}" for pair in look.pairs]
    return lines + [f"{name} is out: it is trained no more" for name in look.out]


def lines_of_path(decision: Decision) -> list[str]:
    """All looks in lines for people, and why there was no further one."""
    found = [line for look in decision.looks for line in lines_of_look(look, 100 * decision.worth)]
    return [*found, f"The end: {decision.end}."]


def verdict_of(
    decision: Decision,
    photographs: str,
    failed: Sequence[str] = (),
    origin: str = "",
    price_of: Callable[[str, str], str] = lambda first, second: "",
) -> str:
    """One paragraph in plain words. ``photographs``: such as "545 test photographs"; ``origin``: the last sentence, see
    comparison.verdict.origin_of_accuracies; ``failed``: networks with a failed training; ``price_of``: see
    comparison.worth.price."""
    pairs = [pair for _, pair in decision.last_of_pairs()]
    worth = f"{100 * decision.worth:g} points"
    out = {name for look in decision.looks for name in look.out}
    networks = list(dict.fromkeys(name for pair in pairs for name in (pair.first, pair.second)))
    left = [name for name in networks if name not in out]
    claims = []
    if len(left) == 1 and not failed:  # each of the others is worse than one that is worse, or than this one
        claims.append(f"{left[0]} is the best of these networks on this data.")
    else:
        claims += [f"{better} is better than {listed(worse)}." for better, worse in _beaten(pairs).items()]
        close = [f"{pair.first} and {pair.second}" for pair in pairs if pair.status == CLOSE]
        if close:
            claims.append(f"Closer than {worth}, so equal for what they are worth: {'; '.join(close)}.")
        # Of networks that are out, or failed, nothing further was to be decided
        open_still = [pair for pair in pairs if not {pair.first, pair.second} & {*out, *failed}]
        claims += [_undecided(pair, photographs) for pair in open_still if pair.status == FUTILE]
        still = [f"{pair.first} and {pair.second}" for pair in open_still if pair.status == OPEN]
        if still:
            claims.append(f"Not decided between {'; '.join(still)}: {decision.end}.")
    if not pairs:
        claims = [f"Nothing could be decided: {decision.end}."]
    if failed:
        claims.append(f"A training failed of {listed(list(failed))}: no further seeds of it were trained.")
    details = "; ".join(f"{line_of_pair(pair, price_of)}, {seeds} seeds" for seeds, pair in decision.last_of_pairs())
    if pairs:
        held = "with intervals that hold together, after every seed, with 95%"
        claims.append(f"Differences in accuracy on {photographs}, {held}: {details}.")
    return " ".join([*claims, origin]).rstrip()


def _beaten(pairs):
    """{network: those that it is better than}, also through others between them."""
    found: dict[str, list[str]] = {}
    for pair in pairs:
        if pair.status in (BETTER, WORSE):
            better, worse = (pair.first, pair.second) if pair.status == BETTER else (pair.second, pair.first)
            found.setdefault(better, []).append(worse)
    for _ in found:
        for better, worse in found.items():
            worse += [further for name in list(worse) for further in found.get(name, ()) if further not in (*worse, better)]
    return found


def _undecided(pair, photographs):
    most = f"{pair.first} and {pair.second} are not decided, and further seeds could hardly decide it on {photographs}"
    if pair.photographs is None:
        return f"{most}: trainings scatter too much."
    number = "more than a million" if pair.photographs >= MOST_PHOTOGRAPHS else f"about {_rounded(pair.photographs):,}"
    return f"{most}: it would take {number}."


def _rounded(number):
    """To two digits, as an estimate deserves."""
    return int(float(f"{number:.1e}"))
