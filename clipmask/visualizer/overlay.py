"""A label map drawn over its image: colours, borders, class names in their regions, a legend."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from clipmask.errors import UserError
from clipmask.visualizer.colors import Colors, colorize, is_background
from clipmask.visualizer.drawing import check_opacity
from clipmask.visualizer.legend import PAPER, Entry, draw_legend, with_legend
from clipmask.visualizer.lettering import font_size, load_font, text_size, write
from clipmask.visualizer.strips import row_strips
from clipmask.vocabulary import shown_names

_MAX_GRID = 256  # longest side of the grid that places for names are looked for on
_NAMES_PER_CLASS = 3  # the roomiest regions of a class that carry its name
# of a pixel's light is left behind a name: white letters then differ from any by 6:1 or more (WCAG
# 2)
_SHADE = 0.35


def class_shares(
    labels: np.ndarray, num_classes: int, ignore_label: int | None = None
) -> np.ndarray:
    """Returns the percentage (K,) of the painted pixels that each class covers; they sum to 100, or
    to 0 if none is.

    Args:
        labels: (H, W) ids.
        num_classes: K; ids outside 0..K-1 are not painted.
        ignore_label: an id that is not painted either.
    """
    counts = class_pixels(labels, num_classes, ignore_label)
    return 100.0 * counts / max(1, counts.sum())


def class_pixels(
    labels: np.ndarray, num_classes: int, ignore_label: int | None = None
) -> NDArray[np.int64]:
    """Returns how many pixels (K,) each class covers; the arguments are those of
    ``class_shares``.
    """
    counts = np.zeros(num_classes, np.int64)
    for rows in row_strips(labels.shape):
        part = labels[rows]
        painted = part[is_painted(part, num_classes, ignore_label)]
        counts += np.bincount(painted, minlength=num_classes)
    return counts


def overlay(
    image: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    colors: Colors,
    opacity: float = 0.5,
    legend: bool | Literal["inside"] = True,
    ignore_label: int | None = None,
    paint_background: bool = False,
) -> np.ndarray:
    """Draws a label map over its image.

    Args:
        image: uint8 (H, W, 3), RGB.
        labels: (H, W) ids.
        names: of the K classes; of ``car;automobile`` the first is shown.
        colors: of the K classes.
        opacity: of the colours, 0 (the image as it is, without names) to 1.
        legend: True adds a strip below with swatch, name and share of the classes in the picture,
            largest first. ``"inside"`` is for frames of a film, which keep their size and must not
            flicker: a translucent strip over the lowest rows lists every class in the order of
            ``names``, and no names are written into regions; a picture with no room for it has
            none.
        ignore_label: an id that is not painted.
        paint_background: paint a class called background too; otherwise it is left as it is, unless
            it is the only one.

    Returns:
        uint8 (H + height of the legend, W, 3); a picture narrower than one entry of its legend is
        widened to fit it.

    Raises:
        UserError: the shapes of image and labels, or the numbers of names and colours, differ; or
            the opacity is not from 0 to 1.
    """
    check(image, labels, names, colors)
    check_opacity(opacity)
    shown_labels = labels if paint_background else without_background(labels, names)
    picture = paint(
        image, shown_labels, names, colors, opacity, ignore_label, region_names=legend != "inside"
    )
    if not legend:
        return picture
    shares = class_shares(labels, len(names), ignore_label)
    listed = range(len(names)) if legend == "inside" else by_share(shares)
    shown = shown_names(names)
    entries = [
        Entry(colors[k], f"{shown[k]}  {shares[k]:.1f}%", f"{shown[k]}  100.0%") for k in listed
    ]
    if legend is True:
        return with_legend(picture, entries, font_size(labels.shape))
    strip = draw_legend(picture.shape[1], entries, max(9, round(0.75 * font_size(labels.shape))))
    rows = len(strip)
    # else it would hide what it explains
    if strip.shape[1] == picture.shape[1] and 4 * rows <= len(picture):
        blended = picture.copy()
        # swatches keep their colours
        shade = np.where((strip == PAPER).all(-1, keepdims=True), 0.65, 1.0)
        blended[-rows:] = np.rint((1 - shade) * picture[-rows:] + shade * strip)
        return blended
    return picture


def without_background(labels: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Returns ids (H, W) in which a class called background is -1, which is painted nowhere."""
    hidden = [place for place, name in enumerate(names) if is_background(name)]
    if not hidden or len(hidden) == len(names):
        return labels
    shown = labels.astype(np.int16 if labels.itemsize == 1 else np.int64)
    for rows in row_strips(shown.shape):
        shown[rows][np.isin(shown[rows], hidden)] = -1
    return shown


def check(image: np.ndarray, labels: np.ndarray, names: Sequence[str], colors: Colors) -> None:
    """Raises a ``UserError`` unless these belong together."""
    if (
        image.ndim != 3
        or image.shape[2] != 3
        or image.dtype != np.uint8
        or labels.shape != image.shape[:2]
    ):
        raise UserError(
            f"can't draw labels {labels.shape} over an image {image.shape} of {image.dtype}: "
            "the image is (H, W, 3) of uint8, the labels are (H, W)"
        )
    if len(names) != len(colors):
        raise UserError(
            f"{len(names)} class names but {len(colors)} colours; give each class one, such as by"
            " palette(names)"
        )


def is_painted(labels: np.ndarray, num_classes: int, ignore_label: int | None) -> np.ndarray:
    """Returns where (H, W) there is one of the classes 0..K-1."""
    painted = (labels >= 0) & (labels < num_classes)
    return painted if ignore_label is None else painted & (labels != ignore_label)


def by_share(shares: np.ndarray) -> list[int]:
    """Returns the classes with a share, largest first."""
    order = np.argsort(-shares, kind="stable")
    return [int(k) for k in order if shares[k] > 0]


def paint(
    image: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    colors: Colors,
    opacity: float,
    ignore_label: int | None,
    region_names: bool,
) -> np.ndarray:
    """Returns the image with its regions coloured, their borders stronger, and names written into
    them.
    """
    picture = np.empty(image.shape, np.uint8)
    counts = np.zeros(len(names), np.int64)
    for rows in row_strips(labels.shape):
        ids = _painted_ids(labels[rows], len(names), ignore_label)
        counts += np.bincount(ids[ids >= 0], minlength=len(names))
        edges = _borders(labels, rows, len(names), ignore_label)
        strength = np.where(edges, min(1.0, 1.6 * opacity), opacity) * (ids >= 0)
        mixed = colorize(ids, colors).astype(np.float32)
        mixed -= image[rows]
        mixed *= strength.astype(np.float32)[..., None]
        mixed += image[rows]
        picture[rows] = np.rint(mixed, out=mixed)
    if region_names and opacity > 0:
        present = np.flatnonzero(counts).tolist()
        _write_names(picture, labels, names, present, ignore_label)
    return picture


def _painted_ids(labels: np.ndarray, num_classes: int, ignore_label: int | None) -> np.ndarray:
    """Returns ids in which what is not painted is -1."""
    return np.where(is_painted(labels, num_classes, ignore_label), labels.astype(np.int64), -1)


def _write_names(
    picture: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    present: Sequence[int],
    ignore_label: int | None,
) -> None:
    """Writes the names of the classes that are ``present`` into their regions, upon ``picture``."""
    shown = shown_names(names)
    font = load_font(max(9, round(0.9 * font_size(labels.shape))), shown)
    step = -(-max(labels.shape) // _MAX_GRID)
    grid = labels[step // 2 :: step, step // 2 :: step]
    ids = _painted_ids(grid, len(names), ignore_label)
    written = [
        (place, shown[k], plate)
        for k in present
        if shown[k]
        for plate in [_plate(text_size(shown[k], font))]
        for place in _places(ids == k, step, plate)
    ]
    for place, _, plate in written:
        _darken(picture, place, plate)
    for place, name, plate in written:
        room = (plate[0] + 2 * plate[1], 3 * plate[1])
        (left, top), part = _around(picture, place, room)
        if part.size:
            canvas = Image.fromarray(part)
            at = place[0] - left, place[1] - top
            write(ImageDraw.Draw(canvas), at, name, font, (255, 255, 255))
            part[...] = canvas


def _plate(text: tuple[float, float]) -> tuple[float, float]:
    """Returns width and height of what lies behind a text of ``text``: it and a margin."""
    return text[0] + 0.6 * text[1], 1.4 * text[1]


def _darken(picture: np.ndarray, middle: tuple[float, float], size: tuple[float, float]) -> None:
    """Lays a plate of shade, (width, height), on which white can be read whatever lies below."""
    _, plate = _around(picture, middle, size)
    plate[...] = np.rint(_SHADE * plate)


def _around(
    picture: np.ndarray, middle: tuple[float, float], size: tuple[float, float]
) -> tuple[tuple[int, int], np.ndarray]:
    """Returns the part of a picture around a place, (width, height) in ``size``, and its left and
    top.
    """
    left, right = (round(middle[0] + side * size[0] / 2) for side in (-1, 1))
    top, bottom = (round(middle[1] + side * size[1] / 2) for side in (-1, 1))
    left, top = max(0, left), max(0, top)
    return (left, top), picture[top:bottom, left:right]


def _borders(
    labels: np.ndarray, rows: slice, num_classes: int, ignore_label: int | None
) -> np.ndarray:
    """Returns where in some rows, (rows, W), a pixel is near one of another id; lines grow with the
    picture.
    """
    width = max(1, round(min(labels.shape) / 360))
    first = max(0, rows.start - width)
    ids = _painted_ids(labels[first : rows.stop + width], num_classes, ignore_label)
    edges = np.zeros(ids.shape, dtype=bool)
    across, down = ids[:, 1:] != ids[:, :-1], ids[1:] != ids[:-1]
    edges[:, 1:] |= across
    edges[1:] |= down
    if width > 1:
        edges = ndimage.binary_dilation(edges, iterations=width - 1)
    return edges[rows.start - first :][: rows.stop - rows.start]


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
