"""A loader's process outlives the signals that its run takes as a wish."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import c_bool
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from multiprocessing.sharedctypes import RawValue

import pytest

from clipmask.data import workers


def _worker(pipe: Connection, outlive: int, over: c_bool | None) -> None:
    workers.OUTLIVE_S = outlive
    workers.outlive_signals(over=over)
    pipe.send("ready")
    pipe.recv()


@contextmanager
def _process(outlive: int, over: c_bool | None = None) -> Iterator[tuple[ForkProcess, Connection]]:
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe()
    process = fork.Process(target=_worker, args=(theirs, outlive, over))
    process.start()
    assert ours.recv() == "ready"
    yield process, ours
    process.join()


def test_it_outlives_them_all() -> None:
    with _process(3600) as (process, pipe):
        assert process.pid is not None
        for number in (
            signal.SIGINT,
            signal.SIGHUP,
            signal.SIGUSR1,
            signal.SIGTERM,
            signal.SIGTERM,
        ):
            os.kill(process.pid, number)
        pipe.send("end")
    assert process.exitcode == 0


def test_sigterm_ends_it_in_time() -> None:
    with _process(1) as (process, _):  # which waits for a word all the time
        assert process.pid is not None
        os.kill(process.pid, signal.SIGTERM)
    assert process.exitcode == -signal.SIGALRM


def test_sigterm_of_a_run_that_exits_ends_it_at_once() -> None:
    over = RawValue(c_bool, False)
    with _process(3600, over) as (process, _):
        assert process.pid is not None
        over.value = True
        os.kill(process.pid, signal.SIGTERM)
    assert process.exitcode == 1


def test_a_full_disk_leaves_the_workers_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(workers, "RawValue", full)
    workers._over.cache_clear()
    try:
        assert workers._over() is None
        workers.worker_setup()
    finally:
        workers._over.cache_clear()
