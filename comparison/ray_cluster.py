"""Trainings on the nodes of a Ray cluster: each has GPUs and cores of its own there, and is train.py as here.

Ray (https://docs.ray.io) is an optional requirement. It finds a free node for each training and tells when a node is lost; the
comparison then runs it again elsewhere, where train.py goes on with the run that the lost one had begun. Runs,
photographs and the toolkit lie on storage that all nodes see under the same paths.
"""

import contextlib
import os
import signal
import socket
import threading
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Callable, NoReturn, Optional

from comparison import on_node
from comparison.run_groups import ComparisonError
from comparison.script_process import PATIENCE, ROOT, ProcessFailed, TookTooLong
from comparison.side_by_side import Place, PlaceLost, Places
from config import Config

try:
    import ray
except ImportError:
    ray = None
ANSWER = 5.0  # seconds that a cluster gets to answer
WAIT = 60.0  # seconds that a node gets to say what it sees


class RayPlace(Place):
    """One of the trainings that a cluster has room for at the same time."""

    def __init__(self, cluster: "RayPlaces", settings: dict[str, Any]):
        super().__init__(settings)
        self.cluster = cluster

    def run(  # type: ignore[override]  # without the arguments for a process of this machine
        self,
        script: str,
        arguments: Sequence[object],
        quiet: bool = False,
        seconds: Optional[float] = None,
        tell: Optional[Callable[[str], None]] = None,
    ) -> None:
        """Run a script on a node that is free, as script_process.run_script does here; raises PlaceLost besides."""
        words = [str(argument) for argument in arguments]
        say = tell or (lambda line: print(line, flush=True))
        with self.cluster.runner() as runner:
            try:
                for message in runner.run.options(num_returns="streaming").remote(script, words, quiet, seconds):
                    kind, text = ray.get(message)
                    if kind == on_node.SAID:
                        say(text)
                    elif kind != on_node.ENDED:
                        self._raise(kind, text)
            except ray.exceptions.RayTaskError as error:
                raise ProcessFailed(f"{script} on a node of the cluster: {error.cause}") from None
            except ray.exceptions.RayError as error:
                reason = str(error).split(". ")[0].splitlines()[0]
                self._raise(on_node.INTERRUPTED, f"its node is lost ({reason}); it goes on elsewhere")

    def _raise(self, kind: str, text: str) -> NoReturn:
        if kind == on_node.INTERRUPTED and self.cluster.ending:
            raise KeyboardInterrupt
        if kind == on_node.INTERRUPTED:
            raise PlaceLost(text or "it was ended on its node; it goes on elsewhere")
        raise (TookTooLong if kind == on_node.LATE else ProcessFailed)(text)


class RayPlaces(Places):
    """As many places as the cluster of ``config.ray`` has room for, at most ``config.parallel``.

    Each has one GPU, or as many as ``config.processes``, and its share of a node's cores; without GPUs all cores of a node, or
    as many as ``config.threads``. Raises ComparisonError without Ray, or a cluster, or where a node lacks a path.
    """

    def __init__(self, config: Config):
        if ray is None:
            raise ComparisonError("ray: Ray is not installed: pip install -r requirements-ray.txt, on every node")
        self.ending = False
        self._runners: list[Any] = []
        self._lock = threading.Lock()
        _connect(str(config.ray))
        nodes = [node for node in ray.nodes() if node["Alive"]]
        _check_storage(config, nodes)
        with_gpus = [node for node in nodes if node["Resources"].get("GPU", 0) >= max(config.processes, 1)]
        gpus = max(config.processes, 1) if with_gpus and config.device != "cpu" else 0
        nodes = with_gpus if gpus else nodes
        cores = config.threads if config.threads and "threads" in config.given else share_of_a_node(nodes, gpus)
        resources = {"num_cpus": cores, "num_gpus": gpus}
        rooms = [rooms_of(node["Resources"], cores, gpus) for node in nodes]
        if not sum(rooms):
            raise ComparisonError(f"threads = {cores}: no node of the cluster has so many cores")
        count = sum(rooms) if config.parallel == "auto" else min(int(config.parallel), sum(rooms))
        self._resources = {**resources, "max_concurrency": 2, "max_restarts": 0}  # it runs, and hears that it is to stop
        settings = {"threads": cores}
        if "num_workers" not in config.given:
            settings["num_workers"] = max(cores - 1, 0) if gpus else 0
        print(
            f"Ray: {len(nodes)} nodes, {count} trainings at a time, each with {cores} cores"
            + (f" and {gpus} GPUs" if gpus else ""),
            flush=True,
        )
        super().__init__([RayPlace(self, settings) for _ in range(count)])

    @contextlib.contextmanager
    def runner(self) -> Iterator[Any]:
        """An on_node.Runner on a free node, as an actor with what a place has; ``end`` stops it, and so does an error here."""
        runner = ray.remote(**self._resources)(on_node.Runner).remote(os.getcwd())
        with self._lock:
            self._runners.append(runner)
        try:
            yield runner
        except (KeyboardInterrupt, OSError):
            _stop([runner])
            raise
        finally:
            with self._lock:
                self._runners.remove(runner)
            ray.kill(runner)

    def end(self) -> None:
        self.ending = True
        with self._lock:
            runners = list(self._runners)
        _stop(runners)


def _stop(runners: list[Any]) -> None:
    """End the scripts of ``runners``, each of which gets ``PATIENCE`` seconds."""
    with contextlib.suppress(ray.exceptions.RayError):  # its node is lost, or it has not begun
        ray.get([runner.stop.remote() for runner in runners], timeout=PATIENCE)


def _connect(address: str) -> None:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        if not ray.is_initialized():
            if address != "auto":  # Ray would try for minutes
                host, _, port = address.rpartition(":")
                socket.create_connection((host, int(port)), ANSWER).close()
            ray.init(address=address, log_to_driver=False, logging_level="ERROR", configure_logging=False)
    except Exception as error:  # a wrong address, another version of Ray or Python
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ComparisonError(
            f"ray = {address!r}: no cluster answers ({reason}): ray start --head on one machine, ray start "
            f"--address=THAT_MACHINE:6379 on the others"
        ) from None
    finally:
        for number, handler in handlers.items():  # Ray's own would end the process without its tidying up
            signal.signal(number, handler)


def _check_storage(config: Config, nodes: list[dict[str, Any]]) -> None:
    """Raise ComparisonError where a node does not see what a training needs."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    runs = Path(config.runs_dir).absolute()
    runs.mkdir(parents=True, exist_ok=True)
    token = runs / f".seen-by-all-{uuid.uuid4().hex}"
    others = (config.data, config.lists_dir, config.init_from, config.class_weights_file())
    paths = [str(Path(path).absolute()) for path in (token, os.getcwd(), *others) if path is not None]
    token.touch()
    try:
        for node in nodes:
            there = NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
            look = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=there)(on_node.what_is_missing)
            try:
                missing = ray.get(look.remote(paths), timeout=WAIT)
            except ray.exceptions.RayError as error:
                reason = str(error).splitlines()[-1]
                raise ComparisonError(
                    f"ray: the node {node['NodeManagerAddress']} does not answer as this one does ({reason}): it needs the "
                    f"same Python packages, and {ROOT} under this path"
                ) from None
            if missing:
                raise ComparisonError(
                    f"ray: the node {node['NodeManagerAddress']} does not see {missing[0]}: runs, photographs and the toolkit "
                    f"must lie on storage that all nodes have under the same paths"
                )
    finally:
        token.unlink(missing_ok=True)


def share_of_a_node(nodes: list[dict[str, Any]], gpus: int) -> int:
    """Cores for one training on the node that has the fewest for it."""
    shares = [node["Resources"].get("CPU", 0) // (node["Resources"]["GPU"] // gpus if gpus else 1) for node in nodes]
    return max(int(min((share for share in shares if share >= 1), default=1)), 1)


def rooms_of(resources: dict[str, float], cores: int, gpus: int) -> int:
    """How many trainings with so many ``cores`` and ``gpus`` a node with these ``resources`` has room for."""
    rooms = resources.get("CPU", 0) // cores
    return int(min(rooms, resources.get("GPU", 0) // gpus) if gpus else rooms)
