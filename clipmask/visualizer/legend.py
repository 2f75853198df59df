"""The legend: a strip below a picture with swatches and text in as many columns as there is room
for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from clipmask.visualizer.lettering import INK, load_font, text_size, write

PAPER = (24, 24, 28)  # of legend and captions


class Entry(NamedTuple):
    """A place in the legend.

    Attributes:
        color: [r, g, b] of the swatch; None: there is none.
        text: what stands beside it.
        room: a text whose width is kept free as well, for figures that change from frame to frame.
    """

    color: Sequence[int] | None
    text: str
    room: str = ""


def with_legend(
    picture: NDArray[np.uint8], entries: Sequence[Entry], size: int
) -> NDArray[np.uint8]:
    """Puts the strip of ``draw_legend`` below a picture (H, W, 3), which is widened if the strip
    needs it.
    """
    strip = draw_legend(picture.shape[1], entries, size)
    return np.concatenate([widened(picture, strip.shape[1]), strip])


def widened(picture: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """Returns a picture (H, W, 3) with paper at its right, up to ``width`` columns."""
    if picture.shape[1] == width:
        return picture
    canvas = np.full((len(picture), width, 3), PAPER, dtype=np.uint8)
    canvas[:, : picture.shape[1]] = picture
    return canvas


def draw_legend(width: int, entries: Sequence[Entry], size: int) -> NDArray[np.uint8]:
    """Draws ``entries`` in as many equal columns as there is room for.

    Args:
        width: wanted, in pixels; more is taken if one entry needs it.
        entries: in the order of reading, row by row.
        size: of the font, in pixels.

    Returns:
        uint8 (height that the rows need, ``width`` or more, 3).
    """
    row, gap = round(1.6 * size), size // 2
    texts = [text for entry in entries for text in (entry.text, entry.room)]
    font = load_font(size, texts)
    cell = size + 3 * gap + max([round(text_size(text, font)[0]) for text in texts], default=0)
    width = max(width, cell)
    columns = max(1, width // cell)
    canvas = Image.new("RGB", (width, -(-len(entries) // columns) * row + gap), PAPER)
    draw = ImageDraw.Draw(canvas)
    for index, (color, text, _) in enumerate(entries):
        left = index % columns * (width // columns) + gap
        middle = gap // 2 + index // columns * row + row / 2
        if color is not None:
            draw.rectangle(
                (left, middle - size / 2, left + size, middle + size / 2), tuple(color), INK
            )
            left += size + gap
        write(draw, (left, middle), text, font, INK, anchor="l")
    return np.asarray(canvas)
