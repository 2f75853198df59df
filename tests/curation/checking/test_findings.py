"""Each thing that is wrong is found, named with its file, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipmask.curation.checking.findings import find_all
from clipmask.curation.checking.subject import open_subject
from tests.conftest import Register
from tests.curation.checking.made import (
    COLORS,
    TRAIN,
    VAL,
    findings,
    label_ids,
    make,
    make_again,
    picture,
    read_all,
    save,
)


@pytest.mark.parametrize("encoding", ["rgb", "ids"])
def test_nothing_is_found_where_nothing_is_wrong(tmp_path: Path, encoding: str) -> None:
    assert findings(make(tmp_path, encoding)) == {}


def test_files_without_partner(tmp_path: Path) -> None:
    path = make(tmp_path)
    (tmp_path / "labels/train/00.png").unlink()
    (tmp_path / "images/val/15.png").unlink()
    found = findings(path)
    assert found.keys() == {"image_without_label", "label_without_image"}
    assert found["image_without_label"].rows == [
        (str(tmp_path / "images/train/00.png"), str(tmp_path / "labels/train/00.png"))
    ]
    assert found["label_without_image"].rows == [(str(tmp_path / "labels/val/15.png"),)]
    assert not any(finding.stops for finding in found.values()), "training leaves them out"


def test_unreadable_files_and_why(tmp_path: Path) -> None:
    path = make(tmp_path)
    (tmp_path / "images/train/01.png").write_bytes(b"no picture")
    damaged = tmp_path / "labels/train/02.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    found = findings(path)
    assert found.keys() == {"unreadable"}
    assert found["unreadable"].stops
    (first, why), (second, reason) = found["unreadable"].rows
    assert (first, second) == (str(tmp_path / "images/train/01.png"), str(damaged))
    assert "not an image" in why
    assert "damaged" in reason
    assert str(damaged) not in reason, "the file stands beside it"


def test_different_sizes(tmp_path: Path) -> None:
    path = make(tmp_path, "ids")
    save(label_ids((24, 30)), tmp_path / "labels/val/13.png")
    found = findings(path)
    assert found.keys() == {"size_mismatch"}
    assert found["size_mismatch"].stops
    assert found["size_mismatch"].rows == [(str(tmp_path / "images/val/13.png"), "32x24", "30x24")]
    assert "orientation" not in found["size_mismatch"].advice
    save(label_ids().T, tmp_path / "labels/val/13.png")
    assert "orientation" in findings(path)["size_mismatch"].advice


def test_unknown_colours_with_the_nearest_class(tmp_path: Path) -> None:
    path = make(tmp_path)
    labels = np.array(list(COLORS.values()), np.uint8)[label_ids()]
    labels[0, :5] = (72, 130, 180)
    for name in ("train/03", "train/04"):
        save(labels, tmp_path / f"labels/{name}.png")
    labels[1, :3] = (255, 255, 255)
    save(labels, tmp_path / "labels/val/12.png")
    found = findings(path)
    assert found.keys() == {"unknown_value"}
    assert found["unknown_value"].stops
    example = str(tmp_path / "labels/train/03.png")
    assert found["unknown_value"].rows[0] == ([72, 130, 180], 3, 15, example, "sky [70, 130, 180]")
    assert found["unknown_value"].rows[1][:3] == ([255, 255, 255], 1, 3)


def test_unknown_ids(tmp_path: Path) -> None:
    path = make(tmp_path, "ids")
    labels = label_ids()
    labels[0, :5] = 77
    labels[1, :5] = 255
    wrong = save(labels, tmp_path / "labels/train/03.png")
    found = findings(path)
    assert found["unknown_value"].rows == [(77, 1, 5, str(wrong))], "255 is void"


def test_wholly_void_labels(tmp_path: Path) -> None:
    path = make(tmp_path, "ids")
    void = save(np.full((24, 32), 255, np.uint8), tmp_path / "labels/val/14.png")
    found = findings(path)
    assert found.keys() == {"void_only"}
    assert found["void_only"].rows == [(str(void), "val")]


def test_equal_pictures_by_their_pixels(tmp_path: Path) -> None:
    path = make(tmp_path)
    first, within, across = (
        tmp_path / f"images/{name}.png" for name in ("train/05", "train/06", "val/13")
    )
    Image.open(first).save(within, compress_level=1)  # other bytes, equal pixels
    assert first.read_bytes() != within.read_bytes()
    found = findings(path)
    assert found.keys() == {"duplicate_within_split"}
    assert found["duplicate_within_split"].rows == [("train", f"{first}, {within}")]
    across.write_bytes((tmp_path / "images/train/07.png").read_bytes())
    found = findings(path)
    assert found.keys() == {"duplicate_within_split", "duplicate_across_splits"}
    assert found["duplicate_across_splits"].rows == [
        ("train, val", f"{tmp_path / 'images/train/07.png'}, {across}")
    ]


def test_alike_pictures_of_several_splits(tmp_path: Path) -> None:
    path = make(tmp_path)
    save((picture(8) * 0.985).astype(np.uint8), tmp_path / "images/val/12.png")
    save((picture(8) * 0.98).astype(np.uint8), tmp_path / "images/train/09.png")
    found = findings(path)
    assert found.keys() == {"alike_across_splits"}
    splits, paths = found["alike_across_splits"].rows[0]
    assert splits == "train, val"
    assert [Path(name).stem for name in paths.split(", ")] == ["08", "09", "12"]


def test_classes_that_training_hardly_sees(tmp_path: Path) -> None:
    classes = [{"name": name, "color": list(color)} for name, color in COLORS.items()]
    path = make(
        tmp_path,
        classes=[
            *classes,
            {"name": "car", "color": [0, 0, 142]},
            {"name": "bus", "color": [9, 9, 9]},
        ],
    )
    labels = np.array(list(COLORS.values()), np.uint8)[label_ids()]
    labels[:2, :2] = (0, 0, 142)
    save(labels, tmp_path / "labels/train/00.png")
    for number in range(12, 16):
        save(labels, tmp_path / f"labels/val/{number}.png")  # what validation sees does not count
    found = findings(path)
    assert found.keys() == {"rare_class"}
    assert found["rare_class"].rows == [("car", 1, 4), ("bus", 0, 0)]


def test_splits_without_pictures_and_pictures_without_split(tmp_path: Path) -> None:
    lists = {"train": "train.txt", "val": "val.txt"}
    (tmp_path / "train.txt").write_text("".join(f"train/{number:02}\n" for number in range(TRAIN)))
    (tmp_path / "val.txt").write_text(
        "".join(f"val/{number:02}\n" for number in range(TRAIN, TRAIN + 10))
    )
    path = make(tmp_path, splits=lists)
    found = findings(path)
    assert found.keys() == {"in_no_split"}
    assert [Path(row[0]).stem for row in found["in_no_split"].rows] == ["22", "23"]
    for number in range(TRAIN, TRAIN + 10):
        (tmp_path / f"labels/val/{number}.png").unlink()
    found = findings(path)
    assert found["empty_split"].rows == [("val",)]
    assert found["empty_split"].stops


def test_what_a_crash_took_is_told(tmp_path: Path) -> None:
    subject = open_subject([str(make(tmp_path))])
    checked = [*read_all(subject)[:-1], (subject.pairs[-1], None)]
    (finding,) = find_all(subject, checked)
    assert finding.kind == "unreadable"
    assert subject.pairs[-1].image in finding.rows[0][0]


def test_as_plain_values(tmp_path: Path) -> None:
    path = make(tmp_path, "ids")
    save(np.full((24, 32), 255, np.uint8), tmp_path / "labels/val/14.png")
    told = findings(path)["void_only"].as_dict()
    assert told["stops_training"] is False
    assert told["rows"] == [{"label map": str(tmp_path / "labels/val/14.png"), "splits": "val"}]


def test_pictures_that_show_nearly_nothing_for_want_of_a_range(tmp_path: Path) -> None:
    path = make(tmp_path)
    dim = tmp_path / "images/train/03.png"
    save((picture(3)[..., 0].astype(np.uint16) * 16), dim)  # 12 bits in a file of 16
    found = findings(path)
    assert found.keys() == {"narrow_range"}
    assert not found["narrow_range"].stops
    assert found["narrow_range"].rows == [(str(dim), "0 to 15")]
    assert "image_range" in found["narrow_range"].advice
    for number in range(TRAIN + VAL):
        name = f"{'train' if number < TRAIN else 'val'}/{number:02}.png"
        save((picture(number)[..., 0].astype(np.uint16) * 16), tmp_path / "images" / name)
    assert findings(make_again(path, image_range=[0, 4095])) == {}


def test_names_without_meaning(tmp_path: Path) -> None:
    classes = [{"name": name, "color": list(COLORS[other])} for name, other in zip(
        ("class_0", "sky", "label 2"), COLORS, strict=True)]  # fmt: skip
    found = findings(make(tmp_path, classes=classes))
    assert found.keys() == {"placeholder_name"}
    assert found["placeholder_name"].rows == [("class_0",), ("label 2",)]


def test_one_label_map_for_two_pictures(tmp_path: Path) -> None:
    path = make(tmp_path)
    save(picture(99), tmp_path / "images/train/03.tif")
    found = findings(path)
    assert found.keys() == {"shared_label"}
    images = ", ".join(str(tmp_path / f"images/train/03{ending}") for ending in (".png", ".tif"))
    assert found["shared_label"].rows == [(str(tmp_path / "labels/train/03.png"), images)]


def test_one_class_or_none_to_train_on(tmp_path: Path) -> None:
    path = make(tmp_path, "ids")
    for number in range(TRAIN):
        save(np.ones((24, 32), np.uint8), tmp_path / f"labels/train/{number:02}.png")
    found = findings(path)
    assert found["one_class"].rows == [("train", "sky")]
    assert not found["one_class"].stops
    for number in range(TRAIN):
        save(np.full((24, 32), 255, np.uint8), tmp_path / f"labels/train/{number:02}.png")
    found = findings(path)
    assert found["nothing_labelled"].stops
    assert "one_class" not in found


def test_splits_that_say_little(tmp_path: Path) -> None:
    path = make(tmp_path, "ids")
    for number in range(TRAIN + 3, TRAIN + VAL):
        (tmp_path / f"images/val/{number:02}.png").unlink()
        (tmp_path / f"labels/val/{number:02}.png").unlink()
    found = findings(path)
    assert found.keys() == {"small_split"}
    assert found["small_split"].rows == [("val", 3)]
    for number in range(TRAIN, TRAIN + 3):
        save(np.ones((24, 32), np.uint8), tmp_path / f"labels/val/{number:02}.png")
    assert findings(path)["unscored_class"].rows == [("val", "road, tree")]


def test_sizes_that_dicts_tell(tmp_path: Path, register: Register) -> None:
    make(tmp_path, "ids")
    records = [
        {"file_name": str(tmp_path / f"images/train/{n:02}.png"),
         "sem_seg_file_name": str(tmp_path / f"labels/train/{n:02}.png"), "height": 24, "width": 32}
        for n in range(TRAIN)
    ]  # fmt: skip
    records[4] |= {"height": 32, "width": 24}
    subject = open_subject([register(records, stuff_classes=list(COLORS))])
    found = {finding.kind: finding for finding in find_all(subject, read_all(subject))}
    assert found.keys() == {"told_size"}
    assert found["told_size"].stops
    assert found["told_size"].rows == [(records[4]["file_name"], "32x24", "24x32")]
