"""Requests a second of serve.py with 8 clients against the photographs a second of predict.py, for one network.

    python benchmarks/serving.py [--net NET] [--run FOLDER] [--photographs N] [--rounds N] [--engine E]

Each round runs predict.py on a few photographs and on many more, whose difference leaves the start of the program out, and has
the clients send the same photographs, one a request. The last line is the median of the rounds' ratios. Without --run a network
of --net is trained for a moment, which is enough to time it.
"""

import argparse
import concurrent.futures
import http.client
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from machine import processor  # noqa: E402, F401
from drawing.drawn_dataset import draw_dataset  # noqa: E402

CLIENTS = 8


def script(name, *arguments):
    """Seconds that a script takes."""
    started = time.perf_counter()
    subprocess.run([sys.executable, ROOT / f"{name}.py", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def predict_rate(run, engine, few, many, output):
    """Photographs a second of predict.py, without its start; both times with the same engine."""
    own = ("--run", run, "--engine", engine, "--output", output)
    seconds = [script("predict", *own, "--images", *files) for files in (few, many)]
    return (len(many) - len(few)) / (seconds[1] - seconds[0])


def serve_rate(port, files):
    """Requests a second of CLIENTS clients that send one photograph after another, each over one connection."""

    def send(share):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        for content in share:
            connection.request("POST", "/api/predict", content)
            answer = connection.getresponse()
            if b"confidence" not in answer.read():
                raise RuntimeError(f"the server refused a photograph with {answer.status}")
        connection.close()

    contents = [file.read_bytes() for file in files]
    started = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(send, [contents[number::CLIENTS] for number in range(CLIENTS)]))
    return len(files) / (time.perf_counter() - started)


def trained(folder, net, size):
    """A run of ``net`` that has seen a few pictures."""
    draw_dataset(folder / "few", 2, seed=1)
    script("train_val_split", "--data", folder / "few", "--val_fraction", "0.5")
    small = ("--epochs", 1, "--batch_size", 5, "--image_size", size, "--num_workers", 0)
    script("train", "--net", net, "--data", folder / "few", "--runs_dir", folder / "runs", *small)
    return folder / "runs" / net / "001"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--net", default="sa_resnet")
    parser.add_argument("--run", type=Path)
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--photographs", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engine", default="inference", help="of both scripts; on a GPU: dynamic")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        draw_dataset(place / "photographs", -(-arguments.photographs // 10), seed=0)
        files = sorted(path for path in (place / "photographs").rglob("*.jpg"))[: arguments.photographs]
        run = arguments.run or trained(place, arguments.net, arguments.image_size)
        command = [sys.executable, ROOT / "serve.py", "--run", run, "--engine", arguments.engine, "--port", "0"]
        with subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, text=True) as server:
            try:
                port = int(re.search(r":(\d+) ", server.stdout.readline())[1])
                serve_rate(port, files[: 2 * CLIENTS])
                ratios = []
                for number in range(arguments.rounds):
                    of_predict = predict_rate(run, arguments.engine, files[:16], files, place / "predictions.csv")
                    of_serve = serve_rate(port, files)
                    ratios.append(of_serve / of_predict)
                    rates = f"predict.py {of_predict:6.1f} photographs/s, serve.py {of_serve:6.1f} requests/s"
                    print(f"round {number + 1}: {rates}, ratio {ratios[-1]:.2f}", flush=True)
            finally:
                server.terminate()
    print(f"{CLIENTS} clients, {len(files)} photographs: median ratio {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
