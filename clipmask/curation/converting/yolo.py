"""Reading of Ultralytics' text files for segmentation.

Each line is a class number and a polygon, whose coordinates are shares of the picture's size.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from clipmask.curation.converting.shapes import (
    Annotations,
    Labelled,
    Mask,
    Shape,
    polygons,
    with_area,
)
from clipmask.errors import UserError
from clipmask.plain_yaml import load_yaml


def yolo_labels(picture: Path) -> Path:
    """Returns the path of the text file of a picture.

    The last folder images/ in the picture's path becomes labels/; without one, the file lies beside
    the picture.
    """
    parts = list(picture.parts)
    if "images" in parts:
        place = len(parts) - 1 - parts[::-1].index("images")
        parts[place] = "labels"
    return Path(*parts).with_suffix(".txt")


def read_yolo(
    root: Path, pictures: Sequence[Path], split_of: Callable[[Path], str | None]
) -> Annotations:
    """Reads the text files of all pictures.

    A picture without a text file shows none of the classes, as in Ultralytics.

    Args:
        root: the folder, which may have a data.yaml with the class names.
        pictures: the pictures, relative to ``root``.
        split_of: a function from the path of a picture to its split.

    Raises:
        UserError: a line violates the format.
    """
    names = yolo_names(root)
    given = bool(names)
    skipped: Counter[str] = Counter()
    labelled = []
    for picture in pictures:
        path = root / yolo_labels(picture)
        lines: list[str] = []
        if path.is_file():
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        drawn = (
            _shape(line, names, f"annotations {path}, line {number}")
            for number, line in enumerate(lines, 1)
            if line.strip()
        )
        shapes = with_area(drawn, skipped, "lines with a box but no polygon")
        labelled.append(Labelled(picture.as_posix(), shapes, root, split_of(picture)))
    if not given:  # classes without names are sorted by their numbers
        names = {number: f"class_{number}" for number in range(max(names, default=-1) + 1)}
    return Annotations(tuple(labelled), tuple(names.values()), skipped=skipped, unnamed=not given)


def yolo_names(root: Path) -> dict[int, str]:
    """Returns the class names by class number; empty if there is no file of names.

    They come from the YAML file of the dataset or from a list, in the folder or the one above.
    """
    found = _of_yaml(root) or _of_yaml(root.absolute().parent)
    return found or _of_list(root) or _of_list(root.absolute().parent)


def _of_list(root: Path) -> dict[int, str]:
    for name in ("classes.txt", "obj.names", "classes.names"):
        if (root / name).is_file():
            text = (root / name).read_text(encoding="utf-8-sig", errors="replace")
            return dict(enumerate(line.strip() for line in text.splitlines() if line.strip()))
    return {}


def _of_yaml(root: Path) -> dict[int, str]:
    for path in sorted(root.glob("*.y*ml")):
        try:
            content = load_yaml(path.read_text(encoding="utf-8-sig"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError):
            continue
        found: Any = content.get("names") if isinstance(content, dict) else None
        if isinstance(found, list):
            return {number: str(name) for number, name in enumerate(found)}
        if isinstance(found, dict):
            return {int(number): str(name) for number, name in sorted(found.items())}
    return {}


def _shape(line: str, names: dict[int, str], where: str) -> Shape | None:
    try:
        kind, *rest = line.split()
        number, values = int(float(kind)), [float(value) for value in rest]
    except ValueError as error:
        raise UserError(
            f"{where}: {line.strip()[:60]!r} is not a class number with coordinates"
        ) from error
    name = names.setdefault(number, f"class_{number}")
    if len(values) < 6:
        return None
    return Shape(name, functools.partial(_draw, values))


def _draw(values: Sequence[float], height: int, width: int) -> Mask:
    points = np.array(values[: len(values) // 2 * 2]).reshape(-1, 2) * (width, height)
    shape = polygons("", [points.ravel().tolist()])
    assert shape is not None
    return shape.draw(height, width)
