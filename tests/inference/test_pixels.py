"""Paths, PIL images and arrays of one picture are the same pixels."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clipmask.data import read_image
from clipmask.errors import UserError
from clipmask.inference.pixels import to_pixels
from tests.checkpoints import pixels


def test_every_form_of_a_picture_is_the_same(tmp_path: Path) -> None:
    expected = pixels()
    Image.fromarray(expected).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    planes = torch.from_numpy(expected).permute(2, 0, 1)
    opaque = np.dstack([expected, np.full(expected.shape[:2], 9, np.uint8)])
    paths = (tmp_path / "a.png", str(tmp_path / "a.png"), Image.open(tmp_path / "a.png"))
    files = (content, io.BytesIO(content), (tmp_path / "a.png").open("rb"))
    arrays = (expected, expected / 255, (expected / 255).astype(np.float32), opaque)
    for form in (*paths, *files, *arrays, planes, planes.float() / 255):
        np.testing.assert_array_equal(to_pixels(form), expected)


def test_grey_pixels_have_three_equal_channels() -> None:
    grey = pixels()[..., 0]
    for form in (
        grey,
        grey[..., None],
        torch.from_numpy(grey.copy()),
        torch.from_numpy(grey.copy())[None],
    ):
        np.testing.assert_array_equal(to_pixels(form), np.dstack([grey] * 3))


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK"])
def test_pil_images_are_read_as_files_are(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(pixels()).convert(mode)
    path = tmp_path / "a.tiff"
    image.save(path)
    np.testing.assert_array_equal(to_pixels(Image.open(path)), read_image(path))


def test_a_turned_camera(tmp_path: Path) -> None:
    image, exif = Image.fromarray(pixels()), Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    image.save(tmp_path / "a.png", exif=exif)
    turned = np.rot90(pixels(), -1)
    np.testing.assert_array_equal(to_pixels(Image.open(tmp_path / "a.png")), turned)
    np.testing.assert_array_equal(to_pixels(tmp_path / "a.png"), turned)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((4, 5, 2), np.uint8),
        np.zeros((4, 5, 3), np.int64),
        np.full((4, 5, 3), 1.5),
        np.full((4, 5, 3), np.nan),
    ]
    + [
        np.zeros((0, 5, 3), np.uint8),
        7,
        b"nothing",
        torch.zeros(1, 3, 4, 5),
        torch.zeros(5, 4, 3, dtype=torch.uint8),
    ],
)
def test_what_is_no_picture(wrong: object) -> None:
    with pytest.raises(UserError, match="not a picture"):
        to_pixels(wrong)  # type: ignore[arg-type]


def test_wide_pil_images_are_refused() -> None:
    with pytest.raises(UserError, match="give its path"):
        to_pixels(Image.fromarray(np.full((4, 5), 60000, np.uint16)))
