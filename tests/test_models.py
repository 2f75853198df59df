"""The model in the repository: small, complete, of this version, and as good as its card says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from clipmask import Predictor, load_cfg
from clipmask.config import leaf_keys, stored_cfg
from clipmask.data.label_format import LabelFormat
from clipmask.data.reading import read_labels
from clipmask.weights.names import OWN_MODEL, shipped_model
from clipmask.weights.packed import unpack
from tests.conftest import ROOT

MODEL = shipped_model(OWN_MODEL)
CONFIG = ROOT / "configs" / "camvid" / "clipmask_lite2_longer.yaml"
CARD = (ROOT / "models" / "README.md").read_text()


def mean_iou(predictor: Predictor, folder: Path, step: int) -> float:
    """mIoU in percent over every ``step``-th frame of CamVid val."""
    classes, confusion = len(predictor.names), np.zeros(121, dtype=np.int64)
    for stem in (folder / "val.txt").read_text().split()[::step]:
        truth = read_labels(folder / "valannot" / f"{stem}.png", LabelFormat(classes, classes))
        labels = predictor(folder / "val" / f"{stem}.jpg").labels
        known = truth != classes
        confusion += np.bincount(
            classes * truth[known].astype(int) + labels[known], minlength=classes**2
        )
    table = confusion.reshape(classes, classes)
    right = table.diagonal()
    return float(100 * np.mean(right / (table.sum(0) + table.sum(1) - right)))


@pytest.fixture
def predictor() -> Predictor:
    return Predictor.from_checkpoint(MODEL, device="cpu")


def test_the_file_is_small_and_tells_all() -> None:
    content = unpack(MODEL)
    assert MODEL.stat().st_size < 25e6
    assert f"{MODEL.stat().st_size / 1e6:.1f} MB" in CARD
    assert len(content["class_names"]) == len(content["metadata"]["stuff_colors"]) == 11
    for name in content["class_names"]:
        assert re.search(rf"^\| {name} \|", CARD, re.MULTILINE), name
    assert f"{sum(value.numel() for value in content['model'].values()) / 1e6:.1f} million" in CARD


def test_its_config_is_the_one_in_configs() -> None:
    """But for what a training starts from and where it writes, which the file leaves out."""
    own = leaf_keys(stored_cfg(unpack(MODEL)["config"], MODEL))
    told = leaf_keys(load_cfg(CONFIG))
    assert {key for key in told if own[key] != told[key]} <= {
        "DATALOADER.NUM_WORKERS",
        "MODEL.WEIGHTS",
        "OUTPUT_DIR",
    }


def test_it_scores_what_its_card_says(predictor: Predictor, test_data: Path) -> None:
    told = re.search(r"^\| \*\*mean\*\* \| \*\*([\d.]+)\*\*", CARD, re.MULTILINE)
    assert told is not None
    assert mean_iou(predictor, test_data / "camvid", 10) == pytest.approx(float(told[1]), abs=2.0)


def test_it_knows_its_classes_by_other_names(predictor: Predictor, test_data: Path) -> None:
    names = [
        "sky",
        "building",
        "pole",
        "road",
        "sidewalk",
        "vegetation",
        "traffic sign",
        "fence",
        "car",
        "person",
        "rider",
    ]
    trained = mean_iou(predictor, test_data / "camvid", 25)
    predictor.set_vocabulary(names, str(test_data / "clip_text" / "cityscapes19_clip_vitb16.npz"))
    assert mean_iou(predictor, test_data / "camvid", 25) == pytest.approx(trained, abs=2.0)
