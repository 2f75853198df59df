"""The result for a picture that is read part by part: neither it nor its label map is in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

from clipmask.data.image_format import shown
from clipmask.data.picture_file import PictureFile
from clipmask.errors import UserError
from clipmask.inference.label_file import LabelFile
from clipmask.inference.segmentation import Segmentation, server_id_table
from clipmask.inference.strip_files import check_suffix, write_strips
from clipmask.visualizer import colorize, overlay_strips
from clipmask.visualizer.strips import row_strips


class ShownFile:
    """The colours of a picture file, (H, W, 3), whose rows are read when they are asked for."""

    ndim, dtype = 3, np.dtype(np.uint8)

    def __init__(self, file: PictureFile) -> None:
        self._file, self.shape = file, (*file.shape[:2], 3)
        self.place: Sequence[Any] = file.place

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> NDArray[np.uint8]:
        return shown(self._file[rows])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[: len(self)], dtype)


@dataclass(frozen=True, eq=False, repr=False)
class LargeSegmentation(Segmentation):
    """The class of every pixel of a picture that is read from its file part by part.

    It has the methods of ``Segmentation``, but ``comparison`` and pickling raise a ``UserError``.
    Results are saved strip by strip, as .tif (in tiles, with the place on earth of a GeoTIFF),
    .png or .jpg.

    Attributes:
        image: gives uint8 (n, W, 3) for ``image[rows]``, a slice; the whole picture for
            ``np.asarray(image)``.
        labels: (H, W), which is read from a temporary file where it is used.
    """

    _stored: LabelFile = field(kw_only=True)

    @property
    def _ids(self) -> NDArray[Any]:
        return cast(NDArray[Any], self._stored)

    def comparison(self, truth: NDArray[Any]) -> NDArray[np.uint8]:
        """Raises a ``UserError``: a comparison is drawn of pictures in memory only."""
        raise UserError(
            f"{self.source}: comparisons are drawn of pictures in memory only; set"
            " TEST.SLIDING_WINDOW.FROM_FILE_ABOVE to more than the pixels of the picture"
        )

    def _writer(
        self,
        path: Path,
        what: str,
        opacity: float | None,
        truth: NDArray[Any] | None,
        on_rows: Callable[[int, int], object] | None,
    ) -> Callable[[Path], object]:
        if what in ("json", "scores"):
            return super()._writer(path, what, opacity, truth, on_rows)
        size, strips = self._strips(what, opacity, truth)
        check_suffix(path, size)  # here, where the path is the user's own
        place = cast(ShownFile, self.image).place
        return lambda partial: write_strips(partial, size, strips, place, on_rows)

    def _strips(
        self, what: str, opacity: float | None, truth: NDArray[Any] | None
    ) -> tuple[tuple[int, int], Iterator[NDArray[Any]]]:
        """Returns the height and width of a picture that is saved, and its rows."""
        size = (self._stored.shape[0], self._stored.shape[1])
        parts = (self._stored[rows] for rows in row_strips(size))
        if what == "overlay":
            return overlay_strips(
                self.image,
                self._ids,
                self.names,
                self.colors,
                self.drawing.opacity if opacity is None else opacity,
                paint_background=self.drawing.paint_background,
            )
        if what == "color":
            return size, (colorize(part, self.colors) for part in parts)
        if what == "server_ids":
            table = server_id_table(self.names, self.server_ids)
            return size, (table[part] for part in parts)
        if what == "comparison":
            self.comparison(np.empty(0) if truth is None else truth)
        dtype = np.uint8 if self._stored.dtype == np.uint8 else np.uint16
        return size, (part.astype(dtype) for part in parts)

    def _repr_png_(self) -> None:  # type: ignore[override]
        """Returns None, so that notebooks display the text instead of a very large picture."""

    def __reduce__(self) -> NoReturn:
        raise UserError(
            f"{self.source}: the result of a picture that is read part by part can't be pickled;"
            " save its labels"
        )
