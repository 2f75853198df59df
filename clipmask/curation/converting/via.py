"""Reading of VGG Image Annotator's JSON, version 2.

Format: https://www.robots.ox.ac.uk/~vgg/software/via/
"""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

from clipmask.curation.converting.files import fault, read_json
from clipmask.curation.converting.shapes import Annotations, Labelled, Shape, box, ellipse, polygons


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

    Args:
        path: the file.
        split: the split of its pictures, or None.

    Raises:
        UserError: the file violates the format.
    """
    content = read_json(path)
    skipped: Counter[str] = Counter()
    pictures = []
    try:
        for item in content.get("_via_img_metadata", content).values():
            regions = item["regions"]
            shapes = []
            for region in regions.values() if isinstance(regions, dict) else regions:
                shape = _shape(region)
                skipped["points, lines and regions without a name"] += shape is None
                shapes += [] if shape is None else [shape]
            pictures.append(Labelled(str(item["filename"]), tuple(shapes), path.parent, split))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise fault(path, "not as VIA's format says", error) from error
    return Annotations(tuple(pictures), skipped=+skipped)


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
        return box(name, *(float(form[key]) for key in ("x", "y", "width", "height")))
    if form["name"] == "circle":
        return ellipse(
            name, float(form["cx"]), float(form["cy"]), float(form["r"]), float(form["r"])
        )
    if form["name"] == "ellipse":
        return ellipse(name, *(float(form[key]) for key in ("cx", "cy", "rx", "ry")))
    return None
