"""A label map drawn over its image: colours, borders, class names in their regions, a legend."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from clipmask.errors import UserError
from clipmask.visualizer.colors import Colors, colorize, is_background
from clipmask.visualizer.drawing import check_opacity
from clipmask.visualizer.legend import PAPER, Entry, draw_legend, widened
from clipmask.visualizer.lettering import font_size
from clipmask.visualizer.region_names import RegionNames
from clipmask.visualizer.strips import row_strips
from clipmask.vocabulary import shown_names


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
    if legend != "inside":
        return joined(
            *overlay_strips(
                image, labels, names, colors, opacity, legend, ignore_label, paint_background
            )
        )
    check(image, labels, names, colors)
    check_opacity(opacity)
    shown = labels if paint_background else without_background(labels, names)
    strips = painted_strips(image, shown, names, colors, opacity, ignore_label, region_names=False)
    picture = joined(labels.shape, strips)
    entries = _entries(
        range(len(names)), class_shares(labels, len(names), ignore_label), names, colors
    )
    strip = draw_legend(picture.shape[1], entries, max(9, round(0.75 * font_size(labels.shape))))
    rows = len(strip)
    # else it would hide what it explains
    if strip.shape[1] == picture.shape[1] and 4 * rows <= len(picture):
        # swatches keep their colours
        shade = np.where((strip == PAPER).all(-1, keepdims=True), 0.65, 1.0)
        picture[-rows:] = np.rint((1 - shade) * picture[-rows:] + shade * strip)
    return picture


def overlay_strips(
    image: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    colors: Colors,
    opacity: float = 0.5,
    legend: bool = True,
    ignore_label: int | None = None,
    paint_background: bool = False,
) -> tuple[tuple[int, int], Iterator[np.ndarray]]:
    """Draws an overlay in strips of rows, for pictures that are not in memory.

    Args:
        image, labels: as for ``overlay``; objects with ``shape``, ``dtype`` and an array's
            ``[rows]`` (of the labels also ``[rows, columns]``) are enough.
        names, colors, opacity, ignore_label, paint_background: as for ``overlay``.
        legend: whether a legend is added below.

    Returns:
        The height and the width of the overlay; and its rows from the top, (n, width, 3).

    Raises:
        UserError: as for ``overlay``.
    """
    check(image, labels, names, colors)
    check_opacity(opacity)
    below = np.empty((0, image.shape[1], 3), np.uint8)
    if legend:
        shares = class_shares(labels, len(names), ignore_label)
        entries = _entries(by_share(shares), shares, names, colors)
        below = draw_legend(image.shape[1], entries, font_size(labels.shape))
    shown = labels if paint_background else without_background(labels, names)

    def rows() -> Iterator[np.ndarray]:
        for strip in painted_strips(image, shown, names, colors, opacity, ignore_label, True):
            yield widened(strip, below.shape[1])
        yield below

    return (len(image) + len(below), below.shape[1]), rows()


def _entries(
    listed: Iterable[int], shares: np.ndarray, names: Sequence[str], colors: Colors
) -> list[Entry]:
    """Returns the entries of a legend with the names and shares of some classes."""
    shown = shown_names(names)
    return [
        Entry(colors[k], f"{shown[k]}  {shares[k]:.1f}%", f"{shown[k]}  100.0%") for k in listed
    ]


class _Foreground:
    """Label ids (H, W) in which some classes are -1, which is not painted; made part by part."""

    def __init__(self, labels: np.ndarray, hidden: Sequence[int]) -> None:
        self._labels, self._hidden, self.shape = labels, hidden, labels.shape

    def __getitem__(self, where: Any) -> np.ndarray:
        part = self._labels[where]
        return np.where(np.isin(part, self._hidden), -1, part.astype(np.int64))


def without_background(labels: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Returns ids (H, W) in which a class called background is -1, which is painted nowhere."""
    hidden = [place for place, name in enumerate(names) if is_background(name)]
    if not hidden or len(hidden) == len(names):
        return labels
    return cast(np.ndarray, _Foreground(labels, hidden))


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
    if ignore_label is None:
        return painted
    return painted & (labels != ignore_label)


def by_share(shares: np.ndarray) -> list[int]:
    """Returns the classes with a share, largest first."""
    order = np.argsort(-shares, kind="stable")
    return [int(k) for k in order if shares[k] > 0]


def joined(size: tuple[int, ...], strips: Iterable[np.ndarray]) -> NDArray[np.uint8]:
    """Returns the picture (H, W, 3) whose rows come in strips from the top; ``size``: (H, W)."""
    picture, top = np.empty((*size, 3), np.uint8), 0
    for strip in strips:
        picture[top : top + len(strip)] = strip
        top += len(strip)
    return picture


def painted_strips(
    image: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    colors: Colors,
    opacity: float,
    ignore_label: int | None,
    region_names: bool,
) -> Iterator[np.ndarray]:
    """Colours the regions of an image, their borders stronger, and writes names into them.

    Args:
        image, labels: arrays, or objects with ``shape`` and an array's ``[rows]``.

    Yields:
        The rows of the picture strip by strip, as ``row_strips`` divides them.
    """
    written = None
    if region_names and opacity > 0:
        written = RegionNames(labels, names, ignore_label)
    for rows in row_strips(labels.shape):
        below = image[rows]
        ids = _painted_ids(labels[rows], len(names), ignore_label)
        edges = _borders(labels, rows, len(names), ignore_label)
        strength = np.where(edges, min(1.0, 1.6 * opacity), opacity) * (ids >= 0)
        mixed = colorize(ids, colors).astype(np.float32)
        mixed -= below
        mixed *= strength.astype(np.float32)[..., None]
        mixed += below
        strip = np.rint(mixed, out=mixed).astype(np.uint8)
        if written is not None:
            written.write(strip, rows.start)
        yield strip


def _painted_ids(labels: np.ndarray, num_classes: int, ignore_label: int | None) -> np.ndarray:
    """Returns ids in which what is not painted is -1."""
    return np.where(is_painted(labels, num_classes, ignore_label), labels.astype(np.int64), -1)


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
