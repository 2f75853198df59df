"""Precision words, impossible requests, and arguments that mixed precision leaves alone."""

from __future__ import annotations

import logging

import pytest
import torch

from clipmask.engine.launch import InputKeepingPrecision, is_main_process, launch, resolve_precision
from clipmask.errors import UserError

from . import tiny

CPU, CUDA, MPS = (torch.device(name) for name in ("cpu", "cuda", "mps"))


@pytest.mark.parametrize(
    ("enabled", "dtype", "device", "expected"),
    [
        (False, "fp16", CUDA, "32-true"),
        (True, "bf16", CUDA, "bf16-mixed"),
        (True, "fp16", CUDA, "16-mixed"),
        (True, "bf16", CPU, "bf16-mixed"),
    ],
)
def test_precision(enabled: bool, dtype: str, device: torch.device, expected: str, caplog) -> None:
    assert resolve_precision(enabled, dtype, device) == expected
    assert not caplog.records


def test_fp16_on_a_cpu_is_bf16_with_one_warning(caplog) -> None:
    with caplog.at_level(logging.WARNING):
        assert resolve_precision(True, "fp16", CPU) == "bf16-mixed"
    assert len(caplog.records) == 1


@pytest.mark.parametrize(("dtype", "device"), [("half", CPU), ("bf16", MPS)])
def test_impossible_precision(dtype: str, device: torch.device) -> None:
    with pytest.raises(UserError, match=r"SOLVER\.AMP"):
        resolve_precision(True, dtype, device)


def test_mixed_precision_does_not_round_counts() -> None:
    count = torch.tensor([257.0, 3.0])
    assert torch.equal(InputKeepingPrecision("bf16-mixed", "cpu").convert_input(count), count)


def test_launch_on_one_process(tmp_path) -> None:
    fabric = launch(tiny.tiny_cfg(tmp_path, "SOLVER.AMP.ENABLED", True))
    assert (fabric.device, fabric.world_size) == (CPU, 1)
    assert fabric.strategy.precision.precision == "bf16-mixed"


def test_impossible_numbers(tmp_path, monkeypatch) -> None:
    with pytest.raises(UserError, match="at least 1"):
        launch(tiny.tiny_cfg(tmp_path), num_gpus=0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match="has 2 CUDA"):
        launch(tiny.tiny_cfg(tmp_path, "MODEL.DEVICE", "cuda"), num_gpus=4)
    with pytest.raises(UserError, match="one device"):
        launch(tiny.tiny_cfg(tmp_path, "MODEL.DEVICE", "cuda:1"), num_gpus=2)


def test_main_process_by_environment(monkeypatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    assert is_main_process()
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert not is_main_process()
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("NODE_RANK", "1")
    assert not is_main_process()
