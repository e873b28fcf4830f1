"""The work of serve.py: answer requests with trained networks until Ctrl-C."""

from __future__ import annotations

from config import Config
from explanation.explain_photographs import names_of_runs, trained_runs
from machine.device import select_device
from messages.terminal import print_line, printable
from ops import fused
from serving.application import Service, create_application
from serving.connections import listening_socket, serve_in_background
from serving.host_names import HostNames, is_loopback, url_of
from serving.model_queue import ModelQueue
from serving.served_network import ServedNetwork

MAX_WAITING = 64  # photographs


def serve_networks(config: Config) -> None:
    """Serve the networks that ``config`` names until an interruption, which passes through.

    The thread that calls this one computes: Paddle's device, threads and gradient mode belong to a thread each. Raises a
    UserError where a run cannot be used or the address cannot be listened on.
    """
    listener = listening_socket(config.host, config.port)  # first: it takes no time
    runs = trained_runs(config)
    config = config.resolved()
    select_device(config.device)
    fused.set_mode(config.fused)
    networks = [ServedNetwork(run, name, config) for run, name in zip(runs, distinct_names(names_of_runs(runs)))]
    for network in networks:
        network.warm_up()
    queue = ModelQueue(MAX_WAITING, config.batch_size)
    names = HostNames(config.host, config.allow_hosts or ())
    application = create_application(Service(networks, queue, config.unsure_below), names)
    serve_in_background(application, listener, MAX_WAITING)
    port = listener.getsockname()[1]
    if not is_loopback(config.host):
        print_line(
            f"warning: every machine that reaches port {port} can send photographs: there is no password and no encryption; "
            f"--host 127.0.0.1 is for this machine alone",
        )
    served = ", ".join(run.name for run in runs)
    print(f"serving {printable(served)} on {url_of(config.host, port)} (Ctrl-C ends)", flush=True)
    queue.run()


def distinct_names(names: list[str]) -> list[str]:
    """The names; one that occurs again gets a number, since the folders of the runs are not for everybody to see."""
    return [
        name if names.index(name) == place else f"{name} ({names[: place + 1].count(name)})" for place, name in enumerate(names)
    ]
