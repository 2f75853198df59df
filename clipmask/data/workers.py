"""The processes of a loader, and the signals that end a run."""

from __future__ import annotations

import signal
from types import FrameType

GIVE_UP_S = 1800  # a loader that hands out nothing, or a process not heard of, for so long hangs
OUTLIVE_S = 30  # what schedulers wait, by default, between asking a job to end and ending it


def outlive_signals(worker: int = 0) -> None:
    """Lets a loader's process outlive a signal that its run takes as a wish: the run still needs
    the step's samples.

    Schedulers and terminals send signals to every process of a job. A process that SIGTERM alone
    shall end, as PyTorch ends hanging ones, ends after ``OUTLIVE_S``; one whose run is gone ends by
    itself.

    Args:
        worker: its number, which ``DataLoader`` gives to a ``worker_init_fn``.
    """
    if not hasattr(signal, "alarm"):
        return
    signal.set_wakeup_fd(-1)  # the run's own, where this process is a fork of it
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end_later)


def _end_later(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    signal.alarm(OUTLIVE_S)
