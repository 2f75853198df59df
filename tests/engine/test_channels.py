"""Models of other bands than colours: trained, evaluated, predicted, kept in checkpoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
import yaml
from fvcore.common.config import CfgNode
from PIL import Image

from clipmask.d2 import MetadataCatalog
from clipmask.data.descriptor_datasets import register_descriptor
from clipmask.engine.channels import fit_channels
from clipmask.engine.evaluation import evaluate_checkpoint
from clipmask.engine.train import train
from clipmask.errors import UserError
from clipmask.inference import Predictor
from clipmask.modeling import build_model
from tests.conftest import Register

BANDS = 4


def _write(root: Path, bands: list[int] | None) -> Path:
    rng = np.random.default_rng(0)
    for number in range(4):
        ids = np.repeat([0, 1], 32)[None].repeat(48, 0).astype(np.uint8)
        values = rng.integers(0, 900, (48, 64, BANDS)) + 2000 * ids[..., None].astype(int)
        for folder in ("images", "labels"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(
            root / f"images/{number}.tif",
            values.astype(np.uint16),
            photometric="minisblack",
            planarconfig="contig",
        )
        Image.fromarray(ids).save(root / f"labels/{number}.png")
    content = {"name": root.name, "images": "images", "labels": "labels", "image_range": [0, 4095],
               "classes": ["water", "land"], "splits": {"train": 0.5, "val": 0.5}}  # fmt: skip
    if bands:
        content["bands"] = bands
    (root / "mine.yaml").write_text(yaml.safe_dump(content))
    return root / "mine.yaml"


def _cfg(small_cfg: CfgNode, names: dict[str, str], folder: Path) -> CfgNode:
    cfg = small_cfg.clone()
    cfg.defrost()
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (names["train"],), (names["val"],)
    cfg.OUTPUT_DIR, cfg.MODEL.DEVICE, cfg.SEED = str(folder), "cpu", 0
    cfg.SOLVER.MAX_ITER, cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.WARMUP_ITERS = 2, 2, 1
    cfg.INPUT.CROP.SIZE, cfg.INPUT.MIN_SIZE_TEST = (32, 32), 0
    cfg.INPUT.LIGHTING_AUG, cfg.DATALOADER.NUM_WORKERS = 0.5, 0
    cfg.TEST.NUM_PICTURES = 1
    return cfg


def test_four_bands_from_training_to_prediction(tmp_path: Path, small_cfg: CfgNode) -> None:
    path = _write(tmp_path / "four", [2, 1, 4, 3])
    cfg = _cfg(small_cfg, register_descriptor(path), tmp_path / "run")
    scores = train(cfg)
    stored = yaml.safe_load((tmp_path / "run/config.yaml").read_text())["MODEL"]
    assert len(stored["PIXEL_MEAN"]) == len(stored["PIXEL_STD"]) == BANDS
    cfg.MODEL.WEIGHTS, cfg.OUTPUT_DIR = (
        str(tmp_path / "run/model_final.pth"),
        str(tmp_path / "eval"),
    )
    for name, values in evaluate_checkpoint(cfg).items():
        assert values["sem_seg"]["mIoU"] == pytest.approx(scores[name]["sem_seg"]["mIoU"])
    predictor = Predictor.from_checkpoint(cfg.MODEL.WEIGHTS, device="cpu")
    result = predictor(tmp_path / "four/images/0.tif")
    assert result.image.shape == (48, 64, 3)
    values = tifffile.imread(tmp_path / "four/images/0.tif")[..., [1, 0, 3, 2]]
    same = predictor(values)
    assert (same.labels == result.labels).all()
    np.testing.assert_allclose(same.scores(), result.scores())
    with pytest.raises(UserError, match="bands"):
        predictor(np.zeros((48, 64, 3), np.uint8))
    result.save(tmp_path / "overlay.png")
    # a new run starts from it, and from a model of colours
    cfg.OUTPUT_DIR = str(tmp_path / "second")
    train(cfg)


def test_a_model_of_colours_starts_one_of_bands(tmp_path: Path, small_cfg: CfgNode) -> None:
    start = build_model(small_cfg, ["water", "land"])
    torch.save({"model": start.state_dict()}, tmp_path / "rgb.pth")
    names = register_descriptor(_write(tmp_path / "bands", [1, 2, 3, 4]))
    cfg = _cfg(small_cfg, names, tmp_path / "r")
    cfg.MODEL.WEIGHTS, cfg.SOLVER.BASE_LR = str(tmp_path / "rgb.pth"), 1e-9
    train(cfg)
    weights = torch.load(tmp_path / "r/model_final.pth", weights_only=True)["model"]
    name = next(n for n, v in start.state_dict().items() if v.ndim == 4 and v.shape[1] == 3)
    before, after = start.state_dict()[name], weights[name]
    assert after.shape[1] == BANDS
    torch.testing.assert_close(after[:, 0], before[:, 0] * 3 / BANDS, atol=1e-5, rtol=1e-4)


def test_colours_leave_the_config_alone(small_cfg: CfgNode, register: Register) -> None:
    cfg = small_cfg.clone()
    cfg.DATASETS.TRAIN = (register([{}], stuff_classes=["a"]),)
    cfg.DATASETS.TEST = ()
    assert fit_channels(cfg, None) is cfg


def test_bands_that_contradict_are_told(small_cfg: CfgNode, register: Register) -> None:
    cfg = small_cfg.clone()
    four = register([{}], stuff_classes=["a"], bands=[1, 2, 3, 4])
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (four,), (register([{}], stuff_classes=["a"]),)
    with pytest.raises(UserError, match="different numbers of bands"):
        fit_channels(cfg, None)
    cfg.DATASETS.TEST, cfg.MODEL.PIXEL_MEAN = (), [1.0, 2.0]
    with pytest.raises(UserError, match="PIXEL_MEAN has 2 numbers"):
        fit_channels(cfg, None)
    assert MetadataCatalog.get(four).bands == [1, 2, 3, 4]


def test_an_image_of_other_channels_is_refused(small_model: torch.nn.Module) -> None:
    with pytest.raises(UserError, match="4 channels"):
        small_model([{"image": torch.zeros(4, 32, 32)}])
