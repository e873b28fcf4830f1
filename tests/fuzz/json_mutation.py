"""Changes to JSON that leave it JSON: what mutations of bytes hardly ever reach."""

import copy
import json

HUGE, DEEP = "<a number of 5,000 digits>", "<a hundred thousand brackets>"
VALUES = (
    None, True, False, 0, 1, 2, -1, 3.5, 2**31, 2**63, 10**400, float("nan"), float("inf"), -0.0, "", " ", "x", "0", "猫",
    "a\nb", "\0", "\ud800", "\x1b[2J", "x" * 5000, [], [None], [[]], ["a", "a"], [1, 2, 3], [0, 0, 0], {}, {"": 0}, {"a": {}},
    HUGE, DEEP,
)  # fmt: skip


def mutate_json(value, rng, keys=(), values=()):
    """``value`` (of dicts, lists, text, numbers) with a value or key put elsewhere, doubled, gone or replaced.

    ``keys`` and ``values``: what may be put in beside VALUES.
    """
    value = copy.deepcopy(value)
    holder, place = rng.choice(_places(value))
    others = [other[spot] for other, spot in _places(value)]
    change = rng.randrange(5)
    if change == 0 and holder is not value:
        del holder[place]
    elif change == 1:
        holder[place] = copy.deepcopy(rng.choice(others))
    elif change == 2 and isinstance(holder, list):
        holder.insert(place, copy.deepcopy(rng.choice(others)))
    elif change == 2:
        name = rng.choice([*keys, "", "x", "\x1b[2J", "a" * 3000, str(place).upper()])
        holder[name] = holder.pop(place) if rng.random() < 0.5 else copy.deepcopy(rng.choice(others))
    elif change == 3:
        holder[place] = [holder[place]] if rng.random() < 0.5 else {str(rng.choice(keys or ("a",))): holder[place]}
    else:
        holder[place] = copy.deepcopy(rng.choice((*VALUES, *values)))
    return value


def _places(value):
    """[(dict or list, key or index), ...] of all that is in ``value``, itself in a list included."""
    found, holders = [], [[value]]
    while holders:
        holder = holders.pop()
        for place, part in holder.items() if isinstance(holder, dict) else enumerate(holder):
            found.append((holder, place))
            if isinstance(part, (dict, list)):
                holders.append(part)
    return found[1:] or found


def dump(value) -> bytes:
    """JSON of ``value``, ASCII alone; HUGE and DEEP stand for what Python could not write."""
    text = json.dumps(value)
    return text.replace(json.dumps(HUGE), "9" * 5000).replace(json.dumps(DEEP), "[" * 100_000).encode()
