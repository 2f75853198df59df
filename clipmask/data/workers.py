"""Signal handling in the worker processes of a loader."""

from __future__ import annotations

import atexit
import functools
import os
import signal
from collections.abc import Callable
from ctypes import c_bool
from multiprocessing.sharedctypes import RawValue  # its import registers multiprocessing's own exit
from types import FrameType

GIVE_UP_S = 1800  # a loader or a process without any answer for this long counts as hung
OUTLIVE_S = 30  # schedulers usually wait this long between SIGTERM and SIGKILL


def worker_setup() -> Callable[[int], None]:
    """Returns the ``worker_init_fn`` of a loader: ``outlive_signals`` until this process exits."""
    return functools.partial(outlive_signals, over=_over())


def outlive_signals(worker: int = 0, *, over: c_bool | None = None) -> None:
    """Makes a worker process ignore the signals that ask its run to stop after the current step.

    Schedulers and terminals send signals to every process of a job, but the run still needs the
    samples of the step. After SIGTERM, with which PyTorch ends hanging workers, the process ends
    ``OUTLIVE_S`` seconds later. If the run is gone, the worker ends by itself.

    Args:
        worker: the number of the worker, which ``DataLoader`` passes to a ``worker_init_fn``.
        over: whether the run exits, in memory that it shares with the worker. Then SIGTERM comes
            from the run itself, which waits for the worker, and ends the worker at once.
    """
    if not hasattr(signal, "alarm"):
        return
    signal.set_wakeup_fd(-1)  # in a forked process, this is the file descriptor of the run
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)

    def end_later(number: int, frame: FrameType | None) -> None:
        if over is not None and over.value:
            os._exit(1)
        signal.signal(number, signal.SIG_IGN)
        signal.alarm(OUTLIVE_S)

    signal.signal(signal.SIGTERM, end_later)


@functools.cache
def _over() -> c_bool | None:
    """Returns a value in shared memory that becomes True when this process exits.

    Functions that are registered later run earlier, so this happens before ``multiprocessing`` ends
    the workers, which an error may have left.

    Returns:
        The value; None where there is no room for it: a full disk must not stop a training, and
        only the exit after an error then takes longer.
    """
    try:
        over = RawValue(c_bool, False)
    except OSError:
        return None
    atexit.register(setattr, over, "value", True)
    return over
