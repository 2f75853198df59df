"""Checkpoints and pictures for the tests of predictor and demo."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from fvcore.common.config import CfgNode
from PIL import Image

from clipmask import build_model
from clipmask.weights.checkpoint import save_checkpoint
from tests.conftest import NAMES

COLORS = [[128, 64, 128], [70, 130, 180], [107, 142, 35], [0, 0, 142], [153, 153, 153]]


def write_checkpoint(path: Path, cfg: CfgNode, **content: object) -> Path:
    """Writes a self-describing checkpoint of an untrained model over NAMES, whose T is in its
    weights.
    """
    cfg = cfg.clone()
    cfg.MODEL.DEVICE = "cpu"
    torch.manual_seed(3)
    model = build_model(cfg, NAMES)
    model.text.prepare()
    metadata = {"stuff_colors": COLORS, "ignore_label": 255, "class_aliases": {}}
    own = {
        "model": model.state_dict(),
        "config": cfg.dump(),
        "class_names": list(NAMES),
        "metadata": metadata,
    }
    save_checkpoint(path, {**own, **content}, last=False)
    return path


def pixels(height: int = 40, width: int = 56, seed: int = 0) -> np.ndarray:
    """A picture of a few flat areas, uint8 (height, width, 3)."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return coarse.repeat(8, 0).repeat(8, 1)[:height, :width].copy()


def write_picture(path: Path, seed: int = 0, height: int = 40, width: int = 56) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(height, width, seed)).save(path)
    return path
