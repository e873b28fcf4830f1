import io
import os
import re

import pytest

from messages.progress import ProgressBar


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """Sets the bar's time, in seconds."""
    now = [100.0]
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    return lambda seconds: now.__setitem__(0, 100.0 + seconds)


def show(text):
    """The line that a terminal shows after all of this text was written to it."""
    line = []
    for part in text.split("\r")[1:]:
        line[: len(part)] = part
    return "".join(line)


def test_it_is_silent_where_output_is_no_terminal(capsys):
    for stream in (io.StringIO(), None):
        bar = ProgressBar(10, "reading", stream)
        bar.update(5, "loss: 1.0")
        bar.update(10)
        bar.close()
        assert stream is None or stream.getvalue() == ""
    assert capsys.readouterr() == ("", "")


def test_it_is_silent_where_it_is_not_wanted():
    terminal = Terminal()
    bar = ProgressBar(10, "reading", terminal, visible=False)
    bar.update(10)
    bar.close()
    assert terminal.getvalue() == ""


def test_it_shows_share_time_left_and_text(clock):
    terminal = Terminal()
    bar = ProgressBar(200, "epoch 1/3", terminal)
    clock(30)
    bar.update(50, "loss: 0.5")
    assert show(terminal.getvalue()) == f"epoch 1/3 50/200 [{'=' * 5}{'.' * 15}] 01:30 left, loss: 0.5"
    clock(120)
    bar.update(200, "x")
    assert show(terminal.getvalue()).rstrip() == f"epoch 1/3 200/200 [{'=' * 20}] 00:00 left, x"
    bar.close()
    assert show(terminal.getvalue()).strip() == ""
    assert terminal.getvalue().endswith("\r")
    assert "\n" not in terminal.getvalue()


def test_it_is_redrawn_at_most_ten_times_a_second_but_always_at_the_end(clock):
    terminal = Terminal()
    bar = ProgressBar(1000, "reading", terminal)
    for done in range(1, 1001):
        clock(done / 1000)
        bar.update(done)
    assert 5 <= terminal.getvalue().count("\r") <= 11
    assert show(terminal.getvalue()).startswith("reading 1000/1000 ")


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a terminal")
@pytest.mark.parametrize("columns", [12, 40, 79, 200])
def test_it_fits_the_terminal(clock, columns):
    import fcntl
    import struct
    import termios

    ours, its = os.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    terminal = Terminal()
    terminal.fileno = lambda: its
    bar = ProgressBar(100, "epoch 1/3", terminal)
    clock(5000)
    bar.update(1, "loss: 0.1234 - acc: 0.5678")
    drawn = terminal.getvalue()
    bar.close()
    wiped = terminal.getvalue()
    os.close(ours)
    os.close(its)
    everything = f"epoch 1/3 1/100 [{'.' * 20}] 137:30:00 left, loss: 0.1234 - acc: 0.5678"
    assert everything.startswith(show(drawn).rstrip())
    assert len(show(drawn)) >= min(len(everything), columns - 1)
    assert all(len(part) <= columns for part in re.split("[\r\n]", wiped))
    assert show(wiped).strip() == ""


def test_a_second_bar_keeps_to_the_line_of_one_that_was_not_closed():
    terminal = Terminal()
    bars = ProgressBar(2, "epoch", terminal), ProgressBar(2, "validation", terminal)
    bars[1].update(2)
    assert show(terminal.getvalue()).startswith("validation 2/2 ")
    assert "\n" not in terminal.getvalue()


def test_nothing_to_do_and_more_than_announced_are_no_errors():
    for total, done, shown in ((0, 0, "reading 0/1 "), (2, 3, "reading 2/2 ")):
        terminal = Terminal()
        bar = ProgressBar(total, "reading", terminal)
        bar.update(done)
        assert show(terminal.getvalue()).startswith(shown)
        bar.close()
