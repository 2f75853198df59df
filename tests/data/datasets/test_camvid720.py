"""The original CamVid: every colour has its class, the split is SegNet's, and what is missing is
named.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipmask.d2 import DatasetCatalog
from clipmask.data.catalog import label_reader, load_dataset
from clipmask.data.datasets import camvid720
from clipmask.data.datasets.camvid import CLASSES, IGNORE_LABEL
from clipmask.data.datasets.camvid720 import GROUPS, VOID, part_of
from clipmask.errors import UserError

STEMS = ("0001TP_006690", "0006R0_f00930", "0016E5_07959", "0001TP_008550", "Seq05VD_f02610")
COLORS = [color for group in GROUPS.values() for color in group.values()]


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def all_stems() -> list[str]:
    """701 names of frames: as many of each film as the distribution has."""
    numbers = [*range(390, 390 + 30 * 204, 30)]  # of 0016E5's slow part; the real ones have gaps
    return [
        *(f"0001TP_{n:06d}" for n in range(6690, 10381, 30)),
        *(f"0006R0_f{n:05d}" for n in range(930, 3931, 30)),
        *(f"0016E5_{n:05d}" for n in [*numbers, *range(7959, 8160, 2)]),
        *(f"Seq05VD_f{n:05d}" for n in range(0, 5101, 30)),
    ]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A distribution of five frames, in each of which all 32 colours occur."""
    folder = tmp_path / "camvid720"
    labels = np.array([*COLORS, VOID], np.uint8).reshape(4, 8, 3)
    for stem in STEMS:
        save(folder / "701_StillsRaw_full" / f"{stem}.png", np.zeros((4, 8, 3), np.uint8))
        save(folder / "LabeledApproved_full" / f"{stem}_L.png", labels)
    monkeypatch.setattr(camvid720, "COUNTS", {"train": 2, "val": 1, "test": 2})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIPMASK_DATASETS", str(tmp_path))
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    return folder


def test_the_colors_are_those_of_the_distribution() -> None:
    assert list(GROUPS) == list(CLASSES)
    assert len({*COLORS, VOID}) == 32
    # Channels step by 64; the sum of all was taken from label_colors.txt, so that a wrong digit is
    # found.
    assert {channel for color in COLORS for channel in color} == {0, 64, 128, 192}
    assert np.sum(COLORS, axis=0).tolist() == [3328, 2560, 3264]
    for name, group in GROUPS.items():
        if name != "sidewalk":  # SegNet draws it in another colour
            assert CLASSES[name] in group.values()


def test_each_color_is_read_as_its_class(folder: Path) -> None:
    record = load_dataset("camvid720_sem_seg_train", labelled=True).records[0]
    labels = label_reader("camvid720_sem_seg_train")(record["sem_seg_file_name"])
    expected = [class_id for class_id, group in enumerate(GROUPS.values()) for _ in group] + [
        IGNORE_LABEL
    ]
    assert labels.ravel().tolist() == expected


def test_blends_of_two_colors_are_void(folder: Path) -> None:
    path = folder / "LabeledApproved_full" / "Seq05VD_f02610_L.png"
    save(path, np.full((4, 8, 3), 77, np.uint8))
    assert (label_reader("camvid720_sem_seg_test")(path) == IGNORE_LABEL).all()


def test_the_split_has_segnets_sizes() -> None:
    parts = [part_of(stem) for stem in all_stems()]
    assert {part: parts.count(part) for part in ("train", "val", "test")} == camvid720.COUNTS
    with pytest.raises(UserError, match="frankfurt_000000"):
        part_of("frankfurt_000000")


@pytest.mark.skipif("CLIPMASK_TEST_DATA" not in os.environ, reason="needs the real lists")
@pytest.mark.parametrize("part", ["train", "val"])
def test_the_split_is_segnets(part: str) -> None:
    stems = Path(os.environ["CLIPMASK_TEST_DATA"], "camvid", f"{part}.txt").read_text().split()
    assert len(stems) == camvid720.COUNTS[part]
    assert {part_of(stem) for stem in stems} == {part}


def test_samples_of_each_split(folder: Path) -> None:
    records = {
        split: load_dataset(f"camvid720_sem_seg_{split}", labelled=True).records
        for split in ("train", "val", "trainval", "test")
    }
    stems = {
        split: [Path(record["file_name"]).stem for record in found]
        for split, found in records.items()
    }
    assert stems["train"] == [STEMS[0], STEMS[1]]
    assert stems["val"] == [STEMS[2]]
    assert stems["trainval"] == stems["train"] + stems["val"]
    assert stems["test"] == [STEMS[3], STEMS[4]]


def test_what_is_missing_is_named(folder: Path) -> None:
    (folder / "LabeledApproved_full" / f"{STEMS[0]}_L.png").unlink()
    with pytest.raises(UserError, match=rf"{STEMS[0]}_L\.png: no such file"):
        load_dataset("camvid720_sem_seg_train", labelled=True)
    (folder / "701_StillsRaw_full" / f"{STEMS[0]}.png").unlink()
    with pytest.raises(UserError, match="1 train, 1 val, 2 test frames"):
        load_dataset("camvid720_sem_seg_train", labelled=True)
    (folder / "LabeledApproved_full").rename(folder / "elsewhere")
    with pytest.raises(UserError, match="LabeledApproved_full"):
        DatasetCatalog.get("camvid720_sem_seg_train")
