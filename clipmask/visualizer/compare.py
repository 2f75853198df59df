"""Comparison of truth and prediction, with an error map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from clipmask.visualizer.colors import Colors, colorize
from clipmask.visualizer.legend import PAPER, Entry, with_legend
from clipmask.visualizer.lettering import INK, font_size, load_font, text_size, write
from clipmask.visualizer.overlay import (
    by_share,
    check,
    class_shares,
    is_painted,
    joined,
    painted_strips,
)
from clipmask.visualizer.strips import row_strips
from clipmask.vocabulary import shown_names

VOID = (105, 105, 105)
# What is right is washed out to light grey: on dark the palette's deep colours (road, building)
# would be lost.
_PALE, _CONTRAST = 165, 0.2


def error_map(
    image: np.ndarray,
    truth: np.ndarray,
    prediction: np.ndarray,
    colors: Colors,
    ignore_label: int | None = None,
) -> NDArray[np.uint8]:
    """Marks where a prediction is wrong, in the colour of what should be there.

    Args:
        image: uint8 (H, W, 3), RGB.
        truth, prediction: (H, W) ids.
        colors: of the K classes.
        ignore_label: an id that is void in the truth, as all are that are no class.

    Returns:
        uint8 (H, W, 3): the picture, pale and grey, where the prediction is right; the true class'
            plain colour where
        it is wrong; plain dark grey where the truth is void.
    """
    drawn = np.empty(image.shape, np.uint8)
    for rows in row_strips(truth.shape):
        part = truth[rows]
        known = is_painted(part, len(colors), ignore_label)
        luma = image[rows] @ np.array([0.299, 0.587, 0.114])
        drawn[rows] = np.rint(_PALE + _CONTRAST * luma)[..., None]
        wrong = known & (part != prediction[rows])
        drawn[rows][wrong] = colorize(part, colors)[wrong]
        drawn[rows][~known] = VOID
    return drawn


def comparison(
    image: np.ndarray,
    truth: np.ndarray,
    prediction: np.ndarray,
    names: Sequence[str],
    colors: Colors,
    ignore_label: int | None = None,
) -> NDArray[np.uint8]:
    """Draws picture, ground truth, prediction and error map beside each other, with captions and
    one legend.

    Args:
        image: uint8 (H, W, 3), RGB.
        truth, prediction: (H, W) ids.
        names, colors: of the K classes.
        ignore_label: an id that is void in the truth, as all are that are no class.

    Returns:
        uint8 picture a little over four times as wide as the image. The legend gives the share of
        each class in the truth and in the prediction, both of the pixels whose truth is known, and
        its IoU in this picture.

    Raises:
        UserError: as ``overlay``.
    """
    known = is_painted(truth, len(names), ignore_label)
    panels = [image]
    for labels in (truth, prediction):
        check(image, labels, names, colors)
        strips = painted_strips(image, labels, names, colors, 0.6, ignore_label, region_names=True)
        panels.append(joined(labels.shape, strips))
    panels.append(error_map(image, truth, prediction, colors, ignore_label))
    wrong = 100 * float((truth != prediction)[known].mean()) if known.any() else 0.0
    captions = ("input", "truth", "prediction", f"errors ({wrong:.1f}%) in the truth's colours")
    scored = [np.where(known, labels.astype(np.int64), -1) for labels in (truth, prediction)]
    entries = _entries(scored[0], scored[1], names, colors)
    size = font_size(truth.shape)
    return with_legend(_row(panels, captions, size), entries, size)


def _row(panels: Sequence[np.ndarray], captions: Sequence[str], size: int) -> NDArray[np.uint8]:
    """Puts pictures (H, W, 3) beside each other, each below its caption; ``size`` is of the
    font.
    """
    height, width = panels[0].shape[:2]
    font, gap, band = load_font(size), max(2, size // 4), round(1.7 * size)
    column = max(width, *(round(text_size(caption, font)[0]) for caption in captions)) + gap
    canvas = Image.new("RGB", (len(panels) * column - gap, height + band), PAPER)
    draw = ImageDraw.Draw(canvas)
    for index, (panel, caption) in enumerate(zip(panels, captions, strict=True)):
        middle = index * column + (column - gap) // 2
        canvas.paste(Image.fromarray(panel), (middle - width // 2, band))
        write(draw, (middle, band / 2), caption, font, INK)
    return np.asarray(canvas)


def _entries(
    truth: np.ndarray, prediction: np.ndarray, names: Sequence[str], colors: Colors
) -> list[Entry]:
    """The legend of two label maps (H, W): a class of either for each entry, void being -1 in
    both.
    """
    count = len(names)
    shares = [class_shares(labels, count) for labels in (truth, prediction)]
    right = class_shares(np.where(truth == prediction, truth, -1), count)
    # now of all known pixels
    right *= (truth == prediction)[truth >= 0].mean() if (truth >= 0).any() else 0
    shown = shown_names(names)
    entries = [Entry(None, "% of truth | prediction, IoU:")]
    for k in by_share(shares[0] + shares[1]):
        iou = 100 * right[k] / (shares[0][k] + shares[1][k] - right[k])
        entries.append(
            Entry(colors[k], f"{shown[k]}  {shares[0][k]:.1f} | {shares[1][k]:.1f}, {iou:.0f}")
        )
    if (truth < 0).any():
        entries.append(Entry(VOID, f"void  {100 * (truth < 0).mean():.1f}"))
    return entries
