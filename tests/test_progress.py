import io
import os

import pytest

from messages import progress
from messages.progress import ProgressBar


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """Sets the bar's time, in seconds."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return lambda seconds: now.__setitem__(0, 100.0 + seconds)


def show(terminal):
    """The line that a terminal shows after all that was written to it."""
    line = []
    for part in terminal.getvalue().split("\r")[1:]:
        line[: len(part)] = part
    return "".join(line)


def test_it_is_silent_where_output_is_no_terminal(capsys):
    for stream in (io.StringIO(), None):
        bar = ProgressBar(10, "reading", stream)
        bar.update(5, "loss: 1.0")
        bar.update(10)
        bar.close()
        assert stream is None or stream.getvalue() == ""
    assert capsys.readouterr().out == ""


def test_it_shows_share_text_and_time_left(clock):
    terminal = Terminal()
    bar = ProgressBar(200, "epoch 1/3", terminal)
    clock(30)
    bar.update(50, "loss: 0.5")
    assert show(terminal) == "epoch 1/3 50/200 [=====>..............] loss: 0.5, 1:30 left"
    clock(120)
    bar.update(200, "x")
    assert show(terminal).rstrip() == f"epoch 1/3 200/200 [{'=' * 20}] x, 0:00 left"
    bar.close()
    assert show(terminal).strip() == ""
    assert terminal.getvalue().endswith("\r")
    assert "\n" not in terminal.getvalue()


def test_it_is_redrawn_at_most_ten_times_a_second_but_always_at_the_end(clock):
    terminal = Terminal()
    bar = ProgressBar(1000, "reading", terminal)
    for done in range(1, 1001):
        clock(done / 1000)
        bar.update(done)
    assert 5 <= terminal.getvalue().count("\r") <= 11
    assert show(terminal).startswith("reading 1000/1000 ")


@pytest.mark.parametrize("columns", [12, 40, 79, 200])
def test_it_fits_the_terminal(monkeypatch, clock, columns):
    monkeypatch.setattr(progress.shutil, "get_terminal_size", lambda: os.terminal_size((columns, 24)))
    terminal = Terminal()
    bar = ProgressBar(100, "epoch 1/3", terminal)
    clock(5000)
    bar.update(1, "loss: 0.1234 - acc: 0.5678")
    bar.close()
    everything = f"epoch 1/3 1/100 [>{'.' * 19}] loss: 0.1234 - acc: 0.5678, 137:30:00 left"
    _, bar, blanks, _ = terminal.getvalue().split("\r")
    assert bar == everything[: columns - 1]
    assert blanks == " " * len(bar)


def test_nothing_to_do_and_more_than_announced_are_no_errors(clock):
    terminal = Terminal()
    ProgressBar(0, "reading", terminal).update(0)
    ProgressBar(2, "reading", terminal).update(3)
    assert terminal.getvalue().count("\r") == 2
