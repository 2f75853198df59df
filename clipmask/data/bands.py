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

from clipmask.errors import UserError

TIFF_SUFFIXES = (".tif", ".tiff")


def read_bands(path: str | os.PathLike[str], bands: Sequence[int]) -> NDArray[Any]:
    """Reads chosen bands of a picture.

    Args:
        path: a TIFF file, whose bands may be stored as planes or pixel by pixel; or any other file
            that Pillow reads, whose channels are the bands (of RGBA, the fourth is the opacity).
        bands: the numbers of the bands, which count from 1, in the order of the result.

    Returns:
        (H, W, len(bands)), in the number type of the file.

    Raises:
        UserError: the file is missing or damaged, it has no such band, or tifffile is not
            installed.
    """
    values = _all_bands(path) if _is_tiff(path) else _channels(path)
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
    return values[..., 0] if values.shape[-1] == 1 else None


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


def _all_bands(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Returns (H, W, bands): the first page, or several pages that hold one band each."""
    tifffile = _library(path)
    try:
        with tifffile.TiffFile(path) as file:
            series = file.series[0]
            values, axes = series.asarray(), series.axes
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


def _channels(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Returns (H, W, channels) of a file that Pillow reads, with the values of the file."""
    try:
        with Image.open(path) as image:
            values = np.asarray(image.convert("RGBA") if "P" in image.mode else image)
    except FileNotFoundError as error:
        raise UserError(f"image {path}: no such file") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"image {path}: can't be read ({error})") from error
    return values[..., None] if values.ndim == 2 else values


def _library(path: str | os.PathLike[str]) -> Any:
    try:
        import tifffile
    except ImportError as error:
        raise UserError(
            f"image {path}: bands of TIFF files are read by tifffile, which is not installed: "
            "pip install 'clipmask[bands]'"
        ) from error
    return tifffile
