"""What annotations hold: pictures with named shapes, and how a shape becomes a mask."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

Mask = NDArray[np.bool_]


class Shape(NamedTuple):
    """A part of a picture that is of one class.

    Attributes:
        name: of the class.
        draw: (height, width) of the picture -> its mask (H, W).
    """

    name: str
    draw: Callable[[int, int], Mask]


class Labelled(NamedTuple):
    """An annotated picture.

    Attributes:
        picture: its name or path as the annotations give it.
        shapes: in the order of the file.
        folder: of the file of annotations, where the picture is looked for first.
        split: train, val or test where the annotations say so.
    """

    picture: str
    shapes: tuple[Shape, ...]
    folder: Path
    split: str | None = None


class Annotations(NamedTuple):
    """All that was read.

    Attributes:
        pictures: the annotated ones.
        names: the classes in the order of the source; empty where it has no list of them.
        colors: class name to (r, g, b), where the source has colours.
        skipped: what was passed over and how often, such as boxes without a mask.
        complete: whether every pixel is annotated, so that there is no background.
        unnamed: whether the names are numbers, folders or endings of files, and not the classes'
            own.
    """

    pictures: tuple[Labelled, ...]
    names: tuple[str, ...] = ()
    colors: Mapping[str, tuple[int, int, int]] = {}
    skipped: Mapping[str, int] = {}
    complete: bool = False
    unnamed: bool = False


def polygons(name: str, rings: Sequence[Sequence[float]]) -> Shape | None:
    """Returns the area that polygons cover together; None if none of them has three corners.

    Args:
        name: of the class.
        rings: [x0, y0, x1, y1, ...] of each polygon, in pixels.
    """
    whole = [list(map(float, ring)) for ring in rings if len(ring) >= 6]
    return Shape(name, functools.partial(_draw_polygons, whole)) if whole else None


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
    """Returns a rectangle, in pixels.

    It is turned clockwise by ``degrees`` around a point, its upper left corner by default.
    """
    right, bottom = left + width, top + height
    corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    turned = _turned(corners, degrees, around or (left, top))
    return polygons(name, [turned.ravel().tolist()])


def _turned(
    points: NDArray[np.float64], degrees: float, around: tuple[float, float]
) -> NDArray[np.float64]:
    """Turns points (N, 2), x and y, clockwise on the screen, where y points down."""
    angle = np.deg2rad(degrees)
    matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return (points - around) @ matrix + around


def ellipse(
    name: str, x: float, y: float, across: float, down: float, *, degrees: float = 0.0
) -> Shape | None:
    """Returns an ellipse by its middle and radii, in pixels, as a polygon of 64 corners.

    It is turned clockwise by ``degrees`` around its middle.
    """
    angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    points = np.stack([x + across * np.cos(angles), y + down * np.sin(angles)], -1)
    return polygons(name, [_turned(points, degrees, (x, y)).ravel().tolist()])


def coco_rle(name: str, value: Mapping[str, Any]) -> Shape:
    """Returns a mask of COCO's run-length encoding, compressed or as a list of counts."""
    return Shape(name, functools.partial(_draw_rle, value))


def _draw_rle(value: Mapping[str, Any], height: int, width: int) -> Mask:
    plain = (
        coco_mask.frPyObjects(dict(value), *value["size"])
        if isinstance(value["counts"], list)
        else value
    )
    return _fitted(coco_mask.decode(plain).astype(bool), 0, 0, height, width)


def bitmap(name: str, mask: Mask, left: int = 0, top: int = 0) -> Shape:
    """Returns a mask whose upper left corner lies at (left, top)."""
    return Shape(name, functools.partial(_fitted, mask, left, top))


def _fitted(mask: Mask, left: int, top: int, height: int, width: int) -> Mask:
    """Puts a mask into an empty one of the picture's size; what lies beyond is cut."""
    whole = np.zeros((height, width), bool)
    inside = mask[max(0, -top) : height - top, max(0, -left) : width - left]
    whole[
        max(0, top) : max(0, top) + inside.shape[0], max(0, left) : max(0, left) + inside.shape[1]
    ] = inside
    return whole


def kept(shapes: Sequence[Shape | None]) -> tuple[Shape, ...]:
    """Returns the shapes without those that have no area."""
    return tuple(shape for shape in shapes if shape is not None)
