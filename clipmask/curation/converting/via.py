"""Reading of VGG Image Annotator's JSON, version 2.

Format: https://www.robots.ox.ac.uk/~vgg/software/via/
"""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

from clipmask.curation.converting.files import read_json, reading
from clipmask.curation.converting.shapes import (
    Annotations,
    Labelled,
    Shape,
    box,
    ellipse,
    floats,
    polygons,
    with_area,
)


def is_via(content: Any) -> bool:
    """Returns whether the content of a JSON file is a project or an export of VIA."""
    entries = content.get("_via_img_metadata", content) if isinstance(content, dict) else None
    if not isinstance(entries, dict) or not entries:
        return False
    return all(
        isinstance(item, dict) and {"filename", "regions"} <= item.keys()
        for item in entries.values()
    )


def read_via(path: Path, split: str | None) -> Annotations:
    """Reads polygons, rectangles, circles and ellipses.

    The first attribute of a region is its class.

    Arguments and errors are those of ``read_coco``.
    """
    content = read_json(path)
    skipped: Counter[str] = Counter()
    pictures = []
    with reading(path, "VIA's"):
        for item in content.get("_via_img_metadata", content).values():
            regions = item["regions"]
            if isinstance(regions, dict):
                regions = regions.values()
            what = "points, lines and regions without a name"
            shapes = with_area(map(_shape, regions), skipped, what)
            pictures.append(Labelled(str(item["filename"]), shapes, path.parent, split))
    return Annotations(tuple(pictures), skipped=skipped)


def _shape(region: dict[str, Any]) -> Shape | None:
    value = next(iter(region["region_attributes"].values()), None)
    if isinstance(value, dict):
        name = next((key for key, on in value.items() if on), "")
    else:
        name = str(value or "").strip()
    form = region["shape_attributes"]
    if not name:
        return None
    if form["name"] == "polygon":
        pairs = zip(form["all_points_x"], form["all_points_y"], strict=True)
        return polygons(name, [list(map(float, itertools.chain.from_iterable(pairs)))])
    if form["name"] == "rect":
        return box(name, *floats(form, "x", "y", "width", "height"))
    if form["name"] == "circle":
        return ellipse(name, *floats(form, "cx", "cy", "r", "r"))
    if form["name"] == "ellipse":
        return ellipse(name, *floats(form, "cx", "cy", "rx", "ry"))
    return None
