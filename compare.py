"""Compare networks on your photographs: train what is missing, evaluate, and say what the data carry."""

from machine import ending
from config import Config, parse_config

PATIENCE = 10.0  # seconds; the training under way takes up to 6 to end


def main(config: Config) -> int:
    return ending.run("compare", compare, config, PATIENCE, hint="the same command continues with what is missing")


def compare(config: Config) -> int:
    """Compare what ``config`` names: see comparison.compare_networks."""
    from comparison.compare_networks import compare_networks

    return compare_networks(config)


if __name__ == "__main__":
    ending.leave(main(parse_config()))
