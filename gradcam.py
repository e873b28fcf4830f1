"""Show where trained networks look: Grad-CAM heat maps over photographs, and the gates of Shuffle Attention."""

from config import parse_config
from machine import runtime


def main(config) -> int:
    return runtime.run("gradcam", explain, config)


def explain(config):
    """Draw what ``config`` asks for: see explanation.explain_photographs."""
    from explanation.explain_photographs import explain_photographs

    return explain_photographs(config)


if __name__ == "__main__":
    runtime.leave(main(parse_config()))
