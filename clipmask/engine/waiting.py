"""Messages while a run waits for other processes, and how it ends if they are lost.

A loader's process may hang in a file system, a process on another machine may never begin. The run
says what it waits for after ``SAY_S`` seconds and gives up after ``GIVE_UP_S``.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from clipmask.data.workers import GIVE_UP_S

logger = logging.getLogger(__name__)

SAY_S = 30.0
# what gloo says; NCCL and the store of torch.distributed have exceptions of their own
_LOST = re.compile(r"gloo|connection (closed|reset|refused)|broken pipe", re.I)


@contextmanager
def waiting_for(what: str) -> Iterator[None]:
    """Logs one line where its context lasts longer than ``SAY_S``.

    Args:
        what: is waited for.
    """
    line = "waiting for %s since %g s; the run gives up after %d s"
    timer = threading.Timer(SAY_S, logger.warning, (line, what, SAY_S, GIVE_UP_S))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def loader_fault(error: BaseException) -> str | None:
    """What became of a loader's process, for reading; None where the error is about none.

    Args:
        error: PyTorch's ``RuntimeError`` where such a process was killed, or hands out nothing.
    """
    reason = str(error)
    if not isinstance(error, RuntimeError) or not reason.startswith("DataLoader "):
        return None
    return (
        f"a process of the data loader was lost ({reason.splitlines()[0]}): where memory ran out,"
        " lower DATALOADER.NUM_WORKERS, which may be 0; --resume goes on from the last checkpoint"
    )


def others_lost(error: BaseException) -> bool:
    """Whether an error says that a process of the run can't be reached any more."""
    if isinstance(error, torch.distributed.DistError):
        return True
    return isinstance(error, RuntimeError) and bool(_LOST.search(str(error)))
