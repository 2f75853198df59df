"""Pictures in strips of rows, so that what is drawn in between needs little memory however large
they are.
"""

from __future__ import annotations

from collections.abc import Iterator

STRIP_PIXELS = 2**21  # of a strip


def row_strips(shape: tuple[int, ...]) -> Iterator[slice]:
    """Yields the rows of a picture of ``shape``, (H, W, ...), in parts of about ``STRIP_PIXELS``
    pixels, from the top.
    """
    rows = max(1, STRIP_PIXELS // max(1, shape[1]))
    for first in range(0, shape[0], rows):
        yield slice(first, min(first + rows, shape[0]))
