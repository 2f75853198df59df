"""A real model trained for a step or two on a picture of noise for each split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from fvcore.common.config import CfgNode
from PIL import Image

from clipmask.engine.train import train
from tests.conftest import Register


def train_on_noise(
    root: Path,
    cfg: CfgNode,
    register: Register,
    labels: np.ndarray,
    opts: list[Any],
    ending: str = "png",
    **metadata: Any,
) -> tuple[dict[str, Any], dict[str, float]]:
    """Registers a training and a validation set of one picture each, and trains.

    Args:
        root: where the pictures and the run go; made if need be.
        cfg: it stays as it is.
        register: the fixture.
        labels: (48, 48), the label map of both pictures.
        opts: config keys and values.
        ending: of the label files.
        metadata: of both datasets.

    Returns:
        The final checkpoint, and the scores of the validation set.
    """
    root.mkdir(exist_ok=True)
    names = []
    for number, split in enumerate(("train", "val")):
        image, label_file = root / f"{split}.png", root / f"{split}_labels.{ending}"
        noise = np.random.default_rng(number).integers(0, 256, (48, 48, 3), np.uint8)
        Image.fromarray(noise).save(image)
        Image.fromarray(labels).save(label_file)
        records = [{"file_name": str(image), "sem_seg_file_name": str(label_file)}]
        names.append(register(records, **metadata))
    cfg = cfg.clone()
    cfg.defrost()
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (names[0],), (names[1],)
    cfg.OUTPUT_DIR, cfg.MODEL.DEVICE, cfg.SEED = str(root / "run"), "cpu", 0
    cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.WARMUP_ITERS = 2, 1
    cfg.INPUT.CROP.SIZE, cfg.INPUT.MIN_SIZE_TEST = (32, 32), 0
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.merge_from_list(opts)
    scores = train(cfg)[names[1]]["sem_seg"]
    return torch.load(root / "run/model_final.pth", weights_only=True), scores
