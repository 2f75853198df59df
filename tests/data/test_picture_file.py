"""Parts of a picture file: to the bit those of the whole picture, or refused."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clipmask.data import part_readers, read_image
from clipmask.data.image_format import PLAIN, ImageFormat
from clipmask.data.part_readers import NotInParts
from clipmask.data.picture_file import PictureFile, picture_size
from clipmask.errors import UserError

tifffile = pytest.importorskip("tifffile")
pytest.importorskip("imagecodecs")
pytest.importorskip("pyvips")
HEIGHT, WIDTH = 301, 187


def values(channels: int, most: int = 255, seed: int = 0) -> np.ndarray:
    """A picture of coarse areas and a slope, (301, 187, channels)."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, most, (HEIGHT // 9 + 1, WIDTH // 9 + 1, channels))
    slope = np.arange(HEIGHT)[:, None, None] % 7
    return np.clip(coarse.repeat(9, 0).repeat(9, 1)[:HEIGHT, :WIDTH] + slope, 0, most)


def colors() -> np.ndarray:
    return values(3).astype(np.uint8)


def assert_equal(path: Path, image_format: ImageFormat = PLAIN) -> None:
    """Reads a file in overlapping parts, as windows do, and compares them with the whole."""
    whole = read_image(path, image_format=image_format)
    picture = PictureFile(path, image_format)
    assert picture.shape == whole.shape
    for start, stop in ((0, 70), (45, 115), (90, 91), (91, 230), (200, 301), (10, 20)):
        np.testing.assert_array_equal(picture[start:stop], whole[start:stop])


def test_a_file_is_closed_with_its_reader(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    Image.fromarray(colors()).save(tmp_path / "a.tif")
    picture = PictureFile(tmp_path / "a.tif")
    assert picture[:9].shape == (9, WIDTH, 3)
    del picture
    gc.collect()
    assert not [one for one in recwarn.list if "a.tif" in str(one.message)]


@pytest.mark.parametrize("mode", ["RGB", "L", "LA", "RGBA", "P"])
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_modes(tmp_path: Path, mode: str, ending: str) -> None:
    Image.fromarray(colors()).convert(mode).save(tmp_path / f"a.{ending}")
    assert_equal(tmp_path / f"a.{ending}")


@pytest.mark.parametrize(
    "options", [{}, {"subsampling": 0}, {"quality": 30}, {"restart_marker_rows": 1}]
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpeg(tmp_path: Path, options: dict[str, Any], mode: str) -> None:
    Image.fromarray(colors()).convert(mode).save(tmp_path / "a.jpg", **options)
    assert_equal(tmp_path / "a.jpg")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tile": (64, 32)},
        {"rowsperstrip": 5, "compression": "lzw"},
        {"tile": (48, 48), "compression": "deflate", "predictor": True},
        {"tile": (64, 64), "bigtiff": True},
        {"planarconfig": "separate", "rowsperstrip": 11},
        {"tile": (64, 64), "compression": "jpeg", "photometric": "rgb"},
        {"tile": (64, 64), "compression": "jpeg", "photometric": "ycbcr"},
        {"rowsperstrip": 16, "compression": "zstd", "byteorder": ">"},
    ],
)
def test_tiff(tmp_path: Path, options: dict[str, Any]) -> None:
    pixels = colors()
    if options.get("planarconfig"):
        pixels = np.moveaxis(pixels, -1, 0)
    tifffile.imwrite(tmp_path / "a.tif", pixels, **{"photometric": "rgb", **options})
    assert_equal(tmp_path / "a.tif")
    assert picture_size(tmp_path / "a.tif") == (HEIGHT, WIDTH)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "tif", "png"])
def test_orientation(tmp_path: Path, orientation: int, ending: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(colors()).save(tmp_path / f"a.{ending}", exif=exif)
    assert_equal(tmp_path / f"a.{ending}")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize(
    "image_format",
    [PLAIN, ImageFormat((0, 4095)), ImageFormat((300, 301)), ImageFormat(percentiles=(2, 98))],
)
def test_sixteen_bits(
    tmp_path: Path, channels: int, ending: str, image_format: ImageFormat
) -> None:
    cv2 = pytest.importorskip("cv2")
    most = 65535 if image_format == PLAIN else 4095
    pixels = values(channels, most).astype(np.uint16)
    cv2.imwrite(str(tmp_path / f"a.{ending}"), pixels)
    assert_equal(tmp_path / f"a.{ending}", image_format)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32, np.int16])
@pytest.mark.parametrize("planes", [True, False])
@pytest.mark.parametrize("bands", [(4, 3, 2), (5,), (1, 2, 3, 4)])
def test_bands(tmp_path: Path, kind: type, planes: bool, bands: tuple[int, ...]) -> None:
    pixels = values(5, 255 if kind is np.uint8 else 4095).astype(kind)
    stored = np.moveaxis(pixels, -1, 0) if planes else pixels
    arrangement = "separate" if planes else "contig"
    tifffile.imwrite(
        tmp_path / "a.tif",
        stored,
        photometric="minisblack",
        planarconfig=arrangement,
        tile=(64, 64),
    )
    assert_equal(tmp_path / "a.tif", ImageFormat((100, 4000), bands=bands))
    if kind in (np.uint8, np.uint16):
        assert_equal(tmp_path / "a.tif", ImageFormat(bands=bands))
        assert_equal(tmp_path / "a.tif", ImageFormat(percentiles=(1, 99), bands=bands))
    with pytest.raises(UserError, match="has 5 bands"):
        PictureFile(tmp_path / "a.tif", ImageFormat((0, 1), bands=(6,)))
    with pytest.raises(UserError, match=r"bands|image_range"):
        PictureFile(tmp_path / "a.tif")
    assert picture_size(tmp_path / "a.tif") == (HEIGHT, WIDTH)


def test_the_channels_of_a_png_are_bands_too(tmp_path: Path) -> None:
    image = Image.fromarray(values(4).astype(np.uint8))
    image.save(tmp_path / "a.png")
    assert_equal(tmp_path / "a.png", ImageFormat(bands=(4, 1)))
    image.convert("P").save(tmp_path / "p.png")
    with pytest.raises(NotInParts, match="palette"):
        PictureFile(tmp_path / "p.png", ImageFormat(bands=(1, 2, 3)))


def test_what_is_read_as_a_whole_only_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = Image.fromarray(colors())
    image.save(tmp_path / "progressive.jpg", progressive=True)
    image.convert("1").save(tmp_path / "bits.tif")
    image.convert("CMYK").save(tmp_path / "cmyk.tif")
    image.convert("CMYK").save(tmp_path / "cmyk.jpg")
    tifffile.imwrite(tmp_path / "white.tif", colors()[..., 0], photometric="miniswhite")
    image.save(tmp_path / "a.bmp")
    for name in ("progressive.jpg", "bits.tif", "cmyk.tif", "cmyk.jpg", "white.tif", "a.bmp"):
        with pytest.raises(NotInParts, match=name):
            PictureFile(tmp_path / name)
    floats = values(1)[..., 0].astype(np.float32)
    tifffile.imwrite(tmp_path / "floats.tif", floats)
    with pytest.raises(NotInParts, match="percentiles"):
        PictureFile(tmp_path / "floats.tif", ImageFormat(percentiles=(1, 99)))
    with pytest.raises(UserError, match="image_range"):
        PictureFile(tmp_path / "floats.tif")
    assert_equal(tmp_path / "floats.tif", ImageFormat((0, 200)))
    tifffile.imwrite(tmp_path / "one.tif", colors(), photometric="rgb", compression="lzw")
    monkeypatch.setattr(part_readers, "MOST_PART_BYTES", 1000)
    with pytest.raises(NotInParts, match="in tiles"):
        PictureFile(tmp_path / "one.tif")


def test_damaged_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.tif: no such file"):
        PictureFile(tmp_path / "none.tif")
    tifffile.imwrite(tmp_path / "a.tif", colors(), photometric="rgb", tile=(64, 64))
    content = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(content[: len(content) * 3 // 4])
    picture = PictureFile(tmp_path / "a.tif")
    with pytest.raises(UserError, match=r"a\.tif: is damaged or cut short"):
        picture[250:301]
    (tmp_path / "b.tif").write_text("no picture")
    with pytest.raises(UserError, match=r"b\.tif"):
        PictureFile(tmp_path / "b.tif")
    assert picture_size(tmp_path / "b.tif") is None
    assert picture_size(tmp_path / "none.png") is None


def test_the_place_on_earth(tmp_path: Path) -> None:
    tags = [
        (33550, 12, 3, (0.2, 0.2, 0.0), True),
        (33922, 12, 6, (0.0, 0.0, 0.0, 500000.0, 5600000.0, 0.0), True),
        (34735, 3, 8, (1, 1, 0, 1, 3072, 0, 1, 25832), True),
    ]
    tifffile.imwrite(tmp_path / "a.tif", colors(), photometric="rgb", extratags=tags)
    assert list(PictureFile(tmp_path / "a.tif").place) == tags
    Image.fromarray(colors()).save(tmp_path / "b.tif")
    assert not PictureFile(tmp_path / "b.tif").place


def test_without_the_library_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(colors()).save(tmp_path / "a.png")
    monkeypatch.setitem(sys.modules, "pyvips", None)
    with pytest.raises(NotInParts, match=r"clipmask\[large\]"):
        PictureFile(tmp_path / "a.png")
