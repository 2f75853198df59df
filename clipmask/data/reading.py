"""Reading of pictures and label maps, with an error that names the file and its fault.

Every fault of a file becomes a ``UserError`` here, so that later stages may rely on the pixels.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from clipmask.data.bands import TIFF_SUFFIXES, read_bands, read_wide_labels
from clipmask.data.image_format import PLAIN, ImageFormat
from clipmask.data.label_format import TRANSPARENT, LabelFormat, unpacked
from clipmask.data.opening import check_pixels, open_header
from clipmask.data.orientation import ORIENTATION_TAG, UPRIGHT
from clipmask.errors import UserError
from clipmask.paths import refuse_special

# The suffixes of pictures in a folder search. A file that the user names may have any suffix.
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
MAX_PIXELS = 1_000_000_000  # the default of INPUT.MAX_PIXELS, for one picture
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
_COLOR_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA"}  # modes that RGBA holds without loss


def read_image(
    path: str | os.PathLike[str],
    format: str = "RGB",
    image_format: ImageFormat = PLAIN,
    max_pixels: int = MAX_PIXELS,
) -> NDArray[np.uint8]:
    """Reads a picture as upright 8-bit colour.

    The camera's orientation tag is applied. Palettes, grey and CMYK are converted to RGB, 16-bit
    values are scaled to 8 bits, and an alpha channel is dropped.

    Args:
        path: a file in any format that Pillow reads; if it has several frames, the first is read.
        format: the order of the channels, ``RGB`` or ``BGR``.
        image_format: which values of the file become 0 and 255; by default, the range of the
            file's number type.
        max_pixels: INPUT.MAX_PIXELS, the largest number of pixels allowed; 0: no limit.

    Returns:
        uint8 (H, W, 3), contiguous. If ``image_format`` has bands, (H, W, bands); ``format``
        applies to three bands only.

    Raises:
        UserError: the file is missing, is not a picture, is damaged, or has more than 16 bits per
            pixel and ``image_format`` gives no range; or ``format`` is unknown.
    """
    check_format(format)
    if image_format.scales or image_format.bands:
        values = read_values(path, image_format.bands, max_pixels)
        pixels = _eight_bits(values, image_format, path)
        bgr = format == "BGR" and pixels.shape[-1] == 3
        return np.ascontiguousarray(pixels[..., ::-1] if bgr else pixels)
    with _opened(path, "image", max_pixels) as image:
        _turn_upright(image, path)
        if image.mode.startswith("I") or image.mode == "F":
            pixels = _wide_to_8_bits(np.asarray(image), path)
        else:
            # a palette may have transparent entries, which RGB can't represent
            if image.mode in ("P", "PA"):
                image = image.convert("RGBA")
            pixels = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    return np.ascontiguousarray(pixels[..., ::-1] if format == "BGR" else pixels)


def _eight_bits(
    values: NDArray[Any], image_format: ImageFormat, path: str | os.PathLike[str]
) -> NDArray[np.uint8]:
    if not image_format.scales and values.dtype not in (np.uint8, np.uint16):
        raise UserError(
            f"image {path}: holds {values.dtype} values; set image_range, the values that become"
            " black and white"
        )
    return image_format.to_8_bits(values)


def read_values(
    path: str | os.PathLike[str],
    bands: Sequence[int] | None = None,
    max_pixels: int = MAX_PIXELS,
) -> NDArray[Any]:
    """Reads the values of a picture, upright, without a conversion to 8 bits.

    Args:
        path: a file in any format that Pillow reads; with ``bands``, also other TIFF files.
        bands: the numbers of the bands, see ``ImageFormat``; None: the picture is colour or grey.
        max_pixels: as for ``read_image``.

    Returns:
        (H, W, 3), uint8, uint16, int32 or float32 as in the file; grey is repeated three times.
        With ``bands``, (H, W, bands).

    Raises:
        UserError: the file is missing, is not a picture or is damaged.
    """
    if bands is not None:
        return read_bands(path, bands, max_pixels)
    with _opened(path, "image", max_pixels) as image:
        orientation = image.getexif().get(ORIENTATION_TAG, 1)
        if image.mode.startswith("I") or image.mode == "F":
            values = np.asarray(image)
        elif _is_deep(path):
            values = _deep_colors(path)
        else:
            if "P" in image.mode:  # a palette may have transparent entries
                image = image.convert("RGBA")
            values = np.asarray(image.convert("RGB"))
    if values.dtype.kind in "iu" and values.dtype.byteorder == ">":
        values = values.astype(values.dtype.newbyteorder("="))
    if values.ndim == 2:
        values = np.repeat(values[..., None], 3, axis=-1)
    return UPRIGHT.get(orientation, np.asarray)(values)


def _is_deep(path: str | os.PathLike[str]) -> bool:
    """Returns whether a file has several channels of 16 bits, which Pillow reduces to 8 bits."""
    with open_header(path) as image:  # an image that is already decoded lacks this information
        return any(";16" in str(tile[3]) for tile in image.tile)


def _deep_colors(path: str | os.PathLike[str]) -> NDArray[np.uint16]:
    """Reads a file with 16 bits per channel as (H, W, 3), RGB."""
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
    """Reads a label map and checks every pixel, so that no later stage has to.

    Args:
        path: a lossless picture of ids (one channel, or a palette whose indices are the ids) or of
            colours, as ``format`` says.
        format: which values the pixels may have.
        size: the (H, W) of the picture that the map belongs to; None: the size is not checked.

    Returns:
        (H, W) class ids, with ``format.ignore_label`` for void, of the type ``format.dtype``.

    Raises:
        UserError: the file is missing, is not a picture, is damaged, lossy, or holds colours
            instead of ids; its size differs from ``size``; an id or a colour is not allowed; a
            colour is transparent.
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
    """Reads the pixel values of a label file without checking them.

    Args:
        path, format: as for ``read_labels``.

    Returns:
        The ids (H, W) of the file; if ``format`` is of colours, the numbers r + 256 g + 65536 b.

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
        if format.colored:
            return _packed_colors(image, path, format)
        return _raw_ids(image, path, format)


def _raw_ids(image: Image.Image, path: str | os.PathLike[str], format: LabelFormat) -> NDArray[Any]:
    """Returns the ids (H, W) of an opened label map, upright."""
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
    """Returns integers unchanged and floats as int32; refuses NaN and numbers with fractions."""
    if values.dtype.kind != "f":
        return values
    finite = np.isfinite(values)
    whole = np.where(finite, values, 0).astype(np.int32)
    wrong = values[~finite | (whole != values)]
    if wrong.size:
        first = "NaN" if np.isnan(wrong).any() else f"{float(wrong[0]):g}"
        raise UserError(
            f"label map {path}: holds numbers that are not whole, such as {first} ({wrong.size}"
            " pixels), where each pixel needs the id of a class or of void"
        )
    return whole


def _is_known(path: str | os.PathLike[str]) -> bool:
    """Returns whether Pillow knows the format of a file; True if the file is missing."""
    try:
        with open_header(path):
            return True
    except UnidentifiedImageError:
        return False
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return True


def _packed_colors(
    image: Image.Image, path: str | os.PathLike[str], format: LabelFormat
) -> NDArray[np.uint32]:
    """Returns the colours (H, W) of an opened label map, upright, for ``LabelFormat.decode``."""
    if image.mode not in _COLOR_MODES:
        raise UserError(
            f"label map {path}: has {image.mode} pixels where 8-bit colours are expected; save it"
            " as an RGB PNG"
        )
    _turn_upright(image, path)
    opaque = image.mode in ("1", "L", "P", "RGB") and "transparency" not in image.info
    if image.mode != "RGB" or not opaque:
        image = image.convert("RGBA")
    # Pillow also stores RGB in four bytes per pixel, so four bytes need no conversion.
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
            " opaque colours, or say what they mean (transparent: void or a class's name, in a"
            " descriptor)"
        )
    return np.where(clear, np.uint32(TRANSPARENT), colors)


def _refuse(path: str | os.PathLike[str], wrong: NDArray[Any], format: LabelFormat) -> NoReturn:
    """Raises a ``UserError`` that lists the values ``wrong`` (N,), which are not allowed."""
    values, counts = np.unique(wrong, return_counts=True)
    if not format.colored:
        listed = ", ".join(map(str, values[:10]))
        if values.size > 10:
            listed += ", ..."
        raise UserError(
            f"label map {path}: class id {listed} out of range ({wrong.size} pixels); expected"
            f" {_expected_ids(format)}"
        )
    most = counts.argmax()
    others = ""
    if values.size > 1:
        others = (
            f"; {values.size - 1} more colours are unknown too, as after smoothing, resizing or a"
            " lossy format"
        )
    known = ", ".join(str(unpacked(number)) for number in format.known if number != TRANSPARENT)
    raise UserError(
        f"label map {path}: the colour {unpacked(int(values[most]))} ({counts[most]} pixels) is"
        f" neither a class nor void{others}. Known are {known}: give it to a class, or make it void"
        " (void_colors in a descriptor, label_values in metadata). For smoothed edges, use"
        " color_tolerance and others: void in a descriptor"
    )


def _expected_ids(format: LabelFormat) -> str:
    if format.table is None:
        return (
            f"0..{format.num_classes - 1} ({format.num_classes} classes), or {format.ignore_label}"
            " for void"
        )
    return f"{', '.join(map(str, format.table))} (the ids of the classes and of void)"


def check_format(format: str) -> None:
    """Checks that ``format`` (the config key INPUT.FORMAT) is RGB or BGR.

    Raises:
        UserError: it is another value.
    """
    if format not in ("RGB", "BGR"):
        raise UserError(f"INPUT.FORMAT is {format!r}; it must be RGB or BGR")


def _turn_upright(image: Image.Image, path: str | os.PathLike[str]) -> None:
    """Turns a picture upright, as its EXIF tag says; an upright one is not copied."""
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except Exception as error:  # Pillow raises exceptions of many types for damaged tags
        raise UserError(f"picture {path}: its EXIF tags can't be read ({error})") from error


@contextmanager
def _opened(path: str | os.PathLike[str], what: str, max_pixels: int = 0) -> Iterator[Image.Image]:
    """Opens and decodes a picture.

    Args:
        path: the file.
        what: the kind of file, for messages: ``image`` or ``label map``.
        max_pixels: the largest number of pixels allowed; 0: no limit.

    Raises:
        UserError: the file is missing, damaged or too large.
    """
    refuse_special(path, what)
    try:
        image = open_header(path)
    except FileNotFoundError as error:
        raise UserError(f"{what} {path}: no such file") from error
    except UnidentifiedImageError as error:
        hint = ""
        if what == "image" and str(path).lower().endswith(TIFF_SUFFIXES):
            hint = (
                "; if it has more bands than red, green and blue, choose some: bands: [4, 3, 2] in"
                " a descriptor"
            )
        raise UserError(f"{what} {path}: is not an image in any known format{hint}") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{what} {path}: can't be opened ({error})") from error
    with image:
        check_pixels(f"{what} {path}", image.size, max_pixels)
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
            " or give the dataset an image_range, the values that become black and white"
        )
    grey = PLAIN.to_8_bits(pixels)
    return np.repeat(grey[..., None], 3, axis=-1)
