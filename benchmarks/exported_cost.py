"""What exported networks cost in other runtimes, against the exported ResNet of the same depth.

    python benchmarks/exported_cost.py [--nets NET ...] [--batches 1 16] [--rounds 9] [--onnx FOLDER] [--cpu_time] [--json FILE]

The networks, with random weights and 10 classes, are written as export.py writes them, and run by Paddle Inference with oneDNN.
Where paddle2onnx is installed they become ONNX files as well; ``--onnx`` names a folder to take NET.onnx from, or to keep them
in. ONNX Runtime runs those, where it is installed. A process runs a network and its ResNet in turn, so that other load affects
both alike; the table has the median of the ratios of each turn. Both must give what the toolkit gives, to 1e-4.

``--cpu_time``: one thread, and the processor's time in place of the clock's, which other load on the machine disturbs least.
"""

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from machine import processor
from networks import NETWORKS

SIZE, CLASSES = 224, 10
PHOTOGRAPHS = 16  # of a network's turn, or more: a single one takes too little time to compare
TO_ONNX = """
import sys, paddle2onnx
program, weights, target = sys.argv[1:]
paddle2onnx.export(program, weights, save_file=target, opset_version=17, optimize_tool="None")
"""


def base_of(net):
    """The plain ResNet to compare a network with: of its depth where there is one."""
    depth = net[len(net.rstrip("0123456789")) :]
    return f"resnet{depth}" if f"resnet{depth}" in NETWORKS else "resnet50"


def write_program(net, folder):
    """The program of a network with random weights, and images with the toolkit's own probabilities for them."""
    processor.configure()
    import numpy as np
    import paddle
    import paddle.nn.functional as F

    from inference.program import save_program
    from networks import build_network
    from networks.classifier import Classifier
    from ops import fused

    paddle.seed(0)
    classifier = Classifier(build_network(net, CLASSES))
    classifier.eval()
    generator = np.random.default_rng(0)
    for name, parameter in classifier.named_parameters():
        value, drawn = parameter.numpy(), generator.normal(0, 0.1, parameter.shape).astype("float32")
        if name.endswith("_variance"):
            parameter.set_value(np.exp(drawn))
        elif value.size == max(value.shape):  # vectors: of batch norm and attention
            parameter.set_value(value + drawn)
    images = generator.integers(0, 256, (3, 3, SIZE, SIZE)).astype("uint8")
    with paddle.no_grad(), fused.plain_operators():
        np.savez(folder / "expected.npz", images=images, probabilities=F.softmax(classifier(paddle.to_tensor(images))).numpy())
    settings = SimpleNamespace(image_size=SIZE)
    save_program(SimpleNamespace(load_classifier=lambda: classifier, temperature=1.0, settings=settings), folder)


def onnx_file(net, program, kept):
    """The network as an ONNX file: the one that is kept, or converted now; None where that is not possible."""
    from inference.program import NAME, program_file

    target = kept / f"{net}.onnx"
    if not target.exists() and importlib.util.find_spec("paddle2onnx"):
        files = [str(program_file(program)), str(program / f"{NAME}.pdiparams"), str(target)]
        subprocess.run([sys.executable, "-c", TO_ONNX, *files], check=True, capture_output=True)
    return target if target.exists() else None


def paddle_runner(program, threads):
    from inference.program_predictor import ProgramPredictor

    return ProgramPredictor(program, SIZE, sys.maxsize, threads).predict


def onnx_runner(file, threads):
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {session.get_inputs()[0].name: images})[0]


def measure(runtime, files, batch, rounds, cpu_time):
    """Seconds of a batch in each round: [(of the base, of the network), ...].

    ``files``: [(expected.npz, program or ONNX file), ...], of the base and of the network.
    """
    threads = 1 if cpu_time else processor.available_cores()
    processor.configure(threads)
    import numpy as np

    clock = time.process_time if cpu_time else time.perf_counter
    runners = []
    for expected, file in files:
        run = (paddle_runner if runtime == "Paddle Inference" else onnx_runner)(Path(file), threads)
        known = np.load(expected)
        difference = np.abs(run(known["images"]) - known["probabilities"]).max()
        if not difference <= 1e-4:
            raise SystemExit(f"{file}: probabilities differ by {difference:.1e} from the toolkit's own")
        runners.append(run)
    passes = max(1, PHOTOGRAPHS // batch)
    images = np.random.default_rng(1).integers(0, 256, (batch, 3, SIZE, SIZE)).astype("uint8")
    seconds = []
    for _ in range(rounds + 1):  # the first warms up
        turn = []
        for run in runners:
            started = clock()
            for _ in range(passes):
                run(images)
            turn.append((clock() - started) / passes)
        seconds.append(turn)
    return seconds[1:]


def rows_of(net, folder, kept, arguments):
    """Rows (network, runtime, batch, seconds of the base, of the network, ratio, lowest, highest)."""
    nets = (base_of(net), net)
    programs = [folder / name for name in nets]
    runtimes = {"Paddle Inference": programs}
    if importlib.util.find_spec("onnxruntime"):
        files = [onnx_file(name, program, kept) for name, program in zip(nets, programs)]
        if all(files):
            runtimes["ONNX Runtime"] = files
    for runtime, files in runtimes.items():
        for batch in arguments.batches:
            pairs = [(str(program / "expected.npz"), str(file)) for program, file in zip(programs, files)]
            seconds = in_a_child("measure", runtime, pairs, batch, arguments.rounds, arguments.cpu_time)
            ratios = [own / base for base, own in seconds]
            medians = [statistics.median(values) for values in zip(*seconds)]
            yield [net, runtime, batch, *medians, statistics.median(ratios), min(ratios), max(ratios)]


def in_a_child(task, *arguments):
    """What this script prints with ``task`` in a process of its own: Paddle gives memory back at its end only."""
    command = [sys.executable, __file__, "--child", json.dumps([task, *arguments])]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{task} {arguments}: {done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def run_child(task, *arguments):
    if task == "measure":
        print(json.dumps(measure(*arguments)))
    else:
        net, folder = arguments
        write_program(net, Path(folder))
        print("null")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    # The same network has two names in NETWORKS, and the ResNets themselves would be 1
    nets = [net for net in NETWORKS if net not in ("sa_resnet", "resnet", base_of(net))]
    parser.add_argument("--nets", nargs="+", choices=NETWORKS, default=nets, metavar="NET")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16], metavar="N")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--onnx", type=Path, metavar="FOLDER", help="where NET.onnx are, or are kept")
    parser.add_argument("--cpu_time", action="store_true", help="one thread, and the processor's time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        run_child(*json.loads(arguments.child))
        return
    rows = []
    print(
        "| network | runtime | batch | ResNet, ms | network, ms | ratio | lowest | highest |\n|---|---|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as temporary:
        kept = arguments.onnx or Path(temporary)
        kept.mkdir(exist_ok=True)
        for net in arguments.nets:
            for name in (base_of(net), net):
                if not (folder := Path(temporary) / name).exists():
                    folder.mkdir()
                    in_a_child("write", name, str(folder))
            for row in rows_of(net, Path(temporary), kept, arguments):
                rows.append(row)
                net, runtime, batch, base, own, *ratios = row
                shown = " | ".join(f"{ratio:.2f}" for ratio in ratios)
                print(f"| {net} | {runtime} | {batch} | {1000 * base:.0f} | {1000 * own:.0f} | {shown} |", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
