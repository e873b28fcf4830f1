"""Serve trained networks: a page to try photographs on, and predictions over HTTP."""

import os
import sys

if getattr(sys.flags, "safe_path", False):  # PYTHONSAFEPATH=1 or -P: Python leaves the script's own folder out
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

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
