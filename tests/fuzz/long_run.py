"""Tries the readers of foreign files with many inputs, which atheris and libFuzzer choose by the code that they reach.

    python tests/fuzz/long_run.py                             every reader, 100,000 inputs each
    python tests/fuzz/long_run.py --inputs 5000 recipes       one of them
    python tests/fuzz/long_run.py recipes work/fuzz/recipes/crash-...     an input that was found, once more

Linux. What is found lies in work/fuzz/READER/: inputs that reached new code in corpus/, where the next run begins, and what
no input may bring about as crash-..., timeout-... or oom-....
"""

import argparse
import random
import re
import subprocess
import sys
import time
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAMES = (
    "lists", "recipes", "checkpoints", "pickles", "archives", "weights", "tables", "photo_archives", "results", "metrics",
    "histories", "predictions", "class_lists", "searches",
)  # fmt: skip
INSTRUMENTED = (
    "attention", "config", "data", "evaluation", "gzip", "machine", "messages", "pickles", "pickletools", "safetensors",
    "settings", "tarfile", "trained", "training", "tuning", "weights", "yaml", "zipfile",
)  # fmt: skip
LONGEST = 200_000  # bytes of an input
SLOWNESS = 10  # of Python code with libFuzzer's counters in it, measured
LONGEST_SECONDS = 100  # by the clock, for one input: what hangs without using the processor


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000, metavar="N", help="inputs for each reader (default: 100000)")
    parser.add_argument("--seconds", type=int, default=1200, metavar="N", help="at most so long for each (default: 1200)")
    parser.add_argument("names", nargs="*", metavar="READER", help=f"{', '.join(NAMES)} (default: all), or one and a file")
    options = parser.parse_args()
    if len(options.names) == 2 and options.names[1] not in NAMES:
        return subprocess.call([sys.executable, __file__, "--inside", *options.names])
    failed = [name for name in options.names or NAMES if not run(name, options.inputs, options.seconds)]
    if failed:
        print(f"CRASHES: {', '.join(failed)}; the inputs are in {ROOT / 'work' / 'fuzz'}")
    return 1 if failed else 0


def run(name, inputs, seconds) -> bool:
    """Fuzz a reader in a process of its own and print what came of it; whether all inputs passed."""
    folder = ROOT / "work" / "fuzz" / name
    (folder / "corpus").mkdir(parents=True, exist_ok=True)
    command = [sys.executable, __file__, "--inside", name, f"-runs={inputs}", f"-max_total_time={seconds}"]
    started = time.monotonic()
    with open(folder / "log.txt", "wb") as log:
        code = subprocess.call(command, stdout=log, stderr=log, cwd=ROOT)
    text = (folder / "log.txt").read_text(encoding="utf-8", errors="replace")
    tally = re.findall(r"^tally: (.*)$", text, re.MULTILINE)
    coverage = re.findall(r"^#\d+.*?cov: (\d+) ft: (\d+)", text, re.MULTILINE)
    print(f"{name}: {tally[-1] if tally else 'nothing tried'}", end="; ")
    print("edges {}, features {}".format(*coverage[-1] if coverage else "??"), end="; ")
    print(f"{time.monotonic() - started:.0f} s, {'no crash' if code == 0 else f'CRASH, see {folder}/log.txt'}", flush=True)
    return code == 0 and bool(tally)


def fuzz(name, arguments):
    """Fuzz the reader ``name`` in this process, with libFuzzer's own arguments; ends the process."""
    import atheris

    sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(Path(__file__).parent)]
    warnings.simplefilter("ignore")
    from machine import processor

    processor.configure(threads=1)
    for module in [module for module in sys.modules if module.split(".")[0] in INSTRUMENTED]:
        del sys.modules[module]  # imported anew, this time with counters in it
    with atheris.instrument_imports(include=INSTRUMENTED, exclude=("yaml.reader", "yaml.emitter", "yaml.representer")):
        from harness import Harness, bounded_memory, mutate_bytes, quick_folder
        from readers import READERS

    def guided(data, rng, words=()):
        # libFuzzer knows what the code compares with; the words are what it could hardly guess
        return mutate_bytes(data, rng, words) if rng.random() < 0.5 or not data else atheris.Mutate(data, len(data) + 64)

    def mutate(data, max_size, seed):
        rng = random.Random(seed)
        if not data or rng.random() < 0.3:  # what reached new code is often past saving
            data = rng.choice(reader.seeds)
        for _ in range(rng.choice((1, 1, 2, 3))):
            changed = reader.mutate(data, rng, guided)
            data = changed if len(changed) <= max_size else data
        return data

    def read(data):
        harness(data)
        if harness.tally.inputs % 1000 == 0:
            print(f"tally: {harness.tally}", flush=True)

    folder = ROOT / "work" / "fuzz" / name
    with quick_folder() as scratch, bounded_memory():
        reader = READERS[name](scratch)
        for number, seed in enumerate(reader.seeds):
            (folder / "corpus" / f"seed{number}").write_bytes(seed)
        harness = Harness(reader, SLOWNESS)
        files = [argument for argument in arguments if not argument.startswith("-")] or [str(folder / "corpus")]
        flags = [argument for argument in arguments if argument.startswith("-")]
        flags += [
            f"-max_len={LONGEST}",
            "-len_control=0",
            "-mutate_depth=1",
            f"-timeout={LONGEST_SECONDS}",
            "-rss_limit_mb=4096",
            "-seed=1",
        ]
        atheris.Setup([sys.argv[0], *flags, f"-artifact_prefix={folder}/", *files], read, custom_mutator=mutate)
        atheris.Fuzz()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:  # the process of one reader
        fuzz(sys.argv[2], sys.argv[3:])
    sys.exit(main())
