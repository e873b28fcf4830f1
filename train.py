"""Train a network on the photographs of a data folder and leave everything about the run in runs/NET/NNN."""

from machine import ending
from config import Config, parse_config


def main(config: Config) -> int:
    return ending.run("train", work, config)


def work(config):
    from training import session  # which imports Paddle: not before the settings are known to be good

    return session.run(config)


if __name__ == "__main__":
    ending.leave(main(parse_config()))
