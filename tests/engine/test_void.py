"""Void may be -1: a training is what it is with 255."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fvcore.common.config import CfgNode

from tests.conftest import Register
from tests.engine.short import train_on_noise


def _trained(
    root: Path, cfg: CfgNode, register: Register, void: int, **metadata: Any
) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """Trains two steps on label maps that hold ``void``; returns weights and scores."""
    ids = np.repeat([0, 1], 24)[None].repeat(48, 0).astype(np.int32)
    ids[:9] = void
    opts = ["SOLVER.MAX_ITER", 2, "TEST.NUM_PICTURES", 0]
    metadata |= {"stuff_classes": ["sky", "road"], "ignore_label": void}
    checkpoint, scores = train_on_noise(root, cfg, register, ids, opts, "tif", **metadata)
    return checkpoint["model"], scores


@pytest.mark.parametrize("metadata", [{}, {"label_values": {0: 0, 1: 1, -1: -1}}])
def test_minus_one_trains_what_255_does(
    tmp_path: Path, small_cfg: CfgNode, register: Register, metadata: dict[str, Any]
) -> None:
    usual, expected = _trained(tmp_path / "usual", small_cfg, register, 255)
    weights, scores = _trained(tmp_path / "minus", small_cfg, register, -1, **metadata)
    assert scores == pytest.approx(expected, nan_ok=True)
    for name, value in usual.items():
        torch.testing.assert_close(weights[name], value)
