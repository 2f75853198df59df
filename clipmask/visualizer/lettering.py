"""Text in pictures: a font of any size, how much room words take, and writing them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
from PIL import ImageDraw, ImageFont

from clipmask.fonts import find_font

INK = (235, 235, 235)  # of legend and captions


def font_size(shape: tuple[int, ...]) -> int:
    """Returns the pixels of a line of text that suit a picture of ``shape``."""
    return int(np.clip(round(min(shape[:2]) / 26), 11, 48))


def load_font(size: int, texts: Iterable[str] = ()) -> Any:
    """Returns a font, ``size`` pixels high where it can be had at any size: Pillow's own, or one
    that has the letters of ``texts``.
    """
    path = find_font(texts)
    if path is not None:
        with contextlib.suppress(ImportError, OSError):  # Pillow built without FreeType
            return ImageFont.truetype(str(path), size)
    try:
        return ImageFont.load_default(size=size)
    # Pillow before 10.1 or built without FreeType: one small bitmap font
    except (TypeError, ImportError, OSError):
        return ImageFont.load_default()


def _drawable(text: str, font: Any) -> str:
    """Returns ``text`` with what the bitmap font lacks as question marks."""
    if isinstance(font, ImageFont.FreeTypeFont):
        return text
    return text.encode("latin-1", "replace").decode("latin-1")


def text_size(text: str, font: Any) -> tuple[float, float]:
    """Returns width and height of ``text`` in pixels, at least 1; the height is that of a line
    whatever the letters.
    """
    width = font.getbbox(_drawable(text, font))[2]
    return max(1.0, width), max(1.0, font.getbbox("Ág")[3])


def write(
    draw: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    font: Any,
    color: tuple[int, int, int],
    *,
    anchor: Literal["m", "l"] = "m",
) -> None:
    """Writes a line of text whose middle ('m') or left end ('l') is at ``place``."""
    text = _drawable(text, font)
    x, y = place
    if isinstance(font, ImageFont.FreeTypeFont):
        draw.text((x, y), text, color, font, anchor=anchor + "m")
    else:
        width, height = text_size(text, font)
        draw.text((x - width / 2 if anchor == "m" else x, y - height / 2), text, color, font)
