"""Small exports of annotation tools, all of the same scene: a square of crop, and a smaller one of
weed upon it.
"""

from __future__ import annotations

import base64
import io
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

SIZE = (30, 40)
CROP, WEED = (4, 24, 5, 30), (10, 16, 8, 20)  # top, bottom, left, right
STEMS = ("a", "b")


def truth() -> np.ndarray:
    """0 background, 1 crop, 2 weed."""
    labels = np.zeros(SIZE, np.uint8)
    for id, (top, bottom, left, right) in enumerate((CROP, WEED), 1):
        labels[top:bottom, left:right] = id
    return labels


def area(place: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    mask[place[0] : place[1], place[2] : place[3]] = 1
    return mask


def corners(place: tuple[int, int, int, int]) -> list[tuple[int, int]]:
    top, bottom, left, right = place
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def ring(place: tuple[int, int, int, int]) -> list[float]:
    return [float(value) for point in corners(place) for value in point]


def photo(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(str(path)))
    Image.fromarray(rng.integers(0, 256, (*SIZE, 3), np.uint8)).save(path)


def photos(root: Path, folder: str = "images") -> None:
    for stem in STEMS:
        photo(root / folder / f"{stem}.jpg")


def dump(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def _coco_content(
    segmentations: list[Any], stems: tuple[str, ...] = STEMS, top: bool = False
) -> dict[str, Any]:
    categories = [{"id": 1, "name": "crop"}, {"id": 2, "name": "weed"}]
    if top:
        categories = [{"id": 0, "name": "plants", "supercategory": "none"}] + [
            {**item, "supercategory": "plants"} for item in categories
        ]
    return {
        "images": [
            {"id": n, "file_name": f"{stem}.jpg", "height": 30, "width": 40}
            for n, stem in enumerate(stems)
        ],
        "categories": categories,
        "annotations": [
            {
                "id": 10 * n + kind,
                "image_id": n,
                "category_id": 2 - kind,
                "segmentation": part,
                "iscrowd": 0,
            }
            for n in range(len(stems))
            # weed first: the smaller one counts all the same
            for kind, part in enumerate(segmentations[::-1])
        ],
    }


def coco_polygons(root: Path) -> Path:
    photos(root)
    return dump(root / "annotations/instances.json", _coco_content([[ring(CROP)], [ring(WEED)]]))


def coco_rle(root: Path) -> Path:
    photos(root)
    packed = coco_mask.encode(np.asfortranarray(area(CROP)))
    counts, last, run = [], 0, 0
    for value in area(WEED).ravel(order="F").tolist():
        if value != last:
            counts.append(run)
            last, run = value, 0
        run += 1
    listed = {"size": list(SIZE), "counts": [*counts, run]}
    return dump(
        root / "a.json", _coco_content([{**packed, "counts": packed["counts"].decode()}, listed])
    )


def roboflow(root: Path) -> Path:
    for split, stem in (("train", "a"), ("valid", "b")):
        photo(root / split / f"{stem}.jpg")
        content = _coco_content([[ring(CROP)], [ring(WEED)]], (stem,), top=True)
        dump(root / split / "_annotations.coco.json", content)
    return root


def panoptic(root: Path) -> Path:
    """Segments 300, 70000 and 7 of crop, crop and weed; background is a class of its own."""
    photos(root)
    kinds = {1: "background", 2: "crop", 3: "weed"}
    annotations = []
    for n, stem in enumerate(STEMS):
        segments = np.array([9, 300, 7])[truth()]
        segments[(truth() == 1) & (np.arange(SIZE[1]) > 20)] = 70000
        (root / "panoptic_val").mkdir(exist_ok=True)
        pixels = np.stack([segments & 255, segments >> 8 & 255, segments >> 16], -1)
        Image.fromarray(pixels.astype(np.uint8)).save(root / f"panoptic_val/{stem}.png")
        info = [
            {"id": id, "category_id": kind} for id, kind in ((9, 1), (300, 2), (7, 3), (70000, 2))
        ]
        annotations.append({"image_id": n, "file_name": f"{stem}.png", "segments_info": info})
    content = {
        "images": [{"id": n, "file_name": f"{stem}.jpg"} for n, stem in enumerate(STEMS)],
        "categories": [{"id": id, "name": name} for id, name in kinds.items()],
        "annotations": annotations,
    }
    return dump(root / "panoptic_val.json", content)


def labelme(root: Path) -> Path:
    photos(root, ".")
    buffer = io.BytesIO()
    Image.fromarray(area(WEED)[10:16, 8:20].astype(bool)).save(buffer, "PNG")
    for stem in STEMS:
        shapes = [
            {"label": "crop", "points": [[5, 4], [30, 24]], "shape_type": "rectangle"},
            {"label": "weed", "points": [[8, 10], [19, 15]], "shape_type": "mask",
             "mask": base64.b64encode(buffer.getvalue()).decode()},
            {"label": "weed", "points": [[1, 1]], "shape_type": "point"},
        ]  # fmt: skip
        dump(root / f"{stem}.json", {"version": "5", "imagePath": f"{stem}.jpg", "shapes": shapes})
    return root


def yolo(root: Path) -> Path:
    photos(root, "images/train")
    for stem in STEMS:
        lines = [f"{kind} " + " ".join(f"{x / 40} {y / 30}" for x, y in corners(place))
                 for kind, place in enumerate((CROP, WEED))]  # fmt: skip
        path = root / f"labels/train/{stem}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([*lines, "0 0.5 0.5 0.1 0.1"]) + "\n")
    (root / "data.yaml").write_text("names: {0: crop, 1: weed}\ntrain: images/train\n")
    return root


def cvat(root: Path) -> Path:
    photos(root)
    inside = area(WEED)[10:16, 8:20]
    points = ";".join(f"{x},{y}" for x, y in corners(CROP))
    images = "".join(
        f'<image id="{n}" name="{stem}.jpg" width="40" height="30"><mask label="weed" z_order="1"'
        f' left="8" top="10" width="12" height="6" rle="0,{inside.size}"/><polygon label="crop"'
        f' points="{points}" z_order="0"/><points label="crop" points="1,1"/></image>'
        for n, stem in enumerate(STEMS)
    )
    labels = "".join(f"<label><name>{n}</name><color>{c}</color></label>" for n, c in
                     (("crop", "#00ff00"), ("weed", "#ff0000")))  # fmt: skip
    text = (
        "<?xml"
        f" version='1.0'?><annotations><meta><task><labels>{labels}</labels></task></meta>{images}</annotations>"  # noqa: E501
    )
    (root / "annotations.xml").write_text(text)
    return root / "annotations.xml"


def via(root: Path) -> Path:
    photos(root)
    xs, ys = zip(*corners(CROP), strict=True)
    regions = [
        {"shape_attributes": {"name": "polygon", "all_points_x": xs, "all_points_y": ys},
         "region_attributes": {"kind": "crop"}},
        {"shape_attributes": {"name": "rect", "x": 8, "y": 10, "width": 12, "height": 6},
         "region_attributes": {"kind": {"weed": True}}},
    ]  # fmt: skip
    content = {
        f"{stem}.jpg123": {"filename": f"{stem}.jpg", "size": 123, "regions": regions}
        for stem in STEMS
    }
    return dump(root / "via.json", {"_via_settings": {}, "_via_img_metadata": content})


def pack_bits(values: np.ndarray) -> list[int]:
    """Packs bytes as thi.ng's rle-pack does, in runs of equal values of up to 256, and single ones
    unrepeated.
    """
    bits = [f"{len(values):032b}", f"{7:05b}", *(f"{width - 1:04b}" for width in (3, 4, 8, 16))]
    start = 0
    while start < len(values):
        end = start + 1
        while end < len(values) and end - start < 256 and values[end] == values[start]:
            end += 1
        if end - start == 1:
            bits += ["0", "00", "000", f"{values[start]:08b}"]
        else:
            bits += ["1", "10", f"{end - start - 1:08b}", f"{values[start]:08b}"]
        start = end
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return [int(text[place : place + 8], 2) for place in range(0, len(text), 8)]


def label_studio(root: Path) -> Path:
    photos(root)
    common = {"original_width": 40, "original_height": 30}
    layer = np.repeat(area(WEED)[..., None] * np.uint8(255), 4, -1)
    results = [
        {
            **common,
            "type": "polygonlabels",
            "value": {
                "polygonlabels": ["crop"],
                "points": [[x / 0.4, y / 0.3] for x, y in corners(CROP)],
            },
        },
        {
            **common,
            "type": "brushlabels",
            "value": {"brushlabels": ["weed"], "rle": pack_bits(layer.ravel())},
        },
    ]
    tasks = [
        {"id": n, "data": {"image": f"/data/upload/1/0123abcd-{stem}.jpg"},
         "annotations": [{"was_cancelled": True, "result": []}, {"result": results}]}
        for n, stem in enumerate(STEMS)
    ]  # fmt: skip
    return dump(root / "project.json", tasks)


def label_studio_short(root: Path) -> Path:
    photos(root)
    common = {"original_width": 40, "original_height": 30}
    points = [[x / 0.4, y / 0.3] for x, y in corners(CROP)]
    top, bottom, left, right = WEED
    turned = {"x": right / 0.4, "y": top / 0.3, "rotation": 90.0,
              "width": (bottom - top) / 0.4, "height": (right - left) / 0.3}  # fmt: skip
    tasks = [
        {"id": n, "image": f"http://host/data/upload/1/0123abcd-{stem}.jpg?token=x",
         "label": [{**common, "points": points, "polygonlabels": ["crop"]},
                   {**common, **turned, "rectanglelabels": ["weed"]}]}
        for n, stem in enumerate(STEMS)
    ]  # fmt: skip
    return dump(root / "short.json", tasks)


def supervisely(root: Path) -> Path:
    photos(root, "ds/img")
    buffer = io.BytesIO()
    layer = np.repeat(area(WEED)[10:16, 8:20][..., None] * np.uint8(255), 4, -1)
    Image.fromarray(layer).save(buffer, "PNG")
    packed = base64.b64encode(zlib.compress(buffer.getvalue())).decode()
    hole = [[12, 12], [14, 12], [14, 14], [12, 14]]  # below the weed
    objects = [
        {"classTitle": "crop", "geometryType": "polygon",
         "points": {"exterior": corners(CROP), "interior": [hole]}},
        {"classTitle": "weed", "geometryType": "bitmap",
         "bitmap": {"origin": [8, 10], "data": packed}},
        {"classTitle": "weed", "geometryType": "point", "points": {"exterior": [[1, 1]]}},
    ]  # fmt: skip
    for stem in STEMS:
        content = {"size": {"height": 30, "width": 40}, "objects": objects}
        dump(root / f"ds/ann/{stem}.jpg.json", content)
    classes = [{"title": "crop", "color": "#00FF00"}, {"title": "weed", "color": "#FF0000"}]
    dump(root / "meta.json", {"classes": classes})
    return root


def kaggle_runs(mask: np.ndarray, order: Literal["F", "C"] = "F") -> str:
    """The runs of a mask (H, W), counted from 1 down the columns (F) or along the rows (C)."""
    flat = np.concatenate([[0], mask.ravel(order=order), [0]]).astype(int)
    places = np.flatnonzero(np.diff(flat)) + 1
    runs = [(start, end - start) for start, end in places.reshape(-1, 2).tolist()]
    return " ".join(f"{start} {length}" for start, length in runs)


def run_lengths(root: Path) -> Path:
    photos(root, "train_images")
    rows = [
        f"{stem}.jpg_{name},{kaggle_runs(area(place))}"
        for stem in STEMS
        for name, place in (("crop", CROP), ("weed", WEED))
    ]
    (root / "train.csv").write_text("Image_Label,EncodedPixels\n" + "\n".join(rows) + "\n")
    form = "".join(f"{stem}.jpg_crop,1 1\n" for stem in STEMS)
    (root / "sample_submission.csv").write_text("Image_Label,EncodedPixels\n" + form)
    return root


def class_folders(root: Path) -> Path:
    photos(root)
    for kind, place in (("crop", CROP), ("weed", WEED)):
        for stem in STEMS:
            (root / f"masks/{kind}").mkdir(parents=True, exist_ok=True)
            Image.fromarray(area(place) * np.uint8(255)).save(root / f"masks/{kind}/{stem}.png")
    return root


def class_names(root: Path) -> Path:
    photos(root, ".")
    for kind, place in (("crop", CROP), ("weed", WEED)):
        for stem in STEMS:
            Image.fromarray(area(place).astype(bool)).save(root / f"{stem}_{kind}.png")
    return root


def arrays(root: Path) -> Path:
    photos(root)
    (root / "labels").mkdir()
    np.save(root / "labels/a.npy", truth().astype(np.int16))
    np.savez_compressed(root / "labels/b.npz", truth()[None])
    return root


EXPORTS: dict[str, Callable[[Path], Path]] = {
    item.__name__: item
    for item in (
        coco_polygons,
        coco_rle,
        roboflow,
        panoptic,
        labelme,
        yolo,
        cvat,
        via,
        label_studio,
        label_studio_short,
        supervisely,
        run_lengths,
        class_folders,
        class_names,
        arrays,
    )
}
