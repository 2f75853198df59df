"""A model from a file or a config: what each must have, and the errors if it does not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fvcore.common.config import CfgNode

from clipmask.d2 import MetadataCatalog
from clipmask.errors import UserError
from clipmask.inference import Predictor
from clipmask.weights.checkpoint import load_checkpoint
from tests.checkpoints import COLORS, pixels, write_checkpoint
from tests.closeness import assert_best
from tests.conftest import NAMES


def test_device_and_overrides(checkpoint: Path) -> None:
    predictor = Predictor.from_checkpoint(
        checkpoint, device="cpu", opts=["INPUT.MIN_SIZE_TEST", "20"]
    )
    assert predictor.cfg.INPUT.MIN_SIZE_TEST == 20
    assert predictor(pixels()).labels.shape == (40, 56)
    with pytest.raises(UserError, match=r"MODEL\.FOO"):
        Predictor.from_checkpoint(checkpoint, opts=["MODEL.FOO", "1"])
    with pytest.raises(UserError, match="KEY VALUE"):
        Predictor.from_checkpoint(checkpoint, opts=["SEED"])


def test_weights_alone_need_a_config(tmp_path: Path, small_cfg: CfgNode, checkpoint: Path) -> None:
    plain = tmp_path / "plain.pth"
    torch.save({"model": load_checkpoint(checkpoint)["model"]}, plain)
    with pytest.raises(UserError, match="--config-file"):
        Predictor.from_checkpoint(plain)
    small_cfg.MODEL.WEIGHTS = str(plain)
    MetadataCatalog.get("five_things").set(stuff_classes=list(NAMES), stuff_colors=COLORS)
    small_cfg.DATASETS.TRAIN = ("five_things",)
    predictor = Predictor.from_config(small_cfg)
    assert (predictor.names, [*predictor.dataset_colors.values()]) == (NAMES, COLORS)
    expected = Predictor.from_checkpoint(checkpoint)(pixels()).scores()
    assert_best(predictor(pixels()).labels, expected)

    small_cfg.DATASETS.TRAIN = ("toy_street_sem_seg_train",)
    with pytest.raises(UserError, match="trained on 5 classes"):
        Predictor.from_config(small_cfg)
    small_cfg.DATASETS.TRAIN, small_cfg.DATASETS.TEST = (), ()
    with pytest.raises(UserError, match=r"DATASETS\.TRAIN"):
        Predictor.from_config(small_cfg)
    small_cfg.MODEL.WEIGHTS = ""
    with pytest.raises(UserError, match=r"MODEL\.WEIGHTS is empty"):
        Predictor.from_config(small_cfg)


def test_faulty_files(tmp_path: Path, small_cfg: CfgNode) -> None:
    with pytest.raises(UserError, match=r"gone\.pth: no such file"):
        Predictor.from_checkpoint(tmp_path / "gone.pth")
    (tmp_path / "noise.pth").write_bytes(b"noise" * 100)
    with pytest.raises(UserError, match=r"noise\.pth: damaged"):
        Predictor.from_checkpoint(tmp_path / "noise.pth")
    for text in ("just words", "MODEL: {NO_SUCH_KEY: 1}", "a: [", "SEED: many"):
        path = write_checkpoint(tmp_path / "config.pth", small_cfg, config=text)
        with pytest.raises(UserError, match=r"config\.pth: its config can't be read"):
            Predictor.from_checkpoint(path)
