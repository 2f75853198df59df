"""Reading of COCO's JSON, which Roboflow, CVAT, Label Studio and others export.

Format: https://cocodataset.org/#format-data
"""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from clipmask.curation.converting.files import read_json, reading
from clipmask.curation.converting.shapes import Annotations, Labelled, Shape, coco_rle, polygons


def is_coco(content: Any) -> bool:
    """Returns whether the content of a JSON file is in COCO's format."""
    return isinstance(content, dict) and {"images", "annotations", "categories"} <= content.keys()


def read_coco(path: Path, split: str | None) -> Annotations:
    """Reads polygons and RLE, including crowds; annotations with only a box are skipped.

    A category without annotations that is the supercategory of others, as Roboflow writes it, is
    not a class.

    Args:
        path: the file.
        split: the split of its pictures, or None.

    Raises:
        UserError: the file violates the format.
    """
    content = read_json(path)
    with reading(path, "COCO's"):
        used = {item["category_id"] for item in content["annotations"]}
        above = {item.get("supercategory") for item in content["categories"]}
        names: dict[Any, str] = {}
        for item in sorted(content["categories"], key=lambda item: item["id"]):
            if item["id"] in used or item["name"] not in above:
                names[item["id"]] = str(item["name"])
        shapes: defaultdict[Any, list[Shape]] = defaultdict(list)
        skipped: Counter[str] = Counter()
        for item in content["annotations"]:
            shape = _shape(names[item["category_id"]], item.get("segmentation"))
            if shape is None:
                skipped["annotations that have a box but no mask"] += 1
            else:
                shapes[item["image_id"]].append(shape)
        pictures = tuple(
            Labelled(str(item["file_name"]), tuple(shapes[item["id"]]), path.parent, split)
            for item in content["images"]
        )
    return Annotations(pictures, tuple(names.values()), skipped=skipped)


def _shape(name: str, value: Any) -> Shape | None:
    if isinstance(value, dict) and value.get("counts"):
        return coco_rle(name, value)
    if isinstance(value, list) and value:
        return polygons(name, value)
    return None
