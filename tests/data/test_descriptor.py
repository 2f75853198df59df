"""A YAML file becomes registered datasets: right files, right ids, and every mistake is told with
its place.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from clipmask.d2 import MetadataCatalog
from clipmask.data.catalog import label_reader, load_dataset
from clipmask.data.descriptor import read_descriptor
from clipmask.data.descriptor_datasets import register_descriptor
from clipmask.data.label_format import LabelFormat
from clipmask.errors import UserError

from .described import COLORS, VOID, write_described, write_tree, write_yaml

pytestmark = pytest.mark.usefixtures("catalogs")


def test_what_is_left_out_has_defaults(tmp_path: Path) -> None:
    write_tree(tmp_path, "pics/x/1.png", "ids/x/1.png")
    described = read_descriptor(
        write_yaml(tmp_path / "my set.yaml", images="pics", labels="ids", classes=["a", "b"])
    )
    assert (described.name, described.encoding, described.ignore_ids) == ("my_set", "ids", (255,))
    assert (described.files.image_suffix, described.files.label_suffix) == (None, ".png")
    assert described.splits == {"train": 0.8, "val": 0.2}
    assert [(item.name, item.id, item.color) for item in described.classes] == [
        ("a", 0, None),
        ("b", 1, None),
    ]
    assert described.label_format == LabelFormat(2)


def test_labels_lie_in_the_tree_of_the_images(tmp_path: Path) -> None:
    write_tree(
        tmp_path,
        "i/a/1_img.png",
        "i/b/2_img.png",
        "i/b/3_img.png",
        "l/a/1_ids.png",
        "l/b/2_ids.png",
        "i/other.png",
    )
    path = write_yaml(
        tmp_path / "d.yaml",
        images="i",
        labels="l",
        image_suffix="_img.png",
        label_suffix="_ids.png",
        classes=["a"],
        splits={"train": 1},
    )
    described = read_descriptor(path)
    assert described.pairs() == [
        (tmp_path / f"i/{stem}_img.png", tmp_path / f"l/{stem}_ids.png")
        for stem in ("a/1", "b/2", "b/3")
    ]
    samples = described.samples()["train"]
    assert [Path(record["file_name"]).name for record in samples] == ["1_img.png", "2_img.png"]
    assert described.num_unlabelled == 1


@pytest.mark.parametrize("labels", [".", "masks"])
def test_labels_beside_or_below_the_images_are_no_images(tmp_path: Path, labels: str) -> None:
    write_tree(
        tmp_path, "1.png", "sub/2.png", f"{labels}/1_m.png", f"{labels}/sub/2_m.png", ".hidden.png"
    )
    path = write_yaml(
        tmp_path / "d.yaml", images=".", labels=labels, label_suffix="_m.png", classes=["a"]
    )
    assert [image.name for image, _ in read_descriptor(path).pairs()] == ["1.png", "2.png"]


def test_files_that_are_labels_by_their_name_leave_no_image(tmp_path: Path) -> None:
    write_tree(tmp_path, "1.png", "2.png")
    path = write_yaml(tmp_path / "d.yaml", images=".", labels=".", classes=["a"])
    with pytest.raises(
        UserError, match=r"names end as a picture's, and not in '\.png' \(label_suffix\)"
    ):
        read_descriptor(path).pairs()


def test_images_and_labels_may_branch_inside_of_thewrite_tree(tmp_path: Path) -> None:
    write_tree(
        tmp_path,
        "train/img/x/1.png",
        "train/mask/x/1.png",
        "val/img/2.png",
        "val/mask/2.png",
        "preview/3.png",
    )
    path = write_yaml(
        tmp_path / "d.yaml", images=".", labels=".", classes=["a"], label_folders={"img": "mask"},
        splits={"train": "train", "val": "val"},
    )  # fmt: skip
    samples = read_descriptor(path).samples()
    assert [Path(record["sem_seg_file_name"]) for record in samples["train"] + samples["val"]] == [
        tmp_path / "train/mask/x/1.png", tmp_path / "val/mask/2.png",
    ]  # fmt: skip


def test_images_below_the_labels_are_images(tmp_path: Path) -> None:
    write_tree(tmp_path, "images/1.png", "1.png")
    path = write_yaml(tmp_path / "d.yaml", images="images", labels=".", classes=["a"])
    assert read_descriptor(path).pairs() == [(tmp_path / "images/1.png", tmp_path / "1.png")]


@pytest.mark.parametrize("encoding", ["ids", "palette", "rgb"])
def test_all_encodings_say_the_same(tmp_path: Path, encoding: str) -> None:
    names = register_descriptor(write_described(tmp_path, encoding=encoding))
    assert names == {"train": "fields_train", "val": "fields_val"}
    dataset, read = load_dataset("fields_train", labelled=True), label_reader("fields_train")
    assert dataset.classes == tuple(COLORS)
    assert MetadataCatalog.get("fields_val").stuff_colors == [
        list(color) for color in COLORS.values()
    ]
    for record in dataset.records:
        labels, image = (
            read(record["sem_seg_file_name"]),
            np.asarray(Image.open(record["file_name"])).astype(int),
        )
        assert (labels[0, :4] == 255).all()
        expected = (image - 60).argmax(2)  # blue, green, red are the classes 0, 1, 2
        assert (labels[1:] == 2 - expected[1:]).mean() > 0.99


def test_ids_of_the_files_need_not_be_places(tmp_path: Path) -> None:
    write_tree(tmp_path, "i/1.png")
    (tmp_path / "l").mkdir()
    Image.fromarray(np.array([[7, 3], [0, 7]], np.uint8)).save(tmp_path / "l/1.png")
    classes = [{"name": "a", "id": 7}, {"name": "b", "id": 3}]
    path = write_yaml(tmp_path / "d.yaml", images="i", labels="l", classes=classes, ignore_id=0)
    register_descriptor(path)
    metadata = MetadataCatalog.get("d_train")
    assert metadata.ignore_label == 255  # 0 is a class here
    assert label_reader("d_train")(tmp_path / "l/1.png").tolist() == [[0, 1], [255, 0]]
    Image.fromarray(np.array([[7, 3], [0, 5]], np.uint8)).save(tmp_path / "l/1.png")
    with pytest.raises(
        UserError, match=r"1\.png: class id 5 out of range \(1 pixels\); expected 7, 3, 0"
    ):
        label_reader("d_train")(tmp_path / "l/1.png")


def test_an_id_beyond_the_classes_is_an_error(tmp_path: Path) -> None:
    write_tree(tmp_path, "i/1.png")
    (tmp_path / "l").mkdir()
    Image.fromarray(np.array([[0, 2]], np.uint8)).save(tmp_path / "l/1.png")
    register_descriptor(write_yaml(tmp_path / "d.yaml", images="i", labels="l", classes=["a", "b"]))
    with pytest.raises(UserError, match=r"1\.png: class id 2 out of range"):
        label_reader("d_train")(tmp_path / "l/1.png")


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml: no such file"):
        read_descriptor(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("[1, 2]")
    with pytest.raises(UserError, match="not a mapping"):
        read_descriptor(tmp_path / "list.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1")
    with pytest.raises(UserError, match="not plain YAML"):
        read_descriptor(tmp_path / "bad.yaml")
    (tmp_path / "i").mkdir()
    (tmp_path / "l").mkdir()
    path = write_yaml(
        tmp_path / "d.yaml", images="i", labels="l", classes=["a"], image_suffix=".jpg"
    )
    with pytest.raises(UserError, match=r"d\.yaml: images: no picture in .*/i .*end in '\.jpg'"):
        read_descriptor(path).pairs()
    write_tree(tmp_path, "i/1.jpg")
    with pytest.raises(
        UserError, match=r"none of the 1 pictures .* 1\.jpg .*l/1\.png.*label_suffix"
    ):
        read_descriptor(path).samples()
    write_tree(tmp_path, "l/1.png")
    register_descriptor(path)
    splits = read_descriptor(path).samples()
    empty = next(split for split, records in splits.items() if not records)
    with pytest.raises(
        UserError, match=rf"the split '{empty}' \(0\.\d\) has no labelled picture; .* has 1 in all"
    ):
        load_dataset(f"d_{empty}", labelled=True)


def test_unknown_colours_are_told(tmp_path: Path) -> None:
    path = write_described(tmp_path)
    content = yaml.safe_load(path.read_text())
    del content["void_colors"]
    register_descriptor(write_yaml(path, **content))
    record = load_dataset("fields_train", labelled=True).records[0]
    message = (
        rf"_mask\.png: the colour \[{', '.join(map(str, VOID))}\] \(4 pixels\) is .*void\. Known"
    )
    with pytest.raises(UserError, match=message):
        label_reader("fields_train")(record["sem_seg_file_name"])


def _labels(path: Path, pixels: Any, mode: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(pixels, np.uint8), mode).save(path)
    return path


def _read(root: Path, pixels: Any, **content: Any) -> Any:
    """The label map of a picture whose label file holds ``pixels``."""
    write_tree(root, "i/1.png")
    _labels(root / "l/1.png", pixels)
    register_descriptor(write_yaml(root / "d.yaml", images="i", labels="l", **content))
    return label_reader("d_train")(root / "l/1.png")


def test_a_class_and_void_may_have_several_ids(tmp_path: Path) -> None:
    classes = [{"name": "a", "id": [3, 7]}, {"name": "b", "id": 5}]
    labels = _read(tmp_path, [[3, 7, 5], [0, 255, 3]], classes=classes, ignore_id=[0, 255])
    assert labels.tolist() == [[0, 0, 1], [255, 255, 0]]


def test_a_class_may_have_several_colours_in_any_notation(tmp_path: Path) -> None:
    classes = [{"name": "a", "color": ["#ff0000", [9, 9, 9]]}, {"name": "b", "color": "#0000FF"}]
    labels = _read(
        tmp_path,
        [[[255, 0, 0], [9, 9, 9], [0, 0, 255], [1, 1, 1]]],
        classes=classes,
        encoding="rgb",
        void_colors=["#010101"],
    )
    assert labels.tolist() == [[0, 0, 1, 255]]
    assert MetadataCatalog.get("d_train").stuff_colors == [[255, 0, 0], [0, 0, 255]]


def test_void_may_be_minus_one(tmp_path: Path) -> None:
    write_tree(tmp_path, "i/1.png")
    (tmp_path / "l").mkdir()
    Image.fromarray(np.array([[0, 1, -1]], np.int32)).save(tmp_path / "l/1.tif")
    path = write_yaml(
        tmp_path / "d.yaml",
        images="i",
        labels="l",
        label_suffix=".tif",
        classes=["a", "b"],
        ignore_id=-1,
    )
    register_descriptor(path)
    labels = label_reader("d_train")(tmp_path / "l/1.tif", dtype=None)
    assert labels.tolist() == [[0, 1, 255]]
    assert labels.dtype == np.uint8


def test_smoothed_edges_count_as_the_nearest_colour_or_as_void(tmp_path: Path) -> None:
    classes = [{"name": "a", "color": [200, 0, 0]}, {"name": "b", "color": [0, 0, 200]}]
    row = [[[200, 0, 0], [190, 0, 10], [100, 0, 100], [20, 0, 180], [0, 0, 200]]]
    options: dict[str, Any] = {"classes": classes, "encoding": "rgb", "color_tolerance": 40}
    assert _read(tmp_path, row, others="void", **options).tolist() == [[0, 0, 255, 1, 1]]
    with pytest.raises(UserError, match=r"the colour \[100, 0, 100\] \(1 pixels\)"):
        _read(tmp_path, row, **options)
    assert _read(tmp_path, row, classes=classes, encoding="rgb", others="void").tolist() == [
        [0, 255, 255, 255, 1]
    ]
    assert _read(tmp_path, [[0, 9, 1]], classes=["a", "b"], others="void").tolist() == [[0, 255, 1]]


def test_transparent_pixels_are_what_the_descriptor_says(tmp_path: Path) -> None:
    row = [[[200, 0, 0, 255], [200, 0, 0, 0], [200, 0, 0, 200], [0, 0, 0, 0]]]
    red = {"name": "a", "color": [200, 0, 0]}
    assert _read(tmp_path, row, classes=[red], encoding="rgb", transparent="void").tolist() == [
        [0, 255, 0, 255]
    ]
    classes = [{"name": "background"}, red]
    labels = _read(tmp_path, row, classes=classes, encoding="rgb", transparent="background")
    assert labels.tolist() == [[1, 0, 1, 0]]
    with pytest.raises(UserError, match=r"3 pixels are transparent; .*transparent: void"):
        _read(tmp_path, row, classes=[red], encoding="rgb")


def test_shares_may_have_a_seed(tmp_path: Path) -> None:
    files = [f"{folder}/{number}.png" for folder in "il" for number in range(20)]
    write_tree(tmp_path, *files)
    drawn = []
    for seed in range(3):
        splits = {"train": 0.8, "val": 0.2, "seed": seed}
        path = write_yaml(tmp_path / "d.yaml", images="i", labels="l", classes=["a"], splits=splits)
        samples = read_descriptor(path).samples()
        assert {split: len(records) for split, records in samples.items()} == {
            "train": 16,
            "val": 4,
        }
        drawn.append(tuple(record["file_name"] for record in samples["val"]))
    assert len(set(drawn)) == 3
