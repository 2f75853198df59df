"""A label map in a temporary file, for pictures whose label maps should not be in memory."""

from __future__ import annotations

import tempfile
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipmask.errors import UserError


class LabelFile:
    """A label map (H, W) on the disk, in the folder for temporary files (``TMPDIR``).

    The file has no name, so that nothing remains of it, whatever ends the process. It is closed
    with this object, or by ``close``; arrays of ``mapped`` stay valid.

    Args:
        shape: H and W.
        dtype: the type of the ids.

    Attributes:
        shape, dtype: as given.

    Raises:
        UserError: the disk is full.
    """

    ndim = 2

    def __init__(self, shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
        self.shape, self.dtype = shape, dtype
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 (it lives as this object)
        self.close = weakref.finalize(self, self._file.close)

    def write(self, top: int, left: int, block: NDArray[Any]) -> None:
        """Writes ids (n, m), whose upper left corner is at a row and a column."""
        for row, ids in enumerate(np.ascontiguousarray(block, self.dtype), top):
            self._file.seek((row * self.shape[1] + left) * self.dtype.itemsize)
            content = memoryview(ids).cast("B")
            try:
                while content:
                    content = content[self._file.write(content) :]
            except OSError as error:
                raise UserError(
                    f"the label map of {self.shape[1]}x{self.shape[0]} pixels can't be written to"
                    f" the folder {tempfile.gettempdir()} ({error}); name one on a larger disk:"
                    " TMPDIR=/path/of/folder"
                ) from error

    def mapped(self) -> NDArray[Any]:
        """Returns the label map as an array that is read from the file where it is used."""
        return np.memmap(self._file, self.dtype, "r", shape=self.shape)

    def __getitem__(self, where: Any) -> NDArray[Any]:
        """Returns a part of the label map, in memory."""
        return np.array(self.mapped()[where])
