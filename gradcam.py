"""Show where trained networks look: Grad-CAM heat maps over photographs, and the gates of Shuffle Attention."""

import os
import sys
from pathlib import Path

if getattr(sys.flags, "safe_path", False):  # PYTHONSAFEPATH=1 or -P: Python leaves the script's own folder out
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from machine import ending
from config import Config, parse_config


def main(config: Config) -> int:
    return ending.run("gradcam", explain, config)


def explain(config: Config) -> Path:
    """Draw the pictures that ``config`` asks for: see explanation.explain_photographs."""
    from explanation.explain_photographs import explain_photographs  # imports Paddle, so only once settings are checked

    return explain_photographs(config)


if __name__ == "__main__":
    ending.leave(main(parse_config()))
