"""Recipes and config.yaml, as settings.recipe and config read them."""

import re
import zlib
from pathlib import Path

import yaml
from harness import Crash, Reader

from config import FORMAT, Config, ConfigError, load_config
from settings.format_number import FormatError
from settings.recipe import read_recipe
from trained.run_folder import write_config

ROOT = Path(__file__).resolve().parents[2]
WORDS = (
    b"null", b"~", b"true", b"yes", b"0", b"-1", b"3", b"1e-3", b"1e999", b".nan", b"-.inf", b"0x7f", b"0b_", b"017", b"1_000",
    b"9" * 400, b"9" * 5000, b"0x" + b"f" * 5000, b"1" + b":1" * 300, b"1" + b":1" * 300 + b".5", b"2001-01-01", b"2001-99-99",
    b"2001-01-01t99:99:99z", b"''", b"text", "猫".encode(), b'"\\0"', b'"\\ud800"', b'"\\udcff"', b'"\\U00110000"',
    b'"\\x1b[2J"', b"'a\x1b'", b"[]", b"{}", b"[0.1, 0.2, 0.3]", b"[resnet, sa_resnet]", b"[[[[[[[[[[1]]]]]]]]]]", b"[" * 400,
    b"{a: " * 600, b"- " * 1000, b"? " * 1000, b"&a", b"*a", b"&a [*a]", b"<<", b"<<: ", b"!!float x", b"!!int ''",
    b"!!timestamp x", b"!!binary x", b"!!set {a}", b"!!omap [a: 1]", b"!!python/object/apply:os.getcwd []", b"!<x>", b"!",
    b"%YAML 1.1\n---\n", b"%TAG ! tag:x,2000:\n---\n", b"---\n", b"...\n", b"|\n  text", b">-\n  text", b"# ", b"\t", b": ",
    b"\n", b"resnet", b"adam", b"folder", b"epochs: 3\n", b"std: [1, 1, 1]\n", b"given: 3\n", b"\xef\xbb\xbf", b"\xc2\x85",
    b"\xe2\x80\xa8", b"\xff", b"format: 2\n", b"format: 99\n", b"format: x\n",
)  # fmt: skip
GOOD_LINES = yaml.safe_dump(Config().as_dict(), default_flow_style=None, width=1000).encode().splitlines()
BOMB = b"data: &a [x, x, x, x, x, x, x, x, x]\nnets: &b [*a, *a, *a, *a, *a, *a, *a, *a]\nstd: [*b, *b, *b, *b, *b, *b, *b]\n"


def reader(folder) -> Reader:
    """The readers of recipes and of runs' config.yaml; the files are written into ``folder``, which must exist."""
    recipe, again = Path(folder) / "recipe.yaml", Path(folder) / "again"
    again.mkdir(exist_ok=True)

    def read(data):
        recipe.write_bytes(data)
        chance = zlib.crc32(data)
        if chance % 2:
            read_recipe(Config, recipe, FORMAT)  # stricter: it refuses unknown keys
        config = load_config(recipe)
        config.resolved()
        if chance % 16 == 0:  # PyYAML takes 20 ms for all settings
            write_config(again, config.as_dict())
            if load_config(again / "config.yaml") != config:
                raise Crash("settings that do not come back from config.yaml")

    return Reader("recipes", (ConfigError, FormatError), (recipe,), read, _seeds(), mutate)


def _seeds():
    """The project's recipes without their comments, and other settings in YAML's other forms."""
    recipes = [yaml.safe_load(path.read_bytes()) for path in sorted((ROOT / "recipes").glob("*.yaml"))]
    seeds = [yaml.safe_dump(settings, sort_keys=False) for settings in recipes]
    others = {"data": "狗/a b", "images": ["a.jpg", "b"], "e_lambda": 1e-05, "run": "runs/x/001", "std": [1, 0.5, 0.1]}
    seeds.append(yaml.safe_dump(others, allow_unicode=True, default_flow_style=True))
    seeds.append(
        "%YAML 1.1\n---\n'net': \"resnet\" # comment\n? nets\n:\n- resnet\n- sa_resnet\nattention: ~\ndata: >-\n  a\n  b\n"
    )
    return tuple(seed.encode() for seed in seeds)


def mutate(data, rng, mutate_bytes) -> bytes:
    """Put another value to a key, another key to a value, another token for a token, lines in; or change any bytes."""
    lines = data.split(b"\n")
    place = rng.randrange(len(lines))
    key, colon, value = lines[place].partition(b":")
    change = rng.randrange(10)
    if change == 0:
        lines[place] = key + b": " + rng.choice(WORDS)
    elif change >= 7:  # good lines, or one by one no worse than out of range
        name, _, good = rng.choice(GOOD_LINES).partition(b":")
        lines[place:place] = [
            (name if change < 9 else key) + b":" + (good if change > 7 else rng.choice((b" 3", b" 0.5", b" yes")))
        ]
    elif change == 1:
        lines[place] = rng.choice(WORDS) + colon + value
    elif change == 2:
        tokens = re.split(rb"([\s,\[\]{}:]+)", lines[place])
        tokens[rng.randrange(len(tokens))] = rng.choice(WORDS)
        lines[place] = b"".join(tokens)
    elif change == 3:
        lines.insert(place, rng.choice(lines))
    elif change == 4:
        lines[place] = mutate_bytes(lines[place], rng, WORDS)
    elif change == 5:
        lines.insert(place, BOMB if rng.random() < 0.2 else rng.choice(WORDS))
    else:
        return mutate_bytes(data, rng, WORDS)
    return b"\n".join(lines)
