from types import SimpleNamespace

import pytest

from messages.terminal import print_error, print_line, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a plain name.jpg", "a plain name.jpg"),
        ("猫 été 🐈‍⬛", "猫 été 🐈‍⬛"),
        ("\x1b[2J\x1b]0;owned\x07", "\\x1b[2J\\x1b]0;owned\\x07"),
        ("\x9b2J", "\\x9b2J"),
        ("two\nlines\r\tand more", "two\\nlines\\r\\tand more"),
        ("gnp.\u202egod", "gnp.\\u202egod"),
        ("\udcff\udcfe", "\\udcff\\udcfe"),
        ("zero\0", "zero\\x00"),
    ],
)
def test_what_a_terminal_would_take_for_a_command_is_escaped(text, shown, capsys):
    assert printable(text) == shown
    print_error("train", ValueError(text))
    assert capsys.readouterr().err == f"train.py: error: {shown}\n"


def test_a_line_is_written_at_once_so_that_another_thread_cannot_split_it(monkeypatch):
    written = []
    monkeypatch.setattr("sys.stderr", SimpleNamespace(write=written.append, flush=lambda: None))
    print_line("train.py: interrupted")
    print_error("train", ValueError("epochs = 0"))
    assert written == ["train.py: interrupted\n", "train.py: error: epochs = 0\n"]


def test_a_process_whose_stderr_is_closed_says_its_line_on_stdout(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr", None)
    print_line("train.py: interrupted")
    assert capsys.readouterr().out == "train.py: interrupted\n"
    monkeypatch.setattr("sys.stdout", None)
    print_line("nobody hears this")
