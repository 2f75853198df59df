"""configs/drives/city_sets.py: the labels of KITTI and BDD100K in CamVid's classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipmask.cli.register import register_file
from clipmask.d2 import DatasetCatalog
from clipmask.data.catalog import load_dataset
from clipmask.data.datasets.camvid import class_metadata
from clipmask.data.datasets.cityscapes import CLASSES
from clipmask.data.reading import read_labels
from clipmask.errors import UserError
from clipmask.vocabulary import Vocabulary
from tests.conftest import ROOT

FOLDERS = {
    "kitti_semantics_train": ("training/image_2", "training/semantic", "kitti_semantics"),
    "bdd100k_train": ("images/10k/train", "labels/sem_seg/masks/train", "bdd100k"),
}


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if "kitti_semantics_train" not in DatasetCatalog.list():
        register_file(ROOT / "configs" / "drives" / "city_sets.py")
    monkeypatch.setenv("CLIPMASK_DATASETS", str(tmp_path))
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(root: Path, name: str, ids: list[int]) -> None:
    images, labels, folder = FOLDERS[name]
    for part in (images, labels):
        (root / folder / part).mkdir(parents=True)
    Image.fromarray(np.zeros((1, len(ids), 3), np.uint8)).save(root / folder / images / "a.png")
    Image.fromarray(np.array([ids], np.uint8)).save(root / folder / labels / "a.png")
    Image.fromarray(np.zeros((1, 1, 3), np.uint8)).save(root / folder / images / "unlabelled.png")


@pytest.mark.parametrize("name", list(FOLDERS))
def test_ids_become_the_classes_of_camvid(root: Path, name: str) -> None:
    named = {"wall": None, "terrain": "tree", "rider": "bicyclist", "bus": "car", "sky": "sky"}
    order = list(CLASSES)
    ids = [
        order.index(label) if name == "bdd100k_train" else CLASSES[label].label_id
        for label in named
    ]
    write(root, name, [*ids, 255])
    dataset = load_dataset(name, labelled=True)
    (record,) = dataset.records  # a picture without labels is left out
    labels = read_labels(record["sem_seg_file_name"], dataset.label_format, (1, len(ids) + 1))
    camvid = Vocabulary.from_metadata(class_metadata())
    expected = [255 if label is None else camvid.names.index(label) for label in named.values()]
    assert labels.tolist() == [[*expected, 255]]
    assert dataset.vocabulary.label_space == camvid.label_space


def test_missing_pictures_are_named(root: Path) -> None:
    with pytest.raises(UserError, match=r"kitti_semantics/training/image_2"):
        load_dataset("kitti_semantics_train", labelled=True)
