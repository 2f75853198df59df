"""Signals that end a command as Ctrl-C does, so that no half-written file remains."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NoReturn

from clipmask.signals import handled


def interrupted_by_signals() -> AbstractContextManager[None]:
    """Makes SIGTERM and SIGHUP, of schedulers and of a closed terminal, raise
    ``KeyboardInterrupt`` in the body; see ``handled`` for when they do not.
    """
    return handled(("SIGTERM", "SIGHUP"), _interrupt)


def _interrupt(restore: Callable[[], None]) -> NoReturn:
    raise KeyboardInterrupt
