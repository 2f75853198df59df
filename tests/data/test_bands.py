"""Bands of TIFF files become red, green and blue, whatever way they are stored."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from clipmask.curation.guessing.depth import guess_depth
from clipmask.data.bands import count_bands, read_bands
from clipmask.data.image_format import ImageFormat, shown
from clipmask.data.reading import read_image
from clipmask.errors import UserError

VALUES = np.random.default_rng(0).integers(0, 4096, (12, 14, 5)).astype(np.uint16)


@pytest.mark.parametrize("planes", [False, True])
@pytest.mark.parametrize("compression", [None, "deflate", "lzw"])
def test_bands_in_any_order(tmp_path: Path, planes: bool, compression: str | None) -> None:
    path = tmp_path / "a.tif"
    values = np.moveaxis(VALUES, -1, 0) if planes else VALUES
    config = "separate" if planes else "contig"
    tifffile.imwrite(
        path, values, photometric="minisblack", planarconfig=config, compression=compression
    )
    assert count_bands(path) == (5, False)
    assert (read_bands(path, [4, 3, 1]) == VALUES[..., [3, 2, 0]]).all()
    form = ImageFormat(range=(0, 4095), bands=(4, 3, 1))
    expected = (VALUES[..., [3, 2, 0]] / 4095 * 255).round()
    assert np.abs(read_image(path, image_format=form) - expected).max() <= 1
    assert (read_image(path, "BGR", form)[..., ::-1] == read_image(path, "RGB", form)).all()
    with pytest.raises(UserError, match=r"a\.tif: has 5 bands, but bands is \[6, 1, 2\]"):
        read_bands(path, [6, 1, 2])
    found = guess_depth([path]).format
    assert (found.bands, found.range) == ((3, 2, 1), (0, 4095))


def test_eight_bits_with_near_infrared(tmp_path: Path) -> None:
    values = (VALUES[..., :4] // 16).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", extrasamples=["unspecified"])
    assert (
        read_image(tmp_path / "a.tif", image_format=ImageFormat(bands=(4, 1, 2)))
        == values[..., [3, 0, 1]]
    ).all()
    assert guess_depth([tmp_path / "a.tif"]).format == ImageFormat(bands=(1, 2, 3))


def test_metadata_and_back() -> None:
    form = ImageFormat(range=(0, 4095), bands=(4, 3, 2))
    assert ImageFormat.from_metadata(form.as_metadata()) == form
    for wrong in ([], [0, 1, 2], "rgb", [1, 2, True], [1.5]):
        with pytest.raises(UserError, match="bands is"):
            ImageFormat.from_metadata({"bands": wrong})


def test_without_bands_the_way_out_is_said(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", VALUES, photometric="minisblack", planarconfig="contig")
    with pytest.raises(UserError, match=r"a\.tif: .*bands: \[4, 3, 2\]"):
        read_image(tmp_path / "a.tif")


def test_files_that_are_no_tiff(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.tif", "PNG")
    with pytest.raises(UserError, match=r"a\.tif: is no TIFF file"):
        read_bands(tmp_path / "a.tif", [1, 2, 3])
    with pytest.raises(UserError, match="no such file"):
        read_bands(tmp_path / "none.tif", [1, 2, 3])


def test_without_the_extra_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(UserError, match=r"pip install 'clipmask\[bands\]'"):
        read_bands(tmp_path / "a.tif", [1, 2, 3])


@pytest.mark.parametrize("bands", [(1,), (4, 2), (1, 2, 3, 4, 5)])
def test_any_number_of_bands(tmp_path: Path, bands: tuple[int, ...]) -> None:
    tifffile.imwrite(tmp_path / "a.tif", VALUES, photometric="minisblack", planarconfig="contig")
    form = ImageFormat.from_metadata({"bands": list(bands), "image_range": [0, 4095]})
    assert form.channels == len(bands)
    pixels = read_image(tmp_path / "a.tif", "BGR", form)  # only colours have that order
    expected = (VALUES[..., [band - 1 for band in bands]] / 4095 * 255).round()
    assert np.abs(pixels - expected).max() <= 1
    assert shown(pixels).shape == (12, 14, 3)
    assert (shown(pixels)[..., 0] == pixels[..., 0]).all()


def test_the_channels_of_a_png_are_bands_too(tmp_path: Path) -> None:
    values = (VALUES[..., :4] // 16).astype(np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    form = ImageFormat(bands=(1, 2, 3, 4))
    assert (read_image(tmp_path / "a.png", image_format=form) == values).all()


def test_large_pictures_of_bands_are_read_up_to_the_same_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow would refuse twice as many
    tifffile.imwrite(tmp_path / "a.tif", VALUES, photometric="minisblack", planarconfig="contig")
    Image.fromarray(np.zeros((20, 30, 4), np.uint8)).save(tmp_path / "a.png")
    for name, count in (("a.tif", VALUES.shape[0] * VALUES.shape[1]), ("a.png", 600)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            pixels = read_bands(tmp_path / name, [2, 1], count)
        assert pixels.shape[0] * pixels.shape[1] == count
        with pytest.raises(UserError, match=f"INPUT.MAX_PIXELS {count}"):
            read_bands(tmp_path / name, [2, 1], count - 1)
