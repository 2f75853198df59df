"""Mappers: dataset dicts become tensors of the asked-for order, and sizes that disagree are
told.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fvcore.common.config import CfgNode
from PIL import Image

from clipmask.config import get_cfg
from clipmask.data.label_format import LabelFormat
from clipmask.data.mapper import TestMapper, TrainMapper
from clipmask.data.transforms import TrainTransform
from clipmask.errors import UserError


@pytest.fixture
def record(tmp_path: Path) -> dict[str, object]:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(rng.integers(0, 3, (20, 30), np.uint8)).save(tmp_path / "a_labels.png")
    return {
        "file_name": str(tmp_path / "a.png"),
        "sem_seg_file_name": str(tmp_path / "a_labels.png"),
        "text": "a street",
    }


def plain(format: str = "RGB", num_classes: int = 3) -> TrainMapper:
    transform = TrainTransform(scale_range=(1, 1), crop=None, flip="none", color_aug=False)
    return TrainMapper(transform, label_format=LabelFormat(num_classes), format=format)


def test_a_training_sample_is_the_files_content(record: dict[str, object]) -> None:
    before = dict(record)
    sample = plain()(record)
    pixels = np.asarray(Image.open(str(record["file_name"])))
    assert (sample["image"].permute(1, 2, 0).numpy() == pixels).all()
    assert (
        sample["sem_seg"].numpy() == np.asarray(Image.open(str(record["sem_seg_file_name"])))
    ).all()
    assert (sample["height"], sample["width"]) == (20, 30)
    assert sample["text"] == "a street"
    assert type(sample["image"]) is type(sample["sem_seg"]) is torch.Tensor
    assert sample["image"].is_contiguous()
    assert record == before


def test_labels_are_mapped(record: dict[str, object]) -> None:
    transform = TrainTransform(scale_range=(1, 1), crop=None, flip="none", color_aug=False)
    mapper = TrainMapper(
        transform, label_format=LabelFormat(2, 255, {0: 1, 2: 0}, True), format="RGB"
    )
    raw = np.asarray(Image.open(str(record["sem_seg_file_name"])))
    assert (mapper(record)["sem_seg"].numpy() == np.array([1, 255, 0])[raw]).all()


def test_channel_order(record: dict[str, object]) -> None:
    test = TestMapper(min_size=0, max_size=100, format="BGR")
    assert (plain("BGR")(record)["image"] == plain()(record)["image"].flip(0)).all()
    assert (test(record)["image"] == plain("BGR")(record)["image"]).all()


def test_a_test_sample_is_resized_and_keeps_its_own_size(record: dict[str, object]) -> None:
    sample = TestMapper(min_size=40, max_size=1000, format="RGB")(record)
    assert sample["image"].shape == (3, 40, 60)
    assert (sample["height"], sample["width"]) == (20, 30)
    assert "sem_seg" not in sample


def test_an_array_maps_as_its_file_does(record: dict[str, object]) -> None:
    mapper = TestMapper(min_size=33, max_size=1000, format="BGR")
    pixels = np.asarray(Image.open(str(record["file_name"])))
    from_array, from_file = mapper.from_array(pixels), mapper(record)
    assert (from_array["image"] == from_file["image"]).all()
    assert (from_array["height"], from_array["width"]) == (20, 30)


def test_faults_are_told(record: dict[str, object]) -> None:
    with pytest.raises(UserError, match=r"a\.png: is 30x20 pixels .* dataset says 20x30"):
        plain()({**record, "height": 30, "width": 20})
    with pytest.raises(UserError, match=r"a_labels\.png: class id 2 out of range"):
        plain(num_classes=2)(record)
    Image.new("L", (30, 19)).save(str(record["sem_seg_file_name"]))
    with pytest.raises(UserError, match=r"a_labels\.png: is 30x19"):
        plain()(record)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("INPUT.FORMAT", "L"),
        ("INPUT.CROP.TYPE", "random"),
        ("INPUT.CROP.SIZE", [2.0, 0.5]),
        ("INPUT.CROP.SINGLE_CATEGORY_MAX_AREA", 0.0),
        ("INPUT.CROP.CLASS_BALANCE", 1.5),
        ("INPUT.SCALE_RANGE", [2.0, 0.5]),
        ("INPUT.RANDOM_FLIP", "sometimes"),
    ],
)
def test_senseless_values_of_training_name_their_key(cfg: CfgNode, key: str, value: object) -> None:
    cfg.merge_from_list([key, value])
    with pytest.raises(UserError, match=key):
        TrainMapper.from_config(cfg, LabelFormat(3))


@pytest.mark.parametrize(
    ("key", "value"),
    [("INPUT.MIN_SIZE_TEST", -1), ("INPUT.MAX_SIZE_TEST", 0), ("INPUT.FORMAT", "L")],
)
def test_senseless_values_of_testing_name_their_key(cfg: CfgNode, key: str, value: object) -> None:
    cfg.merge_from_list([key, value])
    with pytest.raises(UserError, match=key):
        TestMapper.from_config(cfg)


def test_an_unused_crop_is_not_checked(cfg: CfgNode) -> None:
    cfg.INPUT.CROP.ENABLED = False
    cfg.INPUT.CROP.SIZE = [300.0, 300.0]
    assert TrainMapper.from_config(cfg, LabelFormat(3)).transform.crop is None


def test_two_sizes_of_training_pictures_are_refused(cfg: CfgNode) -> None:
    cfg.INPUT.SCALE_FROM_TEST_SIZE, cfg.INPUT.MIN_SIZE_TRAIN = True, (40,)
    with pytest.raises(UserError, match="MIN_SIZE_TRAIN"):
        TrainMapper.from_config(cfg, LabelFormat(3))


def test_the_shorter_side_of_training_pictures_is_detectron2s_key(
    cfg: CfgNode, tmp_path: Path
) -> None:
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.CROP.ENABLED = (40,), False
    image, labels = tmp_path / "i.png", tmp_path / "l.png"
    Image.fromarray(np.full((12, 18, 3), 7, np.uint8)).save(image)
    Image.fromarray(np.zeros((12, 18), np.uint8)).save(labels)
    sample = TrainMapper.from_config(cfg, LabelFormat(2))(
        {"file_name": image, "sem_seg_file_name": labels}
    )
    assert sample["image"].shape == (3, 40, 60)


def test_scales_may_count_from_the_size_of_the_test(tmp_path: Path) -> None:
    """Then a large picture and a small one fill the crop alike."""
    cfg = get_cfg()
    cfg.merge_from_list(
        ["INPUT.FORMAT", "RGB", "INPUT.MIN_SIZE_TEST", 24, "INPUT.SCALE_FROM_TEST_SIZE", True]
        + ["INPUT.MIN_SIZE_TRAIN", (0,)]
        + [
            "INPUT.SCALE_RANGE",
            [1.0, 1.0],
            "INPUT.CROP.ENABLED",
            False,
            "INPUT.RANDOM_FLIP",
            "none",
        ]
        + ["INPUT.COLOR_AUG", False]
    )
    for size in ((12, 18), (240, 360)):
        image, labels = tmp_path / "i.png", tmp_path / "l.png"
        Image.fromarray(np.full((*size, 3), 7, np.uint8)).save(image)
        Image.fromarray(np.zeros(size, np.uint8)).save(labels)
        sample = TrainMapper.from_config(cfg, LabelFormat(2))(
            {"file_name": image, "sem_seg_file_name": labels}
        )
        assert sample["image"].shape == (3, 24, 36)
        assert sample["sem_seg"].shape == (24, 36)
        assert TestMapper.from_config(cfg)({"file_name": image})["image"].shape == (3, 24, 36)
