"""Reading of Label Studio's JSON: polygons, rectangles, ellipses and brushes.

Format: https://labelstud.io/guide/export
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from clipmask.curation.converting.files import read_json, reading
from clipmask.curation.converting.shapes import (
    Annotations,
    Labelled,
    Mask,
    Shape,
    bitmap,
    box,
    ellipse,
    polygons,
    with_area,
)

_KINDS = ("polygonlabels", "rectanglelabels", "ellipselabels", "brushlabels")


def is_label_studio(content: Any) -> bool:
    """Returns whether the content of a JSON file is Label Studio's list of tasks."""
    if not isinstance(content, list) or not content:
        return False
    if not all(isinstance(task, dict) for task in content):
        return False
    if all("annotations" in task and "data" in task for task in content):
        return True
    return any(map(_short_results, content))


def read_label_studio(path: Path, split: str | None) -> Annotations:
    """Reads the first annotation of each task that was not cancelled.

    Results without an area are skipped.
    Arguments and errors are those of ``read_coco``.
    """
    skipped: Counter[str] = Counter()
    pictures = []
    with reading(path, "Label Studio's"):
        for task in map(_whole, read_json(path)):
            done = [item for item in task["annotations"] if not item.get("was_cancelled")]
            if not done:
                skipped["tasks that nobody finished"] += 1
                continue
            results = map(_shape, done[0]["result"])
            shapes = with_area(results, skipped, "results without an area")
            pictures.append(Labelled(_picture(task["data"]), shapes, path.parent, split))
    return Annotations(tuple(pictures), skipped=skipped)


def _short_results(task: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the results of a task in the short form, JSON-MIN, in the form of the long one.

    In the short form, the results are lists of values beside the picture.
    """
    results: list[dict[str, Any]] = []
    for values in task.values():
        if not isinstance(values, list):
            continue
        for item, kind in itertools.product(values, _KINDS):
            if isinstance(item, dict) and kind in item:
                results.append({"type": kind, "value": item, **item})
    return results


def _whole(task: dict[str, Any]) -> dict[str, Any]:
    """Converts a task to the long form."""
    if "annotations" in task and "data" in task:
        return task
    return {"data": task, "annotations": [{"result": _short_results(task)}]}


def _picture(data: dict[str, Any]) -> str:
    """Returns the path of a task's picture, without the query of a URL."""
    url = next(
        value
        for key, value in data.items()
        if key in ("image", "img", "url") or isinstance(value, str)
    )
    return unquote(str(url).split("?d=")[-1].split("?")[0])


def _shape(result: dict[str, Any]) -> Shape | None:
    kind, value = result["type"], result["value"]
    label = value.get(kind)
    if not label:
        return None
    name = str(label[0])
    width, height = int(result["original_width"]), int(result["original_height"])
    if kind == "polygonlabels":
        ring: list[float] = []
        for x, y in value["points"]:
            ring += [x * width / 100, y * height / 100]
        return polygons(name, [ring])
    if kind == "rectanglelabels":
        left, across = value["x"] * width / 100, value["width"] * width / 100
        top, down = value["y"] * height / 100, value["height"] * height / 100
        return box(name, left, top, across, down, degrees=float(value.get("rotation") or 0))
    if kind == "ellipselabels":
        x, across = value["x"] * width / 100, value["radiusX"] * width / 100
        y, down = value["y"] * height / 100, value["radiusY"] * height / 100
        return ellipse(name, x, y, across, down, degrees=float(value.get("rotation") or 0))
    if kind == "brushlabels":
        return bitmap(name, decode_brush(value["rle"], height, width))
    return None


def decode_brush(content: Sequence[int], height: int, width: int) -> Mask:
    """Decodes a brush: the RGBA pixels of its layer, packed by thi.ng's rle-pack.

    This format (https://github.com/thi-ng/umbrella/tree/develop/packages/rle-pack) is a stream of
    bits. It begins with the number of values (32 bits), the number of bits of a value minus one
    (5), and four widths of run lengths minus one (4 each). Then come runs: one bit that says
    whether a value is repeated, two bits that choose a width, the length of the run minus one, and
    one value if it is repeated, else as many values as the run is long.

    Args:
        content: the bytes.
        height, width: the size of the picture.

    Returns:
        A mask (H, W) of the pixels at which the layer is not transparent.
    """
    bits = np.unpackbits(np.array(content, np.uint8)).tolist()
    place = 0

    def read(count: int) -> int:
        nonlocal place
        number = 0
        for bit in bits[place : place + count]:
            number = number << 1 | bit
        place += count
        return number

    total, word = read(32), read(5) + 1
    widths = [read(4) + 1 for _ in range(4)]
    values = np.zeros(total, np.uint8)
    start = 0
    while start < total:
        repeated = read(1)
        end = start + 1 + read(widths[read(2)])
        if repeated:
            values[start:end] = read(word)
        else:
            values[start:end] = [read(word) for _ in range(start, min(end, total))]
        start = end
    return values.reshape(height, width, 4)[..., 3] > 0
