"""Reading of COCO's panoptic format.

A JSON file gives the class of each segment, and the colours in one PNG per picture are the ids of
the segments (https://cocodataset.org/#format-data, "Panoptic Segmentation").
"""

from __future__ import annotations

import functools
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipmask.curation.converting.files import read_json, reading
from clipmask.curation.converting.shapes import Annotations, Labelled, Mask, Shape
from clipmask.data.opening import open_header
from clipmask.errors import UserError


def is_panoptic(content: Any) -> bool:
    """Returns whether the content of a JSON file is in COCO's panoptic format."""
    if not isinstance(content, dict) or not {"annotations", "categories"} <= content.keys():
        return False
    annotations = content["annotations"]
    first = annotations[0] if isinstance(annotations, list) and annotations else None
    return isinstance(first, dict) and "segments_info" in first


def read_panoptic(path: Path, split: str | None) -> Annotations:
    """Reads the segments of each picture; pixels without a segment are void.

    Crowds are segments of their class. The PNGs lie in a folder with the name of the JSON file, or
    beside it.

    Arguments and errors are those of ``read_coco``; a missing PNG is an error too.
    """
    content = read_json(path)
    with reading(path, "COCO's panoptic"):
        categories = sorted(content["categories"], key=lambda item: item["id"])
        names = {item["id"]: str(item["name"]) for item in categories}
        colors = {}
        for item in categories:
            if "color" in item:
                red, green, blue = item["color"] or (0, 0, 0)
                colors[names[item["id"]]] = (int(red), int(green), int(blue))
        files = {item["id"]: str(item["file_name"]) for item in content.get("images", ())}
        pictures = []
        for item in content["annotations"]:
            segments: defaultdict[str, list[int]] = defaultdict(list)
            for segment in item["segments_info"]:
                segments[names[segment["category_id"]]].append(int(segment["id"]))
            png = _png(path, str(item["file_name"]))
            shapes = tuple(
                Shape(name, functools.partial(_draw, png, tuple(ids)))
                for name, ids in segments.items()
            )
            name = files.get(item["image_id"], Path(item["file_name"]).stem)
            pictures.append(Labelled(name, shapes, path.parent, split))
    return Annotations(tuple(pictures), tuple(names.values()), colors, complete=True)


def _png(path: Path, name: str) -> Path:
    folders = (path.with_suffix(""), path.parent)
    found = next((folder / name for folder in folders if (folder / name).is_file()), None)
    if found is None:
        raise UserError(
            f"annotations {path}: names the PNG {name}, which is neither in"
            f" {path.with_suffix('')} nor in {path.parent}; put the folder of the PNGs there"
        )
    return found


def _draw(path: Path, ids: tuple[int, ...], height: int, width: int) -> Mask:
    segments = _segments(path)
    if segments.shape != (height, width):
        raise UserError(
            f"segments {path}: is {segments.shape[1]}x{segments.shape[0]} pixels (width x height),"
            f" but its picture is {width}x{height}"
        )
    return np.isin(segments, ids)


@functools.lru_cache(maxsize=1)  # for all shapes of a picture, which are drawn successively
def _segments(path: Path) -> NDArray[np.int64]:
    """Returns the segment id of each pixel (H, W), red + 256 green + 65536 blue."""
    try:
        with open_header(path) as image:
            pixels = np.asarray(image.convert("RGB")).astype(np.int64)
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError(f"segments {path}: can't be read ({error})") from error
    return pixels @ np.array([1, 256, 65536])
