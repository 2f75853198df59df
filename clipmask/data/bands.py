"""Reading of pictures whose bands are not (only) red, green and blue.

TIFF files are read by tifffile, which is an extra (pip install 'clipmask[bands]'). Of other files,
the channels are the bands.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipmask.data.opening import check_pixels, open_header
from clipmask.errors import UserError

TIFF_SUFFIXES = (".tif", ".tiff")


def read_bands(
    path: str | os.PathLike[str], bands: Sequence[int], max_pixels: int = 0
) -> NDArray[Any]:
    """Reads chosen bands of a picture.

    Args:
        path: a TIFF file, whose bands may be stored as planes or pixel by pixel; or any other file
            that Pillow reads, whose channels are the bands (of RGBA, the fourth is the opacity).
        bands: the numbers of the bands, which count from 1, in the order of the result.
        max_pixels: INPUT.MAX_PIXELS, the largest number of pixels allowed; 0: no limit.

    Returns:
        (H, W, len(bands)), in the number type of the file.

    Raises:
        UserError: the file is missing, damaged or too large, it has no such band, or tifffile is
            not installed.
    """
    values = _all_bands(path, max_pixels) if _is_tiff(path) else _channels(path, max_pixels)
    count = values.shape[-1]
    if max(bands) > count:
        raise UserError(
            f"image {path}: has {count} bands, but bands is {list(bands)}; they are numbered from 1"
        )
    return np.ascontiguousarray(values[..., [band - 1 for band in bands]])


def read_wide_labels(path: str | os.PathLike[str]) -> NDArray[Any] | None:
    """Reads a TIFF file of one number per pixel that Pillow can't read, such as 64-bit numbers.

    Returns:
        (H, W), in the number type of the file; None if the file holds several bands or can't be
        read, or if tifffile is not installed.
    """
    try:
        values = _all_bands(path)
    except UserError:
        return None
    if values.shape[-1] != 1:
        return None
    return values[..., 0]


def count_bands(path: str | os.PathLike[str]) -> tuple[int, bool]:
    """Returns the number of bands of a TIFF file, and whether the file declares RGB.

    Raises:
        UserError: as for ``read_bands``.
    """
    tifffile = _library(path)
    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages[0]
            return int(page.samplesperpixel), page.photometric == tifffile.PHOTOMETRIC.RGB
    except FileNotFoundError as error:
        raise UserError(f"image {path}: no such file") from error
    except Exception as error:  # see ``_all_bands``
        raise UserError(f"image {path}: is no TIFF file that can be read ({error})") from error


def _all_bands(path: str | os.PathLike[str], max_pixels: int = 0) -> NDArray[Any]:
    """Returns (H, W, bands): the first page, or several pages that hold one band each."""
    tifffile = _library(path)
    try:
        with tifffile.TiffFile(path) as file:
            page, series = file.pages[0], file.series[0]
            check_pixels(f"image {path}", (page.imagewidth, page.imagelength), max_pixels)
            values, axes = series.asarray(), series.axes
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"image {path}: no such file") from error
    # tifffile raises exceptions of many types for damaged files
    except Exception as error:
        raise UserError(f"image {path}: is no TIFF file that can be read ({error})") from error
    if values.ndim == 2:
        return values[..., None]
    others = [place for place, axis in enumerate(axes) if axis not in "YX"]
    if values.ndim != 3 or len(axes) != 3 or len(others) != 1:
        raise UserError(
            f"image {path}: has the axes {axes} with the sizes {values.shape}; expected are bands,"
            " height and width"
        )
    return np.moveaxis(values, others[0], -1)


def _is_tiff(path: str | os.PathLike[str]) -> bool:
    return str(path).lower().endswith(TIFF_SUFFIXES)


def _channels(path: str | os.PathLike[str], max_pixels: int) -> NDArray[Any]:
    """Returns (H, W, channels) of a file that Pillow reads, with the values of the file."""
    try:
        with open_header(path) as image:
            check_pixels(f"image {path}", image.size, max_pixels)
            values = np.asarray(image.convert("RGBA") if "P" in image.mode else image)
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"image {path}: no such file") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"image {path}: can't be read ({error})") from error
    if values.ndim == 2:
        return values[..., None]
    return values


def _library(path: str | os.PathLike[str]) -> Any:
    try:
        import tifffile
    except ImportError as error:
        raise UserError(
            f"image {path}: bands of TIFF files are read by tifffile, which is not installed: "
            "pip install 'clipmask[bands]'"
        ) from error
    return tifffile
