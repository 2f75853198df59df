"""Signals that a body of code handles in its own way, and that are then as they were before."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType


@contextmanager
def handled(names: Sequence[str], act: Callable[[Callable[[], None]], object]) -> Iterator[None]:
    """Calls ``act`` when one of some signals comes while the body runs.

    A signal that is ignored, as under nohup, stays so. Outside the main thread nothing changes,
    because only the main thread may handle signals.

    Args:
        names: the names of signals; those that the system does not know are left out.
        act: is given a function that lets all of them act as before the body.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    heard = [number for number in numbers if before[number] is not signal.SIG_IGN]

    def restore() -> None:
        for number in heard:
            signal.signal(number, before[number] or signal.SIG_DFL)

    def handle(number: int, frame: FrameType | None) -> None:
        act(restore)

    for number in heard:
        signal.signal(number, handle)
    try:
        yield
    finally:
        restore()
