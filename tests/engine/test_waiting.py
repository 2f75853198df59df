"""A run says what it waits for, once that takes long."""

from __future__ import annotations

import time

import pytest
import torch

from clipmask.engine import waiting
from clipmask.engine.waiting import others_lost, waiting_for


def test_a_long_wait_is_said_once_and_a_short_one_never(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with waiting_for("something quick"):
        pass
    monkeypatch.setattr(waiting, "SAY_S", 0.01)
    with waiting_for("a machine that never comes"):
        deadline = time.monotonic() + 60
        while not caplog.records and time.monotonic() < deadline:
            time.sleep(0.01)
    [record] = caplog.records
    assert "a machine that never comes" in record.getMessage()


def test_lost_processes_are_told_from_faults_of_the_own() -> None:
    gloo = "[third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]"
    assert others_lost(RuntimeError(gloo))
    assert others_lost(torch.distributed.DistNetworkError("no answer"))
    assert not others_lost(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not others_lost(ValueError(gloo))
