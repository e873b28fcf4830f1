"""What would be said of the same networks without some of the photographs."""

from collections.abc import Collection
from typing import NamedTuple, Optional

import numpy as np

from comparison.answers import Answers
from comparison.bilingual import Bilingual
from comparison.decision import level_of_look
from comparison.significance import Difference, level_of_pairs, paired_difference
from comparison.slices import LEAST
from comparison.until_decided import Decision

MOST_NAMED = 1  # differences in a line where nothing changes


class Said(NamedTuple):
    """What the verdict says of two networks: their ``difference``, with an interval that misses with ``level``.

    ``seeds``: of the first so many; None: of all. ``worth``: the share within which they count as equal; 0: they never do.
    """

    first: str
    second: str
    difference: Difference
    level: float
    seeds: Optional[int] = None
    worth: float = 0.0

    def claim(self, difference: Difference) -> str:
        """What a difference of these two carries: the network that is better, "equal", or nothing."""
        if not difference.seeds:
            return ""
        if difference.low <= 0 <= difference.high:
            return "equal" if -self.worth < difference.low and difference.high < self.worth else ""
        return self.first if difference.low > 0 else self.second


def said_of(
    differences: Collection[tuple[str, str, Difference, bool]], decision: Optional[Decision], networks: int
) -> list[Said]:
    """What a verdict says of each pair that it names.

    ``differences``: of verdict.differences, empty with a ``decision``; ``networks``: how many the comparison began with.
    """
    if decision is None:
        level = level_of_pairs(len(differences) + 1)
        return [Said(best, other, difference, level) for best, other, difference, _ in differences]
    level = level_of_look(networks)
    return [
        Said(pair.first, pair.second, pair.difference, level, seeds, decision.worth) for seeds, pair in decision.last_of_pairs()
    ]


class Restated(NamedTuple):
    """Without some of the photographs: ``accuracies`` of the networks, and ``differences``, one for each of ``said``."""

    said: list[Said]
    differences: list[Difference]
    accuracies: dict[str, float]

    def changed(self) -> list[int]:
        """Indices of those of which something else would be said."""
        pairs = enumerate(zip(self.said, self.differences))
        return [place for place, (before, own) in pairs if before.claim(own) != before.claim(before.difference)]

    def words(self) -> Bilingual:
        """Whether the verdict would be another one, for people: what follows on "Without them"."""
        changed = self.changed()
        if changed:
            return self._words(("the verdict would be another one", "结论会不同"), changed)
        most = sorted(range(len(self.said)), key=lambda place: -abs(self.said[place].difference.mean))[:MOST_NAMED]
        return self._words(("the verdict stays", "结论不变"), sorted(most))

    def _words(self, begin, places):
        details = [_detail(self.said[place], self.differences[place]) for place in places]
        return Bilingual(f"{begin[0]}: {'; '.join(details)}", f"{begin[1]}：{'；'.join(detail.chinese for detail in details)}")


def _detail(before, own):
    """The better network of the two first, as before."""
    first, second, old = before.first, before.second, before.difference
    if old.mean < 0:
        first, second, old, own = second, first, old.turned(), own.turned()
    return Bilingual(
        f"{first} against {second} {own.in_points()} in place of {old.in_points()}",
        f"{first} 对 {second} 为 {own.in_chinese()}，原为 {old.in_chinese()}",
    )


def restated(said: list[Said], answers: Answers, left_out: np.ndarray, clusters: Optional[np.ndarray]) -> Optional[Restated]:
    """What would be said without the photographs of ``left_out``, bool [photographs]; None where too few are left, or nothing
    is said. ``clusters``: of all photographs, see significance.paired_difference."""
    keep = ~left_out
    said = [one for one in said if {one.first, one.second} <= answers.correct.keys()]
    if keep.sum() < LEAST or not said:
        return None
    of_kept = [None if given is None else given[keep] for given in (answers.folds, clusters)]
    found = [
        paired_difference(
            answers.correct[one.first][: one.seeds, keep], answers.correct[one.second][: one.seeds, keep], one.level, *of_kept
        )
        for one in said
    ]
    return Restated(said, found, {name: float(own[:, keep].mean()) for name, own in answers.correct.items()})
