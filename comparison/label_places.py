"""Where the names of points stand in a drawing, so that they overlap as little as may be."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

DISTANCES = (13.0, 17.0, 22.0, 32.0, 46.0, 62.0, 80.0, 100.0)
DIRECTIONS = (0, 180, 45, -45, 135, -135, 90, -90, 20, -20, 160, -160, 65, -65, 115, -115)  # degrees; the first is preferred


class Box(NamedTuple):
    """A rectangle, in pixels; y grows downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: "Box") -> float:
        """The area that both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(width, 0.0) * max(height, 0.0)

    @property
    def area(self) -> float:
        """Width times height."""
        return (self.right - self.left) * (self.bottom - self.top)


def place_labels(
    points: Sequence[tuple[float, float]], sizes: Sequence[tuple[float, float]], taken: Iterable[Box], plot: Box
) -> list[Box]:
    """A box for the label of each point, of its size (width, height), within ``plot``, clear of what is ``taken`` if it can be.

    One label after the other takes the place that covers least, the nearest of those that cover equally much. The most crowded
    points come first: others have more room to choose from.
    """
    taken = list(taken)

    def crowd(place):
        x, y = points[place]
        return -sum(math.hypot(x - other_x, y - other_y) < 60 for other_x, other_y in points)

    found: dict[int, Box] = {}
    for place in sorted(range(len(points)), key=crowd):
        candidates = list(_candidates(*points[place], *sizes[place]))
        costs = [
            sum(box.overlap(other) for other in taken) + 4 * (box.area - box.overlap(plot)) + 0.15 * rank
            for rank, box in enumerate(candidates)
        ]
        best = candidates[costs.index(min(costs))]
        found[place] = best
        taken.append(best)
    return [found[place] for place in range(len(points))]


def _candidates(x, y, width, height):
    """Boxes around (x, y), the nearest and best first."""
    for distance in DISTANCES:
        for angle in DIRECTIONS:
            across, up = math.cos(math.radians(angle)), math.sin(math.radians(angle))
            middle_x, middle_y = x + across * (distance + width / 2), y - up * (distance + height / 2)
            yield Box(middle_x - width / 2, middle_y - height / 2, middle_x + width / 2, middle_y + height / 2)
