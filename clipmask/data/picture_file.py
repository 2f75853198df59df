"""Pictures that are read from their file part by part, so that they are never in memory whole.

The parts have exactly the pixels of ``read_image``. Kinds of files that can't be read so are
refused.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from clipmask.data.bands import TIFF_SUFFIXES
from clipmask.data.image_format import PLAIN, ImageFormat
from clipmask.data.opening import open_header
from clipmask.data.orientation import ORIENTATION_TAG, UPRIGHT, stored_window, upright_size
from clipmask.data.part_readers import NotInParts, PartReader, TiffReader, VipsReader
from clipmask.errors import UserError
from clipmask.paths import refuse_special

# Rows that are read together, if the parts of the file are not taller.
LEAST_ROWS = 64
_EXCEPTIONS = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)


class PictureFile:
    """A picture file whose rows are read when they are asked for.

    Args:
        path: the file.
        image_format: how its values become 8 bits, see ``read_image``.

    Attributes:
        shape: (H, W, channels) of the upright picture.
        place: the GeoTIFF tags of the file, which say where on earth the picture lies, as
            ``extratags`` of tifffile; empty if there are none.

    Raises:
        NotInParts: the file can't be read part by part, or a library for that is not installed.
        UserError: the file is missing or damaged, or ``image_format`` does not fit it.
    """

    ndim, dtype = 3, np.dtype(np.uint8)

    def __init__(self, path: str | os.PathLike[str], image_format: ImageFormat = PLAIN) -> None:
        refuse_special(path, "image")
        self.path, self._format = path, image_format
        self._orientation, self._reader = _opened(path, image_format)
        self._channels = self._chosen()
        size = upright_size(self._orientation, self._reader.size)
        self.shape = (*size, image_format.channels)
        self.place: Sequence[Any] = () if self._orientation in UPRIGHT else self._reader.place
        self._held = (0, np.empty((0, *self.shape[1:]), np.uint8))
        self._tall = max(LEAST_ROWS, self._reader.tall)  # rows that are read together

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> NDArray[np.uint8]:
        """Returns rows of the picture, uint8 (n, W, channels), as ``read_image`` would give them.

        Rows that are asked for in order, from the top, are decoded once only, even if they overlap.

        Raises:
            UserError: the file is damaged.
        """
        start, stop, _ = rows.indices(self.shape[0])
        top, held = self._held
        if not top <= start <= top + len(held):
            top, held = start, held[:0]
        held = held[start - top :]
        if start + len(held) < stop:
            # whole parts of the file, so that none is decoded twice
            end = min(self.shape[0], -(-stop // self._tall) * self._tall)
            held = np.concatenate([held, self._read(slice(start + len(held), end))])
        self._held = (start, held)
        return held[: stop - start]

    def _read(self, rows: slice) -> NDArray[np.uint8]:
        """Reads rows of the upright picture."""
        if self._format.percentiles is not None:
            self._format = self._format.of_counts(self._count_values())
        values = self._values(rows)
        if self._format.scales or self._format.bands or values.dtype == np.uint8:
            return self._format.to_8_bits(values)
        # as Pillow does: it scales grey, and takes the high byte of colours
        if self._reader.channels == 1:
            return PLAIN.to_8_bits(values)
        return (values >> 8).astype(np.uint8)

    def _values(self, rows: slice) -> NDArray[Any]:
        """Reads rows of the upright picture with the values of the file, (n, W, channels)."""
        every = slice(0, self.shape[1])
        down, across = stored_window(self._orientation, self._reader.size, rows, every)
        values = self._reader.read(down, across)[..., self._channels]
        return np.ascontiguousarray(UPRIGHT.get(self._orientation, np.asarray)(values))

    def _count_values(self) -> NDArray[np.int64]:
        """Returns how often the picture has each value, (65536,)."""
        counts = np.zeros(2**16, np.int64)
        for top in range(0, self.shape[0], self._tall):
            values = self._values(slice(top, min(top + self._tall, self.shape[0])))
            counts += np.bincount(values.ravel(), minlength=len(counts))
        return counts

    def _chosen(self) -> list[int]:
        """Returns which channels of the file are read.

        Raises:
            NotInParts, UserError: see the class.
        """
        reader, bands = self._reader, self._format.bands
        if not self._format.scales and reader.dtype not in (np.uint8, np.uint16):
            raise UserError(
                f"image {self.path}: holds {reader.dtype} values; set image_range, the values that"
                " become black and white"
            )
        if self._format.percentiles is not None and reader.dtype not in (np.uint8, np.uint16):
            raise NotInParts(
                f"image {self.path}: percentiles of {reader.dtype} values need the whole picture;"
                " set image_range to [low, high]"
            )
        if bands is not None:
            if max(bands) > reader.channels:
                raise UserError(
                    f"image {self.path}: has {reader.channels} bands, but bands is {list(bands)};"
                    " they are numbered from 1"
                )
            return [band - 1 for band in bands]
        if reader.meaning == "other":
            raise UserError(
                f"image {self.path}: has {reader.channels} bands that are not red, green and blue;"
                " choose some: bands: [4, 3, 2] in a descriptor"
            )
        if reader.meaning == "color":
            return [0, 1, 2]
        return [0, 0, 0]


def picture_size(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    """Returns the (rows, columns) that a picture file states, without decoding it.

    Returns:
        None if the file is missing or damaged, or if no library that is installed knows its format.
    """
    try:
        with open_header(path) as image:
            return image.height, image.width
    except _EXCEPTIONS:  # Pillow knows no TIFF of other than three bands
        if not str(path).lower().endswith(TIFF_SUFFIXES):
            return None
    try:
        return TiffReader(path, raw=True).size
    except UserError:
        return None


def _opened(path: str | os.PathLike[str], image_format: ImageFormat) -> tuple[int, PartReader]:
    """Returns the value of the orientation tag, and the reader of a file.

    Raises:
        NotInParts, UserError: see ``PictureFile``.
    """
    of_bands = image_format.bands is not None
    kind, orientation, whole, palette = "", 1, False, False
    try:
        with open_header(path) as image:
            kind, palette = image.format or "", "P" in image.mode
            whole = bool(image.info.get("progressive") or image.info.get("interlace"))
            if not of_bands:  # the readers of bands do not turn pictures
                orientation = int(image.getexif().get(ORIENTATION_TAG, 1))
    except FileNotFoundError as error:
        raise UserError(f"image {path}: no such file") from error
    except UnidentifiedImageError:
        kind = "TIFF"  # tifffile knows more of them
    except _EXCEPTIONS as error:
        raise UserError(f"image {path}: can't be opened ({error})") from error
    if kind == "TIFF":
        return orientation, TiffReader(path, raw=of_bands)
    reader = VipsReader(path, kind, whole)
    if of_bands and (palette or reader.dtype != np.uint8):
        raise NotInParts(
            f"image {path}: bands of a palette, or of more than 8 bits, are read part by part from"
            " TIFF files only"
        )
    return orientation, reader
