"""Void may be -1: a training is what it is with 255."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fvcore.common.config import CfgNode
from PIL import Image

from clipmask.engine.train import train
from tests.conftest import Register


def _trained(
    root: Path, cfg: CfgNode, register: Register, void: int, **metadata: Any
) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """Trains two steps on label maps that hold ``void``; returns weights and scores."""
    names = []
    for number, split in enumerate(("train", "val")):
        rng = np.random.default_rng(number)
        image, labels = root / f"{split}.png", root / f"{split}.tif"
        ids = np.repeat([0, 1], 24)[None].repeat(48, 0).astype(np.int32)
        ids[:9] = void
        root.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (48, 48, 3), np.uint8)).save(image)
        Image.fromarray(ids).save(labels)
        records = [{"file_name": str(image), "sem_seg_file_name": str(labels)}]
        names.append(
            register(records, stuff_classes=["sky", "road"], ignore_label=void, **metadata)
        )
    cfg = cfg.clone()
    cfg.defrost()
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (names[0],), (names[1],)
    cfg.OUTPUT_DIR, cfg.MODEL.DEVICE, cfg.SEED = str(root / "run"), "cpu", 0
    cfg.SOLVER.MAX_ITER, cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.WARMUP_ITERS = 2, 2, 1
    cfg.INPUT.CROP.SIZE, cfg.INPUT.MIN_SIZE_TEST = (32, 32), 0
    cfg.DATALOADER.NUM_WORKERS, cfg.TEST.NUM_PICTURES = 0, 0
    scores = train(cfg)[names[1]]["sem_seg"]
    return torch.load(root / "run/model_final.pth", weights_only=True)["model"], scores


@pytest.mark.parametrize("metadata", [{}, {"label_values": {0: 0, 1: 1, -1: -1}}])
def test_minus_one_trains_what_255_does(
    tmp_path: Path, small_cfg: CfgNode, register: Register, metadata: dict[str, Any]
) -> None:
    usual, expected = _trained(tmp_path / "usual", small_cfg, register, 255)
    weights, scores = _trained(tmp_path / "minus", small_cfg, register, -1, **metadata)
    assert scores == pytest.approx(expected, nan_ok=True)
    for name, value in usual.items():
        torch.testing.assert_close(weights[name], value)
