"""Threads that give way to others of their process."""

import contextlib
import os
import sys
import threading

import pytest

from processes.priority import NICE, new_threads_give_way

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="no priorities of threads on this system")


@contextlib.contextmanager
def waiting_thread():
    """A thread that does nothing, until the block ends."""
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    try:
        yield thread.native_id
    finally:
        end.set()
        thread.join()


def of(thread):
    return os.sched_getscheduler(thread), os.getpriority(os.PRIO_PROCESS, thread)


def test_threads_that_begin_within_the_block_give_way_and_no_others():
    policy, nice = of(0)
    with waiting_thread() as before, contextlib.ExitStack() as running:
        with new_threads_give_way():
            within = running.enter_context(waiting_thread())
        after = running.enter_context(waiting_thread())
        assert of(within) == (os.SCHED_BATCH, min(nice + NICE, 19))
        assert of(before) == of(after) == of(threading.get_native_id()) == (policy, nice)


@pytest.mark.parametrize("missing", ["sched_setscheduler", "setpriority"])
def test_where_it_is_not_permitted_nothing_is_said(monkeypatch, missing):
    def refused(*arguments):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, missing, refused)
    with contextlib.ExitStack() as running, new_threads_give_way():
        running.enter_context(waiting_thread())
