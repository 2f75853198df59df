"""Signals that end a run: Ctrl-C, and SIGTERM, SIGUSR1 and SIGHUP of schedulers.

The first signal is a request. The processes of a run agree on it in the reduction that each step
makes anyway, save a checkpoint after the same step, and end. Where nothing could be lost, before
the first step and during an evaluation, the first signal ends the run at once. A second one ends
the process at once, whatever it does.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any

from clipmask.errors import RunStopped

SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
    if hasattr(signal, name)
)
# schedulers and launchers pass a signal on that the process has too: within this time it is the
# same
ONE_WISH_S = 1.0


@dataclass
class Wishes:
    """Requests of a process for the time after a step.

    Attributes:
        stop: save, and end the run.
        save: save, and go on.
    """

    stop: bool = False
    save: bool = False


class StopSignals:
    """Listens while its context lasts; outside the main thread, where Python takes no signals, it
    hears none.

    Attributes:
        wishes: ``stop`` becomes true with the first signal.
        name: of that signal; None before.
        children: processes that end with this one where a second signal ends it.
    """

    def __init__(self) -> None:
        self.wishes = Wishes()
        self.name: str | None = None
        self.children: Sequence[subprocess.Popen[Any]] = ()
        self._waits = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is not threading.main_thread():
            return self
        for number in SIGNALS:
            # as nohup and background jobs of a shell want it
            if signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._heard)
        if self._before:
            self._ours, theirs = socket.socketpair()
            theirs.setblocking(False)
            self._theirs, self._fd = (
                theirs,
                signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False),
            )
            threading.Thread(
                target=self._watch, args=(self._ours,), daemon=True, name="second-signal"
            ).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._before:
            signal.set_wakeup_fd(self._fd)
            # the thread reads the end of it and ends; its own socket goes with it
            self._theirs.close()
            self._before = {}

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if self.name is None:
            self.name = signal.Signals(number).name
            self.wishes.stop = True
            if not self._waits:
                raise self.exception()

    def _watch(self, ours: socket.socket) -> None:
        """Ends the process at a second signal: from a thread, for the main one may hang where it
        hears none.
        """
        first = None
        with ours:
            while received := ours.recv(1):
                if received[0] not in self._before:  # of a child that ended, say
                    continue
                now = time.monotonic()
                first = now if first is None else first
                if now - first > ONE_WISH_S:
                    for child in self.children:
                        child.kill()
                    name = signal.Signals(received[0]).name
                    os.write(
                        sys.__stderr__.fileno() if sys.__stderr__ else 2,
                        f"{name}: ended at once\n".encode(),
                    )
                    os._exit(128 + received[0])

    def exception(self) -> RunStopped:
        """The error that ends the run."""
        return RunStopped(self.name or "another process")

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Within it the first signal is a wish; outside, it ends the run as an exception."""
        self._waits = True
        try:
            yield
        finally:
            self._waits = False

    @contextmanager
    def at_once(self, here: bool = True) -> Iterator[None]:
        """Part of ``waiting`` in which nothing can be lost: a signal, also one that has come, ends
        the run.

        Args:
            here: whether this process ends; the others of a run wait for it.
        """
        if not here:
            yield
            return
        before, self._waits = self._waits, False
        try:
            if self.name is not None:
                raise self.exception()
            yield
        finally:
            self._waits = before
