"""A comparison on a Ray cluster: that a node's loss costs nothing but time, and what each training gets."""

import contextlib
import os
import shutil
import signal
import socket
import tempfile
import time
from pathlib import Path

import pytest
from comparisons_at_once import litter, write_photographs
from conftest import write_listed_photographs
from test_tune import outcome as outcome_of_search
from test_tune import tune_by_itself
from tiny_comparisons import TINY, start_comparison, table_of
from tiny_network import outcome

from comparison import on_node, ray_cluster, script_process
from comparison.run_groups import ComparisonError
from comparison.side_by_side import Place, PlaceLost, Places
from config import Config, ConfigError
from machine.energy import SHARED
from trained.history import read_history

pytestmark = pytest.mark.version_independent


@pytest.fixture
def scripts(tmp_path, monkeypatch):
    """A folder of scripts in place of the toolkit's."""
    monkeypatch.chdir(tmp_path)  # and back at the end
    monkeypatch.setattr(script_process, "ROOT", tmp_path)
    (tmp_path / "good.py").write_text("import sys; print('one'); print(sys.argv[1])")
    (tmp_path / "bad.py").write_text("import sys; sys.exit('bad.py: error: no photographs')")
    (tmp_path / "endless.py").write_text("import time; print('begun', flush=True); time.sleep(600)")
    return tmp_path


def run(folder, script, quiet=False, seconds=None):
    return list(on_node.Runner(str(folder)).run(script, ["two"], quiet, seconds))


def test_a_node_passes_on_what_a_script_says_and_how_it_ends(scripts):
    assert run(scripts, "good.py") == [("said", "one"), ("said", "two"), ("ended", "")]
    assert run(scripts, "good.py", quiet=True) == [("ended", "")]
    assert run(scripts, "bad.py")[-1] == ("failed", "bad.py: error: no photographs")


def test_a_script_on_a_node_counts_no_energy_of_others(scripts, monkeypatch):
    monkeypatch.delenv(SHARED, raising=False)
    (scripts / "told.py").write_text(f"import os; print(os.environ.get('{SHARED}'))")
    assert run(scripts, "told.py")[0] == ("said", "1")
    assert SHARED not in os.environ


def test_a_script_on_a_node_may_be_late(scripts):
    assert run(scripts, "endless.py", seconds=1.0)[-1] == ("late", "endless.py took longer than 1 s")


def test_a_script_is_ended_on_its_node(scripts):
    runner = on_node.Runner(str(scripts))
    messages = runner.run("endless.py", ["two"], False, None)
    assert next(messages) == ("said", "begun")
    runner.stop()
    assert list(messages) == [("interrupted", "")]


def test_a_node_says_what_it_does_not_see(tmp_path):
    assert on_node.what_is_missing([str(tmp_path), str(tmp_path / "runs")]) == [str(tmp_path / "runs")]


def test_a_training_whose_place_is_lost_has_another_one():
    tried = []

    def work(place):
        tried.append(place)
        if len(tried) < 3:
            raise PlaceLost("its node is lost")
        return "done"

    assert Places([Place(), Place()]).attempt(work) == "done"
    assert len(tried) == 3


def test_a_training_that_loses_every_place_fails():
    tried = []

    def work(place):
        tried.append(place)
        raise PlaceLost("its node is lost")

    with pytest.raises(PlaceLost):
        Places([Place()]).attempt(work)
    assert len(tried) == 5


@pytest.mark.parametrize(
    ("nodes", "gpus", "cores", "rooms"),
    [
        ([{"CPU": 4.0}, {"CPU": 8.0}], 0, 4, [1, 2]),
        ([{"CPU": 16.0, "GPU": 8.0}, {"CPU": 32.0, "GPU": 4.0}], 1, 2, [8, 4]),
        ([{"CPU": 16.0, "GPU": 8.0}], 4, 8, [2]),
        ([{}, {"CPU": 2.0}], 0, 2, [0, 1]),
    ],
)
def test_a_training_has_a_gpu_and_its_share_of_a_node(nodes, gpus, cores, rooms):
    found = ray_cluster.share_of_a_node([{"Resources": node} for node in nodes], gpus)
    assert found == cores
    assert [ray_cluster.rooms_of(node, found, gpus) for node in nodes] == rooms


def test_without_ray_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(ray_cluster, "ray", None)
    with pytest.raises(ComparisonError, match=r"pip install -r requirements-ray.txt"):
        ray_cluster.RayPlaces(Config(ray="auto"))


@pytest.mark.parametrize("address", ["nonsense", "ray://head:10001", "head:", ":6379"])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(ConfigError, match=r"ray = .*: expected auto, or HOST:PORT"):
        Config(ray=address)


def test_a_cluster_that_does_not_answer_is_named_at_once(tmp_path):
    pytest.importorskip("ray")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    with pytest.raises(ComparisonError, match=r"no cluster answers \(.*refused\): ray start --head"):
        ray_cluster.RayPlaces(Config(ray=address, runs_dir=str(tmp_path)))


def test_all_gpus_of_a_node_are_no_number_for_a_cluster():
    with pytest.raises(ConfigError, match="processes = 0 with ray"):
        Config(ray="auto", processes=0)


@pytest.fixture
def cluster(monkeypatch):
    """A cluster of two nodes with a core each, on this machine; networks are tiny there."""
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    monkeypatch.setenv("PYTHONPATH", TINY)
    monkeypatch.setenv("RAY_worker_niceness", "0")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    place = tempfile.mkdtemp(prefix="r", dir="/tmp")  # a socket's path has at most 107 letters
    monkeypatch.setenv("RAY_TMPDIR", place)  # Ray 2.60 writes an address into its usual folder, which it does not make
    own = os.path.join(place, "ray")
    os.mkdir(own)
    head = {"num_cpus": 1, "include_dashboard": False, "temp_dir": own}
    found = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
    try:
        yield found, found.add_node(num_cpus=1)
    finally:
        with contextlib.suppress(Exception):  # a node that a test has ended
            found.shutdown()
        shutil.rmtree(place, ignore_errors=True)


def wait_for(condition, process):
    deadline = time.monotonic() + 180
    while not condition():
        assert time.monotonic() < deadline, process.communicate()
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)


def epochs_of(runs, net):
    with contextlib.suppress(Exception):  # there is none yet
        return len(read_history(runs / net / "001"))
    return 0


@pytest.mark.skipif("CLUSTER" not in os.environ, reason="make cluster runs it: a minute")
def test_where_a_node_is_lost_the_trainings_go_on_elsewhere_and_nothing_differs(tmp_path, cluster):
    data, options = tmp_path / "data", ("--epochs", "150", "--device", "cpu")
    write_photographs(data)
    (nodes, second), runs = cluster, tmp_path / "cluster"
    on_ray = start_comparison(data, runs, *options, "--ray", nodes.address)
    wait_for(lambda: all(epochs_of(runs, net) >= 2 for net in ("resnet34", "resnet18")), on_ray)
    nodes.remove_node(second, allow_graceful=False)
    out, err = on_ray.communicate(timeout=300)
    assert on_ray.returncode == 0, out + err
    assert "Ray: 2 nodes, 2 trainings at a time, each with 1 cores" in out
    assert "its node is lost" in out
    assert "going on with" in out
    serial = start_comparison(data, tmp_path / "serial", *options)
    assert serial.wait(300) == 0, serial.communicate()
    assert table_of(runs) == table_of(tmp_path / "serial")
    for net in ("resnet18", "resnet34"):
        assert [path.name for path in (runs / net).iterdir()] == ["001"]
        assert outcome(runs / net / "001") == outcome(tmp_path / "serial" / net / "001")
    assert litter(runs) == []


def test_the_trainings_of_a_cluster_end_with_the_comparison(tmp_path, cluster):
    data, runs = tmp_path / "data", tmp_path / "runs"
    write_photographs(data)
    process = start_comparison(data, runs, "--epochs", "500", "--ray", cluster[0].address)
    wait_for(lambda: all(epochs_of(runs, net) >= 2 for net in ("resnet34", "resnet18")), process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert err.splitlines()[-1].startswith("compare.py: interrupted")
    deadline = time.monotonic() + 30
    while any(str(runs).encode() in (entry / "cmdline").read_bytes() for entry in live("/proc")):
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_search_on_a_cluster_finds_what_one_machine_finds(tmp_path, cluster):
    write_listed_photographs(tmp_path / "data", of_each_class=8)
    two_pairs = ("--weight_decays", "0.0001")
    _, _, serial = tune_by_itself(tmp_path, "serial", *two_pairs)
    said, _, found = tune_by_itself(tmp_path, "cluster", "--ray", cluster[0].address, *two_pairs)
    assert ", 2 at a time: " in said
    assert outcome_of_search(found) == outcome_of_search(serial)
    assert found.rungs == serial.rungs


def live(proc):
    for entry in Path(proc).glob("[0-9]*"):
        with contextlib.suppress(OSError):
            (entry / "cmdline").read_bytes()
            yield entry
