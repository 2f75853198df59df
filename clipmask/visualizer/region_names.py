"""The names of classes in their regions, written strip by strip."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from clipmask.visualizer.lettering import font_size, load_font, text_size, write
from clipmask.vocabulary import shown_names

_MAX_GRID = 256  # longest side of the grid that places for names are looked for on
_NAMES_PER_CLASS = 3  # the roomiest regions of a class that carry its name
# of a pixel's light is left behind a name: white letters then differ from any by 6:1 or more (WCAG
# 2)
_SHADE = 0.35


class _Name(NamedTuple):
    """A name and its place: the middle (x, y) and the (width, height) of its plate, in pixels."""

    text: str
    middle: tuple[float, float]
    plate: tuple[float, float]


class RegionNames:
    """The names that are written into the regions of a label map.

    Args:
        labels: (H, W) ids; any object with ``shape`` and an array's ``[rows, columns]``.
        names: the names of the K classes.
        ignore_label: an id without a name.
    """

    def __init__(
        self, labels: np.ndarray, names: Sequence[str], ignore_label: int | None = None
    ) -> None:
        shown = shown_names(names)
        self._font = load_font(max(9, round(0.9 * font_size(labels.shape))), shown)
        step = -(-max(labels.shape) // _MAX_GRID)
        ids = labels[step // 2 :: step, step // 2 :: step].astype(np.int64)
        self._names = []
        for k in np.unique(ids).tolist():
            if 0 <= k < len(names) and k != ignore_label and shown[k]:
                plate = _plate(text_size(shown[k], self._font))
                places = _places(ids == k, step, plate)
                self._names += [_Name(shown[k], place, plate) for place in places]

    def write(self, strip: np.ndarray, top: int) -> None:
        """Writes what lies in some rows of the picture.

        Args:
            strip: the rows, uint8 (n, W, 3), which are changed.
            top: the number of rows above them.
        """
        for name in self._names:
            _, plate = _around(strip, top, name.middle, name.plate)
            # a plate of shade, on which white can be read on any picture
            plate[...] = np.rint(_SHADE * plate)
        for name in self._names:
            room = (name.plate[0] + 2 * name.plate[1], 3 * name.plate[1])
            (left, above), part = _around(strip, top, name.middle, room)
            if part.size:
                canvas = Image.fromarray(part)
                at = name.middle[0] - left, name.middle[1] - above
                write(ImageDraw.Draw(canvas), at, name.text, self._font, (255, 255, 255))
                part[...] = canvas


def _plate(text: tuple[float, float]) -> tuple[float, float]:
    """Returns the width and height of what lies behind a text: the text and a margin."""
    return text[0] + 0.6 * text[1], 1.4 * text[1]


def _around(
    strip: np.ndarray, above: int, middle: tuple[float, float], size: tuple[float, float]
) -> tuple[tuple[int, int], np.ndarray]:
    """Returns the part of a strip around a place of the picture, and the place of that part.

    Args:
        strip: rows of the picture, (n, W, 3).
        above: the number of rows above the strip.
        middle, size: the place (x, y) and the (width, height) of the part.

    Returns:
        The column and the row of the picture where the part begins; the part, a view of the strip.
    """
    left, right = (max(0, round(middle[0] + side * size[0] / 2)) for side in (-1, 1))
    top, bottom = (max(above, round(middle[1] + side * size[1] / 2)) for side in (-1, 1))
    return (left, top), strip[top - above : bottom - above, left:right]


def _places(
    region: np.ndarray, step: int, plate: tuple[float, float]
) -> Iterator[tuple[float, float]]:
    """Yields where in the parts of a region a plate (width, height) fits, (x, y) of its middle.

    The roomiest parts come first, and in each the place that is farthest from the border, in widths
    of the plate across and heights down. A coarse grid is enough for that: ``region`` holds every
    ``step``-th pixel of every ``step``-th row.
    """
    box = ndimage.find_objects(region.astype(np.uint8), 1)[0]
    if box is None:
        return
    corner = np.array([box[0].start - 1, box[1].start - 1])
    # around the region, and beyond the picture, there is no room either
    coarse = np.pad(region[box], 1)
    cells = tuple(2 * math.ceil(side / 2 / step) + 1 for side in plate[::-1])
    fits = ndimage.minimum_filter(coarse, cells, mode="constant")
    if not fits.any():
        return
    room = (
        ndimage.distance_transform_edt(coarse, sampling=(step / plate[1], step / plate[0])) * fits
    )
    numbers, _ = ndimage.label(coarse)
    parts = [numbers == number for number in np.unique(numbers[fits])]
    largest = np.array([room[part].max() for part in parts])
    for number in np.argsort(-largest, kind="stable")[:_NAMES_PER_CLASS]:
        # a long region has many such places
        ridge = np.argwhere(parts[number] & (room > 0.97 * largest[number])) + corner
        y, x = ridge[np.argmin(np.square(ridge - ridge.mean(axis=0)).sum(axis=1))]
        yield float(x * step + step // 2), float(y * step + step // 2)
