"""The original CamVid: every colour has its class, the split is SegNet's, and a fault stops the
work with its place.
"""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipmask.d2 import DatasetCatalog
from clipmask.data.catalog import load_dataset
from clipmask.data.datasets import camvid_original
from clipmask.data.datasets.camvid import CLASSES
from clipmask.data.datasets.camvid_original import (
    BLENDED,
    COLOURS,
    class_ids,
    frequency_table,
    prepare,
    split_of,
)
from clipmask.data.label_format import LabelFormat
from clipmask.data.reading import read_labels
from clipmask.errors import UserError
from tests.conftest import ROOT

SCRIPT = ROOT / "datasets" / "prepare_camvid.py"
STEMS = ("0001TP_006690", "0006R0_f00930", "0016E5_07959", "0001TP_008550", BLENDED)
GROUPS = {
    "sky": "Sky",
    "building": "Archway Bridge Building Tunnel Wall",
    "pole": "Column_Pole TrafficCone",
    "road": "LaneMkgsDriv LaneMkgsNonDriv Road",
    "sidewalk": "ParkingBlock RoadShoulder Sidewalk",
    "tree": "Tree VegetationMisc",
    "sign": "Misc_Text SignSymbol TrafficLight",
    "fence": "Fence",
    "car": "Car OtherMoving SUVPickupTruck Train Truck_Bus",
    "pedestrian": "Animal CartLuggagePram Child Pedestrian",
    "bicyclist": "Bicyclist MotorcycleScooter",
}


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
    """A distribution of five frames, in each of which all colours occur; and the expectation of
    five.
    """
    folder = tmp_path / "camvid720"
    coloured = np.array([rgb for rgb, _ in COLOURS.values()], np.uint8).reshape(4, 8, 3)
    for stem in STEMS:
        save(folder / "701_StillsRaw_full" / f"{stem}.png", np.zeros((4, 8, 3), np.uint8))
        save(folder / "LabeledApproved_full" / f"{stem}_L.png", coloured)
    monkeypatch.setattr(camvid_original, "COUNTS", {"train": 2, "val": 1, "test": 2})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIPMASK_DATASETS", str(tmp_path))
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    return folder


@pytest.mark.parametrize("name", COLOURS)
def test_each_colour_has_its_class(tmp_path: Path, name: str) -> None:
    expected = next((i for i, group in enumerate(GROUPS.values()) if name in group.split()), 11)
    assert (expected == 11) == (name == "Void")
    path = save(tmp_path / "a.png", np.full((2, 3, 3), COLOURS[name][0], np.uint8))
    assert class_ids(path).tolist() == [[expected] * 3] * 2


def test_the_colours_are_those_of_the_distribution() -> None:
    assert list(GROUPS) == list(CLASSES)
    assert len({rgb for rgb, _ in COLOURS.values()}) == len(COLOURS) == 32
    # Channels step by 64; the sum of all was taken from label_colors.txt, so that no slip of a
    # digit stays unseen.
    assert {channel for rgb, _ in COLOURS.values() for channel in rgb} == {0, 64, 128, 192}
    assert np.sum([rgb for rgb, _ in COLOURS.values()], axis=0).tolist() == [3328, 2560, 3264]
    for name in (
        "Sky",
        "Building",
        "Road",
        "Tree",
        "SignSymbol",
        "Fence",
        "Car",
        "Pedestrian",
        "Bicyclist",
    ):
        assert COLOURS[name][0] == CLASSES[COLOURS[name][1] or ""]


def test_the_split_has_segnets_sizes() -> None:
    splits = [split_of(stem) for stem in all_stems()]
    assert {
        split: splits.count(split) for split in ("train", "val", "test")
    } == camvid_original.COUNTS
    with pytest.raises(UserError, match="frankfurt_000000 *: is no frame of CamVid"):
        split_of("frankfurt_000000")


@pytest.mark.skipif("CLIPMASK_TEST_DATA" not in os.environ, reason="needs the real lists")
@pytest.mark.parametrize("split", ["train", "val"])
def test_the_split_is_segnets(split: str) -> None:
    stems = Path(os.environ["CLIPMASK_TEST_DATA"], "camvid", f"{split}.txt").read_text().split()
    assert len(stems) == camvid_original.COUNTS[split]
    assert {split_of(stem) for stem in stems} == {split}


def test_what_is_prepared_loads(folder: Path) -> None:
    table = prepare(folder)
    records = {
        split: DatasetCatalog.get(f"camvid720_sem_seg_{split}")
        for split in ("train", "val", "test")
    }
    assert {split: len(found) for split, found in records.items()} == {
        "train": 2,
        "val": 1,
        "test": 2,
    }
    assert DatasetCatalog.get("camvid720_sem_seg_trainval") == records["train"] + records["val"]
    assert load_dataset("camvid720_sem_seg_train", labelled=True).ignore_label == 11
    for record in records["train"] + records["val"] + records["test"]:
        labels = read_labels(record["sem_seg_file_name"], LabelFormat(11, 11), size=(4, 8))
        stem = Path(record["file_name"]).stem
        assert (labels == class_ids(folder / "LabeledApproved_full" / f"{stem}_L.png")).all()
    assert [line.split()[0] for line in table.splitlines()] == ["%", *CLASSES, "void"]
    # 5 of the 32 colours
    assert table.splitlines()[9].split() == ["car", "15.62", "15.62", "15.62"]
    assert prepare(folder) == table
    assert not list(folder.rglob("*.part"))


def test_shares_are_of_all_pixels() -> None:
    table = frequency_table({"train": np.arange(12), "val": np.zeros(12, np.int64)})
    assert table.splitlines()[-1].split() == ["void", "16.67", "0.00"]


def test_an_unknown_colour_is_refused_or_void(folder: Path) -> None:
    path = folder / "LabeledApproved_full" / f"{STEMS[1]}_L.png"
    pixels = np.array(Image.open(path))
    pixels[2, 5] = (128, 128, 77)
    save(path, pixels)
    with pytest.raises(
        UserError,
        match=rf"{STEMS[1]}_L\.png: colour \(128, 128, 77\) at x=5, y=2 .*unknown-is-void",
    ):
        prepare(folder)
    assert not (folder / "train.txt").exists()
    prepare(folder, unknown_is_void=True)
    assert read_labels(folder / "labels" / f"{STEMS[1]}.png", LabelFormat(11, 11))[2, 5] == 11


def test_the_frame_that_is_known_for_its_blends_is_accepted(folder: Path) -> None:
    path = folder / "LabeledApproved_full" / f"{BLENDED}_L.png"
    save(path, np.full((4, 8, 3), 77, np.uint8))
    prepare(folder)
    assert (read_labels(folder / "labels" / f"{BLENDED}.png", LabelFormat(11, 11)) == 11).all()


def test_what_is_missing_or_wrong_is_told(folder: Path) -> None:
    coloured = folder / "LabeledApproved_full" / f"{STEMS[0]}_L.png"
    save(coloured, np.zeros((4, 7, 3), np.uint8))
    with pytest.raises(UserError, match=r"0001TP_006690_L\.png: is 7x4 pixels .* its image is 8x4"):
        prepare(folder)
    coloured.unlink()
    with pytest.raises(UserError, match=r"0001TP_006690_L\.png: no such file \(1 label"):
        prepare(folder)
    (folder / "701_StillsRaw_full" / f"{STEMS[0]}.png").unlink()
    with pytest.raises(
        UserError, match="holds 1 train, 1 val, 2 test frames, but the distribution has 2 train"
    ):
        prepare(folder)
    (folder / "LabeledApproved_full").rename(folder / "elsewhere")
    with pytest.raises(
        UserError, match=r"LabeledApproved_full: no such folder.*LabeledApproved_full\.zip"
    ):
        prepare(folder)


def run_script(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, root: Path
) -> tuple[int, str, str]:
    """Runs the script with ``root`` as the dataset root; returns its status and what it printed on
    both streams.
    """
    monkeypatch.chdir(root)
    monkeypatch.setenv("CLIPMASK_DATASETS", str(root))
    monkeypatch.setattr(sys, "argv", [str(SCRIPT)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert isinstance(ended.value.code, int)
    return ended.value.code, *capsys.readouterr()


def test_the_script_prepares_a_whole_distribution(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "camvid720"
    for stem in all_stems():
        save(folder / "701_StillsRaw_full" / f"{stem}.png", np.zeros((2, 2, 3), np.uint8))
        save(folder / "LabeledApproved_full" / f"{stem}_L.png", np.full((2, 2, 3), 128, np.uint8))
    status, out, progress = run_script(capsys, monkeypatch, tmp_path)
    assert status == 0
    assert "701/701" in progress
    assert out.splitlines()[1].split() == ["sky", "100.00", "100.00", "100.00"]
    lines = [
        len((folder / f"{split}.txt").read_text().splitlines())
        for split in ("train", "val", "test")
    ]
    assert lines == [367, 101, 233]


def test_the_script_says_where_it_looked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    status, out, complaint = run_script(capsys, monkeypatch, tmp_path)
    assert (status, out) == (2, "")
    assert complaint.startswith("error: dataset the original CamVid was not found")
    assert "camvid720/701_StillsRaw_full and camvid720/LabeledApproved_full" in complaint
