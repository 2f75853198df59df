"""A run says what it waits for, once that takes long."""

from __future__ import annotations

import os
import signal
import time

import pytest
import torch
from torch.utils.data import DataLoader

from clipmask.engine import waiting
from clipmask.engine.waiting import loader_fault, others_lost, waiting_for


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


def test_a_lost_process_of_the_loader_is_told() -> None:
    loader = DataLoader([0, 1, 2, 3], num_workers=1, collate_fn=_killed_at_two)
    with pytest.raises(RuntimeError) as caught:
        list(loader)
    assert "NUM_WORKERS" in str(loader_fault(caught.value))
    assert loader_fault(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None


def _killed_at_two(samples: list[int]) -> list[int]:
    if samples[0] == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return samples


def test_lost_processes_are_told_from_faults_of_the_own() -> None:
    gloo = "[third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]"
    assert others_lost(RuntimeError(gloo))
    assert others_lost(torch.distributed.DistNetworkError("no answer"))
    assert not others_lost(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not others_lost(ValueError(gloo))
