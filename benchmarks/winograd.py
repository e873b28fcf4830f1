"""Winograd's convolution against the direct one on a CPU, by shape and pass: what the rule in ops/csrc/winograd.cc rests on.

    python benchmarks/winograd.py [--images 8 32] [--channels 32 64 128 256 512] [--sides 1 2 3 4 5 6 7 8 9 14 28] [--turns 7]

The maps are in blocks of channels, the kernels 3 x 3 with padding 1. Each number is the median over turns of the seconds of the
direct convolution / those of Winograd's, both in each turn, for y, the gradient of x and the gradient of the weights. In
brackets: how many products the direct one takes for one of Winograd's; the rule goes by it.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

MOST = 32 * 64 * 64 * 56 * 56  # images * channels * channels * pixels: larger ones are left out


def saved_products(side):
    """36 for 16 in the midst of a map; less at its edges, where the direct convolution leaves out the padding."""
    return (3 * side - 2) ** 2 / (16 * ((side + 1) // 2) ** 2)


def ratios(images, channels, side, turns, lanes):
    """{pass: seconds directly / seconds by Winograd's}."""
    import paddle

    from ops import fused
    from ops.convolution import Conv2D, winograd

    layer = Conv2D(channels, channels, 3, padding=1, bias_attr=False)
    x = fused.run("channel_blocks", paddle.randn([images, channels, side, side]), lanes)
    dy = paddle.randn(x.shape)

    def seconds(wanted, when):
        x.stop_gradient, layer.weight.stop_gradient = wanted != "dx", wanted != "dweights"
        with winograd(when):
            started = time.perf_counter()
            y = layer(x)
            if wanted != "y":
                started = time.perf_counter()
                paddle.grad([y], [x if wanted == "dx" else layer.weight], [dy])
            return time.perf_counter() - started

    found = {}
    for wanted in ("y", "dx", "dweights"):
        pairs = [(seconds(wanted, "never"), seconds(wanted, "always")) for _ in range(turns + 1)][1:]
        found[wanted] = statistics.median(directly / by_winograd for directly, by_winograd in pairs)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--images", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--channels", type=int, nargs="+", default=[32, 64, 128, 256, 512])
    parser.add_argument("--sides", type=int, nargs="+", default=[1, 2, 3, 4, 5, 6, 7, 8, 9, 14, 28])
    parser.add_argument("--turns", type=int, default=7)
    arguments = parser.parse_args()
    from machine import processor

    processor.configure()
    import zlib  # noqa: F401  # before Paddle, see machine/processor.py

    import paddle

    from ops import fused

    lanes = fused.lanes(paddle.ones([1, 64, 1, 1]))
    if not lanes:
        raise SystemExit("oneDNN is not there, or has another layout on this processor: no Winograd's convolution")
    print(f"blocks of {lanes} channels; directly / by Winograd's: y, dx, dweights")
    for images in arguments.images:
        for channels in arguments.channels:
            cells = []
            for side in arguments.sides:
                if images * channels**2 * side**2 <= MOST:
                    found = ratios(images, channels, side, arguments.turns, lanes).values()
                    cells.append(f"{side} [{saved_products(side):.2f}]: {' '.join(f'{value:.2f}' for value in found)}")
            print(f"{images} images, {channels} channels, sides of {'; '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
