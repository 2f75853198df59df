"""Anything that is a picture -> its pixels."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from clipmask.data import read_image
from clipmask.data.image_format import PLAIN, ImageFormat
from clipmask.errors import UserError

Picture = str | os.PathLike[str] | Image.Image | NDArray[np.uint8]  # a path, or pixels: uint8 (H, W, 3), RGB


def to_pixels(image: Picture, image_format: ImageFormat = PLAIN) -> NDArray[np.uint8]:
    """Returns uint8 (H, W, 3), RGB.

    Args:
        image: a path, a PIL image or such pixels already.
        image_format: how files are read, see ``read_image``.

    Raises:
        UserError: a file can't be read, or it is no picture.
    """
    if isinstance(image, str | os.PathLike):
        return read_image(image, image_format=image_format)
    if isinstance(image, Image.Image):
        if image.mode.startswith("I") or image.mode == "F":
            raise UserError(f"a PIL image of mode {image.mode}: give its path instead, or convert it to 8 bits")
        upright = ImageOps.exif_transpose(image)
        return np.array(
            upright.convert("RGBA").convert("RGB") if upright.mode in ("P", "PA") else upright.convert("RGB")
        )
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        kind = f"{image.dtype} array {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        if image is None:
            kind = "None, as cv2.imread returns for a file it can't read"
        raise UserError(f"not a picture: {kind}; give a path, a PIL image or a uint8 array (height, width, 3) in RGB")
    if not image.size:
        raise UserError(f"not a picture: an array {image.shape} without pixels")
    return image
