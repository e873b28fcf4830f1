"""Compare networks on your photographs: train what is missing, evaluate, and say what the data carry."""

import sys

from config import parse_config
from machine import runtime

PATIENCE = 10.0  # seconds; the training under way takes up to 6 to end


def main(config) -> int:
    code = runtime.run("compare", compare, config, PATIENCE)
    if code == runtime.INTERRUPTED:
        print("interrupted; the same command continues with what is missing", file=sys.stderr)
    return code


def compare(config) -> int:
    """Compare what ``config`` names: see comparison.session.compare."""
    from comparison.session import compare

    return compare(config)


if __name__ == "__main__":
    runtime.leave(main(parse_config()))
