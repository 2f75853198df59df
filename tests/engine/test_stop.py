"""A first signal is a wish or the end, as the run says; a second one is the end."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from multiprocessing.connection import Connection

import pytest

from clipmask.engine import stop
from clipmask.engine.stop import StopSignals
from clipmask.errors import RunStopped
from tests.conftest import PATIENCE


def test_outside_of_steps_a_signal_ends_the_run() -> None:
    with StopSignals() as signals, pytest.raises(RunStopped, match="stopped by SIGTERM"):
        os.kill(os.getpid(), signal.SIGTERM)
    assert signals.name == "SIGTERM"


def test_while_steps_are_made_it_is_a_wish(monkeypatch: pytest.MonkeyPatch) -> None:
    with StopSignals() as signals, signals.waiting():
        os.kill(os.getpid(), signal.SIGUSR1)
        assert signals.wishes.stop
        with signals.at_once(here=False):
            pass
        with pytest.raises(RunStopped, match="SIGUSR1"), signals.at_once():
            raise AssertionError("a signal that came before ends it at the beginning")


def test_what_listened_before_listens_after() -> None:
    before = [signal.getsignal(number) for number in stop.SIGNALS]
    with StopSignals():
        assert signal.getsignal(signal.SIGTERM) not in before
    assert [signal.getsignal(number) for number in stop.SIGNALS] == before


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals() as signals:
            os.kill(os.getpid(), signal.SIGHUP)
        assert signals.name is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_another_thread_hears_nothing() -> None:
    before = signal.getsignal(signal.SIGTERM)
    heard = []

    def listen() -> None:
        with StopSignals():
            heard.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert heard == [before]


def _deaf(pipe: Connection, one_wish: float) -> None:
    """Takes the first signal as a wish, and waits."""
    stop.ONE_WISH_S = one_wish
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    with StopSignals() as signals, signals.waiting():
        pipe.send("ready")
        while signals.name is None:
            time.sleep(0.01)
        pipe.send("first")
        pipe.recv()


def _next(pipe: Connection) -> object:
    assert pipe.poll(PATIENCE), "the process says nothing"
    return pipe.recv()


@pytest.mark.parametrize(("one_wish", "status"), [(0.0, 128 + signal.SIGTERM), (3600.0, 0)])
def test_a_second_signal_ends_the_process_unless_it_is_the_first_passed_on(
    one_wish: float, status: int
) -> None:
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe()
    process = fork.Process(target=_deaf, args=(theirs, one_wish))
    process.start()
    assert process.pid is not None
    assert _next(ours) == "ready"
    os.kill(process.pid, signal.SIGINT)
    assert _next(ours) == "first"
    os.kill(process.pid, signal.SIGTERM)
    if not status:
        ours.send("end")
    process.join()
    assert process.exitcode == status
