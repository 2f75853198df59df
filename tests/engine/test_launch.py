"""Precision words, impossible requests, and arguments that mixed precision leaves alone."""

from __future__ import annotations

import logging
import multiprocessing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from clipmask.engine.launch import (
    InputKeepingPrecision,
    is_main_process,
    launch,
    resolve_precision,
    share_buffers,
)
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


def _statistics(rank: int, meeting: str, folder: Path) -> None:
    """What one of two processes has after a step on its own samples, and then shares."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", meeting, rank=rank, world_size=2)
    model = nn.Sequential(nn.BatchNorm2d(2), nn.Linear(1 + rank, 1, bias=False))
    model.register_buffer("cache", torch.zeros(1 + rank), persistent=False)
    model[0](torch.full((2, 2, 3, 3), 1.0 + rank))
    fabric: Any = SimpleNamespace(world_size=2)
    share_buffers(fabric, model)
    torch.save(model[0].state_dict(), folder / f"{rank}.pth")
    torch.distributed.destroy_process_group()


def test_processes_score_with_the_statistics_that_are_saved(tmp_path: Path) -> None:
    """Else a score after a resumption, where all start from them, would be another."""
    fork = multiprocessing.get_context("fork")
    meeting = f"file://{tmp_path / 'meeting'}"
    others = [fork.Process(target=_statistics, args=(rank, meeting, tmp_path)) for rank in range(2)]
    for process in others:
        process.start()
    for process in others:
        process.join(300)
        assert process.exitcode == 0
    first, second = (torch.load(tmp_path / f"{rank}.pth") for rank in range(2))
    assert first["running_mean"].tolist() == pytest.approx([0.1, 0.1])
    for name, value in first.items():
        assert torch.equal(value, second[name])


def test_main_process_by_environment(monkeypatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    assert is_main_process()
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert not is_main_process()
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("NODE_RANK", "1")
    assert not is_main_process()
