"""Train a network on the photographs of a data folder and leave everything about the run in runs/NET/NNN."""

from config import Config, parse_config
from machine import runtime


def main(config: Config) -> int:
    return runtime.run("train", work, config)


def work(config):
    from training import session  # which imports Paddle: not before the settings are known to be good

    return session.run(config)


if __name__ == "__main__":
    runtime.leave(main(parse_config()))
