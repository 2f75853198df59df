"""MODEL.DEVICE means what is there, or one clear message."""

from __future__ import annotations

import logging

import pytest
import torch

from clipmask.device import resolve_device
from clipmask.errors import UserError


def test_cpu() -> None:
    assert resolve_device("cpu") == torch.device("cpu")


def test_absent_cuda_is_the_cpu_with_one_warning(monkeypatch, caplog) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with caplog.at_level(logging.WARNING):
        assert resolve_device("cuda") == torch.device("cpu")
    assert len(caplog.records) == 1
    assert "running on the CPU" in caplog.text


def test_cuda_index_beyond_the_machine(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(UserError, match="has 2 CUDA"):
        resolve_device("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "", "meta", "cuda:x"])
def test_no_device(name: str) -> None:
    with pytest.raises(UserError, match=r"MODEL\.DEVICE"):
        resolve_device(name)
