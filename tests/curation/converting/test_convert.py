"""The same scene comes out of every tool's export as the same label maps, with names, colours and
splits.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from PIL import Image

from clipmask.curation.converting.convert import Converted, Options, convert
from clipmask.curation.converting.shapes import box
from clipmask.data.descriptor import Descriptor, read_descriptor
from clipmask.data.reading import read_labels
from clipmask.errors import UserError
from tests.curation.converting.exports import (
    CROP,
    EXPORTS,
    SIZE,
    STEMS,
    WEED,
    area,
    coco_polygons,
    dump,
    photo,
    photos,
    ring,
    truth,
)


def _converted(
    source: Path, output: Path, images: Path | None = None, **options: Any
) -> tuple[Converted, Descriptor]:
    done = convert(source, images, output, Options(**options))
    return done, read_descriptor(output / f"{output.name}.yaml")


def _labels(descriptor: Descriptor) -> dict[str, np.ndarray]:
    return {
        image.stem: read_labels(path, descriptor.label_format, SIZE)
        for image, path in descriptor.pairs()
        if path.is_file()
    }


@pytest.mark.parametrize("name", EXPORTS)
def test_exports_of_all_tools_are_the_same_labels(tmp_path: Path, name: str) -> None:
    source = EXPORTS[name](tmp_path / "data")
    masks = name.startswith("class_")
    done, descriptor = _converted(source, tmp_path / "out", format="masks" if masks else None)
    classes = (
        ("class_0", "class_1", "class_2") if name == "arrays" else ("background", "crop", "weed")
    )
    assert done.names == descriptor.class_names == classes
    assert done.pictures == len(STEMS)
    labels = _labels(descriptor)
    assert set(labels) == set(STEMS)
    for found in labels.values():
        np.testing.assert_array_equal(found, truth())
    if name == "roboflow":
        samples = descriptor.samples()
        stems = {
            split: [Path(record["file_name"]).stem for record in records]
            for split, records in samples.items()
        }
        assert stems == {"train": ["a"], "val": ["b"]}
    if name in ("cvat", "supervisely"):
        assert [item.color for item in descriptor.classes[1:]] == [(0, 255, 0), (255, 0, 0)]
    expected = {"labelme": 2, "yolo": 2, "cvat": 2, "supervisely": 2}
    assert sum(done.skipped.values()) == expected.get(name, 0)


def test_background_may_be_void_or_have_another_name(tmp_path: Path) -> None:
    source = coco_polygons(tmp_path / "data")
    done, descriptor = _converted(source, tmp_path / "void", background=None)
    assert done.names == ("crop", "weed")
    expected = np.array([255, 0, 1])[truth()]
    assert (_labels(descriptor)["a"] == expected).all()
    done, _ = _converted(source, tmp_path / "soil", background="soil")
    assert done.names == ("soil", "crop", "weed")


def test_overlaps_by_the_order_of_the_file(tmp_path: Path) -> None:
    source = coco_polygons(tmp_path / "data")  # crop comes after weed
    _, descriptor = _converted(source, tmp_path / "out", smaller_above=False)
    assert (_labels(descriptor)["a"] == (truth() > 0)).all()


def test_names_give_the_order_and_void_ones_are_void(tmp_path: Path) -> None:
    content = {
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "categories": [{"id": 1, "name": "crop"}, {"id": 2, "name": "ignore"}],
        "annotations": [
            {"image_id": 1, "category_id": 2, "segmentation": [ring((10, 16, 8, 20))]},
            {"image_id": 1, "category_id": 1, "segmentation": [ring((4, 24, 5, 30))], "iscrowd": 0},
        ],
    }
    photos(tmp_path / "data")
    source = dump(tmp_path / "data/x.json", content)
    done, descriptor = _converted(source, tmp_path / "out")
    assert done.names == ("background", "crop")
    assert (_labels(descriptor)["a"] == np.array([0, 1, 255])[truth()]).all()
    done, _ = _converted(source, tmp_path / "named", names=("weed", "crop"))
    assert done.names == ("background", "weed", "crop")
    with pytest.raises(UserError, match="--names lacks crop"):
        _converted(source, tmp_path / "wrong", names=("weed",))


def test_pictures_may_lie_elsewhere(tmp_path: Path) -> None:
    source = coco_polygons(tmp_path / "data")
    moved = tmp_path / "moved"
    (tmp_path / "data/images").rename(moved)
    photos(tmp_path / "data", "others/deep")
    for path in [*(tmp_path / "data/others/deep").iterdir()]:
        path.rename(path.with_name(f"x{path.name}"))
    with pytest.raises(UserError, match=r"'a\.jpg': no such picture in .*--images"):
        _converted(source, tmp_path / "out")
    _, descriptor = _converted(source, tmp_path / "out", images=moved)
    assert (_labels(descriptor)["b"] == truth()).all()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no such file or folder"),
        ({"a.json": "{"}, r"a\.json: is no JSON"),
        ({"a.json": "{}"}, "no annotations of a known format"),
        (
            {"a.json": '{"images": [{}], "annotations": [], "categories": []}'},
            "not as COCO's format says",
        ),
        ({"a.json": '{"images": [], "annotations": [], "categories": []}'}, "no picture"),
        ({"a.xml": "<annotations><image/></annotations>"}, "not as CVAT's format says"),
    ],
)
def test_what_is_no_annotation_is_told(tmp_path: Path, files: dict[str, str], message: str) -> None:
    if files:
        photos(tmp_path / "data")
    for name, text in files.items():
        (tmp_path / "data" / name).write_text(text)
    with pytest.raises(UserError, match=message):
        convert(tmp_path / "data", None, tmp_path / "out", Options())


def test_arrays_that_are_no_label_maps_are_told(tmp_path: Path) -> None:
    photos(tmp_path / "data")
    np.save(tmp_path / "data/a.npy", np.zeros((3, *SIZE)))
    with pytest.raises(UserError, match=r"a\.npy: has the shape \(3, 30, 40\)"):
        convert(tmp_path / "data", None, tmp_path / "out", Options())
    np.save(tmp_path / "data/a.npy", np.full(SIZE, np.nan))
    with pytest.raises(UserError, match=r"a\.npy: holds NaN \(1200 pixels\)"):
        convert(tmp_path / "data", None, tmp_path / "out", Options())
    np.save(tmp_path / "data/a.npy", np.zeros((4, 4), np.uint8))
    with pytest.raises(UserError, match=r"a\.npy: is 4x4 .* picture is 40x30"):
        convert(tmp_path / "data", None, tmp_path / "out", Options())


def test_label_maps_have_the_colours_of_their_classes(tmp_path: Path) -> None:
    _, descriptor = _converted(coco_polygons(tmp_path / "data"), tmp_path / "out")
    colors = np.array([item.color for item in descriptor.classes], np.uint8)
    with Image.open(tmp_path / "out/labels/a.png") as image:
        assert (np.asarray(image.convert("RGB")) == colors[truth()]).all()


def test_an_output_among_the_pictures_holds_none(tmp_path: Path) -> None:
    root = tmp_path / "data"
    EXPORTS["labelme"](root)
    for name in ("once", "again"):
        done, descriptor = _converted(root, root / name)
        assert done.pictures == len(STEMS)
        assert {image.stem for image, _ in descriptor.pairs() if image.suffix == ".jpg"} == {*STEMS}
        assert not any(image.is_relative_to(root / name) for image, _ in descriptor.pairs())


def test_pictures_that_are_not_there_are_counted(tmp_path: Path) -> None:
    source = coco_polygons(tmp_path / "data")
    (tmp_path / "data/images/a.jpg").unlink()
    done, descriptor = _converted(source, tmp_path / "out")
    assert done.pictures == 1
    assert [count for what, count in done.skipped.items() if "a.jpg" in what] == [1]
    assert set(_labels(descriptor)) == {"b"}


def test_boxes_alone_make_no_label_maps(tmp_path: Path) -> None:
    photos(tmp_path / "data")
    content = {
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "categories": [{"id": 1, "name": "crop"}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9]}],
    }
    source = dump(tmp_path / "data/x.json", content)
    with pytest.raises(UserError, match="area .*1 annotations that have a box"):
        _converted(source, tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "names", "expected"),
    [
        ("class_folders", ("plant", "herb"), ("background", "plant", "herb")),
        ("class_folders", ("background", "plant", "herb"), ("background", "plant", "herb")),
        ("arrays", ("soil", "plant", "herb"), ("soil", "plant", "herb")),
    ],
)
def test_classes_without_names_get_those_that_are_given(
    tmp_path: Path, name: str, names: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    source = EXPORTS[name](tmp_path / "data")
    kind = "masks" if name == "class_folders" else None
    done, descriptor = _converted(source, tmp_path / "out", format=kind, names=names)
    assert done.names == expected
    assert (_labels(descriptor)["a"] == truth()).all()


def test_several_masks_of_one_class_are_one(tmp_path: Path) -> None:
    root = tmp_path / "data"
    photos(root, ".")
    for number, place in (("", (4, 24, 5, 12)), ("_1", (4, 24, 12, 30))):
        mask = Image.fromarray(area(place) * np.uint8(255))
        mask.save(root / f"a_mask{number}.png")
    done, descriptor = _converted(root, tmp_path / "out", format="masks")
    assert done.names == ("background", "mask")
    assert (_labels(descriptor)["a"] == (truth() > 0)).all()


def test_masks_may_have_zeros_before_the_numbers_of_pictures(tmp_path: Path) -> None:
    """As in CelebAMask-HQ, whose masks lie in several folders."""
    root = tmp_path / "data"
    for number in (0, 7):
        photo(root / f"CelebA-HQ-img/{number}.jpg")
        for name, place in (("crop", CROP), ("weed", WEED)):
            path = root / f"mask-anno/{number // 5}/{number:05}_{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(area(place) * np.uint8(255)).convert("RGB").save(path)
    done, descriptor = _converted(root, tmp_path / "out", format="masks")
    assert done.names == ("background", "crop", "weed")
    labels = _labels(descriptor)
    assert labels.keys() == {"0", "7"}
    for found in labels.values():
        np.testing.assert_array_equal(found, truth())


def test_the_yaml_of_ultralytics_names_its_folder(tmp_path: Path) -> None:
    root = EXPORTS["yolo"](tmp_path / "data")
    done, _ = _converted(root / "data.yaml", tmp_path / "out")
    assert done.names == ("background", "crop", "weed")
    (root / "data.yaml").unlink()
    done, _ = _converted(root, tmp_path / "numbers")
    assert done.names == ("background", "class_0", "class_1")
    (root / "classes.txt").write_text("crop\nweed\n")
    done, _ = _converted(root, tmp_path / "list")
    assert done.names == ("background", "crop", "weed")


def test_lines_of_json_are_named_for_what_they_are(tmp_path: Path) -> None:
    photos(tmp_path)
    (tmp_path / "export.ndjson").write_text('{"data_row": {}}\n{"data_row": {}}\n')
    with pytest.raises(UserError, match="Labelbox"):
        _converted(tmp_path / "export.ndjson", tmp_path / "out")


def test_archives_are_to_be_unpacked(tmp_path: Path) -> None:
    (tmp_path / "export.zip").write_bytes(b"PK")
    photos(tmp_path)
    with pytest.raises(UserError, match="unpack"):
        _converted(tmp_path / "export.zip", tmp_path / "out")


@pytest.mark.parametrize("degrees", [0, 90, 180])
def test_boxes_turn_around_their_corner_or_middle(degrees: float) -> None:
    corner = box("a", 10, 10, 8, 4, degrees=degrees)
    middle = box("a", 10, 10, 8, 4, degrees=degrees, around=(14, 12))
    assert corner is not None
    assert middle is not None
    expected = np.zeros(SIZE, bool)
    rows, columns = {0: ((10, 14), (10, 18)), 90: ((10, 18), (6, 10)), 180: ((6, 10), (2, 10))}[
        int(degrees)
    ]
    expected[slice(*rows), slice(*columns)] = True
    np.testing.assert_array_equal(corner.draw(*SIZE), expected)
    assert middle.draw(*SIZE).sum() == 32
    assert middle.draw(*SIZE)[11:13, 13:15].all()


def test_results_may_lie_beside_what_was_converted(tmp_path: Path) -> None:
    root = tmp_path / "data"
    EXPORTS["labelme"](root)
    _, descriptor = _converted(root, root / "mine")
    assert descriptor.files.image_suffix == ".jpg"
    assert not descriptor.files.takes(root / "mine_check/samples/0.png")
    assert len(descriptor.pairs()) == len(STEMS)
    EXPORTS["coco_polygons"](tmp_path / "coco")
    _, descriptor = _converted(tmp_path / "coco/annotations/instances.json", tmp_path / "coco/mine")
    assert descriptor.images.name == "images"


def test_pixels_of_no_panoptic_segment_are_void(tmp_path: Path) -> None:
    source = EXPORTS["panoptic"](tmp_path / "data")
    top, _, left, _ = CROP
    with Image.open(tmp_path / "data/panoptic_val/a.png") as image:
        pixels = np.array(image)
    pixels[top, left] = 0
    Image.fromarray(pixels).save(tmp_path / "data/panoptic_val/a.png")
    done, descriptor = _converted(source, tmp_path / "out")
    assert done.background is None
    expected = truth()
    expected[top, left] = 255
    assert (_labels(descriptor)["a"] == expected).all()
    (tmp_path / "data/panoptic_val/b.png").unlink()
    with pytest.raises(UserError, match=r"names the PNG b\.png"):
        _converted(source, tmp_path / "again")


@pytest.mark.parametrize("struct", [False, True])
def test_matlab_files_hold_ids(tmp_path: Path, struct: bool) -> None:
    photos(tmp_path / "data")
    for stem in STEMS:
        value: Any = truth()
        if struct:  # as the Semantic Boundaries Dataset
            value = {"Segmentation": truth(), "CategoriesPresent": np.array([[1], [2]])}
        (tmp_path / "data/cls").mkdir(exist_ok=True)
        scipy.io.savemat(tmp_path / f"data/cls/{stem}.mat", {"GTcls": value})
    _, descriptor = _converted(tmp_path / "data", tmp_path / "out")
    for found in _labels(descriptor).values():
        np.testing.assert_array_equal(found, truth())


@pytest.mark.parametrize("content", [{"a": truth(), "b": truth()}, {"a": "text"}, None])
def test_matlab_files_without_one_label_map(tmp_path: Path, content: Any) -> None:
    photos(tmp_path / "data")
    path = tmp_path / "data/a.mat"
    if content is None:
        path.write_bytes(b"no MATLAB")
    else:
        scipy.io.savemat(path, content)
    with pytest.raises(UserError, match=r"a\.mat"):
        _converted(tmp_path / "data", tmp_path / "out")
