"""Opening of pictures of any size, and the limit INPUT.MAX_PIXELS."""

from __future__ import annotations

import os
import threading
from typing import Any

from PIL import Image

from clipmask.errors import UserError

_PILLOW = threading.Lock()  # Pillow's limit is one global variable of the process


def open_header(path: str | os.PathLike[str]) -> Any:
    """Opens a picture, which is not decoded yet, as Pillow's image.

    Pillow's limit of the size is not applied: INPUT.MAX_PIXELS replaces it.
    """
    with _PILLOW:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(path)
        finally:
            Image.MAX_IMAGE_PIXELS = before


def check_pixels(what: str, size: tuple[int, int], max_pixels: int) -> None:
    """Checks that a picture is not too large for the memory.

    Args:
        what: the picture, for the message.
        size: its width and height.
        max_pixels: INPUT.MAX_PIXELS, the largest number of pixels allowed; 0: no limit.

    Raises:
        UserError: the picture has more pixels.
    """
    width, height = size
    if max_pixels and width * height > max_pixels:
        raise UserError(
            f"{what}: has {width}x{height} pixels (width x height), more than {max_pixels}; to"
            " segment it window by window, use --sliding-window (TEST.SLIDING_WINDOW.ENABLED True);"
            " if there is memory for the picture as a whole, set INPUT.MAX_PIXELS"
            f" {width * height}"
        )
