"""Our own convolutions on a CPU against oneDNN's, by shape and pass: what the rules for them rest on.

    python benchmarks/own_convolutions.py winograd [--images 8 32] [--channels 32 64 128] [--sides 1 2 3 4 5 6 7 8 9 14 28]
    python benchmarks/own_convolutions.py grouped [--images 8 32] [--size 64]

Each number is the median over --turns (7) of the seconds of oneDNN's convolution / those of ours, both in each turn, for y, the
gradient of x and the gradient of the weights. winograd: 3 x 3 kernels with padding 1 on maps in blocks of channels; in brackets
how many products oneDNN's takes for one of Winograd's, by which the rule of ops/csrc/winograd.cc goes. grouped: the
convolutions in groups of an EPSANet on images of --size pixels, in planes, with the channels of y in a group in brackets; ours
run where oneDNN has no code of its own, see ops/csrc/grouped.h.
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


def ratios(layer, x, turns):
    """Of ``layer`` on ``x``, for each pass: seconds of oneDNN's / seconds of ours."""
    import paddle

    from ops.convolution import own_convolutions

    dy = paddle.randn(layer(x).shape)

    def seconds(wanted, when):
        x.stop_gradient, layer.weight.stop_gradient = wanted != "dx", wanted != "dweights"
        with own_convolutions(when):
            started = time.perf_counter()
            y = layer(x)
            if wanted != "y":
                started = time.perf_counter()
                paddle.grad([y], [x if wanted == "dx" else layer.weight], [dy])
            return time.perf_counter() - started

    def ratio(wanted):
        pairs = [(seconds(wanted, "never"), seconds(wanted, "always")) for _ in range(turns + 1)][1:]
        return statistics.median(onednn_s / ours for onednn_s, ours in pairs)

    return " ".join(f"{ratio(wanted):.2f}" for wanted in ("y", "dx", "dweights"))


def winograd(arguments, lanes):
    import paddle

    from ops import fused
    from ops.convolution import Conv2D

    for images in arguments.images:
        for channels in arguments.channels:
            cells = []
            for side in arguments.sides:
                if images * channels**2 * side**2 <= MOST:
                    layer = Conv2D(channels, channels, 3, padding=1, bias_attr=False)
                    x = fused.run("channel_blocks", paddle.randn([images, channels, side, side]), lanes)
                    cells.append(f"{side} [{saved_products(side):.2f}]: {ratios(layer, x, arguments.turns)}")
            print(f"{images} images, {channels} channels, sides of {'; '.join(cells)}", flush=True)


def grouped(arguments):
    import paddle

    from networks.epsanet import GROUPS, KERNEL_SIZES
    from sa_resnet import conv

    for images in arguments.images:
        for stage, channels in enumerate((64, 128, 256, 512)):
            side = arguments.size // 2 ** (2 + stage)
            for stride in (1, 2) if stage else (1,):
                cells = []
                for kernel, groups in list(zip(KERNEL_SIZES, GROUPS))[1:]:
                    layer = conv(channels, channels // 4, kernel, stride, groups)
                    x = paddle.randn([images, channels, side * stride, side * stride])
                    of_group = channels // 4 // groups
                    cells.append(f"{kernel}x{kernel} [{of_group}]: {ratios(layer, x, arguments.turns)}")
                print(f"{images} images, {channels} channels, side {side}, stride {stride}: {'; '.join(cells)}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("which", choices=("winograd", "grouped"))
    parser.add_argument("--images", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--channels", type=int, nargs="+", default=[32, 64, 128, 256, 512])
    parser.add_argument("--sides", type=int, nargs="+", default=[1, 2, 3, 4, 5, 6, 7, 8, 9, 14, 28])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--turns", type=int, default=7)
    arguments = parser.parse_args()
    from machine import processor

    processor.configure()
    import zlib  # noqa: F401  # before Paddle, see machine/processor.py

    import paddle

    from ops import fused

    lanes = fused.lanes(paddle.ones([1, 64, 1, 1]))
    if not lanes:
        raise SystemExit("oneDNN is not there, or has another layout on this processor: no convolution of ours runs")
    print(f"blocks of {lanes} channels; oneDNN's / ours: y, dx, dweights; in brackets: ", end="")
    if arguments.which == "winograd":
        print("products for one of Winograd's")
        winograd(arguments, lanes)
    else:
        print("channels of y in a group")
        grouped(arguments)


if __name__ == "__main__":
    main()
