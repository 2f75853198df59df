"""What is concluded of a folder becomes a descriptor that reads back as meant."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clipmask.curation.guessing.guess import SHARES, guess_folder
from clipmask.curation.guessing.writing import descriptor_text
from clipmask.data.datasets.cityscapes import CLASSES as CITYSCAPES
from clipmask.data.descriptor import Descriptor, read_descriptor
from clipmask.data.image_format import ImageFormat
from clipmask.data.reading import read_labels
from clipmask.errors import UserError
from tests.curation.guessing.trees import COUNT, SIZE, TRAIN, TREES, colored, grey, ids, photo, save

BARE = ("class_0", "class_1", "class_2", "class_3")
EXPECTED: dict[str, dict[str, Any]] = {
    "images_and_labels": {
        "encoding": "rgb",
        "class_names": ("road", "sky", "vegetation", "person"),
    },
    "one_folder": {"class_names": ("class_0", "class_1"), "ignore_ids": (254,)},
    "camvid": {"class_names": BARE},
    "cityscapes": {
        "class_names": tuple(CITYSCAPES),
        "ignore_ids": (-1, *range(7), 9, 10, 14, 15, 16, 18, 29, 30, 255),
    },
    "splits_outside": {"class_names": ("background", "tall crop", "weed")},
    "splits_inside": {"class_names": ("background", "road", "zebra crossing", "car", "bus")},
    "prefixes": {"class_names": BARE},
    "flat_labels": {"class_names": BARE},
    "mapillary": {"class_names": BARE},
    "pascal_voc": {"class_names": ("background", "boat", "sea", "shore")},
}


def _described(root: Path, place: Path, **options: Any) -> Descriptor:
    text = descriptor_text(guess_folder(root, **options), "mine", place)
    place.mkdir(exist_ok=True)
    (place / "mine.yaml").write_text(text, encoding="utf-8")
    return read_descriptor(place / "mine.yaml")


@pytest.mark.parametrize("name", TREES)
def test_trees_read_back(tmp_path: Path, name: str) -> None:
    TREES[name](tmp_path / "data")
    descriptor = _described(tmp_path / "data", tmp_path / "elsewhere")
    for key, value in {
        "encoding": "ids",
        "ignore_ids": (255,),
        "name": "mine",
        **EXPECTED[name],
    }.items():
        assert getattr(descriptor, key) == value, key
    samples = descriptor.samples()
    assert len(descriptor.pairs()) == COUNT
    assert descriptor.num_unlabelled == 0
    if name in ("images_and_labels", "one_folder", "prefixes", "flat_labels"):
        assert descriptor.splits == SHARES.sources
    else:
        assert {split: len(records) for split, records in samples.items()} == {
            "train": TRAIN,
            "val": COUNT - TRAIN,
        }
    for record in samples["train"]:  # every value is a class or void
        read_labels(record["sem_seg_file_name"], descriptor.label_format)


def test_the_text_explains_itself(tmp_path: Path) -> None:
    TREES["camvid"](tmp_path)
    text = descriptor_text(guess_folder(tmp_path, sample=2), "mine", tmp_path)
    for words in (
        "2 of its 6 label maps",
        "PLACEHOLDERS",
        "# Void (pixels without a class): 255",
        "clipmask-data check",
        "folders: train",
    ):
        assert words in text


def test_names_with_letters_that_yaml_knows(tmp_path: Path) -> None:
    TREES["camvid"](tmp_path / "data")
    names = ["yes", "a: b", "crossing #1", "Straße, nass"]
    assert _described(tmp_path / "data", tmp_path, names=names).class_names == tuple(names)
    with pytest.raises(UserError, match="--names has 1 names"):
        guess_folder(tmp_path / "data", ["one"])


def test_lists_that_name_other_files_are_not_taken(tmp_path: Path) -> None:
    TREES["images_and_labels"](tmp_path)
    for split in ("train", "val"):
        (tmp_path / f"{split}.txt").write_text("elsewhere/99.jpg\n")
    splits = guess_folder(tmp_path).splits
    assert splits.sources == SHARES.sources
    assert "train.txt, val.txt" in splits.why
    (tmp_path / "train.txt").write_text("0\n1\n")
    (tmp_path / "val.txt").write_text("/elsewhere/images/2.jpg /elsewhere/labels/2.png\n")
    assert guess_folder(tmp_path).splits.sources == {
        "train": Path("train.txt"),
        "val": Path("val.txt"),
    }


def test_deep_pictures_get_their_range(tmp_path: Path) -> None:
    TREES["camvid"](tmp_path)
    rng = np.random.default_rng(0)
    for path in [*tmp_path.glob("train/*.png"), *tmp_path.glob("val/*.png")]:
        Image.fromarray(rng.integers(0, 4096, SIZE).astype(np.uint16)).save(path)
    assert _described(tmp_path, tmp_path / "here").image_format == ImageFormat(range=(0, 4095))


def test_ade20k_is_known_by_its_file_of_names(tmp_path: Path) -> None:
    """Its id 0 is what no class was found for."""
    for number in range(6):
        save(photo(number), tmp_path / f"images/{number}.jpg")
        save(grey(4), tmp_path / f"annotations/{number}.png")
    rows = ["1\t0.1\t9\t9\t1\twall", "2\t0.1\t9\t9\t1\tbuilding, edifice", "3\t0.1\t9\t9\t1\tsky"]
    (tmp_path / "objectInfo150.txt").write_text(
        "Idx\tRatio\tTrain\tVal\tStuff\tName\n" + "\n".join(rows)
    )
    descriptor = _described(tmp_path, tmp_path / "here")
    assert descriptor.class_names == ("wall", "building", "sky")
    assert [item.id for item in descriptor.classes] == [1, 2, 3]
    assert descriptor.ignore_ids == (0,)


def test_train_ids_of_cityscapes_are_known(tmp_path: Path) -> None:
    TREES["cityscapes"](tmp_path)
    for path in [*tmp_path.rglob("*_gtFine_labelIds.png")]:
        save(grey(4, 255), path.with_name(path.name.replace("labelIds", "labelTrainIds")))
    descriptor = _described(tmp_path, tmp_path / "here")
    assert descriptor.files.label_suffix == "_gtFine_labelTrainIds.png"
    assert descriptor.class_names == tuple(CITYSCAPES)
    assert [item.id for item in descriptor.classes] == list(range(19))
    assert descriptor.ignore_ids == (255,)


def test_the_full_release_of_ade20k_is_refused_with_the_way_out(tmp_path: Path) -> None:
    """Its colours are of instances, each of which would be a class."""
    for number in range(3):
        save(photo(number), tmp_path / f"training/ADE_train_{number:08}.jpg")
        save(colored(), tmp_path / f"training/ADE_train_{number:08}_seg.png")
    with pytest.raises(UserError, match="ADEChallengeData2016"):
        guess_folder(tmp_path)


def test_kitti_is_known_by_its_folders_and_has_the_ids_of_cityscapes(tmp_path: Path) -> None:
    """Beside the ids of classes it has their colours, and 16-bit numbers of instances."""
    table = np.array([0, 7, 23, 26])
    for number in range(COUNT):
        place = f"training/{{}}/{number:06}_10.png"
        save(photo(number), tmp_path / place.format("image_2"))
        save(colored(), tmp_path / place.format("semantic_rgb"))
        save(Image.fromarray(table[ids()].astype(np.uint8)), tmp_path / place.format("semantic"))
        instances = (table[ids()] * 256).astype(np.uint16)
        instances[:20][ids()[:20] == 3] += 1
        save(Image.fromarray(instances), tmp_path / place.format("instance"))
    descriptor = _described(tmp_path, tmp_path / "here")
    assert descriptor.labels == tmp_path / "training/semantic"
    assert descriptor.class_names == tuple(CITYSCAPES)
    read = read_labels(descriptor.pairs()[0][1], descriptor.label_format)
    names = [None if id == descriptor.ignore_label else descriptor.class_names[id] for id in
             np.unique(read)]  # fmt: skip
    assert set(names) == {"road", "sky", "car", None}
    with pytest.raises(UserError, match="256"):
        guess_folder(tmp_path, labels="instance")


def test_pascal_voc_is_known_by_its_palette(tmp_path: Path) -> None:
    TREES["pascal_voc"](tmp_path)
    (tmp_path / "VOC/labelmap.txt").unlink()
    descriptor = _described(tmp_path, tmp_path / "here")
    assert descriptor.class_names[:3] == ("background", "aeroplane", "bicycle")
    assert len(descriptor.classes) == 21
    assert descriptor.ignore_ids == (255,)
    # many tools use the palette for classes of the user's own
    (tmp_path / "VOC/SegmentationClass").rename(tmp_path / "VOC/Annotations")
    assert _described(tmp_path, tmp_path / "here").class_names == BARE


def _write_ids(path: Path, labels: np.ndarray) -> None:
    Image.fromarray(labels.astype(np.uint8)).save(path)


def _scene(
    root: Path, ending: str = ".png", write: Callable[[Path, np.ndarray], Any] = _write_ids
) -> np.ndarray:
    """Four pictures with three stripes of labels, which ``write`` saves; returns their ids."""
    labels = np.array([[0, 1, 2]]).repeat(48, 0).repeat(32, 1)
    for number in range(4):
        noise = np.random.default_rng(number).integers(0, 256, (48, 96, 3), np.uint8)
        save(Image.fromarray(noise), root / f"images/{number}.png")
        (root / "labels").mkdir(exist_ok=True)
        write(root / f"labels/{number}{ending}", labels)
    return labels


@pytest.mark.parametrize("colors", [((0, 0, 0), (128, 64, 128), (0, 200, 0)),
                                    ((0, 0, 0), (120, 120, 120), (255, 255, 255))])  # fmt: skip
def test_labels_saved_as_jpeg_are_read_by_their_main_colours(
    tmp_path: Path, colors: tuple[tuple[int, int, int], ...]
) -> None:
    def write(path: Path, labels: np.ndarray) -> None:
        Image.fromarray(np.array(colors, np.uint8)[labels]).save(path, quality=80)

    labels = _scene(tmp_path / "data", ".jpg", write)
    descriptor = _described(tmp_path / "data", tmp_path / "elsewhere")
    found = np.array([item.color for item in descriptor.classes])
    assert np.abs(found - sorted(colors)).max() <= 3
    order = np.array([sorted(colors).index(color) for color in colors])
    read = read_labels(descriptor.pairs()[0][1], descriptor.label_format)
    known = read != descriptor.ignore_label
    assert known.mean() > 0.9
    assert (read[known] == order[labels][known]).mean() > 0.98


@pytest.mark.parametrize("kind", [np.int64, np.float64])
def test_label_maps_of_64_bits(tmp_path: Path, kind: type) -> None:
    tifffile = pytest.importorskip("tifffile")
    labels = _scene(
        tmp_path / "data", ".tif", lambda path, ids: tifffile.imwrite(path, ids.astype(kind))
    )
    descriptor = _described(tmp_path / "data", tmp_path / "elsewhere")
    assert [item.id for item in descriptor.classes] == [0, 1, 2]
    read = read_labels(descriptor.pairs()[0][1], descriptor.label_format)
    np.testing.assert_array_equal(read, labels)


def test_tables_may_be_lists_of_splits(tmp_path: Path) -> None:
    _scene(tmp_path / "data")
    for split, numbers in (("train", (0, 1, 2)), ("val", (3,))):
        rows = [f"images/{number}.png,labels/{number}.png\n" for number in numbers]
        (tmp_path / f"data/{split}.csv").write_text("image,mask\n" + "".join(rows))
    samples = _described(tmp_path / "data", tmp_path / "elsewhere").samples()
    assert {split: len(records) for split, records in samples.items()} == {"train": 3, "val": 1}


@pytest.mark.parametrize(
    "files",
    [
        {"splits.json": {"train": ["0", "images/2.png", "3"], "validation": ["1.png"]}},
        {"split.json": {"0": "train", "1": "val", "2": "train", "3": "train"}},
        {"train.json": [{"image": "0.png"}, {"image": "2"}, {"image": "3"}], "val.json": ["1"]},
    ],
)
def test_json_files_may_be_lists_of_splits(tmp_path: Path, files: dict[str, Any]) -> None:
    _scene(tmp_path / "data")
    for name, content in files.items():
        (tmp_path / "data" / name).write_text(json.dumps(content))
    samples = _described(tmp_path / "data", tmp_path / "elsewhere").samples()
    found = {
        split: [Path(record["file_name"]).stem for record in records]
        for split, records in samples.items()
    }
    assert found == {"train": ["0", "2", "3"], "val": ["1"]}


@pytest.mark.parametrize("place", ["", "labels/", "images/"])
def test_trainval_beside_test_is_trained_on(tmp_path: Path, place: str) -> None:
    """As in Oxford's pets, where the lists lie beside the labels and have columns."""
    _scene(tmp_path / "data")
    (tmp_path / f"data/{place}trainval.txt").write_text("0 1 1 1\n2 1 1 1\n")
    (tmp_path / f"data/{place}test.txt").write_text("1 1 1 1\n3 1 1 1\n")
    samples = _described(tmp_path / "data", tmp_path / "elsewhere").samples()
    stems = {
        split: [Path(record["file_name"]).stem for record in records]
        for split, records in samples.items()
    }
    assert stems == {"train": ["0", "2"], "test": ["1", "3"]}
    for split, number in (("train", 2), ("val", 0)):  # then the finer lists count
        (tmp_path / f"data/{place}{split}.txt").write_text(f"{number}\n")
    assert guess_folder(tmp_path / "data").splits.sources == {
        split: Path(f"{place}{split}.txt") for split in ("train", "val", "test")
    }


def test_folders_of_train_and_val_together(tmp_path: Path) -> None:
    """As in SUIM."""
    for number in range(6):
        top = "train_val" if number < 4 else "TEST"
        save(photo(number), tmp_path / f"data/{top}/images/{number}.jpg")
        save(colored(), tmp_path / f"data/{top}/masks/{number}.bmp")
    samples = _described(tmp_path / "data", tmp_path / "here").samples()
    assert {split: len(records) for split, records in samples.items()} == {"train": 4, "test": 2}


@pytest.mark.parametrize("content", ['{"train": ["0"]}', '{"train": ["x"], "val": ["y"]}', "{"])
def test_lists_that_are_not_understood_are_named(tmp_path: Path, content: str) -> None:
    _scene(tmp_path / "data")
    (tmp_path / "data/splits.json").write_text(content)
    assert "splits.json" in guess_folder(tmp_path / "data").splits.why
    (tmp_path / "data/train.txt").write_text("0\n1\n")  # the other list is missing
    assert "train.txt" in guess_folder(tmp_path / "data").splits.why


def test_what_check_wrote_is_passed_over(tmp_path: Path) -> None:
    _scene(tmp_path / "data")
    before = guess_folder(tmp_path / "data").pairing
    for name in ("classes.png", "samples/0.png", "samples/0_mask.png"):
        save(grey(), tmp_path / "data/mine_check" / name)
    (tmp_path / "data/mine_check/report.json").write_text("{}")
    assert guess_folder(tmp_path / "data").pairing == before


def test_smoothed_edges_of_small_pictures_that_meet_are_no_classes(tmp_path: Path) -> None:
    colors = np.array([(0, 0, 0), (128, 64, 128), (200, 0, 0), (0, 200, 0)], np.uint8)

    def write(path: Path, labels: np.ndarray) -> None:
        labels = labels.copy()
        labels[30:] = 3  # one edge along the whole picture, which meets the others
        large = Image.fromarray(colors[labels]).resize((384, 192), Image.Resampling.NEAREST)
        large.transform((384, 192), Image.Transform.AFFINE, (1, 0, 2, 0, 1, 2)).resize(
            (96, 48), Image.Resampling.BILINEAR
        ).save(path)

    _scene(tmp_path / "data", ".png", write)
    descriptor = _described(tmp_path / "data", tmp_path / "elsewhere")
    assert {item.color for item in descriptor.classes} == {
        tuple(color) for color in colors.tolist()
    }
    assert descriptor.color_tolerance > 0
    assert descriptor.others_are_void


def test_ids_from_one_take_the_names_of_a_list(tmp_path: Path) -> None:
    for number in range(COUNT):
        save(photo(number), tmp_path / f"images/{number}.jpg")
        save(Image.fromarray(ids(3) + 1), tmp_path / f"labels/{number}.png")
    (tmp_path / "classes.txt").write_text("sky\nroad\ncar\n")
    classes = guess_folder(tmp_path).values.classes
    assert [(item.id, item.name) for item in classes] == [(1, "sky"), (2, "road"), (3, "car")]
