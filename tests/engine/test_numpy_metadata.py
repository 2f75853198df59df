"""Metadata in numpy's types, as other projects register them, train and evaluate as Python's do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from fvcore.common.config import CfgNode
from PIL import Image

from clipmask.engine.train import train
from tests.conftest import Register


def test_arrays_and_numpy_numbers(tmp_path: Path, small_cfg: CfgNode, register: Register) -> None:
    names = []
    for split in ("train", "val"):
        image, labels = tmp_path / f"{split}.png", tmp_path / f"{split}_labels.png"
        ids = np.repeat([0, 255], 24)[None].repeat(48, 0).astype(np.uint8)
        noise = np.random.default_rng(len(names)).integers(0, 256, (48, 48, 3), np.uint8)
        Image.fromarray(noise).save(image)
        Image.fromarray(ids).save(labels)
        records = [{"file_name": str(image), "sem_seg_file_name": str(labels)}]
        names.append(
            register(
                records,
                stuff_classes=np.array(["skin", "lesion"]),
                stuff_colors=np.array([[0, 0, 0], [255, 0, 0]]),
                ignore_label=np.int64(254),
                label_values={np.int64(0): np.int64(0), np.int64(255): np.int64(1)},
            )
        )
    cfg = small_cfg.clone()
    cfg.defrost()
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (names[0],), (names[1],)
    cfg.OUTPUT_DIR, cfg.MODEL.DEVICE, cfg.SEED = str(tmp_path / "run"), "cpu", 0
    cfg.SOLVER.MAX_ITER, cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.WARMUP_ITERS = 1, 2, 1
    cfg.INPUT.CROP.SIZE, cfg.INPUT.MIN_SIZE_TEST = (32, 32), 0
    cfg.DATALOADER.NUM_WORKERS = 0
    assert "mIoU" in train(cfg)[names[1]]["sem_seg"]
    stored = torch.load(tmp_path / "run/model_final.pth", weights_only=True)
    assert stored["class_names"] == ["skin", "lesion"]
    assert stored["metadata"]["ignore_label"] == 254
