"""Anything that is a picture -> its pixels."""

from __future__ import annotations

import io
import os
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from clipmask.data import read_image
from clipmask.data.image_format import PLAIN, ImageFormat
from clipmask.data.reading import MAX_PIXELS
from clipmask.errors import UserError

# A path; the content of a file, or a file that is open for reading bytes; a PIL image; pixels, see
# ``to_pixels``.
Picture = (
    str | os.PathLike[str] | bytes | IO[bytes] | Image.Image | NDArray[np.generic] | torch.Tensor
)


def to_pixels(
    image: Picture, image_format: ImageFormat = PLAIN, max_pixels: int = MAX_PIXELS
) -> NDArray[np.uint8]:
    """Returns uint8 (H, W, 3), RGB, or (H, W, bands) where ``image_format`` has bands.

    Args:
        image: a path, the bytes of a picture's file, such a file opened, a PIL image or pixels: an
            array (H, W), grey, or (H, W, 1), (H, W, 3) or (H, W, 4), whose fourth channel, opacity,
            is left out; or a tensor (C, H, W) of as many channels. uint8 0..255, or floating-point
            numbers in [0, 1].
        image_format: how files are read by their path, see ``read_image``. With bands, pixels have
            those bands alone, in their order, and any numbers where it gives a range.

        max_pixels: of files by their path, see ``read_image``.

    Raises:
        UserError: a file can't be read, or it is no picture.
    """
    if isinstance(image, str | os.PathLike):
        return read_image(image, image_format=image_format, max_pixels=max_pixels)
    if image_format.channels != 3:
        return _of_bands(image, image_format)
    if isinstance(image, bytes | bytearray | memoryview):
        image = _opened(io.BytesIO(image))
    elif not isinstance(image, Image.Image | np.ndarray | torch.Tensor) and hasattr(image, "read"):
        image = _opened(image)
    if isinstance(image, Image.Image):
        return _of_pil(image)
    if isinstance(image, torch.Tensor):
        if image.ndim not in (2, 3):
            raise UserError(
                f"not a picture: {image.dtype} tensor {tuple(image.shape)}; give (channels, height,"
                " width)"
            )
        array = image.detach().cpu()
        array = array.float() if array.is_floating_point() else array  # numpy has no bfloat16
        return _of_array(array.numpy() if image.ndim == 2 else array.permute(1, 2, 0).numpy())
    return _of_array(image)


def _of_bands(image: Any, image_format: ImageFormat) -> NDArray[np.uint8]:
    """Checks pixels of a model whose pictures have bands, and scales them."""
    array, count = image, image_format.channels
    if isinstance(image, torch.Tensor):
        moved = image.detach().cpu()
        moved = moved.float() if moved.is_floating_point() else moved  # numpy has no bfloat16
        array = moved.permute(1, 2, 0).numpy() if image.ndim == 3 else moved.numpy()
    elif isinstance(image, Image.Image):
        array = np.asarray(image)
    if not isinstance(array, np.ndarray) or array.ndim != 3 or array.shape[2] != count:
        kind = f"array {array.shape}" if isinstance(array, np.ndarray) else type(image).__name__
        raise UserError(
            f"not a picture for this model: {kind}; it takes the bands {image_format.bands}: give"
            f" the path of a file with them, or an array (height, width, {count}) or a tensor"
            f" ({count}, height, width) of these bands"
        )
    if not image_format.scales and array.dtype not in (np.uint8, np.uint16):
        array = _bytes_of(array)
    return np.ascontiguousarray(image_format.to_8_bits(array))


def _bytes_of(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Returns floating-point shares of 255 as uint8."""
    if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
        raise UserError(
            f"not a picture: {array.dtype} array with values outside [0, 1]; give uint8, or give"
            " the dataset of the training an image_range"
        )
    return (array * 255).round().astype(np.uint8)


def _opened(file: IO[bytes]) -> Image.Image:
    try:
        opened = Image.open(file)
        opened.load()
        return opened
    # Pillow's for broken content
    except (
        UnidentifiedImageError,
        OSError,
        ValueError,
        SyntaxError,
        Image.DecompressionBombError,
    ) as error:
        raise UserError(f"not a picture: bytes that Pillow can't read ({error})") from error


def _of_pil(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I") or image.mode == "F":
        raise UserError(
            f"a PIL image of mode {image.mode}: give its path instead, or convert it to 8 bits"
        )
    upright = ImageOps.exif_transpose(image)
    return np.array(
        upright.convert("RGBA").convert("RGB")
        if upright.mode in ("P", "PA")
        else upright.convert("RGB")
    )


def _of_array(image: Any) -> NDArray[np.uint8]:
    """Checks an array of pixels, and brings it to three channels of 8 bits."""
    if not isinstance(image, np.ndarray):
        kind = (
            "None, as cv2.imread returns for a file it can't read"
            if image is None
            else type(image).__name__
        )
        raise UserError(
            f"not a picture: {kind}; give a path, a PIL image, the bytes of a file, an array or a"
            " tensor"
        )
    shaped = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (1, 3, 4))
    if not shaped or not (image.dtype == np.uint8 or np.issubdtype(image.dtype, np.floating)):
        raise UserError(
            f"not a picture: {image.dtype} array {image.shape}; give (height, width) or (height,"
            " width, 1, 3 or 4), uint8 or floating-point numbers in [0, 1], in RGB"
        )
    if not image.size:
        raise UserError(f"not a picture: an array {image.shape} without pixels")
    if image.dtype != np.uint8:
        if not np.isfinite(image).all() or image.min() < 0 or image.max() > 1:
            raise UserError(
                f"not a picture: {image.dtype} array with values outside [0, 1]; divide by 255, or"
                " give uint8"
            )
        image = (image * 255).round().astype(np.uint8)
    if image.ndim == 2 or image.shape[2] == 1:
        image = np.repeat(image.reshape(*image.shape[:2], 1), 3, axis=2)
    return image[..., :3]
