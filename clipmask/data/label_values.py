"""What the pixels of a label file may hold, ids or colours, and the class that each value stands for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

RGB = tuple[int, int, int]

MAX_RAW_ID = 65535  # the largest id that a label file may hold where ids are looked up


class LabelValues(Mapping[Any, int]):
    """An exact table: value in the file -> class id or void. No other value may occur in a file.

    Args:
        values: from ids, 0 to 65535, or from (r, g, b), all keys of one kind.
    """

    def __init__(self, values: Mapping[Any, int]) -> None:
        self._values = dict(values)
        self.colored = isinstance(next(iter(self._values)), tuple)

    def __getitem__(self, key: Any) -> int:
        return self._values[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return repr(self._values)

    def __reduce__(self) -> tuple[Any, ...]:
        return LabelValues, (self._values,)  # without the table: worker processes make their own

    def find(self, raw: NDArray[Any]) -> NDArray[Any]:
        """Looks every pixel up.

        Args:
            raw: (H, W) ids, 0 to 65535; or, where keys are colours, r + 256 g + 65536 b.

        Returns:
            (H, W) class id or void, each plus 1; 0 where the value is unknown.
        """
        return self._found.take(raw, mode="clip")  # all are in the table; clip is the fast mode

    @cached_property
    def _found(self) -> NDArray[Any]:
        """The result for each possible value. Of the 32 MiB for colours only pages that are written to are real."""
        keys = [packed(key) for key in self] if self.colored else list(self)
        table = np.zeros(
            1 << 24 if self.colored else MAX_RAW_ID + 1, np.uint16 if max(self.values()) < 65535 else np.uint32
        )
        table[keys] = [value + 1 for value in self.values()]
        return table


def packed(color: RGB) -> int:
    """Returns a colour as one number, r + 256 g + 65536 b."""
    red, green, blue = color
    return red + (green << 8) + (blue << 16)


def unpacked(number: int) -> list[int]:
    """Returns [r, g, b] of a number from ``packed``."""
    return [number & 255, number >> 8 & 255, number >> 16 & 255]
