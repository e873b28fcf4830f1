"""serve.py under 2,000 hostile uploads: `make hostile-serve`, a few minutes. The short form is in test_serve.py.

A server of its own gets the damaged photographs of the tests whole, cut off, with wrong lengths and headers, as bodies and in
forms, a hundred at a time, while slow senders hold connections open; then the largest photographs that are read. It must answer
each whole request with 2xx, 4xx or 503, keep answering others meanwhile, show no path, and keep its memory: after the second
half no more than after the first, with some room. The last lines are the figures; the exit code is 1 where anything of this was
not.
"""

import collections
import concurrent.futures
import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from browser_runs import script
from damaged_photographs import big_photographs, damaged_photographs
from processes_started import heed_interruption

ROOT = Path(__file__).resolve().parent.parent
UPLOADS, AT_ONCE, SLOW = 2000, 100, 60
ROOM = 150  # MB that the second half of the uploads may add to the memory
HEAD = "POST /api/predict HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"


def whole(body, rng):
    return f"{HEAD}Content-Length: {len(body)}\r\n\r\n".encode() + body


def in_a_form(body, rng):
    boundary = f"b{rng.randrange(10**9)}"
    name = rng.choice(["a.jpg", "../../etc/passwd", "x" * 5000, "\u202egpj.exe", 'quote".png', ""])
    start = f'--{boundary}\r\nContent-Disposition: form-data; name="f"; filename="{name}"\r\n\r\n'.encode()
    end = f"\r\n--{boundary}--\r\n".encode() if rng.random() < 0.7 else b""
    content = (start + body) * rng.choice([1, 1, 1, 3, 40]) + end
    return (
        f"{HEAD}Content-Type: multipart/form-data; boundary={boundary}\r\nContent-Length: {len(content)}\r\n\r\n".encode()
        + content
    )


def too_short(body, rng):
    return f"{HEAD}Content-Length: {len(body) // 2}\r\n\r\n".encode() + body


def too_long(body, rng):
    return f"{HEAD}Content-Length: {len(body) + 1000}\r\n\r\n".encode() + body


def wrong_head(body, rng):
    line = rng.choice([
        "Content-Length: -1", "Content-Length: 9e9", "Content-Length: 99999999999", "Transfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked", "Content-Length: 3\r\nContent-Length: 5", "Content-Type: multipart/form-data",
        "Host: evil.example", "Origin: http://evil.example", "X: " + "y" * 70000, "Expect: 100-continue\r\nContent-Length: 9",
    ])  # fmt: skip
    return f"{HEAD}{line}\r\n\r\n".encode() + body


def garbage(body, rng):
    return rng.randbytes(rng.randrange(1, 5000))


WAYS = {whole: 8, in_a_form: 5, too_short: 2, too_long: 1, wrong_head: 3, garbage: 1}
UNFINISHED = ("too_long", "garbage", "wrong_head")  # of these some never become a request; the server cuts them off


def ask(address, raw, timeout):
    """What the server answers; b"" where it closes the connection, None where it does neither."""
    answer = b""
    with contextlib.suppress(ConnectionError), socket.create_connection(address, timeout=timeout) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(raw)
        try:
            while part := connection.recv(2**16):
                answer += part
        except TimeoutError:
            return None
    return answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")


def memory(process):
    """MB that the process holds, and the most that it has held."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return [int(re.search(rf"{name}:\s+(\d+)", status)[1]) // 1024 for name in ("VmRSS", "VmHWM")]


def drip(address, ended):
    """Hold a connection open with a byte now and then."""
    while not ended.is_set():
        with contextlib.suppress(OSError), socket.create_connection(address, timeout=5) as connection:
            connection.sendall(f"{HEAD}Content-Length: 100000\r\n\r\n".encode())
            while not ended.wait(2):
                connection.sendall(b"x")


class Faults(list):
    def add(self, text):
        self.append(text)
        print(f"FAULT {text}", flush=True)


def send_all(address, corpus, faults, codes, seed):
    """A thousand uploads, a hundred at once."""
    rng = random.Random(seed)
    jobs = [(rng.choices(list(WAYS), WAYS.values())[0], rng.choice(corpus), rng.random()) for _ in range(UPLOADS // 2)]

    def send(job):
        way, (name, body), number = job
        answer = ask(address, way(body, random.Random(number)), timeout=120)
        if answer is None:
            faults.add(f"no answer: {way.__name__} {name}")
        elif not answer:
            codes["closed"] += 1
            if way in (whole, in_a_form):
                faults.add(f"closed without an answer: {way.__name__} {name}")
        else:
            code = int(answer.split()[1])
            codes[code] += 1
            if not (code == 200 or 400 <= code < 500 or code in (501, 503)):
                faults.add(f"{code}: {way.__name__} {name}")
            if str(ROOT).encode() in answer or b"Traceback" in answer:
                faults.add(f"shows a path: {way.__name__} {name}")

    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(send, jobs))


def still_answers(address, faults, when):
    started = time.monotonic()
    answer = ask(address, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", timeout=60)
    if not answer or b'"ok"' not in answer:
        faults.add(f"/healthz does not answer {when}: {answer}")
    return time.monotonic() - started


def main():
    faults, codes, started = Faults(), collections.Counter(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="hostile-serve-") as place:
        place = Path(place)
        script("sample_animals", "--data", place / "animals", "--per_class", 4)
        script("train_val_split", "--data", place / "animals")
        small = ("--net", "resnet18", "--image_size", 32, "--epochs", 1, "--num_workers", 0, "--fused", "off")
        script("train", "--data", place / "animals", "--runs_dir", place / "runs", *small)
        (place / "temporary").mkdir()
        words = ["--net", "resnet18", "--runs_dir", place / "runs", "--port", "0", "--fused", "off"]
        process = subprocess.Popen(
            [sys.executable, ROOT / "serve.py", *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(place / "temporary")},
            preexec_fn=heed_interruption,
        )
        try:
            address = "127.0.0.1", int(re.search(r":(\d+) ", process.stdout.readline())[1])
            corpus, ended, rows = list(damaged_photographs()), threading.Event(), [memory(process)]
            for _ in range(SLOW):
                threading.Thread(target=drip, args=(address, ended), daemon=True).start()
            waits = []
            for half in range(2):
                sending = threading.Thread(target=send_all, args=(address, corpus, faults, codes, half))
                sending.start()
                while sending.is_alive():
                    waits.append(still_answers(address, faults, "meanwhile"))
                    sending.join(timeout=1)
                rows.append(memory(process))
                print(f"{UPLOADS // 2 * (half + 1)} uploads, {rows[-1][0]} MB", flush=True)
            if rows[2][0] > rows[1][0] + ROOM:
                faults.add(f"the memory grows: {rows}")
            big = [whole(content, None) for _, content in big_photographs()]
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                found = list(pool.map(lambda raw: ask(address, raw, timeout=600), big * 2))
            codes.update(int(answer.split()[1]) for answer in found if answer)
            if not all(found):
                faults.add("a large photograph is not answered")
            rows.append(memory(process))
            still_answers(address, faults, "after the large photographs")
            ended.set()
            left = [path for path in (place / "temporary").rglob("*") if path.is_file()]
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=30)
        finally:
            process.kill()
        lines = [line for line in err.splitlines() if line != "serve.py: interrupted"]
        if lines or process.returncode != 130:
            faults.add(f"said at the end: {process.returncode} {lines[:5]}")
        if left:
            faults.add(f"files are left: {left[:5]}")
    print(json.dumps({
        "uploads": UPLOADS, "answers": {str(code): count for code, count in sorted(codes.items(), key=str)},
        "slowest /healthz, seconds": round(max(waits), 2),
        "MB at start, after each half, after the largest": [row[0] for row in rows],
        "most MB": rows[-1][1], "seconds": round(time.monotonic() - started), "faults": len(faults),
    }, indent=2))  # fmt: skip
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
