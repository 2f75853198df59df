"""Metadata in numpy's types, as other projects register them, train and evaluate as Python's do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from fvcore.common.config import CfgNode

from tests.conftest import Register
from tests.engine.short import train_on_noise


def test_arrays_and_numpy_numbers(tmp_path: Path, small_cfg: CfgNode, register: Register) -> None:
    ids = np.repeat([0, 255], 24)[None].repeat(48, 0).astype(np.uint8)
    stored, scores = train_on_noise(
        tmp_path,
        small_cfg,
        register,
        ids,
        ["SOLVER.MAX_ITER", 1],
        stuff_classes=np.array(["skin", "lesion"]),
        stuff_colors=np.array([[0, 0, 0], [255, 0, 0]]),
        ignore_label=np.int64(254),
        label_values={np.int64(0): np.int64(0), np.int64(255): np.int64(1)},
    )
    assert "mIoU" in scores
    assert stored["class_names"] == ["skin", "lesion"]
    assert stored["metadata"]["ignore_label"] == 254
