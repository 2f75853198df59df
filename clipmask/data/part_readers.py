"""Readers of parts of a picture file: tifffile for TIFF, libvips for JPEG and PNG.

Both decode to the bit as Pillow does. (GDAL, the other common reader of windows, enlarges the
colours of JPEG in another way, and libvips does not read every TIFF.)
"""

from __future__ import annotations

import importlib
import itertools
import os
import weakref
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from clipmask.errors import UserError

MOST_PART_BYTES = 2**28  # of a part of the file that is decoded together: 256 MiB


class NotInParts(UserError):
    """A picture can't be read part by part; it may be possible to read it as a whole."""


class PartReader(Protocol):
    """Reads parts of a picture as it is stored.

    Attributes:
        size: the rows and columns of the stored picture.
        channels: the number of channels.
        meaning: ``color`` (red, green, blue and perhaps opacity), ``grey`` (perhaps with opacity)
            or ``other``.
        dtype: the type of the values.
        tall: the number of rows that are decoded together.
        place: the GeoTIFF tags, as ``extratags`` of tifffile; empty if there are none.
    """

    place: Sequence[Any]
    size: tuple[int, int]
    channels: int
    meaning: str
    dtype: np.dtype[Any]
    tall: int

    def read(self, rows: slice, columns: slice) -> NDArray[Any]:
        """Returns a part of the picture, (n, m, channels).

        Raises:
            UserError: the file is damaged.
        """


class TiffReader:
    """Reads parts of the first picture of a TIFF file, in tiles or strips, also of BigTIFF.

    Args:
        path: the file.
        raw: whether a palette's indices are the values, and white may be 0.

    Attributes:
        place, size, channels, meaning, dtype, tall: see ``PartReader``.

    Raises:
        NotInParts: the file can't be read in parts, or tifffile is not installed.
        UserError: the file is damaged.
    """

    def __init__(self, path: str | os.PathLike[str], raw: bool) -> None:
        tifffile = _library("tifffile", path)
        self._path = path
        try:
            self._file = tifffile.TiffFile(path)
            weakref.finalize(self, self._file.close)
            self._page = page = self._file.pages[0]
            series = self._file.series[0]
        except Exception as error:  # tifffile raises exceptions of many types for damaged files
            raise _damaged(path, error) from error
        self.size = (page.imagelength, page.imagewidth)
        self.channels = page.samplesperpixel
        self._planes = page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and self.channels > 1
        if page.dtype is None or page.imagedepth != 1 or len(series.pages) != 1:
            raise _unusual(path, "has several pages, or values of an unusual number of bits")
        self.dtype = page.dtype
        if page.bitspersample != self.dtype.itemsize * 8:
            raise _unusual(path, f"has {page.bitspersample} bits per value")
        self.meaning, self._table = "other", None
        self._check_colors(tifffile, raw)
        # uncompressed rows are read from their place
        self._plain = page.is_contiguous and not self._planes and page.predictor == 1
        self.tall = 1 if self._plain else (page.tilelength or page.rowsperstrip)
        self.tall = min(self.tall, self.size[0])
        block = np.prod(page.chunks) * self.dtype.itemsize
        if not self._plain and block > MOST_PART_BYTES:
            raise NotInParts(
                f"image {path}: is compressed in parts of {block / 1e9:.1f} GB, each decoded as a"
                " whole; store it in tiles: tiffcp -t a.tif tiles.tif"
            )
        wanted = (33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113)
        self.place: Sequence[Any] = [
            (tag.code, int(tag.dtype), tag.count, tag.value, True)
            for tag in page.tags.values()
            if tag.code in wanted
        ]

    def _check_colors(self, tifffile: Any, raw: bool) -> None:
        page, kinds = self._page, tifffile.PHOTOMETRIC
        lossy = page.compression in (tifffile.COMPRESSION.JPEG, tifffile.COMPRESSION.OJPEG)
        if raw:
            return
        if page.photometric == kinds.PALETTE and self.dtype == np.uint8 and self.channels == 1:
            self._table = (np.asarray(page.colormap) // 256).astype(np.uint8).T
            self.channels, self.meaning = 3, "color"
        elif page.photometric == kinds.MINISBLACK and self.channels <= 2:
            self.meaning = "grey"
        elif self.channels in (3, 4) and (
            page.photometric == kinds.RGB or (page.photometric == kinds.YCBCR and lossy)
        ):
            self.meaning = "color"
        elif self.channels <= 4 and page.photometric != kinds.MINISBLACK:
            raise _unusual(self._path, f"has the colours {page.photometric.name}")

    def read(self, rows: slice, columns: slice) -> NDArray[Any]:
        """See ``PartReader``."""
        try:
            part = self._read_plain(rows) if self._plain else self._read_blocks(rows, columns)
        except Exception as error:  # as above
            raise _damaged(self._path, error) from error
        if self._plain:
            part = part[:, columns]
        if self._table is None:
            return part
        return self._table[part[..., 0]]

    def _read_plain(self, rows: slice) -> NDArray[Any]:
        page = self._page
        stored = self.dtype.newbyteorder(page.parent.byteorder)
        length = self.size[1] * page.samplesperpixel
        handle = page.parent.filehandle
        handle.seek(page.dataoffsets[0] + rows.start * length * stored.itemsize)
        content = handle.read((rows.stop - rows.start) * length * stored.itemsize)
        values = np.frombuffer(content, stored).reshape(-1, self.size[1], page.samplesperpixel)
        if len(values) != rows.stop - rows.start:
            raise ValueError("the file ends too early")
        return values.astype(self.dtype, copy=False)

    def _read_blocks(self, rows: slice, columns: slice) -> NDArray[Any]:
        page = self._page
        tall = page.tilelength if page.is_tiled else page.rowsperstrip
        wide = page.tilewidth if page.is_tiled else self.size[1]
        down, across = -(-self.size[0] // tall), -(-self.size[1] // wide)
        stored = page.samplesperpixel
        part = np.zeros((rows.stop - rows.start, columns.stop - columns.start, stored), self.dtype)
        for plane, y, x in itertools.product(
            range(stored if self._planes else 1),
            range(rows.start // tall, -(-rows.stop // tall)),
            range(columns.start // wide, -(-columns.stop // wide)),
        ):
            block = self._block((plane * down + y) * across + x)
            if block is None:  # a block that is not stored is 0
                continue
            top, left = y * tall - rows.start, x * wide - columns.start
            block = block[max(0, -top) :, max(0, -left) :]
            target = part[max(0, top) :, max(0, left) :]
            height, width = (min(a, b) for a, b in zip(block.shape, target.shape[:2], strict=False))
            channels = slice(plane, plane + 1) if self._planes else slice(None)
            target[:height, :width, channels] = block[:height, :width]
        return part

    def _block(self, index: int) -> NDArray[Any] | None:
        """Returns a decoded tile or strip, (n, m, channels)."""
        page, handle = self._page, self._page.parent.filehandle
        if page.databytecounts[index] == 0:
            return None
        handle.seek(page.dataoffsets[index])
        content = handle.read(page.databytecounts[index])
        if len(content) < page.databytecounts[index]:
            raise ValueError("the file ends too early")
        block, _, _ = page.decode(
            content, index, jpegtables=page.jpegtables, jpegheader=page.jpegheader
        )
        if block is None:
            return None
        return block[0]


class VipsReader:
    """Reads parts of a JPEG or PNG file, which is decoded from its top.

    Rows should be asked for in order: for earlier rows, decoding begins again.

    Args:
        path: the file.
        kind: the name of the format in Pillow.
        whole: whether the file is progressive or interlaced.

    Attributes:
        place, size, channels, meaning, dtype, tall: see ``PartReader``.

    Raises:
        NotInParts: the file can't be read in parts, or pyvips is not installed.
        UserError: the file is damaged.
    """

    place: Sequence[Any] = ()

    def __init__(self, path: str | os.PathLike[str], kind: str, whole: bool) -> None:
        self._vips, self._path = _library("pyvips", path), path
        if kind not in ("JPEG", "PNG"):
            raise _unusual(path, f"has the format {kind}")
        if whole:
            raise _unusual(path, f"is a progressive or interlaced {kind}, decoded as a whole")
        self._start()
        image = self._image
        dtypes = {"uchar": np.uint8, "ushort": np.uint16}
        meanings = {"srgb": "color", "rgb16": "color", "b-w": "grey", "grey16": "grey"}
        if image.format not in dtypes or image.interpretation not in meanings:
            raise _unusual(path, f"has the colours {image.interpretation}")
        self.size, self.channels = (image.height, image.width), image.bands
        self.dtype = np.dtype(dtypes[image.format])
        self.meaning, self.tall = meanings[image.interpretation], 1

    def _start(self) -> None:
        try:
            self._image = self._vips.Image.new_from_file(
                os.fspath(self._path), access="sequential", fail_on="error"
            )
            self._region = self._vips.Region.new(self._image)
        except self._vips.Error as error:
            raise _damaged(self._path, error) from error
        self._next = 0

    def read(self, rows: slice, columns: slice) -> NDArray[Any]:
        """See ``PartReader``."""
        if rows.start < self._next:
            self._start()
        self._next = rows.stop
        width, height = columns.stop - columns.start, rows.stop - rows.start
        try:
            content = self._region.fetch(columns.start, rows.start, width, height)
        except self._vips.Error as error:
            raise _damaged(self._path, error) from error
        return np.frombuffer(content, self.dtype).reshape(height, width, self.channels)


def _damaged(path: str | os.PathLike[str], error: Exception) -> UserError:
    text = " ".join(str(error).split())
    return UserError(f"image {path}: is damaged or cut short ({text})")


def _unusual(path: str | os.PathLike[str], what: str) -> NotInParts:
    return NotInParts(
        f"image {path}: {what}; to read it part by part, store it as a TIFF of RGB with 8 or 16"
        " bits, in tiles"
    )


def _library(name: str, path: str | os.PathLike[str]) -> Any:
    try:
        return importlib.import_module(name)
    # pyvips raises OSError if libvips is missing
    except (ImportError, OSError) as error:
        raise NotInParts(
            f"image {path}: to read it part by part, install {name}: pip install 'clipmask[large]'"
        ) from error
