"""A headless Chromium, driven by the DevTools protocol over a pipe: nothing but Python's own library is needed."""

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
SECONDS = 60


def find_chromium():
    """The path of a Chromium, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def begin(root):
    """For a script: (the path of a Chromium, the folder for screenshots: the first argument, else work/browser); None, and a
    line says so, where there is no Chromium."""
    program = find_chromium()
    if not program:
        print("no Chromium on this machine: the page is not tried in a browser")
        return None
    shots = Path(sys.argv[1] if len(sys.argv) > 1 else root / "work" / "browser")
    shots.mkdir(parents=True, exist_ok=True)
    return program, shots


class Chromium:
    """One tab. ``faults``: what the page's console, its exceptions and its security policy complain of; ``requested``: the
    addresses that it has asked for."""

    def __init__(self, program):
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        here_read, there_write = os.pipe()
        there_read, here_write = os.pipe()
        options = ["--headless=new", "--remote-debugging-pipe", f"--user-data-dir={self._profile.name}", "--disable-gpu"]
        options += ["--no-first-run", "--disable-background-networking", "--hide-scrollbars"]
        options += ["--no-sandbox"] if os.geteuid() == 0 else []
        high = [fcntl.fcntl(end, fcntl.F_DUPFD, 64) for end in (there_read, there_write)]

        def give_pipes():  # DevTools reads from 3 and writes to 4
            for end, number in zip(high, (3, 4)):
                os.dup2(end, number)

        self._process = subprocess.Popen(
            [program, *options, "about:blank"], preexec_fn=give_pipes, close_fds=False, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for end in high:
            os.close(end)
        os.close(there_read)
        os.close(there_write)
        self._read, self._write, self._buffer, self._number = here_read, here_write, b"", 0
        self._session, self._events = None, []
        self.faults, self.requested = [], []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "DOM", "Log", "Accessibility"):
            self.call(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._read)
        os.close(self._write)
        self._profile.cleanup()

    def call(self, method, **parameters):
        """The result of a command of the protocol."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + SECONDS
        while True:
            answer = self._next(deadline)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def _next(self, deadline):
        while b"\0" not in self._buffer:
            if not select.select([self._read], [], [], max(0, deadline - time.monotonic()))[0]:
                raise TimeoutError("Chromium does not answer")
            part = os.read(self._read, 2**20)
            if not part:
                raise RuntimeError("Chromium has ended")
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(line)
        name, found = message.get("method"), message.get("params", {})
        if name == "Runtime.exceptionThrown":
            self.faults.append(json.dumps(found)[:600])
        elif name == "Log.entryAdded" and found["entry"]["level"] == "error":
            self.faults.append(f"{found['entry']['text']} {found['entry'].get('url', '')}")
        elif name == "Network.requestWillBeSent":
            self.requested.append(found["request"]["url"])
        elif name:
            self._events.append(name)
        return message

    def happened(self, event):
        """Wait for an event of the protocol, from the last call of this method on."""
        deadline = time.monotonic() + SECONDS
        while event not in self._events:
            self._next(deadline)
        self._events.clear()

    def evaluate(self, expression):
        """The value of a JavaScript expression in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def wait_for(self, expression):
        """Wait until a JavaScript expression is true; returns its value."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            if value := self.evaluate(expression):
                return value
            time.sleep(0.05)
        raise TimeoutError(f"never true: {expression}")

    def open(self, url, width=1000, height=900, language="en-US", scheme="light", phone=False):
        """Show a page as a browser with this window, language and colour scheme does."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone,
        )  # fmt: skip
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        agent = self.evaluate("navigator.userAgent")
        self.call("Emulation.setUserAgentOverride", userAgent=agent, acceptLanguage=language)
        self.call("Page.navigate", url=url)
        self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'")

    def press(self, key, code=None, text=None):
        """Press a key, such as Tab."""
        number = {"Tab": 9, "Enter": 13, " ": 32, "ArrowRight": 39}[key]
        named = {"key": key, "code": code or key, "windowsVirtualKeyCode": number}
        self.call("Input.dispatchKeyEvent", type="keyDown", **named, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **named)

    def drop(self, paths, x, y):
        """Drop files from the desktop at a place of the window."""
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def choose(self, selector, paths):
        """Choose files in a file input."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path) for path in paths])

    def accessible(self):
        """{(role, name), ...} as a screen reader meets them."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        return {(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node.get("ignored")}

    def screenshot(self, path):
        """Write a PNG of the whole page."""
        data = self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))
