"""Reads pictures and label maps from files, and says which file is wrong and why.

Every fault of a file becomes a ``UserError`` here, where it is first touched, so that no later
stage meets pixels it does not expect.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from clipmask.data.bands import TIFF_SUFFIXES, read_bands, read_wide_labels
from clipmask.data.image_format import PLAIN, ImageFormat
from clipmask.data.label_format import TRANSPARENT, LabelFormat, unpacked
from clipmask.errors import UserError
from clipmask.paths import refuse_special

# What counts as a picture where folders are searched; a file that is named itself is always tried.
PICTURE_SUFFIXES = {
    ".avif",
    ".bmp",
    ".dib",
    ".gif",
    ".jfif",
    ".jp2",
    ".jpe",
    ".jpeg",
    ".jpg",
    ".pbm",
    ".pgm",
    ".png",
    ".pnm",
    ".ppm",
    ".tga",
    ".tif",
    ".tiff",
    ".webp",
}
MAX_PIXELS = 1_000_000_000  # of a picture, unless INPUT.MAX_PIXELS says otherwise
_PILLOW = threading.Lock()  # its limit is one for the whole process
_ORIENTATION_TAG = 0x0112  # of EXIF
_UPRIGHT: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {  # by the value of that tag
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: np.swapaxes(pixels, 0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.swapaxes(np.rot90(pixels, 2), 0, 1),
    8: np.rot90,
}
_ID_MODES = {
    "1",
    "L",
    "P",
    "I;16",
    "I;16L",
    "I;16B",
    "I;16N",
    "I",
    "F",
}  # Pillow's modes with one whole number per pixel
_COLOR_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA"}  # those that become RGBA without loss


def read_image(
    path: str | os.PathLike[str],
    format: str = "RGB",
    image_format: ImageFormat = PLAIN,
    max_pixels: int = MAX_PIXELS,
) -> NDArray[np.uint8]:
    """Reads a picture as 8-bit colour, upright.

    The camera's orientation tag is applied. Palettes, grey and CMYK are converted, 16-bit values
    are scaled to 8 bits, an alpha channel is dropped.

    Args:
        path: any format that Pillow reads; of several frames the first.
        format: order of the channels, ``RGB`` or ``BGR``.
        image_format: which values of the file become 0 and 255; by default those that its type
            holds.
        max_pixels: INPUT.MAX_PIXELS, the most that a picture may have; 0: any number.

    Returns:
        uint8 (H, W, 3), contiguous; of an ``image_format`` with bands (H, W, bands), in their own
        order where they are not three.

    Raises:
        UserError: the file is missing, is not a picture, is damaged, or has pixels of more than 16
            bits for which ``image_format`` gives no range; or the format is unknown.
    """
    check_format(format)
    if image_format.scales or image_format.bands:
        values = read_values(path, image_format.bands, max_pixels)
        pixels = _eight_bits(values, image_format, path)
        bgr = format == "BGR" and pixels.shape[-1] == 3
        return np.ascontiguousarray(pixels[..., ::-1] if bgr else pixels)
    with _opened(path, "image", max_pixels) as image:
        # without, a picture that stands upright would be copied
        _turn_upright(image, path)
        if image.mode.startswith("I") or image.mode == "F":
            pixels = _wide_to_8_bits(np.asarray(image), path)
        else:
            # a palette may hold transparent entries, which RGB has no room for
            if image.mode in ("P", "PA"):
                image = image.convert("RGBA")
            pixels = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    return np.ascontiguousarray(pixels[..., ::-1] if format == "BGR" else pixels)


def _eight_bits(
    values: NDArray[Any], image_format: ImageFormat, path: str | os.PathLike[str]
) -> NDArray[np.uint8]:
    if not image_format.scales and values.dtype not in (np.uint8, np.uint16):
        raise UserError(
            f"image {path}: holds {values.dtype} values; say image_range, the values that are black"
            " and white"
        )
    return image_format.to_8_bits(values)


def read_values(
    path: str | os.PathLike[str],
    bands: Sequence[int] | None = None,
    max_pixels: int = MAX_PIXELS,
) -> NDArray[Any]:
    """Reads the values of a picture in the depth that its file has, upright.

    Args:
        path: any format that Pillow reads; with ``bands`` a TIFF file.
        bands: see ``ImageFormat``.
        max_pixels: as for ``read_image``.

    Returns:
        (H, W, 3): uint8 or uint16, or int32 or float32 for files that hold such values; grey is
        repeated.

    Raises:
        UserError: the file is missing, is not a picture or is damaged.
    """
    if bands is not None:
        return read_bands(path, bands)
    with _opened(path, "image", max_pixels) as image:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
        if image.mode.startswith("I") or image.mode == "F":
            values = np.asarray(image)
        elif _is_deep(path):
            values = _deep_colors(path)
        else:
            values = np.asarray(
                image.convert("RGBA").convert("RGB") if "P" in image.mode else image.convert("RGB")
            )
    if values.dtype.kind in "iu" and values.dtype.byteorder == ">":
        values = values.astype(values.dtype.newbyteorder("="))
    if values.ndim == 2:
        values = np.repeat(values[..., None], 3, axis=-1)
    return _UPRIGHT.get(orientation, np.asarray)(values)


def _is_deep(path: str | os.PathLike[str]) -> bool:
    """Whether a file has 16 bits for each of several channels, of which Pillow keeps the high
    byte.
    """
    with _open(path) as image:  # what is decoded no longer tells
        return any(";16" in str(tile[3]) for tile in image.tile)


def _deep_colors(path: str | os.PathLike[str]) -> NDArray[np.uint16]:
    """Returns (H, W, 3), RGB, of a file with 16 bits for each channel."""
    import cv2

    values = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16:
        raise UserError(
            f"image {path}: its 16-bit channels can't be read; save it as PNG or as uncompressed"
            " TIFF"
        )
    return values if values.ndim == 2 else np.ascontiguousarray(values[..., 2::-1])


def read_labels(
    path: str | os.PathLike[str], format: LabelFormat, size: tuple[int, int] | None = None
) -> NDArray[np.uint8] | NDArray[np.int64]:
    """Reads a label map and checks every id in it; no later stage has to.

    Args:
        path: a lossless picture: with one channel (or a palette, whose indices are the ids), or in
            colours, as ``format`` says.
        format: what its pixels may hold.
        size: (H, W) of the picture that the map belongs to; None: not compared.

    Returns:
        (H, W) class ids, and ``format.ignore_label`` for void; of ``format.dtype``.

    Raises:
        UserError: the file is missing, is not a picture, is damaged, lossy, or holds colours
            instead of ids; its size differs from ``size``; an id or a colour must not occur; a
            colour is not opaque.
    """
    raw = read_label_pixels(path, format)
    if size is not None and raw.shape != tuple(size):
        raise UserError(
            f"label map {path}: is {raw.shape[1]}x{raw.shape[0]} pixels (width x height), "
            f"but its image is {size[1]}x{size[0]}; both must have the same size"
        )
    labels, wrong = format.decode(raw)
    if wrong is not None:
        _refuse(path, raw[wrong], format)
    return labels


def read_label_pixels(path: str | os.PathLike[str], format: LabelFormat) -> NDArray[Any]:
    """Reads what stands in a label file, whether it is known or not.

    Args:
        path, format: as for ``read_labels``.

    Returns:
        (H, W) ids as they are in the file; where ``format`` is of colours, r + 256 g + 65536 b.

    Raises:
        UserError: the file is missing, is not a picture, is damaged, lossy, or of another kind than
            ``format`` reads.
    """
    if not format.colored and str(path).lower().endswith(TIFF_SUFFIXES) and not _is_known(path):
        wide = read_wide_labels(path)
        if wide is not None:
            return _whole_numbers(wide, path)
    with _opened(path, "label map") as image:
        if image.format == "JPEG" and not (format.colored and format.tolerance):
            raise UserError(
                f"label map {path}: is a JPEG, whose compression changes ids and colours; save it"
                " as single-channel PNG, or read it by colours with encoding: rgb, color_tolerance"
                " and others: void in a descriptor (clipmask-data init writes them)"
            )
        return (
            _packed_colors(image, path, format) if format.colored else _raw_ids(image, path, format)
        )


def _raw_ids(image: Image.Image, path: str | os.PathLike[str], format: LabelFormat) -> NDArray[Any]:
    """Returns the pixel values (H, W) of an opened label map, upright."""
    if image.mode not in _ID_MODES:
        raise UserError(
            f"label map {path}: holds colours ({image.mode} pixels) where one class id per pixel is"
            f" expected; convert it to a single-channel PNG with ids 0..{format.num_classes - 1}"
            f" and {format.ignore_label} for void, or give the dataset its colours (label_values in"
            " its metadata; 'encoding: rgb' in a descriptor)"
        )
    _turn_upright(image, path)
    ids = np.asarray(image)
    return ids.astype(np.uint8) if ids.dtype == bool else _whole_numbers(ids, path)


def _whole_numbers(values: NDArray[Any], path: str | os.PathLike[str]) -> NDArray[Any]:
    """Returns values as they are, floats as int32; refuses fractions."""
    if values.dtype.kind != "f":
        return values
    finite = np.isfinite(values)
    whole = np.where(finite, values, 0).astype(np.int32)
    wrong = ~finite | (whole != values)
    if wrong.any():
        raise UserError(
            f"label map {path}: holds numbers with fractions, such as"
            f" {float(values[wrong][0]):g}, where one class id per pixel is expected"
        )
    return whole


def _is_known(path: str | os.PathLike[str]) -> bool:
    """Whether Pillow knows what a file is; True where it is not there."""
    try:
        with _open(path):
            return True
    except UnidentifiedImageError:
        return False
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return True


def _packed_colors(
    image: Image.Image, path: str | os.PathLike[str], format: LabelFormat
) -> NDArray[np.uint32]:
    """Returns the colours (H, W) of an opened label map, upright, as ``LabelFormat.decode`` takes
    them.
    """
    if image.mode not in _COLOR_MODES:
        raise UserError(
            f"label map {path}: has {image.mode} pixels where 8-bit colours are expected; save it"
            " as an RGB PNG"
        )
    _turn_upright(image, path)
    opaque = image.mode in ("1", "L", "P", "RGB") and "transparency" not in image.info
    if image.mode != "RGB" or not opaque:
        image = image.convert("RGBA")
    # Pillow keeps RGB in four bytes too: the fourth costs nothing here, and three would have to be
    # put together.
    pixels = image.tobytes("raw", "RGBX" if image.mode == "RGB" else "RGBA")
    raw = np.frombuffer(pixels, np.dtype("<u4")).reshape(image.height, image.width)
    colors = raw & np.uint32(0xFFFFFF)
    least = 0xFF if format.transparent is None else 0x80
    if opaque or (raw >= least << 24).all():
        return colors
    clear = raw < least << 24
    if format.transparent is None:
        raise UserError(
            f"label map {path}: {int(clear.sum())} pixels are transparent; save it as RGB, with"
            " opaque colours, or say what they are (transparent: void or a class's name, in a"
            " descriptor)"
        )
    return np.where(clear, np.uint32(TRANSPARENT), colors)


def _refuse(path: str | os.PathLike[str], wrong: NDArray[Any], format: LabelFormat) -> NoReturn:
    """Raises a ``UserError`` about the values ``wrong`` (N,), which must not occur."""
    values, counts = np.unique(wrong, return_counts=True)
    if not format.colored:
        listed = ", ".join(str(value) for value in values[:10]) + (
            ", ..." if values.size > 10 else ""
        )
        raise UserError(
            f"label map {path}: class id {listed} out of range ({wrong.size} pixels); expected"
            f" {_expected_ids(format)}"
        )
    most = counts.argmax()
    others = (
        f"; {values.size - 1} more colours are unknown too, as after smoothing, resizing or a lossy"
        " format"
        if values.size > 1
        else ""
    )
    known = ", ".join(str(unpacked(number)) for number in format.known if number != TRANSPARENT)
    raise UserError(
        f"label map {path}: the colour {unpacked(int(values[most]))} ({counts[most]} pixels) is no"
        f" class's and not void{others}. Known are {known}: give it to a class, or make it void"
        " (void_colors in a descriptor, label_values in metadata). Smoothed edges: color_tolerance"
        " and others: void in a descriptor"
    )


def _expected_ids(format: LabelFormat) -> str:
    if format.table is None:
        return (
            f"0..{format.num_classes - 1} ({format.num_classes} classes), or {format.ignore_label}"
            " for void"
        )
    return f"{', '.join(map(str, format.table))} (the ids of the classes and of void)"


def check_format(format: str) -> None:
    """Raises a ``UserError`` unless ``format`` (the config key INPUT.FORMAT) is RGB or BGR."""
    if format not in ("RGB", "BGR"):
        raise UserError(f"INPUT.FORMAT is {format!r}; it must be RGB or BGR")


def _open(path: str | os.PathLike[str]) -> Any:
    """Opens a picture of any size: Pillow's own limit, which is for files of strangers, has no way
    out for a user's large picture, and ours is a key.
    """
    with _PILLOW:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(path)
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _turn_upright(image: Image.Image, path: str | os.PathLike[str]) -> None:
    """Turns a picture as its EXIF tag says."""
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except Exception as error:  # of a damaged tag Pillow raises what it happens to
        raise UserError(f"picture {path}: its EXIF tags can't be read ({error})") from error


@contextmanager
def _opened(path: str | os.PathLike[str], what: str, max_pixels: int = 0) -> Iterator[Image.Image]:
    """Opens and decodes a picture; whatever Pillow raises becomes a ``UserError`` that names
    ``what`` and the path.
    """
    refuse_special(path, what)
    try:
        image = _open(path)
    except FileNotFoundError as error:
        raise UserError(f"{what} {path}: no such file") from error
    except UnidentifiedImageError as error:
        hint = ""
        if what == "image" and str(path).lower().endswith(TIFF_SUFFIXES):
            hint = (
                "; if it has more bands than red, green and blue, say which to take: bands: [4, 3,"
                " 2] in a descriptor"
            )
        raise UserError(f"{what} {path}: is not an image in any known format{hint}") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{what} {path}: can't be opened ({error})") from error
    with image:
        width, height = image.size
        if max_pixels and width * height > max_pixels:
            raise UserError(
                f"{what} {path}: has {width}x{height} pixels (width x height), more than"
                f" {max_pixels}; if that is right, and there is memory for 3 bytes a pixel, say"
                f" INPUT.MAX_PIXELS {width * height}"
            )
        try:
            image.load()
        except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
            raise UserError(f"{what} {path}: is damaged or cut short ({error})") from error
        yield image


def _wide_to_8_bits(pixels: NDArray, path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """Scales 16-bit grey (H, W) to 8-bit colour (H, W, 3)."""
    if not np.issubdtype(pixels.dtype, np.integer) or pixels.min() < 0 or pixels.max() > 65535:
        raise UserError(
            f"image {path}: has more than 16 bits per pixel; save it with 8 or 16 bits per channel,"
            " or give the dataset an image_range, the values that are black and white"
        )
    grey = PLAIN.to_8_bits(pixels)
    return np.repeat(grey[..., None], 3, axis=-1)
