"""Reading of Supervisely's JSON, one file per picture.

The files are ``ds/img/a.jpg`` with ``ds/ann/a.jpg.json``, and ``meta.json`` with the classes
(https://docs.supervisely.com, "Supervisely JSON format").
"""

from __future__ import annotations

import base64
import functools
import io
import itertools
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from clipmask.curation.converting.files import read_json, reading
from clipmask.curation.converting.shapes import (
    LINES,
    Annotations,
    Labelled,
    Mask,
    Shape,
    bitmap,
    box,
    polygons,
    with_area,
)


def is_supervisely(content: Any) -> bool:
    """Returns whether the content of a JSON file is in Supervisely's format."""
    return isinstance(content, dict) and "objects" in content and "size" in content


def read_supervisely(path: Path, split: str | None) -> Annotations:
    """Reads polygons with holes, bitmaps and rectangles; points and lines are skipped.

    Arguments and errors are those of ``read_coco``.
    """
    content = read_json(path)
    skipped: Counter[str] = Counter()
    with reading(path, "Supervisely's"):
        shapes = with_area(map(_shape, content["objects"]), skipped, LINES)
    colors: dict[str, tuple[int, int, int]] = {}
    names: list[str] = []
    for top in path.parents[1:3]:
        if (top / "meta.json").is_file():
            names, colors = _classes(top / "meta.json")
    folder = path.parent.parent / "img"
    labelled = Labelled(path.stem, shapes, folder, split)
    return Annotations((labelled,), tuple(names), colors, skipped)


def _classes(path: Path) -> tuple[list[str], dict[str, tuple[int, int, int]]]:
    """Returns the class names and colours in the meta.json of a project."""
    names, colors = [], {}
    with reading(path, "Supervisely's"):
        for item in read_json(path)["classes"]:
            names.append(str(item["title"]))
            red, green, blue = bytes.fromhex(str(item["color"]).lstrip("#"))
            colors[names[-1]] = red, green, blue
    return names, colors


def _shape(item: dict[str, Any]) -> Shape | None:
    name, kind = str(item["classTitle"]), item["geometryType"]
    if kind == "polygon":
        points = item["points"]
        rings = [_ring(ring) for ring in (points["exterior"], *points.get("interior", ()))]
        if len(rings[0]) >= 6:
            return Shape(name, functools.partial(_draw, rings))
        return None
    if kind == "rectangle":
        (left, top), (right, bottom) = item["points"]["exterior"]
        return box(name, left, top, right - left + 1, bottom - top + 1)
    if kind == "bitmap":
        raw = zlib.decompress(base64.b64decode(item["bitmap"]["data"]))
        with Image.open(io.BytesIO(raw)) as image:
            mask = np.asarray(image.convert("RGBA"))[..., -1] > 0
            if mask.all():  # without transparency, the mask is the pixels that are not black
                mask = np.asarray(image.convert("L")) > 0
        left, top = item["bitmap"]["origin"]
        return bitmap(name, mask, int(left), int(top))
    return None


def _ring(points: Sequence[Sequence[float]]) -> list[float]:
    return list(map(float, itertools.chain.from_iterable(points)))


def _draw(rings: list[list[float]], height: int, width: int) -> Mask:
    """Draws the first ring without the others, which are its holes."""
    masks = [shape.draw(height, width) for ring in rings if (shape := polygons("", [ring]))]
    mask = masks[0]
    for hole in masks[1:]:
        mask = mask & ~hole
    return mask
