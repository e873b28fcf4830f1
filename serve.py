"""Serve trained networks: a page to try photographs on, and predictions over HTTP."""

from machine import ending
from config import Config, parse_config


def main(config: Config) -> int:
    """Serve until Ctrl-C; returns the exit code."""
    return ending.run("serve", serve, config)


def serve(config: Config) -> None:
    """Serve the networks that ``config`` names: see serving.serve_networks."""
    from serving.serve_networks import serve_networks  # imports Paddle, so only once settings are checked

    serve_networks(config)


if __name__ == "__main__":
    ending.leave(main(parse_config()))
