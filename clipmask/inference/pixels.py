"""Conversion of pictures in any form (path, bytes, PIL image, array, tensor) to pixels."""

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

# A path; the bytes of a file, or a file opened for reading bytes; a PIL image; an array or a tensor
# of pixels, see ``to_pixels``.
Picture = (
    str | os.PathLike[str] | bytes | IO[bytes] | Image.Image | NDArray[np.generic] | torch.Tensor
)


def to_pixels(
    image: Picture, image_format: ImageFormat = PLAIN, max_pixels: int = MAX_PIXELS
) -> NDArray[np.uint8]:
    """Converts a picture to 8-bit pixels.

    Args:
        image: a path; the bytes of a picture file; such a file, opened; a PIL image; an array (H,
            W), (H, W, 1), (H, W, 3) or (H, W, 4), RGB or grey; or a tensor (C, H, W) with the same
            numbers of channels. A fourth channel, the opacity, is dropped. The values are uint8
            0..255, or floats in [0, 1].
        image_format: how a file given by its path is read, see ``read_image``. If it has bands,
            arrays and tensors must have exactly these bands, in this order; if it has a range,
            their values may be any numbers.
        max_pixels: the limit for a file given by its path, see ``read_image``.

    Returns:
        uint8 (H, W, 3), RGB; or (H, W, bands), if ``image_format`` has bands.

    Raises:
        UserError: a file can't be read, or ``image`` is not a picture.
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
        return _of_array(_to_numpy(image))
    return _of_array(image)


def _to_numpy(image: torch.Tensor) -> NDArray[Any]:
    """Converts a tensor (C, H, W) to an array (H, W, C); other shapes stay."""
    tensor = image.detach().cpu()
    if tensor.is_floating_point():
        tensor = tensor.float()  # numpy has no bfloat16
    if tensor.ndim == 3:
        return tensor.permute(1, 2, 0).numpy()
    return tensor.numpy()


def _of_bands(image: Any, image_format: ImageFormat) -> NDArray[np.uint8]:
    """Checks and scales a picture for a model whose pictures have bands."""
    array, count = image, image_format.channels
    if isinstance(image, torch.Tensor):
        array = _to_numpy(image)
    elif isinstance(image, Image.Image):
        array = np.asarray(image)
    if not isinstance(array, np.ndarray) or array.ndim != 3 or array.shape[2] != count:
        kind = f"array {array.shape}" if isinstance(array, np.ndarray) else type(image).__name__
        raise UserError(
            f"not a picture for this model: {kind}; the model takes the bands"
            f" {image_format.bands}: give the path of a file that has them, or an array (height,"
            f" width, {count}) or a tensor ({count}, height, width) of these bands"
        )
    if not image_format.scales and array.dtype not in (np.uint8, np.uint16):
        array = _bytes_of(array)
    return np.ascontiguousarray(image_format.to_8_bits(array))


def _bytes_of(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Scales floats in [0, 1] to uint8 0..255."""
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
    # the exceptions that Pillow raises for damaged content
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
    if upright.mode in ("P", "PA"):  # a palette may have transparent entries
        upright = upright.convert("RGBA")
    return np.array(upright.convert("RGB"))


def _of_array(image: Any) -> NDArray[np.uint8]:
    """Checks an array of pixels and converts it to three channels of 8 bits."""
    if not isinstance(image, np.ndarray):
        kind = type(image).__name__
        if image is None:
            kind = "None, which cv2.imread returns for a file that it can't read"
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
