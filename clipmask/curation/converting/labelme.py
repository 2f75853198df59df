"""Reading of Labelme's JSON, one file per picture (https://github.com/wkentaro/labelme)."""

from __future__ import annotations

import base64
import io
import itertools
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from clipmask.curation.converting.files import read_json, reading
from clipmask.curation.converting.shapes import (
    LINES,
    Annotations,
    Labelled,
    Shape,
    bitmap,
    ellipse,
    polygons,
    with_area,
)


def is_labelme(content: Any) -> bool:
    """Returns whether the content of a JSON file is in Labelme's format."""
    return isinstance(content, dict) and "shapes" in content and "imagePath" in content


def read_labelme(path: Path, split: str | None) -> Annotations:
    """Reads polygons, rectangles, circles and masks; points and lines are skipped.

    Arguments and errors are those of ``read_coco``.
    """
    content = read_json(path)
    skipped: Counter[str] = Counter()
    with reading(path, "Labelme's"):
        shapes = with_area(map(_shape, content["shapes"]), skipped, LINES)
        picture = str(content["imagePath"]).replace("\\", "/")
    return Annotations((Labelled(picture, shapes, path.parent, split),), skipped=skipped)


def _shape(item: dict[str, Any]) -> Shape | None:
    name, points = str(item["label"]), [(float(x), float(y)) for x, y in item["points"]]
    kind = item.get("shape_type") or "polygon"
    if kind in ("polygon", "rotation", "oriented_rectangle"):
        return polygons(name, [list(itertools.chain.from_iterable(points))])
    if kind == "rectangle":
        left, top = map(min, zip(*points, strict=True))
        right, bottom = map(max, zip(*points, strict=True))
        return polygons(name, [[left, top, right, top, right, bottom, left, bottom]])
    if kind == "circle":
        radius = math.dist(points[0], points[1])
        return ellipse(name, *points[0], radius, radius)
    if kind == "mask":
        mask = np.asarray(Image.open(io.BytesIO(base64.b64decode(item["mask"])))).astype(bool)
        return bitmap(name, mask, round(points[0][0]), round(points[0][1]))
    return None
