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
from processes_started import heed_interruption

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
        _, err = process.communicate(timeout=60)
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
        _, err = process.communicate(timeout=60)
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
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
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
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (130, "train.py: interrupted\n")


SHORT = ("import sys; sys.path.insert(0, {root!r})\n"
         "from machine import ending\n"
         "import os\n"
         "def work(config):\n"
         "    {work}\n"
         "ending.leave(ending.run('train', work, None, uses_paddle=False))")  # fmt: skip
CLOSED = {"stdout": ">&-", "stderr": "2>&-", "both": ">&- 2>&-", "all": "<&- >&- 2>&-"}
posix_shell = pytest.mark.skipif(os.name != "posix", reason="needs a shell of POSIX")


def run_in_shell(command, program="", **environment):
    """A finished process of ``sh``; ``$PYTHON`` is this Python, ``$PROGRAM`` the text ``program``."""
    variables = {**os.environ, "PYTHON": sys.executable, "PROGRAM": program, **environment}
    return subprocess.run(
        ["sh", "-c", command], cwd=ROOT, env=variables, capture_output=True, text=True, timeout=120, check=False
    )


@posix_shell
@pytest.mark.parametrize("closed", CLOSED)
def test_closed_streams_cost_nothing_and_no_other_file_gets_what_is_printed(tmp_path, closed):
    file = tmp_path / "file"
    work = (
        f"handle = os.open({str(file)!r}, os.O_CREAT | os.O_WRONLY); [os.write(n, b'printed in C') for n in (1, 2)]; print('x')"
    )
    done = run_in_shell(f'"$PYTHON" -c "$PROGRAM" {CLOSED[closed]}', SHORT.format(root=str(ROOT), work=work))
    assert done.returncode == 0
    assert file.read_bytes() == b""
    assert "Traceback" not in done.stdout + done.stderr


@posix_shell
@pytest.mark.parametrize("closed", CLOSED)
def test_an_error_is_said_on_what_is_open_and_keeps_its_code(closed):
    program = SHORT.format(root=str(ROOT), work="raise FileNotFoundError(2, 'No such file', 'x.jpg')")
    done = run_in_shell(f'"$PYTHON" -c "$PROGRAM" {CLOSED[closed]}', program)
    assert done.returncode == 2
    said = "train.py: error: No such file: x.jpg\n" if closed in ("stdout", "stderr") else ""
    assert done.stdout + done.stderr == said


@posix_shell
@pytest.mark.parametrize("work", ["[print(n) for n in range(10**6)]", "print('at the end')"])
def test_output_that_nobody_reads_ends_the_script_without_a_word(work):
    program = SHORT.format(root=str(ROOT), work=f"import time; time.sleep(0.3); {work}")
    done = run_in_shell('{ "$PYTHON" -c "$PROGRAM"; echo "code $?" >&2; } | true', program)
    assert (done.stdout, done.stderr) == ("", "code 141\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's /dev/full")
@pytest.mark.parametrize("work", ["[print(n) for n in range(10**6)]", "print('at the end')"])
def test_a_full_disk_that_the_output_goes_to_is_one_line(work):
    done = run_in_shell('"$PYTHON" -c "$PROGRAM" >/dev/full', SHORT.format(root=str(ROOT), work=work))
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.endswith(": error: No space left on device")


@posix_shell
@pytest.mark.parametrize("script", AT_WORK)
def test_every_script_starts_with_closed_streams_and_with_a_safe_path(script, tmp_path):
    arguments = f"{script}.py --qqqq"
    said = f"{script}.py: error: unknown option --qqqq; --help lists them all\n"
    done = run_in_shell(
        f'"$PYTHON" {arguments} >&-; echo $? >&2; "$PYTHON" {arguments} 2>&-; "$PYTHON" {arguments} >&- 2>&-; '
        f'"$PYTHON" {arguments}; cd "{tmp_path}"; "$PYTHON" "{ROOT}"/{arguments}',
        PYTHONSAFEPATH="1",  # of Python 3.11 and newer; older ones ignore it
    )
    assert done.returncode == 2
    assert done.stderr == f"{said}2\n{said}{said}"
    assert done.stdout == said
