"""Annotations in one form for all formats: pictures with named shapes that draw masks."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

Mask = NDArray[np.bool_]
LINES = "points and lines, which have no area"  # a reason to skip annotations


class Shape(NamedTuple):
    """A region of a picture with one class.

    Attributes:
        name: the class name.
        draw: a function from (height, width) of the picture to the mask (H, W) of the region.
    """

    name: str
    draw: Callable[[int, int], Mask]


class Labelled(NamedTuple):
    """An annotated picture.

    Attributes:
        picture: the name or path of the picture in the annotations.
        shapes: the shapes, in the order of the file.
        folder: the folder of the annotations, in which the picture is searched first.
        split: train, val or test, if the annotations have splits.
    """

    picture: str
    shapes: tuple[Shape, ...]
    folder: Path
    split: str | None = None


class Annotations(NamedTuple):
    """The annotations of a file or folder.

    Attributes:
        pictures: the annotated pictures.
        names: the class names, in the order of the source; empty if it does not list them.
        colors: class name -> (r, g, b), if the source has colours.
        skipped: descriptions of skipped items, such as boxes without a mask -> their numbers.
        complete: whether every pixel is annotated, so that there is no background.
        unnamed: whether the names are only numbers, folders or name endings of files.
    """

    pictures: tuple[Labelled, ...]
    names: tuple[str, ...] = ()
    colors: Mapping[str, tuple[int, int, int]] = {}
    skipped: Mapping[str, int] = {}
    complete: bool = False
    unnamed: bool = False


def floats(item: Mapping[str, Any], *keys: str) -> list[float]:
    """Returns the values of some keys as numbers, in the order of the keys."""
    return [float(item[key]) for key in keys]


def polygons(name: str, rings: Sequence[Sequence[float]]) -> Shape | None:
    """Returns the union of polygons; None if no polygon has three corners.

    Args:
        name: the class name.
        rings: [x0, y0, x1, y1, ...] for each polygon, in pixels.
    """
    whole = [list(map(float, ring)) for ring in rings if len(ring) >= 6]
    if not whole:
        return None
    return Shape(name, functools.partial(_draw_polygons, whole))


def _draw_polygons(rings: list[list[float]], height: int, width: int) -> Mask:
    parts = coco_mask.frPyObjects(rings, height, width)
    return coco_mask.decode(coco_mask.merge(parts)).astype(bool)


def box(
    name: str,
    left: float,
    top: float,
    width: float,
    height: float,
    *,
    degrees: float = 0.0,
    around: tuple[float, float] | None = None,
) -> Shape | None:
    """Returns a rectangle.

    Args:
        name: the class name.
        left, top, width, height: position and size, in pixels.
        degrees: the rectangle is rotated clockwise by this angle.
        around: the centre of the rotation (x, y); None: the upper left corner.
    """
    right, bottom = left + width, top + height
    corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    turned = _turned(corners, degrees, around or (left, top))
    return polygons(name, [turned.ravel().tolist()])


def _turned(
    points: NDArray[np.float64], degrees: float, around: tuple[float, float]
) -> NDArray[np.float64]:
    """Rotates points (N, 2), x and y, clockwise on the screen, where y points down."""
    angle = np.deg2rad(degrees)
    matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return (points - around) @ matrix + around


def ellipse(
    name: str, x: float, y: float, across: float, down: float, *, degrees: float = 0.0
) -> Shape | None:
    """Returns an ellipse, as a polygon of 64 corners.

    Args:
        name: the class name.
        x, y: the centre, in pixels.
        across, down: the horizontal and the vertical radius, in pixels.
        degrees: the ellipse is rotated clockwise by this angle around its centre.
    """
    angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    points = np.stack([x + across * np.cos(angles), y + down * np.sin(angles)], -1)
    return polygons(name, [_turned(points, degrees, (x, y)).ravel().tolist()])


def coco_rle(name: str, value: Mapping[str, Any]) -> Shape:
    """Returns a mask in COCO's run-length encoding, compressed or as a list of counts."""
    return Shape(name, functools.partial(_draw_rle, value))


def _draw_rle(value: Mapping[str, Any], height: int, width: int) -> Mask:
    plain = value
    if isinstance(value["counts"], list):
        plain = coco_mask.frPyObjects(dict(value), *value["size"])
    return _fitted(coco_mask.decode(plain).astype(bool), 0, 0, height, width)


def bitmap(name: str, mask: Mask, left: int = 0, top: int = 0) -> Shape:
    """Returns a mask whose upper left corner lies at (left, top)."""
    return Shape(name, functools.partial(_fitted, mask, left, top))


def _fitted(mask: Mask, left: int, top: int, height: int, width: int) -> Mask:
    """Copies a mask into an empty mask of the picture's size; parts outside are cut off."""
    whole = np.zeros((height, width), bool)
    inside = mask[max(0, -top) : height - top, max(0, -left) : width - left]
    first_row, first_column = max(0, top), max(0, left)
    rows = slice(first_row, first_row + inside.shape[0])
    whole[rows, first_column : first_column + inside.shape[1]] = inside
    return whole


def with_area(
    shapes: Iterable[Shape | None], skipped: Counter[str], what: str
) -> tuple[Shape, ...]:
    """Returns the shapes that have an area; the others, None, are counted in ``skipped[what]``."""
    found = []
    for shape in shapes:
        if shape is None:
            skipped[what] += 1
        else:
            found.append(shape)
    return tuple(found)
