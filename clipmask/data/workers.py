"""Signal handling in the worker processes of a loader."""

from __future__ import annotations

import signal
from types import FrameType

GIVE_UP_S = 1800  # a loader or a process without any answer for this long counts as hung
OUTLIVE_S = 30  # schedulers usually wait this long between SIGTERM and SIGKILL


def outlive_signals(worker: int = 0) -> None:
    """Makes a worker process ignore the signals that ask its run to stop after the current step.

    Schedulers and terminals send signals to every process of a job, but the run still needs the
    samples of the step. After SIGTERM, with which PyTorch ends hanging workers, the process ends
    ``OUTLIVE_S`` seconds later. If the run is gone, the worker ends by itself.

    Args:
        worker: the number of the worker, which ``DataLoader`` passes to a ``worker_init_fn``.
    """
    if not hasattr(signal, "alarm"):
        return
    signal.set_wakeup_fd(-1)  # in a forked process, this is the file descriptor of the run
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end_later)


def _end_later(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    signal.alarm(OUTLIVE_S)
