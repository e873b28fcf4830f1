"""The ten animals: the proportions of the four-legged ones, and an artist for each class."""

import random
from collections.abc import Iterator
from functools import partial
from typing import Callable, NamedTuple

import numpy as np

from drawing.shapes import BRIGHTS, Figure, Frame, both_sides, cloud, curve, heading, jitter, limb, oval

# ---- Four-legged animals --------------------------------------------------------------------------------------------


class Extra(NamedTuple):
    """An ear, horn, tail and so on: the frame it is attached to, its colour, and its limb in units of that frame."""

    frame: str
    tone: str
    path: tuple[complex, ...]
    radii: tuple[float, ...]


Three = tuple[float, float, float]


class Build(NamedTuple):
    """An animal that looks to the right; lengths are in units of its body length, angles in degrees."""

    torso: Three  # radii of rump, waist and chest
    leg: Three  # length from the middle of the torso to the ground, radii of thigh and foot
    neck: Three  # length, radii of base and top
    carriage: tuple[float, float]  # minimum and maximum angle of the neck above the horizontal
    head: Three  # length, radii of skull and muzzle
    nod: tuple[float, float]  # minimum and maximum angle of the head below the horizontal
    behind: tuple[Extra, ...]  # extras behind the body
    front: tuple[Extra, ...]  # extras in front of the body
    either: tuple[Extra, ...] = ()  # one of these extras, chosen at random, is part of the body
    patchy: float = 0.3  # probability of patches on the coat
    woolly: bool = False


BUILDS = {
    "cow": Build(
        torso=(0.29, 0.29, 0.27), leg=(0.62, 0.12, 0.06), neck=(0.3, 0.23, 0.16), carriage=(5, 35),
        head=(0.32, 0.18, 0.12), nod=(20, 45), patchy=0.85,
        behind=(
            Extra("rump", "coat", (0, -0.12 + 0.05j, -0.15 + 0.5j), (0.04, 0.03, 0.025)),
            Extra("rump", "dark", (-0.15 + 0.45j, -0.16 + 0.62j), (0.03, 0.065)),
            Extra("belly", "pink", (-0.27 - 0.02j, -0.25 + 0.1j), (0.14, 0.09)),
            Extra("skull", "bone", (0.1 - 0.8j, 0.8 - 1.2j, 0.8 - 2.1j), (0.3, 0.24, 0.02)),
        ),
        front=(
            Extra("muzzle", "pink", (0.1j, 0.35 + 0.1j), (0.95, 0.85)),
            Extra("skull", "bone", (-0.4 - 0.7j, -0.8 - 1.4j, -0.2 - 2.2j), (0.32, 0.26, 0.02)),
            Extra("skull", "shade", (-0.5 - 0.4j, -1.1 - 0.4j, -1.8 - 0.1j), (0.2, 0.42, 0.05)),
        ),
    ),
    "dog": Build(
        torso=(0.2, 0.18, 0.25), leg=(0.6, 0.13, 0.075), neck=(0.32, 0.2, 0.19), carriage=(55, 75),
        head=(0.38, 0.26, 0.13), nod=(0, 20), patchy=0.2,
        either=(
            Extra("rump", "coat", (0.1, -0.2 - 0.15j, -0.3 - 0.55j), (0.09, 0.075, 0.03)),
            Extra("rump", "coat", (0.1, -0.12 - 0.3j, 0.1 - 0.52j), (0.09, 0.08, 0.04)),
        ),
        behind=(),
        front=(
            Extra("muzzle", "dark", (0.6 - 0.5j, 0.75 - 0.5j), (0.5, 0.45)),
            Extra("skull", "shade", (-0.4 - 0.6j, -0.75 + 0.2j, -0.55 + 1.15j), (0.25, 0.45, 0.3)),
        ),
    ),
    "elephant": Build(
        torso=(0.37, 0.38, 0.36), leg=(0.76, 0.18, 0.15), neck=(0.28, 0.3, 0.28), carriage=(15, 40),
        head=(0.12, 0.28, 0.2), nod=(-5, 20), patchy=0.1,
        either=(
            Extra("skull", "coat", (0.5 + 0.1j, 1.1 + 0.6j, 1.2 + 1.6j, 1.5 + 2.2j), (0.65, 0.42, 0.28, 0.2)),
            Extra("skull", "coat", (0.5 + 0.1j, 1.1 + 0.8j, 1.7 + 1.3j, 2.4 + 0.8j), (0.65, 0.42, 0.28, 0.2)),
            Extra("skull", "coat", (0.5 + 0.1j, 1.4 + 0.2j, 1.9 - 0.5j, 1.7 - 1.3j), (0.65, 0.42, 0.28, 0.2)),
        ),
        behind=(
            Extra("rump", "coat", (0, -0.16 + 0.2j, -0.17 + 0.5j), (0.04, 0.03, 0.03)),
            Extra("rump", "dark", (-0.17 + 0.45j, -0.17 + 0.55j), (0.03, 0.05)),
        ),
        front=(
            Extra("skull", "bone", (0.6 + 0.75j, 1.1 + 1.3j, 1.9 + 1.3j), (0.24, 0.2, 0.03)),
            Extra("skull", "shade", (-0.6 - 0.5j, -0.85 + 0.3j, -0.5 + 1.0j), (0.75, 0.85, 0.35)),
        ),
    ),
    "horse": Build(
        torso=(0.24, 0.2, 0.24), leg=(0.98, 0.13, 0.05), neck=(0.6, 0.21, 0.12), carriage=(45, 65),
        head=(0.36, 0.14, 0.08), nod=(30, 55), patchy=0.2,
        behind=(
            Extra("rump", "accent", (0, -0.2 + 0.1j, -0.26 + 0.55j), (0.06, 0.11, 0.03)),
            Extra("skull", "coat", (0.2 - 0.6j, 0.1 - 1.8j), (0.4, 0.02)),
        ),
        front=(
            Extra("neck", "accent", (-0.1 - 0.3j, 0.5 - 0.26j, 1.05 - 0.22j), (0.08, 0.14, 0.1)),
            Extra("skull", "coat", (-0.3 - 0.6j, -0.5 - 1.8j), (0.42, 0.02)),
        ),
    ),
    "sheep": Build(
        torso=(0.2, 0.2, 0.2), leg=(0.7, 0.055, 0.045), neck=(0.26, 0.13, 0.12), carriage=(0, 40),
        head=(0.25, 0.14, 0.09), nod=(30, 55), patchy=0, woolly=True,
        behind=(),
        front=(
            Extra("skull", "coat", (-0.7 - 0.5j, 0.1 - 0.8j), (0.75, 0.5)),
            Extra("skull", "face", (-0.4 - 0.2j, -1.0 + 0.2j, -1.5 + 0.8j), (0.2, 0.42, 0.1)),
        ),
    ),
}  # fmt: skip


def side_legs(leg: Three, stride: float, lift: float) -> Iterator[np.ndarray]:
    """Yield the shapes of the hind leg and the foreleg of one side, moved by ``stride`` and raised by ``lift``."""
    length, thigh, foot = leg
    for hip, bend, step in ((-0.42, 0.05, stride), (0.42, 0.01, -stride)):
        knee, sole = hip + bend + 0.3 * step + 0.55j * length, hip + step + 1j * (length - lift)
        yield limb([hip, knee, sole], [thigh, 0.6 * thigh + 0.4 * foot, foot, foot])
        yield limb([sole, sole + 0.6 * foot], [foot, 0.9 * foot])


def draw_quadruped(figure: Figure, rng: random.Random, build: Build) -> None:
    """Add an animal of this build in a random pose."""
    (rump, waist, chest), (neck, *neck_radii), (head, skull, muzzle) = build.torso, build.neck, build.head
    stride = rng.uniform(-0.2, 0.2) * build.leg[0]
    withers, face = 0.4 - 0.3j * chest, heading(rng.uniform(*build.nod))
    poll = withers + neck * heading(-rng.uniform(*build.carriage))
    nose = poll + head * face
    frames = {
        "belly": Frame(1j * waist, 1),
        "rump": Frame(-0.5 - rump * (0.35 + 0.45j), heading(rng.uniform(-18, 18))),
        "neck": Frame(withers, poll - withers),
        "skull": Frame(poll, skull * face),
        "muzzle": Frame(nose, muzzle * face),
    }

    def grow(extra):
        return frames[extra.frame].limb(extra.path, extra.radii)

    body = [limb([-0.42, 0, 0.42], build.torso), *side_legs(build.leg, stride, lift=0)]
    body += [limb([withers, poll], neck_radii), limb([poll, nose], [skull, muzzle])]
    body += [grow(extra) for extra in rng.sample(build.either, min(1, len(build.either)))]
    far_legs = [shape + 0.08 for shape in side_legs(build.leg, -stride, lift=0.05)]
    figure.add("face" if build.woolly else "shade", *far_legs)
    for extra in build.behind:
        figure.add(extra.tone, grow(extra))
    figure.add("face" if build.woolly else "coat", *body, marks=patches(rng, build.patchy))
    if build.woolly:
        figure.add("coat", *cloud(0, 0.48, 0.33, 0.15, rng))
    for extra in build.front:
        figure.add(extra.tone, grow(extra))
    figure.add_eye(poll + face * skull * (0.45 - 0.3j), 0.2 * skull)


def patches(rng: random.Random, chance: float) -> list[np.ndarray]:
    """Return some patches on the side of a body, or none."""
    count = rng.randint(3, 6) if rng.random() < chance else 0
    places = [complex(rng.uniform(-0.6, 0.5), rng.uniform(-0.3, 0.25)) for _ in range(count)]
    return [oval(place, rng.uniform(0.08, 0.24), rng.uniform(0.08, 0.2), rng.uniform(0, 90)) for place in places]


# ---- Other animals --------------------------------------------------------------------------------------------------


def draw_butterfly(figure: Figure, rng: random.Random) -> None:
    """Add a butterfly with open wings, seen from above."""
    if rng.random() < 0.4:
        figure.tones["coat"] = jitter(rng.choice(BRIGHTS), rng)
    sweep = rng.uniform(-8, 8)
    fore = np.array([0, 0.45 - 0.62j, 0.85 - 0.8j, 0.95 - 0.55j, 0.75 - 0.1j, 0.35 + 0.08j]) * heading(-sweep)
    hind = np.array([0.05j, 0.45 + 0.02j, 0.7 + 0.25j, 0.62 + 0.6j, 0.35 + 0.72j, 0.14 + 0.45j]) * heading(sweep)
    spots = [
        (rng.choice(("accent", "bone", "dark")), oval(place, rng.uniform(0.06, 0.14)))
        for place in (0.7 - 0.52j, 0.45 - 0.25j, 0.45 + 0.4j)
    ]
    for side in (0, 1):
        for corners in (hind, fore):
            wing, inner = (both_sides(curve(points, closed=True))[side] for points in (corners, 0.1 + 0.8 * corners))
            figure.add("accent", wing, marks=[inner], mark_tone="coat")
        for tone, spot in spots:
            figure.add(tone, both_sides(spot)[side])
    for feeler in both_sides([-0.3j, 0.12 - 0.6j, 0.28 - 0.78j]):
        figure.add("dark", limb(feeler, [0.02, 0.02]), oval(feeler[-1], 0.04))
    figure.add("dark", limb([-0.3j, 0, 0.5j], [0.07, 0.085, 0.03]))


def draw_cat(figure: Figure, rng: random.Random) -> None:
    """Add a sitting cat that looks at the viewer."""
    lean, tail = rng.uniform(-0.08, 0.12), rng.uniform(-0.2, 0.25) * 1j
    marks = [patch + 0.25j for patch in patches(rng, 0.4)]
    tail_path = [-0.2 + 0.62j, -0.6 + 0.55j, -0.75 + 0.1j + tail, -0.55 - 0.25j + tail]
    figure.add("coat", limb(tail_path, [0.09, 0.08, 0.08, 0.05]))
    figure.add("coat", limb([-0.12 + 0.42j, lean - 0.15j], [0.33, 0.2]), marks=marks)
    haunch = limb([-0.22 + 0.5j, -0.12 + 0.5j], [0.23, 0.2])
    figure.add("coat", haunch, limb([-0.15 + 0.7j, 0.12 + 0.71j], [0.07, 0.06]))
    for x in (-0.02, 0.12):
        leg = [lean + x + 0.05j, x + 0.14 + 0.45j, x + 0.14 + 0.7j, x + 0.2 + 0.71j]
        figure.add("coat", limb(leg, [0.1, 0.075, 0.065, 0.06]))

    head = Frame(complex(lean + rng.uniform(0, 0.12), rng.uniform(-0.5, -0.4)), 0.25 * heading(rng.uniform(-12, 12)))
    ears = [head.limb(path, [0.45, 0]) for path in both_sides([0.6 - 0.5j, 0.82 - 1.55j])]
    figure.add("coat", head.limb([-0.2, 0.2], [0.92, 0.92]), *ears)
    for path in both_sides([0.62 - 0.8j, 0.77 - 1.3j]):
        figure.add("pink", head.limb(path, [0.2, 0]))
    for path in both_sides([0.45 - 0.26j, 0.45]):
        figure.add("beak", head.limb(path, [0.22, 0.22]), marks=[head.limb(path, [0.1, 0.1])], mark_tone="dark")
    for path in (*both_sides([0.35 + 0.35j, 1.6 + 0.2j]), *both_sides([0.35 + 0.45j, 1.5 + 0.55j])):
        figure.add("white", head.limb(path, [0.02, 0.02]))
    figure.add("bone", head.limb([-0.1 + 0.4j, 0.1 + 0.4j], [0.28, 0.28]))
    figure.add("pink", head.limb([-0.05 + 0.25j, 0.05 + 0.25j], [0.09, 0.09]))


def draw_chicken(figure: Figure, rng: random.Random) -> None:
    """Add a chicken that stands upright or pecks."""
    step, peck = rng.uniform(-0.12, 0.12), rng.random() ** 2
    for hip, foot in ((0.06 + 0.25j, 0.06 - step + 0.78j), (-0.06 + 0.25j, -0.06 + step + 0.78j)):
        toes = [limb([foot, foot + toe], [0.03, 0.018]) for toe in (0.17 + 0.03j, 0.1 + 0.07j, -0.1 + 0.02j)]
        figure.add("beak", limb([hip, foot], [0.045, 0.03]), *toes)
    rump, head = -0.32 - 0.05j, 0.5 - 0.6j + peck * (0.16 + 0.5j)
    for angle in (200, 218, 236, 254):
        feather = [rump, rump + 0.42 * heading(angle), rump + 0.58 * heading(angle - 14)]
        figure.add("accent", limb(feather, [0.12, 0.12, 0.02]))
    for angle in (-125, -90, -55):
        figure.add("red", limb([head, head + 0.2 * heading(angle)], [0.08, 0.06]))
    figure.add("beak", limb([head + 0.08, head + 0.27 + 0.04j], [0.08, 0]))
    figure.add("red", limb([head + 0.1 + 0.12j, head + 0.12 + 0.24j], [0.05, 0.06]))
    neck = limb([0.22 - 0.05j, 0.38 - 0.3j + peck * (0.1 + 0.2j), head], [0.25, 0.15, 0.13])
    figure.add("coat", oval(-0.05 + 0.06j, 0.46, 0.35, -8), neck)
    figure.add("shade", limb([0.12 + 0.04j, -0.12 + 0.1j, -0.42 + 0.04j], [0.13, 0.17, 0.02]))
    figure.add_eye(head + 0.04 - 0.02j, 0.04)


def draw_spider(figure: Figure, rng: random.Random) -> None:
    """Add a spider, seen from above."""
    for side in (0, 1):
        for knee, foot in ((-38, -75), (-14, -32), (16, 34), (44, 76)):
            bend = rng.uniform(-8, 8)
            leg = both_sides([-0.08j, 0.62 * heading(knee + bend), 1.15 * heading(foot + bend)])[side]
            figure.add("coat", limb(leg[:2], [0.07, 0.06]), limb(leg[1:], [0.06, 0.02]))
    marks = [oval(y, 0.12, 0.06) for y in (0.25j, 0.42j, 0.58j)]
    figure.add("coat", oval(0.4j, 0.29, 0.36), marks=marks)
    figure.add("shade", oval(-0.1j, 0.2))
    for x in (-0.08, 0.08):
        figure.add_eye(x - 0.2j, 0.05)


def draw_squirrel(figure: Figure, rng: random.Random) -> None:
    """Add a squirrel that sits upright and holds a nut."""
    chest, curl = complex(rng.uniform(0.02, 0.2), -0.1), rng.uniform(-0.12, 0.12) * 1j
    head = chest + 0.14 - 0.3j
    tail = [-0.1 + 0.68j, -0.5 + 0.6j, -0.68 + 0.1j, -0.6 - 0.42j, -0.76 - 0.75j + curl, -1.05 - 0.68j + curl]
    figure.add(rng.choice(("coat", "shade", "accent")), limb(tail, [0.1, 0.22, 0.28, 0.27, 0.18, 0.05]))
    for x in (0.02, -0.1):
        figure.add("coat", limb([head + x - 0.1j, head + x - 0.06 - 0.34j], [0.08, 0.01]))
    snout = head + 0.17 + 0.07j
    figure.add("coat", limb([-0.05 + 0.5j, chest], [0.3, 0.2]), limb([chest, head, snout], [0.18, 0.17, 0.07]))
    figure.add("bone", limb([0.14 + 0.5j, chest + 0.12], [0.12, 0.08]))
    figure.add("coat", oval(-0.05 + 0.53j, 0.24, 0.21), limb([-0.05 + 0.74j, 0.3 + 0.75j], [0.07, 0.055]))
    figure.add("beak", oval(chest + 0.38 + 0.02j, 0.09, 0.11))
    figure.add("coat", limb([chest + 0.02j, chest + 0.16 + 0.14j, chest + 0.34 + 0.04j], [0.08, 0.06, 0.05]))
    figure.add_eye(head + 0.06 - 0.02j, 0.045)
    figure.add("dark", oval(snout + 0.06, 0.03))


ARTISTS: dict[str, Callable[..., None]] = {
    "butterfly": draw_butterfly, "cat": draw_cat, "chicken": draw_chicken, "spider": draw_spider,
    "squirrel": draw_squirrel, **{name: partial(draw_quadruped, build=build) for name, build in BUILDS.items()},
}  # fmt: skip
CLASSES = tuple(sorted(ARTISTS))
SEEN_FROM_ABOVE = ("butterfly", "spider")
