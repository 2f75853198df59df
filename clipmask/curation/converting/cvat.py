"""Reading of CVAT's XML format "CVAT for images 1.1" (https://docs.cvat.ai)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from clipmask.curation.converting.files import read_xml, reading
from clipmask.curation.converting.shapes import (
    LINES,
    Annotations,
    Labelled,
    Shape,
    bitmap,
    box,
    ellipse,
    floats,
    polygons,
    with_area,
)
from clipmask.errors import UserError


def read_cvat(path: Path, split: str | None) -> Annotations:
    """Reads polygons, masks, boxes and ellipses; points and lines are skipped.

    Shapes with a higher ``z_order`` come later.

    Arguments and errors are those of ``read_coco``; ``split`` is that of pictures without a subset.
    """
    root = read_xml(path)
    if root.find("track") is not None and root.find("image") is None:
        raise UserError(
            f"annotations {path}: belong to a film (CVAT for video); export the task as 'CVAT for"
            " images 1.1', which has the shapes of each frame"
        )
    skipped: Counter[str] = Counter()
    colors: dict[str, tuple[int, int, int]] = {}
    names = []
    pictures = []
    with reading(path, "CVAT's"):
        for label in root.iter("label"):
            name, color = label.findtext("name"), label.findtext("color") or ""
            if name:
                names.append(name)
                if len(color) == 7 and color.startswith("#"):
                    red, green, blue = bytes.fromhex(color[1:])
                    colors[name] = red, green, blue
        for image in root.iter("image"):
            drawn = (item for item in image if item.tag != "tag")
            items = sorted(drawn, key=lambda item: int(item.get("z_order", 0)))
            shapes = with_area(map(_shape, items), skipped, LINES)
            subset = image.get("subset") or split
            pictures.append(Labelled(image.attrib["name"], shapes, path.parent, subset))
    return Annotations(tuple(pictures), tuple(names), colors, skipped)


def _shape(item: Element) -> Shape | None:
    name = item.get("label", "")
    if item.tag == "polygon":
        points = item.attrib["points"].replace(";", ",").split(",")
        return polygons(name, [list(map(float, points))])
    if item.tag == "box":
        left, top, right, bottom = floats(item.attrib, "xtl", "ytl", "xbr", "ybr")
        middle = (left + right) / 2, (top + bottom) / 2
        degrees = float(item.get("rotation", 0))
        return box(name, left, top, right - left, bottom - top, degrees=degrees, around=middle)
    if item.tag == "ellipse":
        x, y, across, down = floats(item.attrib, "cx", "cy", "rx", "ry")
        return ellipse(name, x, y, across, down, degrees=float(item.get("rotation", 0)))
    if item.tag == "mask":
        left, top = int(item.attrib["left"]), int(item.attrib["top"])
        width, height = int(item.attrib["width"]), int(item.attrib["height"])
        # run lengths row by row, which alternate between 0 and 1 and begin with 0
        runs = list(map(int, item.attrib["rle"].split(",")))
        flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
        return bitmap(name, flat.reshape(height, width), left, top)
    return None
