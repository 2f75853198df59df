"""The camera's orientation tag: which way a stored picture must be turned to be upright."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

ORIENTATION_TAG = 0x0112  # in EXIF
# value of the orientation tag -> the function that turns the picture upright
UPRIGHT: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: np.swapaxes(pixels, 0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.swapaxes(np.rot90(pixels, 2), 0, 1),
    8: np.rot90,
}
_LYING = (5, 6, 7, 8)  # stored rows are upright columns
_ROWS_REVERSED = (3, 4, 6, 7)
_COLUMNS_REVERSED = (2, 3, 7, 8)


def upright_size(orientation: int, size: tuple[int, int]) -> tuple[int, int]:
    """Returns the (H, W) of a picture that is stored with ``size`` (rows, columns)."""
    if orientation in _LYING:
        return (size[1], size[0])
    return size


def stored_window(
    orientation: int, size: tuple[int, int], rows: slice, columns: slice
) -> tuple[slice, slice]:
    """Returns where a window of the upright picture is stored.

    ``UPRIGHT`` turns the stored pixels of that place into those of the window.

    Args:
        orientation: the value of the tag; 1 and unknown values mean that the picture is upright.
        size: the rows and columns of the stored picture.
        rows, columns: of the upright picture.
    """
    across, down = (columns, rows) if orientation not in _LYING else (rows, columns)
    if orientation in _ROWS_REVERSED:
        down = slice(size[0] - down.stop, size[0] - down.start)
    if orientation in _COLUMNS_REVERSED:
        across = slice(size[1] - across.stop, size[1] - across.start)
    return down, across
