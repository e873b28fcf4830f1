"""What a comparison on a Ray cluster does on a node: it runs a script there, and passes on what it says. It knows no Ray."""

import os
import queue
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Optional

from comparison.script_process import ROOT, ProcessFailed, TookTooLong, end_scripts, run_script
from machine.energy import SHARED

SAID, ENDED, FAILED, LATE, INTERRUPTED = "said", "ended", "failed", "late", "interrupted"
"""What a message is: a line of the script, or how it ended."""
Message = tuple[str, str]


class Runner:
    """Runs one script in a ``folder``. Ray makes it an actor, whose methods are called in threads of their own."""

    def __init__(self, folder: str):
        os.chdir(folder)

    def run(self, script: str, arguments: Sequence[str], quiet: bool, seconds: Optional[float]) -> Iterator[Message]:
        """Run ``script`` and yield its lines as they come, with ``quiet`` none, and at last how it ended."""
        messages: queue.SimpleQueue[Message] = queue.SimpleQueue()

        def run():
            how: dict[str, Any] = {"quiet": True} if quiet else {"tell": lambda line: messages.put((SAID, line))}
            try:
                run_script(script, arguments, seconds=seconds, variables={SHARED: "1"}, **how)
                messages.put((ENDED, ""))
            except TookTooLong as error:
                messages.put((LATE, str(error)))
            except ProcessFailed as error:
                messages.put((FAILED, str(error)))
            except KeyboardInterrupt:
                messages.put((INTERRUPTED, ""))

        threading.Thread(target=run, daemon=True).start()
        while True:
            message = messages.get()
            yield message
            if message[0] != SAID:
                return

    def stop(self) -> None:
        """End the script, as Ctrl-C would."""
        end_scripts()


def what_is_missing(paths: Sequence[str]) -> list[str]:
    """Those of ``paths``, and of what a script needs, that are not to be seen here."""
    return [path for path in (str(ROOT / "train.py"), *paths) if not Path(path).exists()]
