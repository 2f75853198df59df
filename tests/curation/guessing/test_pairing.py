"""In each tree the pictures meet their own label maps, in the terms of a descriptor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clipmask.curation.guessing.pairing import find_pairing
from clipmask.errors import UserError
from tests.curation.guessing.trees import COUNT, TREES, colored, grey, photo, save

EXPECTED: dict[str, dict[str, Any]] = {
    "images_and_labels": {"images": "images", "labels": "labels", "label_suffix": ".png"},
    "one_folder": {"images": ".", "labels": ".", "label_suffix": "_mask.png"},
    "camvid": {
        "images": ".",
        "labels": ".",
        "label_folders": {"train": "trainannot", "val": "valannot"},
    },
    "cityscapes": {
        "images": "leftImg8bit",
        "labels": "gtFine",
        "image_suffix": "_leftImg8bit.png",
        "label_suffix": "_gtFine_labelIds.png",
    },
    "splits_outside": {"images": ".", "labels": ".", "label_folders": {"images": "masks"}},
    "splits_inside": {"images": "img", "labels": "mask"},
    "prefixes": {
        "images": "data",
        "labels": "data",
        "image_prefix": "img_",
        "label_prefix": "mask_",
    },
    "flat_labels": {"images": "images", "labels": "labels", "flat": True},
    "mapillary": {
        "images": ".",
        "labels": ".",
        "image_suffix": ".jpg",
        "label_folders": {"images": "v2.0/labels"},
    },
    "pascal_voc": {"images": "VOC/JPEGImages", "labels": "VOC/SegmentationClass"},
}


@pytest.mark.parametrize("name", TREES)
def test_trees(tmp_path: Path, name: str) -> None:
    TREES[name](tmp_path)
    pairing = find_pairing(tmp_path)
    wanted = {
        "image_suffix": None,
        "label_suffix": ".png",
        "label_folders": {},
        "flat": False,
        **EXPECTED[name],
    }
    got = {key: getattr(pairing, key) for key in wanted}
    assert {
        key: str(value) if key in ("images", "labels") else value for key, value in got.items()
    } == wanted
    assert len(pairing.pairs) == COUNT
    assert (
        len({image for image, _ in pairing.pairs})
        == len({labels for _, labels in pairing.pairs})
        == COUNT
    )


def test_flat_pictures_are_told_from_labels_by_their_names(tmp_path: Path) -> None:
    for number in range(3):
        save(colored(), tmp_path / f"photos/{number}.png")
        save(grey(), tmp_path / f"annotations/{number}.png")
    pairing = find_pairing(tmp_path)
    assert (str(pairing.images), str(pairing.labels)) == ("photos", "annotations")


def test_one_split_alone(tmp_path: Path) -> None:
    save(photo(), tmp_path / "train/images/0.jpg")
    save(grey(), tmp_path / "train/masks/0.png")
    pairing = find_pairing(tmp_path)
    assert (str(pairing.images), str(pairing.labels), pairing.label_folders) == (
        "train/images",
        "train/masks",
        {},
    )


def test_pictures_of_other_kinds_beside_them_are_none(tmp_path: Path) -> None:
    for number in range(3):
        save(photo(number), tmp_path / f"{number}.jpg")
        save(grey(), tmp_path / f"{number}_mask.png")
        save(photo(9), tmp_path / f"{number}_preview.png")
    pairing = find_pairing(tmp_path)
    assert (pairing.image_suffix, pairing.label_suffix) == (".jpg", "_mask.png")


def test_left_and_right_pictures_are_no_labels(tmp_path: Path) -> None:
    for number in range(3):
        save(photo(number), tmp_path / f"left/{number}.jpg")
        save(photo(number + 9), tmp_path / f"right/{number}.jpg")
    with pytest.raises(
        UserError,
        match=r"6 pictures, but no.*label map.*looked for images/",
    ):
        find_pairing(tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no picture"):
        find_pairing(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        find_pairing(tmp_path / "none")


@pytest.mark.parametrize("pattern", ["masks/{}/{}.png", "masks/{1}_{0}.png"])
def test_one_mask_for_each_class_is_not_taken_for_a_label_map(tmp_path: Path, pattern: str) -> None:
    for number in range(COUNT):
        save(photo(number), tmp_path / f"images/s{number}.jpg")
        for kind in ("crop", "weed", "soil"):
            save(grey(2), tmp_path / pattern.format(kind, f"s{number}"))
    with pytest.raises(UserError, match=r"for each class.*clipmask-data convert .* --format masks"):
        find_pairing(tmp_path)


def test_masks_of_other_pictures_are_no_further_classes(tmp_path: Path) -> None:
    """As in DAVIS: frames of several films are called alike."""
    for film in ("bear", "car", "dog"):
        for number in range(4):
            save(photo(number), tmp_path / f"JPEGImages/{film}/{number:05}.jpg")
            save(grey(2), tmp_path / f"Annotations/{film}/{number:05}.png")
    pairing = find_pairing(tmp_path)
    assert (str(pairing.images), str(pairing.labels)) == ("JPEGImages", "Annotations")
    assert len(pairing.pairs) == 12


def test_frames_of_a_film_are_no_pairs(tmp_path: Path) -> None:
    """As in A2D2, where camera stands in the middle of a name, and label in its place."""
    for number in range(10):
        for kind, image in (("camera", photo(number)), ("label", colored())):
            save(image, tmp_path / f"{kind}/2018_{kind}_front_{number:09}.png")
    with pytest.raises(UserError, match="no label maps"):
        find_pairing(tmp_path)
    for number in range(6):  # but numbers may tell pictures from label maps
        save(photo(number), tmp_path / f"pairs/{number:05}x_0.png")
        save(colored(), tmp_path / f"pairs/{number:05}x_1.png")
    assert find_pairing(tmp_path / "pairs").label_suffix == "_1.png"


def test_semantic_masks_come_before_those_of_instances(tmp_path: Path) -> None:
    """As in iSAID."""
    for number in range(COUNT):
        save(photo(number), tmp_path / f"images/P{number:04}.png")
        save(colored(), tmp_path / f"Semantic_masks/P{number:04}_instance_color_RGB.png")
        save(colored(), tmp_path / f"Instance_masks/P{number:04}_instance_id_RGB.png")
    assert str(find_pairing(tmp_path).labels) == "Semantic_masks"


def test_photographs_come_before_pictures_of_depth(tmp_path: Path) -> None:
    """As in Freiburg's forest."""
    for number in range(COUNT):
        save(photo(number), tmp_path / f"rgb/b{number}_Clipped.jpg")
        save(photo(number).convert("L"), tmp_path / f"depth_gray/b{number}.tif")
        save(photo(number), tmp_path / f"nir_color/b{number}.tif")
        save(colored(), tmp_path / f"GT_color/b{number}_mask.png")
    pairing = find_pairing(tmp_path)
    assert (str(pairing.images), pairing.image_suffix) == ("rgb", "_Clipped.jpg")


def test_the_folder_of_label_maps_may_be_named(tmp_path: Path) -> None:
    """As in DRIVE: fields of view beside the vessels, masks of two values both."""
    for number in range(COUNT):
        save(photo(number), tmp_path / f"images/{number}_training.tif")
        save(
            grey(2).point(lambda value: 255 * (value > 0)),
            tmp_path / f"1st_manual/{number}_manual1.png",
        )
        save(grey(2).point(lambda value: 255), tmp_path / f"mask/{number}_training_mask.png")
    pairing = find_pairing(tmp_path, "1st_manual")
    assert str(pairing.labels) == "1st_manual"
    assert len(pairing.pairs) == COUNT
    with pytest.raises(UserError, match="--labels 2nd_manual"):
        find_pairing(tmp_path, "2nd_manual")
