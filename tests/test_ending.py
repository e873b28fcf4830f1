"""How scripts end: the exit code, and one line for an error or an interruption."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from processes import heed_interruption

from machine import ending
from messages.user_error import UserError

ROOT = Path(__file__).resolve().parent.parent
AT_WORK = {  # script: a module that it imports in the midst of its work
    "train": "numpy",
    "eval": "numpy",
    "compare": "numpy",
    "gradcam": "numpy",
    "predict": "numpy",
    "export": "numpy",
    "serve": "numpy",
    "train_val_split": "PIL.PngImagePlugin",  # which the processes import that read photographs
    "show_photographs": "matplotlib",
    "sample_animals": "PIL.JpegImagePlugin",
}


class Busy(UserError):
    exit_code = 3


def failing(error):
    def work(config):
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("epochs = 0"), 2, "train.py: error: epochs = 0"),
        (Busy("two\nlines"), 3, "train.py: error: two\\nlines"),
        (FileNotFoundError(2, "No such file", "x.jpg"), 2, "train.py: error: No such file: x.jpg"),
        (KeyboardInterrupt(), 130, "train.py: interrupted; --resume goes on"),
        (ending.Terminated(), 143, "train.py: terminated; --resume goes on"),
    ],
)
def test_what_ends_a_script_is_said_in_one_line_and_decides_the_code(capsys, error, code, said):
    assert ending.run("train", failing(error), SimpleNamespace(), uses_paddle=False, hint="--resume goes on") == code
    assert capsys.readouterr().err == f"{said}\n"


@pytest.mark.parametrize(("returned", "code"), [(1, 1), (0, 0), (None, 0), ({"acc": 0.5}, 0)])
def test_the_code_is_what_the_work_returns_if_that_is_a_number(returned, code):
    assert ending.run("train", lambda config: returned, SimpleNamespace(), uses_paddle=False) == code


def test_other_errors_are_defects_and_keep_their_traceback():
    with pytest.raises(KeyError):
        ending.run("train", failing(KeyError("x")), SimpleNamespace(), uses_paddle=False)


def interrupted_at(script, module, *arguments):
    """(exit code, lines on stderr) of a script that gets Ctrl-C once it has imported the module whose name begins so."""
    command = [sys.executable, "-X", "importtime", ROOT / f"{script}.py", *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heed_interruption)
    try:
        for line in process.stderr:
            if re.search(rf"\|\s+{re.escape(module)}", line):
                break
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
    return process.returncode, [line for line in err.splitlines() if not line.startswith("import time:")]


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
@pytest.mark.parametrize("script", AT_WORK)
def test_ctrl_c_gives_one_line_in_every_script(script, listed_folder, tmp_path):
    arguments = ["--data", listed_folder]
    if script == "predict":
        arguments = ["--images", listed_folder]
    elif script == "serve":
        arguments = ["--port", "0"]
    elif script == "sample_animals":
        arguments = ["--data", tmp_path / "new", "--per_class", "1000"]
    elif script == "train_val_split":  # of photographs that take some time to be read
        for number in range(4):
            Image.new("RGB", (6000, 4000), (50 * number, 0, 0)).save(
                listed_folder / "cat" / f"large_{number}.png", compress_level=1
            )
    hint = {"compare": "; the same command continues with what is missing", "predict": "; --continue goes on"}.get(script, "")
    assert interrupted_at(script, AT_WORK[script], *arguments) == (130, [f"{script}.py: interrupted{hint}"])


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_ctrl_c_gives_one_line_while_a_script_is_imported():
    assert interrupted_at("train", "machine.ending") == (130, ["train.py: interrupted"])


@pytest.mark.skipif(not hasattr(signal, "set_wakeup_fd"), reason="needs signals")
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_in_a_long_operation_ends_the_process_all_the_same(sent, code):
    program = (
        "from machine import ending, processor; ending.handle_termination(patience=0.5); processor.configure(1)\n"
        "import hashlib; print('ready', flush=True)\n"
        "hashlib.pbkdf2_hmac('sha256', b'a', b'b', 10**8)"  # a minute in C, during which Python handles no signal
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, preexec_fn=heed_interruption, **pipes)
    try:
        assert process.stdout.readline() == b"ready\n"
        time.sleep(0.3)
        process.send_signal(sent)
        _, err = process.communicate(timeout=10)
    finally:
        process.kill()
    assert process.returncode == code
    assert b"ended in the middle of an operation" in err


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_signal_to_a_process_that_was_just_forked_does_not_end_its_parent():
    program = (
        "import warnings; warnings.simplefilter('ignore', DeprecationWarning)  # Python 3.12: a fork beside a thread\n"
        "import os, signal, time; from machine import ending; ending.handle_termination(patience=0.2)\n"
        "child = os.fork()\n"
        "if not child: time.sleep(10); os._exit(0)\n"
        "time.sleep(0.1); os.kill(child, signal.SIGTERM); _, status = os.waitpid(child, 0)\n"
        "time.sleep(0.6); print('child', os.WEXITSTATUS(status), 'and the parent lives')"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)
    assert (ended.stdout, ended.stderr) == ("child 143 and the parent lives\n", "")


def test_ctrl_c_in_a_callback_whose_errors_python_ignores_is_not_lost():
    program = (
        "from machine import ending\n"
        "import signal, time, weakref\n"
        "class Gone: pass\n"
        "def work(config):\n"
        "    gone = Gone(); kept = weakref.ref(gone, lambda _: signal.raise_signal(signal.SIGINT))\n"
        "    del gone\n"
        "    time.sleep(10)\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "ending.leave(ending.run('train', work, None, uses_paddle=False))"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)
    assert (ended.returncode, ended.stderr) == (130, "train.py: interrupted\n")
