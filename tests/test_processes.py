"""Several processes train and evaluate as one, and end together."""

import contextlib
import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import members
import numpy as np
import pytest
from conftest import split_photographs
from processes_started import members_of
from tiny_network import outcome

from data.lists import DataError
from data.loader import Batches
from machine.processor import available_cores
from processes import group, interface, launcher
from processes.environment import LOST, Part, here, is_launched
from trained.history import read_history

ROOT = Path(__file__).resolve().parent.parent
pytestmark = [
    pytest.mark.python_independent,
    pytest.mark.skipif(sys.platform != "linux", reason="launch and Gloo are tried on Linux"),
]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_the_parts_of_all_processes_are_the_batches(count):
    whole = list(Batches(53, 10, shuffle=True, seed=4))
    parts = [list(Batches(53, 10, shuffle=True, seed=4, part=Part(rank, count))) for rank in range(count)]
    assert [list(itertools.chain(*pieces)) for pieces in zip(*parts)] == whole
    assert max(map(len, parts[0])) - min(map(len, parts[-1])) <= 2  # as even as can be
    shown = [batch for rank in range(count) for batch in Batches(53, 10, part=Part(rank, count))]  # as evaluation shows them
    assert sorted(itertools.chain(*shown)) == list(range(53))


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(DataError, match="a batch of 3 cannot be shared by 4 processes; give fewer --processes"):
        Batches(7, 4, shuffle=True, part=Part(0, 4))
    Batches(7, 4, part=Part(0, 4))  # evaluation has whole batches


def launch(count, folder, *command):
    """What users type themselves: paddle.distributed.launch before the script."""
    words = ["-m", "paddle.distributed.launch", "--nproc_per_node", str(count), "--host", "127.0.0.1", "--log_dir", str(folder)]
    done = subprocess.run([sys.executable, *words, *map(str, command)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(autouse=True, scope="module")
def own_temporary_folder(tmp_path_factory):
    """Where the commands write for a while: other tests look at that of the system meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("temporary")))
        yield


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What each of three processes has found."""
    folder = tmp_path_factory.mktemp("members")
    launch(3, folder / "log", ROOT / "tests" / "members.py", folder)
    return [np.load(folder / f"{rank}.npz") for rank in range(3)]


@pytest.fixture(scope="module")
def alone():
    return {name: members.train(**way) for name, way in members.WAYS.items()}


@pytest.mark.parametrize(("way", "bound"), [("float32", 1e-4), ("float64", 1e-9), ("adamw", 1e-9), ("mixed", 1e-9)])
def test_several_processes_train_as_one(found, alone, way, bound):
    for of_process in found:
        losses = of_process[f"{way}.losses"]
        assert len(losses) == len(alone[way]["losses"]) >= 20
        np.testing.assert_allclose(losses, alone[way]["losses"], rtol=bound)
        for key in ("weights", "averages", "logits"):
            wanted = alone[way][key]
            assert np.abs(of_process[f"{way}.{key}"] - wanted).max() <= 10 * bound * np.abs(wanted).max()
        np.testing.assert_array_equal(of_process[f"{way}.labels"], alone[way]["labels"])
        np.testing.assert_allclose(of_process[f"{way}.values"], alone[way]["values"], rtol=10 * bound)
    first, *others = (of_process[f"{way}.weights"].tobytes() for of_process in found)
    assert set(others) == {first}  # or the processes would drift apart


def test_running_statistics_of_each_process_become_those_of_all(found):
    ranks = np.arange(len(found))
    for of_process in found:
        np.testing.assert_allclose(of_process["statistics.mean"], 0.1 * (1 + ranks).mean(), rtol=1e-6)
        np.testing.assert_allclose(of_process["statistics.average"], 10 * ranks.mean(), rtol=1e-6)


def test_processes_exchange_arrays_of_different_lengths(found):
    for of_process in found:
        assert of_process["exchanged.lengths"].tolist() == list(range(len(found)))
        assert of_process["exchanged.gathered"].tolist() == [[r, r] for r in range(len(found)) for _ in range(r)]
        assert of_process["exchanged.totals"].tolist() == [sum(range(len(found))), 0.5 * len(found)]
        assert of_process["exchanged.text"] == ["von der ersten: 第一"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three classes of ten photographs: 24 to train on, 6 to validate."""
    return split_photographs(tmp_path_factory.mktemp("data"))


def start(script, *options, **keywords):
    """``script`` as a user starts it, with the network resnet34 being tiny_network.TinyResNet."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests" / "tiny_networks_everywhere")}
    environment.pop("OMP_NUM_THREADS", None)  # Paddle has set it in this process
    command = [sys.executable, str(ROOT / script), *map(str, options)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, **pipes, **keywords)


def ended(process):
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def printed_lines(out):
    """Without what one process alone prints to stderr, where Paddle is the build for GPUs: launch puts both into one file."""
    return [line for line in out.splitlines() if not line.startswith("running on the processor:")]


TRAINING = (
    "--net=resnet34", "--image_size=32", "--epochs=12", "--batch_size=6", "--accumulate=2", "--ema_epochs=1", "--mixup=0.2",
    "--sampler=balanced", "--save_every_steps=1", "--threads=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def by_two(data, tmp_path_factory):
    """A run that two processes have trained, and what they printed."""
    runs_dir = tmp_path_factory.mktemp("by_two")
    code, out, err = ended(start("train.py", f"--data={data}", f"--runs_dir={runs_dir}", *TRAINING, "--processes=2"))
    assert code == 0, out + err
    return runs_dir / "resnet34" / "001", out, err


def test_two_processes_leave_one_run_like_that_of_one(data, by_two, tmp_path):
    run, out, err = by_two
    code, alone_out, _ = ended(start("train.py", f"--data={data}", f"--runs_dir={tmp_path}", *TRAINING))
    assert code == 0
    rows, wanted_rows = read_history(run), read_history(tmp_path / "resnet34" / "001")
    assert len(rows) == len(wanted_rows)
    for found, wanted in zip(rows[:10], wanted_rows):  # rounding differs, and grows with each step
        for column in ("train_acc", "val_acc", "train_balanced_acc", "val_balanced_acc", "learning_rate"):
            assert found[column] == wanted[column]
        for column in ("train_loss", "val_loss"):
            assert found[column] == pytest.approx(wanted[column], rel=1e-4)
    assert "2 processes with 1 threads each, batch norm over all" in out
    assert not err
    assert [line.split()[:2] for line in printed_lines(out)] == [line.split()[:2] for line in alone_out.splitlines()]
    assert [path.name for path in run.parent.iterdir()] == ["001"]


@pytest.mark.version_independent
def test_three_processes_evaluate_as_one(by_two):
    run = by_two[0]
    found = []
    for count in (1, 3):
        options = ("--batch_size=2", "--threads=1", "--device=cpu")
        code, out, err = ended(start("eval.py", "--run", run, *options, f"--processes={count}"))
        assert code == 0, out + err
        found.append((printed_lines(out), {path.name: path.read_bytes() for path in (run / "eval").iterdir()}))
    assert found[0] == found[1]


@pytest.mark.version_independent
def test_two_processes_predict_as_one(by_two, data, tmp_path):
    (data / "broken.png").write_bytes(b"no photograph")
    found = []
    for count in (1, 2):
        output = tmp_path / f"{count}.csv"
        options = (
            "--run",
            by_two[0],
            "--images",
            data,
            "--output",
            output,
            "--batch_size=4",
            "--threads=1",
            "--engine=dynamic",
        )
        code, out, err = ended(start("predict.py", *options, "--strict", f"--processes={count}"))
        assert code == 3, out + err
        found.append((output.read_text(), [line for line in out.splitlines() if line.startswith(" ")]))
    assert found[0] == found[1]
    assert found[0][0].count("\n") == 1 + 30 + 1
    (data / "broken.png").unlink()


@pytest.mark.parametrize(
    "error",
    [
        ValueError("(InvalidArgument) TCP connection reset by peer. (at /paddle/phi/core/distributed/store/tcp_utils.h:111)"),
        RuntimeError("[gloo/transport/tcp/pair.cc:598] Connection closed by peer [127.0.0.1]:33004"),
    ],
)
def test_what_paddle_says_of_a_lost_process_is_said_in_one_line(monkeypatch, error):
    """Of one that is killed while they connect, and later."""
    monkeypatch.setattr(group, "here", lambda: Part(0, 2))
    with pytest.raises(group.MemberLost, match=f"^{LOST}$"), group.losses_named():
        raise error
    with pytest.raises(ValueError, match=r"^of a user$"), group.losses_named():
        raise ValueError("of a user")


def test_processes_end_together_and_go_on_exactly(data, by_two, tmp_path):
    run = tmp_path / "resnet34" / "001"
    first = start("train.py", f"--data={data}", f"--runs_dir={tmp_path}", *TRAINING, "--processes=2", start_new_session=True)
    wait_for(first, "epoch 2/")
    threads = [int(path.name) for path in Path(f"/proc/{member(run, 1)}/task").iterdir()]
    assert os.SCHED_BATCH in map(os.sched_getscheduler, threads), "Gloo's threads give way to the others"
    first.terminate()
    since = time.monotonic()
    code, out, err = ended(first)
    assert code == 143
    assert time.monotonic() - since < 10  # five on a machine that has nothing else to do
    assert err == "train.py: terminated\n"
    assert no_process_left(run)

    second = start("train.py", "--resume", run, "--processes=2")
    wait_for(second, f"epoch {len(read_history(run)) + 2}/")
    os.kill(member(run, 1), signal.SIGKILL)
    since = time.monotonic()
    code, out, err = ended(second)
    assert code == 1
    assert time.monotonic() - since < 30  # fifteen, as above
    assert re.fullmatch(
        r"train.py: error: process 2 of 2 was ended (by SIGKILL|from outside), out of memory\?; the others ended with it; "
        r"train.py --resume latest goes on\n", err
    )  # fmt: skip
    assert no_process_left(run)

    code, out, err = ended(start("train.py", "--resume", run, "--processes=2"))
    assert code == 0, out + err
    assert outcome(run) == outcome(by_two[0])


def test_one_process_goes_on_with_the_training_of_two(by_two, tmp_path):
    run = tmp_path / "resnet34" / "001"
    shutil.copytree(by_two[0], run)
    code, out, err = ended(start("train.py", "--resume", run, "--epochs=13"))
    assert code == 0, out + err
    assert "note: processes was 2 and is 1: results may round differently" in out
    assert f"cpu, {available_cores()} threads" in out
    assert len(read_history(run)) == 13


class Machines(NamedTuple):
    """Two machines: their addresses, and the words before a command that is to run on each."""

    addresses: tuple = ("127.0.0.1", "127.0.0.1")
    entries: tuple = ((), ())


LOOPBACK = Machines()


@pytest.fixture
def joined_by_a_cable():
    """Two network namespaces, each with an address of its own, joined by a cable. Where they are not permitted: skipped."""
    names = [f"machine{rank}of{os.getpid()}" for rank in range(2)]
    cables = [f"cable{rank}.{os.getpid()}" for rank in range(2)]  # at most 15 letters
    addresses = ("10.203.0.1", "10.203.0.2")
    try:
        try:
            for name in names:
                ip("netns", "add", name)
            ip("link", "add", cables[0], "netns", names[0], "type", "veth", "peer", "name", cables[1], "netns", names[1])
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("network namespaces and cables between them are not permitted here")
        for name, cable, address in zip(names, cables, addresses):
            ip("-n", name, "address", "add", f"{address}/24", "dev", cable)
            ip("-n", name, "link", "set", cable, "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield Machines(addresses, tuple(("ip", "netns", "exec", name) for name in names))
    finally:
        for name in names:  # those that there are
            with contextlib.suppress(OSError, subprocess.CalledProcessError):
                ip("netns", "delete", name)


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True)


def on_two_machines(folder, *options, machines=LOOPBACK):
    """Two launches of one process each, as on two machines that share a folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        master = f"{machines.addresses[0]}:{free.getsockname()[1]}"
    words = [sys.executable, "-m", "paddle.distributed.launch", "--nnodes", "2", "--nproc_per_node", "1", "--master", master]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests" / "tiny_networks_everywhere")}
    return [
        subprocess.Popen(
            [*entry, *words, "--host", address, "--rank", str(rank), "--log_dir", str(folder / f"log{rank}"),
             str(ROOT / "train.py"), *map(str, options)],
            env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        for rank, (address, entry) in enumerate(zip(*machines))
    ]  # fmt: skip


def lose_in_the_midst(machines, data, run, lose):
    """Start a training on ``machines``; after three epochs ``lose(launches)``, which makes both end. Returns the seconds."""
    options = (f"--data={data}", f"--runs_dir={run.parent.parent}", *TRAINING)
    launches = on_two_machines(run.parent.parent, *options, machines=machines)
    deadline = time.monotonic() + 180
    while not (run / "history.csv").exists() or len(read_history(run)) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    lose(launches)
    since = time.monotonic()
    for launch in launches:
        launch.communicate(timeout=180)
        assert launch.returncode != 0
    while members_of(run.parent.parent) and time.monotonic() < since + 30:
        time.sleep(0.1)
    assert no_process_left(run)
    return time.monotonic() - since


def go_on_exactly(machines, run, wanted):
    for launch in on_two_machines(run.parent.parent, "--resume", run, machines=machines):
        out, _ = launch.communicate(timeout=300)
        assert launch.returncode == 0, out
    assert outcome(run) == outcome(wanted)


only_in_make_cluster = pytest.mark.skipif("CLUSTER" not in os.environ, reason="make cluster runs it: most of a minute")


@pytest.mark.version_independent
@pytest.mark.parametrize("what", ["a process", pytest.param("a launch", marks=only_in_make_cluster)])
def test_two_machines_train_as_one_and_go_on_after_one_is_lost(data, by_two, tmp_path, what):
    run = tmp_path / "resnet34" / "001"

    def kill(launches):
        os.kill(member(run, 1) if what == "a process" else launches[1].pid, signal.SIGKILL)

    lose_in_the_midst(LOOPBACK, data, run, kill)
    go_on_exactly(LOOPBACK, run, by_two[0])


@only_in_make_cluster
def test_machines_whose_cable_is_cut_end_and_go_on_exactly_once_it_is_mended(data, by_two, tmp_path, joined_by_a_cable):
    run = tmp_path / "resnet34" / "001"
    name = joined_by_a_cable.entries[0][-1]

    def plug(state):
        ip("-n", name, "link", "set", f"cable0.{os.getpid()}", state)

    assert lose_in_the_midst(joined_by_a_cable, data, run, lambda _: plug("down")) < 90, "Gloo waits for 30 seconds"
    plug("up")
    go_on_exactly(joined_by_a_cable, run, by_two[0])


def wait_for(process, text):
    for line in process.stdout:
        if line.startswith(text):
            return
    raise AssertionError(process.stderr.read())


def member(run, rank):
    return members_of(run.parent.parent)[str(rank)]


def no_process_left(run):
    return not members_of(run.parent.parent)


@pytest.mark.version_independent
def test_one_line_says_why_one_of_them_failed(tmp_path):
    folder = split_photographs(tmp_path)
    broken = folder / (folder / "train_list.txt").read_text().splitlines()[0].rpartition(" ")[0]
    broken.write_bytes(b"no photograph")
    code, _, err = ended(start("train.py", f"--data={folder}", f"--runs_dir={tmp_path}", *TRAINING, "--processes=2"))
    assert code == 2
    assert re.fullmatch(rf"train.py: error: .*{broken.name}.*\n", err)
    assert no_process_left(tmp_path / "resnet34" / "001")


def test_processes_on_gpus_that_are_not_there_are_refused(monkeypatch):
    import paddle

    assert launcher.count_processes(3, "cpu") == 3
    monkeypatch.setattr(paddle, "is_compiled_with_cuda", lambda: True)
    monkeypatch.setattr(paddle.device.cuda, "device_count", lambda: 2)
    assert launcher.count_processes(0, "auto") == 2
    with pytest.raises(launcher.LaunchError, match="processes = 3: there are 2 GPUs, and each process needs one"):
        launcher.count_processes(3, "auto")
    monkeypatch.setattr(paddle.device.cuda, "device_count", lambda: 0)
    assert launcher.count_processes(3, "auto") == 3  # on the processor
    with pytest.raises(launcher.LaunchError, match="processes = 0: there is no CUDA GPU"):
        launcher.count_processes(0, "auto")


@pytest.mark.parametrize(
    ("logs", "failed", "said"),
    [
        (["train.py: error: another process has ended", ""], (0, 1), "process 2 of 2 was ended from outside, out of memory?"),
        (["train.py: error: another process has ended", "Traceback (most recent call last):\n  MemoryError"], (0, 1),
         "process 2 of 2 failed, see above"),
        (["train.py: error: another process has ended", "train.py: error: the disk is full"], (0, 1), "the disk is full"),
        (["epoch 1", "train.py: terminated"], (0, -9), "process 1 of 2 was ended by SIGKILL, out of memory?"),
    ],
)  # fmt: skip
def test_the_reason_is_that_of_the_process_that_failed_first(tmp_path, capsys, logs, failed, said):
    for rank, text in enumerate(logs):
        (tmp_path / f"workerlog.{rank}").write_text(text)
    assert str(launcher._reason("train", tmp_path, 2, *failed, "")).startswith(said)
    assert ("MemoryError" in capsys.readouterr().err) == ("MemoryError" in logs[1])


@pytest.mark.parametrize(
    ("endpoint", "chosen", "wanted"),
    [
        ("127.0.0.1:6070", None, "lo"),
        ("127.0.0.1:6070", "eth7", "eth7"),  # by the user
        ("192.0.2.1:6070", None, None),  # no interface's
        ("", None, None),
    ],
)
def test_gloo_uses_the_interface_of_the_address_that_launch_gave(monkeypatch, endpoint, chosen, wanted):
    monkeypatch.setenv(interface.ENDPOINT, endpoint)
    monkeypatch.setenv(interface.GLOO_INTERFACE, chosen or "")  # and back at the end
    if chosen is None:
        monkeypatch.delenv(interface.GLOO_INTERFACE)
    interface.use_interface_of_launch()
    assert os.environ.get(interface.GLOO_INTERFACE) == wanted


def test_a_cluster_s_own_variables_are_no_launch(monkeypatch):
    monkeypatch.setenv("PADDLE_TRAINERS_NUM", "1")
    monkeypatch.setenv("PADDLE_TRAINER_ID", "3")
    assert not is_launched()
    assert here() == Part(0, 1)
