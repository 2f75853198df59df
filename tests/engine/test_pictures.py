"""The same images at each evaluation, drawn at their own size."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clipmask.d2 import DatasetCatalog, MetadataCatalog
from clipmask.engine.pictures import draw_pictures, draw_sample, spread

from . import tiny


@pytest.mark.parametrize(
    ("count", "wanted", "expected"),
    [(10, 2, [2, 7]), (3, 3, [0, 1, 2]), (2, 5, [0, 1]), (5, 0, [])],
)
def test_positions_are_spread(count: int, wanted: int, expected: list[int]) -> None:
    assert spread(count, wanted) == expected


def test_pictures_are_files_of_known_images(tmp_path: Path, tiny_root: Path) -> None:
    cfg = tiny.tiny_cfg(tmp_path, "TEST.NUM_PICTURES", 2)
    model = tiny.TinySegmenter(cfg).train()
    model.backbone.eval()
    first = draw_pictures(cfg, model, tmp_path / "pictures")
    again = draw_pictures(cfg, model, tmp_path / "pictures")
    assert list(first) == list(again) == ["1", "3"]
    for name, picture in first.items():
        assert picture.dtype == np.uint8
        assert picture.shape[1] >= 4 * 32
        assert np.array_equal(
            np.asarray(Image.open(tmp_path / "pictures" / f"{name}.png")), picture
        )
    assert model.training
    assert not model.backbone.training


def test_a_training_sample_is_drawn_as_the_model_is_given_it(tmp_path: Path) -> None:
    cfg = tiny.tiny_cfg(tmp_path, "INPUT.FORMAT", "BGR")
    model = tiny.TinySegmenter(cfg).train()
    sample = tiny.make_batch(1)[0]
    picture = draw_sample(cfg, model, sample)
    height, width = sample["sem_seg"].shape
    assert picture.shape[0] >= height
    assert picture.shape[1] >= 3 * width
    shown = np.ascontiguousarray(sample["image"].flip(0).permute(1, 2, 0).numpy())
    found = [
        (y, x)
        for y in range(picture.shape[0] - height + 1)
        for x in range(picture.shape[1] - width + 1)
        if (picture[y : y + height, x : x + width] == shown).all()
    ]
    assert len(found) == 1, "the picture itself, in RGB, stands on it once"
    assert model.training


def test_truth_is_drawn_as_the_dataset_maps_its_labels(tmp_path: Path, tiny_root: Path) -> None:
    tiny.write_dataset(tmp_path)
    raw = np.full(256, 4, np.uint8)  # void in the mapping
    raw[:3] = (7, 23, 26)
    for path in (tmp_path / "val").glob("*_labels.png"):
        Image.fromarray(raw[np.asarray(Image.open(path))]).save(path)
    tiny.register(tmp_path, prefix="mapped")
    MetadataCatalog.get("mapped_val").set(label_mapping={7: 0, 23: 1, 26: 2})
    drawn = []
    for name in ("tiny_val", "mapped_val"):
        cfg = tiny.tiny_cfg(tmp_path, "DATASETS.TEST", (name,))
        torch.manual_seed(0)
        drawn.append(draw_pictures(cfg, tiny.TinySegmenter(cfg), tmp_path / name)["2"])
    assert np.array_equal(*drawn)


def test_images_of_one_name_do_not_replace_each_other(tmp_path: Path, tiny_root: Path) -> None:
    records = []
    for folder, record in zip(("one", "two"), DatasetCatalog.get("tiny_val"), strict=False):
        (tmp_path / folder).mkdir()
        copies = {"file_name": "image.png", "sem_seg_file_name": "labels.png"}
        for key, name in copies.items():
            shutil.copy(record[key], tmp_path / folder / name)
        records.append({key: str(tmp_path / folder / name) for key, name in copies.items()})
    DatasetCatalog.register("twins", lambda: records)
    MetadataCatalog.get("twins").set(stuff_classes=list(tiny.CLASSES), ignore_label=tiny.IGNORE)
    cfg = tiny.tiny_cfg(tmp_path, "DATASETS.TEST", ("twins",), "TEST.NUM_PICTURES", 2)
    drawn = draw_pictures(cfg, tiny.TinySegmenter(cfg), tmp_path / "pictures")
    assert list(drawn) == ["one_image", "two_image"]
    assert sorted(path.stem for path in (tmp_path / "pictures").iterdir()) == list(drawn)
