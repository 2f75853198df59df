"""A small registered dataset on disk, and a config for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fvcore.common.config import CfgNode
from PIL import Image

from clipmask.config import get_cfg
from tests.conftest import Register

CLASSES = ["red", "green", "blue"]


def write_samples(
    folder: Path, count: int, size: tuple[int, int] = (24, 32)
) -> list[dict[str, Any]]:
    """Writes pictures of noise with label maps of three classes; returns their dataset dicts."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(count)
    records = []
    for i in range(count):
        image, labels = folder / f"{i}.png", folder / f"{i}_labels.png"
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(image)
        Image.fromarray(rng.integers(0, 3, size, np.uint8)).save(labels)
        records.append({"file_name": str(image), "sem_seg_file_name": str(labels)})
    return records


@pytest.fixture
def cfg(tmp_path: Path, register: Register) -> CfgNode:
    """A config whose training and test set is one of seven small pictures, with all augmentation
    on.
    """
    name = register(write_samples(tmp_path / "samples", 7), stuff_classes=CLASSES)
    cfg = get_cfg()
    cfg.DATASETS.TRAIN = (name,)
    cfg.DATASETS.TEST = (name,)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.INPUT.FORMAT = "RGB"
    cfg.INPUT.CROP.ENABLED = True
    cfg.INPUT.MIN_SIZE_TRAIN = (0,)
    cfg.INPUT.MIN_SIZE_TEST = 0
    cfg.SOLVER.IMS_PER_BATCH = 4
    cfg.SOLVER.MAX_ITER = 5
    return cfg
