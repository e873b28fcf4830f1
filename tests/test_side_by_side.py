"""Several trainings at the same time: what each gets, in which order they begin, what is seen of them, and how they end."""

import contextlib
import io
import json
import signal
import sys
import threading
import time

import paddle
import pytest
from comparisons_at_once import litter, write_photographs
from processes_started import processes_of
from tiny_comparisons import start_comparison, table_of
from tiny_network import outcome

from comparison import script_process, side_by_side
from comparison.run_groups import ComparisonError
from comparison.shared_work import share
from comparison.side_by_side import places_for
from config import Config, ConfigError, parse_config
from messages.live_lines import LiveLines

pytestmark = pytest.mark.version_independent


def all_of(places):
    with contextlib.ExitStack() as stack:
        return [stack.enter_context(places.one()) for _ in range(places.count)]


def test_trainings_share_out_a_processor(monkeypatch):
    monkeypatch.setattr(side_by_side, "default_threads", lambda: 8)
    monkeypatch.setattr(side_by_side, "available_cores", lambda: 8)
    assert [(place.settings, place.environment) for place in all_of(places_for(Config(), "cpu"))] == [({}, {})]
    of_three = all_of(places_for(Config(parallel="3"), "cpu"))
    assert [place.settings for place in of_three] == [{"threads": 2, "num_workers": 0}] * 3
    chosen = parse_config(["--nets", "resnet18", "resnet34", "--parallel=9", "--threads=4"], "compare")
    assert all_of(places_for(chosen, "cpu"))[8].settings == {"num_workers": 0}


@pytest.mark.parametrize(("variable", "names"), [(None, ["0", "1", "2"]), ("4,5,7", ["4", "5", "7"])])
def test_each_gpu_has_one_training(monkeypatch, variable, names):
    monkeypatch.setattr(side_by_side, "default_threads", lambda: 7)
    monkeypatch.setattr(side_by_side, "available_cores", lambda: 7)
    monkeypatch.setattr(paddle.device.cuda, "device_count", lambda: 3)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if variable:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    places = all_of(places_for(Config(), "gpu"))
    assert [place.environment["CUDA_VISIBLE_DEVICES"] for place in places] == names
    assert [place.settings for place in places] == [{"threads": 2, "num_workers": 1}] * 3
    assert len(all_of(places_for(Config(parallel="2"), "gpu"))) == 2
    assert len(all_of(places_for(Config(processes=3), "gpu"))) == 1  # which all take part in each training
    with pytest.raises(ComparisonError, match="parallel = 4: there are 3 GPUs, one for each training at a time"):
        places_for(Config(parallel="4"), "gpu")


@pytest.mark.parametrize(
    "words", [{"parallel": "0"}, {"parallel": "many"}, {"parallel": "1025"}, {"parallel": "2", "processes": 2}]
)
def test_a_number_of_trainings_that_cannot_be_is_refused(words):
    with pytest.raises(ConfigError, match="parallel"):
        Config(**words)


def test_jobs_begin_in_order_and_run_at_the_same_time(tmp_path):
    together, started = threading.Barrier(3, timeout=20), []

    def work(job, begun):
        started.append(job)
        time.sleep(0.02 * (3 - job % 3))  # the first takes longest to begin
        begun()
        together.wait()  # three at a time, or nothing ends
        return True

    share(range(6), lambda job: tmp_path / str(job), work, lambda job: None, at_once=3)
    assert started == list(range(6))


def test_where_one_job_raises_the_others_are_ended_and_none_begins(tmp_path):
    ended, started = threading.Event(), []

    def work(job, begun):
        started.append(job)
        begun()
        if job == 1:
            raise OSError("the disk is full")
        assert ended.wait(20)
        return True

    ended_by = ended.set
    with pytest.raises(OSError, match="the disk is full"):
        share([1, 0, 2, 3, 4], lambda job: tmp_path / str(job), work, lambda job: None, at_once=2, end=ended_by)
    assert len(started) < 5


def test_no_job_begins_after_one_has_raised_before_its_turn_was_over(tmp_path):
    started = []

    def work(job, begun):
        started.append(job)
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        share(range(4), lambda job: tmp_path / str(job), work, lambda job: None, at_once=3)
    assert started == [0]


def test_a_script_whose_lines_nobody_takes_is_ended(tmp_path, monkeypatch):
    (tmp_path / "talks.py").write_text("while True:\n    print('x' * 1000)\n")
    monkeypatch.setattr(script_process, "ROOT", tmp_path)

    def tell(line):
        raise BrokenPipeError("nobody reads")

    with pytest.raises(BrokenPipeError):
        script_process.run_script("talks.py", [], tell=tell)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_has_one_line_for_each_job_and_a_file_all_lines(monkeypatch):
    monkeypatch.setenv("COLUMNS", "24")
    said = [
        ("a", "epoch 1", False),
        ("b", "epoch 1 " + "x" * 40, False),
        ("a", "finished\x1b[2J", True),
        ("b", "epoch 2", False),
    ]
    terminal, file = LiveLines(Terminal()), LiveLines(io.StringIO())
    for words in said:
        terminal.say(*words)
        file.say(*words)
    assert file.stream.getvalue().splitlines()[2:] == ["a: finished\\x1b[2J", "b: epoch 2"]
    assert screen(terminal.stream.getvalue()) == ["a: finished\\x1b[2J", "b: epoch 2"]
    assert max(map(len, screen(terminal.stream.getvalue().rpartition("\x1b[2F")[0]))) < 24


def screen(text):
    """What a terminal shows after the text: it knows how to go up by lines and how to clear what follows."""
    lines, row, place = [], 0, 0
    while place < len(text):
        if text.startswith("\x1b[J", place):
            del lines[row:]
            place += 3
        elif text.startswith("\x1b[", place):
            end = text.index("F", place)
            row -= int(text[place + 2 : end])
            place = end + 1
        else:
            end = text.index("\n", place)
            lines[row:] = [text[place:end]]
            row, place = row + 1, end + 1
    return lines


def test_trainings_side_by_side_leave_what_they_leave_one_after_the_other(tmp_path):
    data = tmp_path / "data"
    write_photographs(data)
    tables = []
    for name, parallel in (("serial", "1"), ("parallel", "2")):
        done = start_comparison(data, tmp_path / name, "--epochs", "2", "--parallel", parallel)
        out, err = done.communicate(timeout=500)
        assert done.returncode == 0, out + err
        tables.append(table_of(tmp_path / name))
        assert litter(tmp_path / name) == []
    assert tables[0] == tables[1]
    for net in ("resnet18", "resnet34"):
        assert outcome(tmp_path / "parallel" / net / "001") == outcome(tmp_path / "serial" / net / "001")
    assert "resnet34, seed 0: epoch 2/2" in out
    assert "2 trainings ran at a time" in out


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_all_trainings_end_with_the_comparison(tmp_path, number):
    data, runs = tmp_path / "data", tmp_path / "runs"
    write_photographs(data)
    process = start_comparison(data, runs, "--epochs", "500", "--parallel", "2")
    begun = set()
    for line in process.stdout:
        begun |= {net for net in ("resnet34", "resnet18") if line.startswith(f"{net}, seed 0: epoch 2/")}
        if len(begun) == 2:
            break
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, out + err
    assert err.splitlines()[-1].startswith("compare.py: ")
    assert processes_of(process.pid) == []
    for net in ("resnet34", "resnet18"):
        assert json.loads((runs / net / "001" / "result.json").read_text())["status"] == "interrupted"
