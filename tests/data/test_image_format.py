"""Values of any depth become 8-bit pictures as the dataset says, and nothing is lost before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from clipmask.data.image_format import PLAIN, ImageFormat
from clipmask.data.reading import read_image, read_values
from clipmask.errors import UserError

RAMP = np.linspace(0, 4095, 24 * 30).round().astype(np.uint16).reshape(24, 30)
EXPECTED = (RAMP / 4095 * 255).round()


def write(path: Path, values: np.ndarray) -> Path:
    if values.ndim == 2:
        Image.fromarray(values).save(path)
    else:
        assert cv2.imwrite(str(path), values[..., ::-1])  # Pillow writes no deep colours
    return path


@pytest.mark.parametrize("ending", [".png", ".tif"])
@pytest.mark.parametrize("colored", [False, True])
def test_twelve_bits_in_sixteen_keep_all_their_levels(
    tmp_path: Path, ending: str, colored: bool
) -> None:
    values = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], -1) if colored else RAMP
    path = write(tmp_path / f"a{ending}", values)
    assert (read_values(path)[..., :3] == (values if colored else values[..., None])).all()
    pixels = read_image(path, image_format=ImageFormat(range=(0, 4095)))
    assert pixels.shape == (24, 30, 3)
    assert np.abs(pixels[..., 0] - EXPECTED).max() <= 1
    assert len(np.unique(pixels)) > 250
    assert (read_image(path, "BGR", ImageFormat(range=(0, 4095))) == pixels[..., ::-1]).all()
    assert read_image(path).max() == 15  # by the type's full range


def test_percentiles_are_of_each_picture(tmp_path: Path) -> None:
    form = ImageFormat(percentiles=(0, 100))
    dim = read_image(write(tmp_path / "a.png", RAMP // 2 + 100), image_format=form)
    assert np.abs(dim[..., 0] - EXPECTED).max() <= 1
    assert (dim.min(), dim.max()) == (0, 255)
    cut = read_image(
        write(tmp_path / "b.png", RAMP), image_format=ImageFormat(percentiles=(10, 90))
    )
    assert (cut == 0).mean() == pytest.approx(0.1, abs=0.01)
    assert (cut == 255).mean() == pytest.approx(0.1, abs=0.01)
    assert (form.to_8_bits(np.full((2, 2), 7, np.uint16)) == 0).all()


def test_floats_and_eight_bits_take_a_range_too(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", (RAMP / 4095).astype(np.float32))
    assert (
        np.abs(read_image(path, image_format=ImageFormat(range=(0, 1)))[..., 0] - EXPECTED).max()
        <= 1
    )
    assert (
        np.abs(
            read_image(path, image_format=ImageFormat(percentiles=(0, 100)))[..., 0] - EXPECTED
        ).max()
        <= 1
    )
    eight = write(tmp_path / "b.png", (RAMP // 64).astype(np.uint8))
    assert read_image(eight, image_format=ImageFormat(range=(0, 63))).max() == 255


@pytest.mark.parametrize("orientation", range(1, 9))
def test_deep_pictures_are_turned_as_others(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    shallow, deep = tmp_path / "8.png", tmp_path / "16.png"
    Image.fromarray((RAMP // 16).astype(np.uint8)).save(shallow, exif=exif)
    Image.fromarray(RAMP // 16 * 257).save(deep, exif=exif)
    assert (
        read_image(deep, image_format=ImageFormat(range=(0, 65535))) == read_image(shallow)
    ).all()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, PLAIN),
        ("full", PLAIN),
        ([0, 4095], ImageFormat(range=(0, 4095))),
        ({"percentiles": [1, 99]}, ImageFormat(percentiles=(1, 99))),
    ],
)
def test_metadata_and_back(value: Any, expected: ImageFormat) -> None:
    form = ImageFormat.from_metadata({"image_range": value})
    assert form == expected
    assert ImageFormat.from_metadata(form.as_metadata()) == form


@pytest.mark.parametrize(
    "value", ["all", [1], [5, 5], ["0", "9"], {"percentiles": [99, 1]}, {"percent": [1, 2]}, 3]
)
def test_senseless_ranges_are_refused(value: Any) -> None:
    with pytest.raises(UserError, match="image_range"):
        ImageFormat.from_metadata({"image_range": value})
