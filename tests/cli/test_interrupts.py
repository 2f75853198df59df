"""Signals that end a command as Ctrl-C does."""

from __future__ import annotations

import os
import signal

import pytest

from clipmask.cli.interrupts import interrupted_by_signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_they_interrupt_the_body_alone(number: signal.Signals) -> None:
    before = signal.signal(number, signal.SIG_DFL)
    try:
        with pytest.raises(KeyboardInterrupt), interrupted_by_signals():
            os.kill(os.getpid(), number)
        assert signal.getsignal(number) is signal.SIG_DFL
        signal.signal(number, signal.SIG_IGN)  # as under nohup
        with interrupted_by_signals():
            os.kill(os.getpid(), number)
    finally:
        signal.signal(number, before)
