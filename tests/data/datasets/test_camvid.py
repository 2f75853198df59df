"""CamVid: every form of its lists means the same samples; the real files load where they are at
hand.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipmask.d2 import DatasetCatalog, MetadataCatalog
from clipmask.data.datasets.camvid import load_camvid
from clipmask.data.label_format import LabelFormat
from clipmask.data.reading import read_image, read_labels
from clipmask.errors import UserError

STEMS = {
    "train": ["0001TP_006690", "0006R0_f00930"],
    "val": ["0016E5_07959"],
    "test": ["Seq05VD_f00000"],
}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with a tiny CamVid, lists of stems."""
    for part, stems in STEMS.items():
        for name, mode in ((part, "RGB"), (f"{part}annot", "L")):
            (tmp_path / "camvid" / name).mkdir(parents=True)
            for stem in stems:
                Image.new(mode, (6, 4)).save(tmp_path / "camvid" / name / f"{stem}.png")
        (tmp_path / "camvid" / f"{part}.txt").write_text("\n".join(stems) + "\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIPMASK_DATASETS", str(tmp_path))
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    return tmp_path


def test_samples_follow_the_list(root: Path) -> None:
    records = DatasetCatalog.get("camvid_sem_seg_train")
    assert records == [
        {
            "file_name": str(root / "camvid" / "train" / f"{stem}.png"),
            "sem_seg_file_name": str(root / "camvid" / "trainannot" / f"{stem}.png"),
        }
        for stem in STEMS["train"]
    ]
    assert load_camvid("trainval") == records + load_camvid("val")
    assert len(load_camvid("test")) == 1


@pytest.mark.parametrize(
    "line",
    [
        "/SegNet/CamVid/train/{0}.png /SegNet/CamVid/trainannot/{0}.png",
        "train/{0}.png trainannot/{0}.png",
        "{0}.png\t{0}.png",
        "{0}.png",
        "{0}.jpg",
        "  {0}  \n",
    ],
)
def test_every_form_of_the_list_means_the_same(root: Path, line: str) -> None:
    expected = load_camvid("train")
    (root / "camvid" / "train.txt").write_text(
        "".join(line.format(stem) + "\n" for stem in STEMS["train"])
    )
    assert load_camvid("train") == expected


def test_images_may_be_jpeg_while_the_list_says_png(root: Path) -> None:
    for stem in STEMS["train"]:
        png = root / "camvid" / "train" / f"{stem}.png"
        Image.open(png).save(png.with_suffix(".jpg"))
        png.unlink()
    (root / "camvid" / "train.txt").write_text(
        "".join(f"/a/train/{s}.png /a/trainannot/{s}.png\n" for s in STEMS["train"])
    )
    assert [Path(record["file_name"]).suffix for record in load_camvid("train")] == [".jpg", ".jpg"]


def test_faults_of_a_list_are_told_with_their_line(root: Path) -> None:
    path = root / "camvid" / "train.txt"
    path.write_text("0001TP_006690\n\nnowhere\n")
    with pytest.raises(UserError, match=r"train\.txt, line 3: names .*nowhere\.png"):
        load_camvid("train")
    path.write_text("a b c\n")
    with pytest.raises(UserError, match=r"train\.txt, line 1: has 3 columns"):
        load_camvid("train")
    path.write_text("\n")
    with pytest.raises(UserError, match="lists no samples"):
        load_camvid("train")
    path.write_text("0001TP_006690\n")
    (root / "camvid" / "trainannot" / "0001TP_006690.png").unlink()
    with pytest.raises(UserError, match=r"line 1: names .*trainannot"):
        load_camvid("train")


def test_a_missing_split_shows_the_tree(root: Path) -> None:
    (root / "camvid" / "test.txt").unlink()
    with pytest.raises(
        UserError,
        match=r"camvid_sem_seg_test was not found.*no camvid/test\.txt.*test/\*\.png.*testannot",
    ):
        load_camvid("test")


def test_metadata() -> None:
    metadata = MetadataCatalog.get("camvid_sem_seg_trainval")
    assert metadata.stuff_classes == (
        [
            "sky",
            "building",
            "pole",
            "road",
            "sidewalk",
            "tree",
            "sign",
            "fence",
            "car",
            "pedestrian",
            "bicyclist",
        ]
    )
    assert metadata.ignore_label == 11
    assert metadata.evaluator_type == "sem_seg"
    assert len({tuple(rgb) for rgb in metadata.stuff_colors}) == 11
    assert set(metadata.class_aliases) <= set(metadata.stuff_classes)
    others = [name for names in metadata.class_aliases.values() for name in names]
    # no name means two classes
    assert len(set(others) | set(metadata.stuff_classes)) == len(others) + 11


@pytest.mark.skipif("CLIPMASK_TEST_DATA" not in os.environ, reason="needs the real pictures")
def test_the_real_files_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPMASK_DATASETS", os.environ["CLIPMASK_TEST_DATA"])
    assert len(load_camvid("train")) == 367
    assert len(load_camvid("trainval")) == 468
    seen = np.zeros(12, bool)
    for record in load_camvid("val")[::5]:
        image = read_image(record["file_name"])
        labels = read_labels(record["sem_seg_file_name"], LabelFormat(11, 11), size=image.shape[:2])
        assert image.shape == (360, 480, 3)
        seen[np.unique(labels)] = True
    assert seen.all()
