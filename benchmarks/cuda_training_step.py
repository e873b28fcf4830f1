"""Whole training steps of SA-ResNet50 and ResNet50 on this machine's GPU in PyTorch, with the CUDA kernels and without them.

    python benchmarks/cuda_training_step.py [--batch 128] [--precisions bfloat16 float32] [--layouts nhwc nchw] [--compiled]

It is for cards that Paddle's packages have no code for, and says what the kernels are worth in a training: the same network,
convolutions and optimiser, where the end of each block, and each batch norm with ReLU, is one call of the kernels, or PyTorch's
own operators. First the gradients of both in float32 are compared with float64. Then each step is captured in a CUDA graph, so
that no time is lost between launches, and replayed. --compiled: torch.compile works on the plain network too. Needs a GPU,
PyTorch and nvcc.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import block_end_interface as interface
from benchmarks.cuda_block_end import LAYOUTS, kernels, machine_lines, milliseconds

PRECISIONS = ("float32", "tf32", "bfloat16", "float16")
NETS = ("sa_resnet50", "resnet50")
CLASSES = 1000

try:
    import torch
    import torch.nn.functional as F
    from torch import nn

    from benchmarks.torch_sa_resnet import Bottleneck, ShuffleAttention, sa_resnet50
except ImportError:
    torch = None


def fuse(network, library):
    """``network`` with calls of the kernels in the place of each batch norm and of what follows it."""

    class BlockEnd(torch.autograd.Function):
        """relu(attention(batch norm(x)) + residual) of block_end.h. ``call``: (whether ReLU ends it, running mean, running
        variance, momentum, epsilons); None in the place of the residual leaves it out, no ``attention`` that."""

        @staticmethod
        def forward(ctx, call, x, residual, weight, bias, *attention):
            relu, mean, variance, momentum, epsilon, attention_epsilon = call
            last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
            ctx.form = torch.channels_last if last else torch.contiguous_format
            x = x.contiguous(memory_format=ctx.form)
            images, channels, height, width = x.shape
            half = attention[0].numel() if attention else 0
            ctx.shape = interface.shape_of(images, channels, height * width, half, last)
            ctx.options = (relu, True, 1 - momentum, epsilon, attention_epsilon)
            ctx.has_residual = residual is not None
            residual = residual.contiguous(memory_format=ctx.form) if ctx.has_residual else None
            out = torch.empty_like(x, memory_format=ctx.form)
            plane_stats = x.new_empty(images, channels, 2, dtype=torch.float32) if attention else None
            channel_stats = x.new_empty(channels, 2, dtype=torch.float32)
            tensors = {"x": x, "residual": residual, "norm_weight": weight, "norm_bias": bias, "running_mean": mean}
            tensors.update(running_variance=variance, out=out, plane_stats=plane_stats, channel_stats=channel_stats)
            launch("forward", ctx, x, {**tensors, **dict(zip(interface.PARAMETERS, attention))})
            ctx.save_for_backward(x, out if ctx.has_residual else None, weight, bias, plane_stats, channel_stats, *attention)
            return out

        @staticmethod
        def backward(ctx, dout):
            x, out, weight, bias, plane_stats, channel_stats, *attention = ctx.saved_tensors
            dout = dout.contiguous(memory_format=ctx.form)
            dx = torch.empty_like(x, memory_format=ctx.form)
            dresidual = torch.empty_like(x, memory_format=ctx.form) if ctx.has_residual else None
            gradients = [torch.empty_like(each) for each in (weight, bias, *attention)]
            tensors = {"x": x, "out": out, "dout": dout, "norm_weight": weight, "norm_bias": bias, "plane_stats": plane_stats}
            tensors.update(
                channel_stats=channel_stats, dx=dx, dresidual=dresidual, **dict(zip(interface.PARAMETERS, attention))
            )
            names = (*interface.NORM, *interface.PARAMETERS)
            tensors.update({f"d{name}": gradient for name, gradient in zip(names, gradients)})
            launch("backward", ctx, x, tensors)
            return None, dx, dresidual, *gradients

    def launch(name, ctx, x, tensors):
        floats = getattr(library, f"block_end_{name}_workspace")(ctx.shape)
        workspace = x.new_empty(floats, dtype=torch.float32)
        pointers = {each: None if tensor is None else tensor.data_ptr() for each, tensor in tensors.items()}
        dtype, stream = str(x.dtype).removeprefix("torch."), torch.cuda.current_stream().cuda_stream
        interface.call(library, name, dtype, ctx.shape, ctx.options, pointers, workspace.data_ptr(), stream)

    def ended(norm, x, residual=None, attention=None, relu=False):
        parameters = ()
        if attention is not None:
            of_norm = attention.gn.weight, attention.gn.bias
            parameters = (attention.cweight, attention.cbias, attention.sweight, attention.sbias, *of_norm)
        epsilon = attention.gn.eps if parameters else 0.0
        call = (relu, norm.running_mean, norm.running_var, norm.momentum, norm.eps, epsilon)
        return BlockEnd.apply(call, x, residual, norm.weight, norm.bias, *parameters)

    class NormReLU(nn.Module):
        def __init__(self, norm):
            super().__init__()
            self.norm = norm

        def forward(self, x):
            return ended(self.norm, x, relu=True)

    class FusedBottleneck(Bottleneck):
        def forward(self, x):
            y = ended(self.bn1, self.conv1(x), relu=True)
            y = ended(self.bn2, self.conv2(y), relu=True)
            shortcut = x
            if isinstance(self.downsample, nn.Sequential):
                shortcut = ended(self.downsample[1], self.downsample[0](x))
            attention = self.sa if isinstance(self.sa, ShuffleAttention) else None
            return ended(self.bn3, self.conv3(y), shortcut, attention, relu=True)

    network[1], network[2] = NormReLU(network[1]), nn.Identity()
    for block in network:
        if isinstance(block, Bottleneck):
            block.__class__ = FusedBottleneck
    return network


class Step:
    """A network's training step on one batch. ``library``: the kernels, or None for plain operators.

    ``seed``: of the weights, also those that usually begin as 0 or 1, and of the photographs.
    """

    def __init__(self, net, library, batch, image_size, precision, layout, compiled=False, seed=0):
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        torch.manual_seed(seed)
        attention = {} if net == "sa_resnet50" else {"attention": lambda channels: nn.Identity()}
        form = torch.channels_last if layout == "nhwc" else torch.contiguous_format
        wide = torch.float64 if precision == "float64" else torch.float32
        network = sa_resnet50(CLASSES, **attention)
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if ".conv" not in name and parameter.numel() <= 2048:  # of norms and attention
                    parameter.add_(0.3 * torch.randn_like(parameter))
        network = network.to("cuda", wide).to(memory_format=form)
        images = torch.randn(batch, 3, image_size, image_size)
        self.images = images.to("cuda", wide).contiguous(memory_format=form)
        self.labels = torch.randint(CLASSES, (batch,)).cuda()
        self.network = fuse(network, library) if library else torch.compile(network) if compiled else network
        self.optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9)
        self.precision = precision

    def loss(self):
        mixed = self.precision in ("bfloat16", "float16")
        kind = torch.float16 if self.precision == "float16" else torch.bfloat16
        with torch.autocast("cuda", kind, enabled=mixed, cache_enabled=False):
            return F.cross_entropy(self.network(self.images), self.labels)

    def gradient(self):
        """The gradient of all weights, as one float64 vector."""
        self.loss().backward()
        found = [parameter.grad.double().flatten() for parameter in self.network.parameters()]
        return torch.cat(found)

    def __call__(self):
        self.loss().backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def gradient_errors(net, library, layout, batch=8, image_size=96, draws=5):
    """Relative errors of the gradient in float32 against float64: of the kernels, and of PyTorch's operators.

    Medians over random weights and photographs: rounding changes the sign of values close to zero before ReLU, by chance.
    """
    errors = []
    for seed in range(draws):
        arguments = {"batch": batch, "image_size": image_size, "layout": layout, "seed": seed}
        exact = Step(net, None, precision="float64", **arguments).gradient()
        errors.append([])
        for each in (library, None):
            found = Step(net, each, precision="float32", **arguments).gradient()
            errors[-1].append(((found - exact).norm() / exact.norm()).item())
    return [statistics.median(of_one) for of_one in zip(*errors)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--nets", nargs="+", choices=NETS, default=list(NETS))
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=["bfloat16", "tf32"])
    parser.add_argument("--layouts", nargs="+", choices=LAYOUTS, default=list(LAYOUTS))
    parser.add_argument("--compiled", action="store_true", help="also time what torch.compile makes of the plain network")
    arguments = parser.parse_args()
    if torch is None or not torch.cuda.is_available():
        raise SystemExit("This benchmark needs PyTorch and an NVIDIA GPU that it sees.")
    with tempfile.TemporaryDirectory() as folder:
        library = kernels("nvcc", folder)
        print("\n".join(machine_lines("nvcc")))
        wrong = False
        for net in arguments.nets:
            for layout in arguments.layouts:
                ours, torchs = gradient_errors(net, library, layout)
                wrong |= not ours <= 2 * torchs
                print(
                    f"gradient of {net}, {layout}, float32 against float64: kernels {ours:.1e}, PyTorch {torchs:.1e}",
                    flush=True,
                )
        print(f"\ntraining steps, batch {arguments.batch}, {arguments.image_size} pixels, images/s:\n")
        print(
            "| network | precision | layout | kernels | PyTorch | kernels / PyTorch | torch.compile | GiB: kernels, PyTorch |"
        )
        print("| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |")
        for net in arguments.nets:
            for precision in arguments.precisions:
                for layout in arguments.layouts:
                    print(row(arguments, net, precision, layout, library), flush=True)
    print("a gradient is WRONG" if wrong else "all gradients are as close to float64 as PyTorch's")
    return int(wrong)


def row(arguments, net, precision, layout, library):
    def measured(library, compiled=False):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        step = Step(net, library, arguments.batch, arguments.image_size, precision, layout, compiled)
        rate = arguments.batch / milliseconds([step], repeats=10) * 1000
        return rate, torch.cuda.max_memory_allocated() / 2**30

    (ours, memory), (plain, of_plain) = measured(library), measured(None)
    compiled = f"{measured(None, True)[0]:.0f}" if arguments.compiled else ""
    rates = f"{ours:.0f} | {plain:.0f} | {ours / plain:.2f} | {compiled}"
    return f"| {net} | {precision} | {layout} | {rates} | {memory:.1f}, {of_plain:.1f} |"


if __name__ == "__main__":
    sys.exit(main())
