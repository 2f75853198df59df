"""Pictures of every kind, through the demo: what comes out is the picture that a viewer shows."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fvcore.common.config import CfgNode
from numpy.typing import NDArray
from PIL import Image

from clipmask.cli.demo.command import main
from clipmask.data import read_image
from tests.checkpoints import pixels, write_checkpoint

RGB = pixels(40, 56)
GREY = RGB[..., :1].repeat(3, axis=2)
ALPHA = np.tile(np.arange(56, dtype=np.uint8), (40, 1))


def write_png_16(path: Path, values: NDArray[np.uint16]) -> None:
    """Writes 16-bit channels (H, W, 3 or 4), which Pillow can't."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    height, width, channels = values.shape
    header = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def _rotated(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(np.rot90(RGB).copy()).save(path, exif=exif)


def _gif(path: Path) -> None:
    frames = [Image.fromarray(GREY[..., 0]), Image.new("L", (56, 40))]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def _wide(channels: NDArray[np.uint8]) -> NDArray[np.uint16]:
    return channels.astype(np.uint16) * 257


def _palette(transparent: int | None) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        indexed = Image.fromarray(GREY).quantize(256, dither=Image.Dither.NONE)
        indexed.save(path, **({} if transparent is None else {"transparency": transparent}))

    return write


WRITERS: dict[str, tuple[Callable[[Path], object], NDArray[np.uint8]]] = {
    "plain.png": (Image.fromarray(RGB).save, RGB),
    "plain.bmp": (Image.fromarray(RGB).save, RGB),
    "exif.png": (_rotated, RGB),
    "alpha.png": (lambda path: Image.fromarray(np.dstack([RGB, ALPHA])).save(path), RGB),
    "grey.png": (Image.fromarray(GREY[..., 0]).save, GREY),
    "grey_alpha.png": (
        lambda path: Image.fromarray(np.dstack([GREY[..., 0], ALPHA]), "LA").save(path),
        GREY,
    ),
    "palette.png": (_palette(None), GREY),
    "palette_transparent.png": (_palette(3), GREY),
    "grey_16.png": (lambda path: Image.fromarray(_wide(GREY[..., 0])).save(path), GREY),
    "grey_16.tif": (lambda path: Image.fromarray(_wide(GREY[..., 0])).save(path), GREY),
    "rgb_16.png": (lambda path: write_png_16(path, _wide(RGB)), RGB),
    "rgba_16.png": (lambda path: write_png_16(path, _wide(np.dstack([RGB, ALPHA]))), RGB),
    "cmyk.tif": (Image.fromarray(RGB).convert("CMYK").save, RGB),
    "bilevel.png": (
        Image.fromarray(GREY[..., 0] > 127).save,
        np.where(GREY > 127, 255, 0).astype(np.uint8),
    ),
    "animated.gif": (_gif, GREY),
    "jpeg.jpg": (lambda path: Image.fromarray(RGB).save(path, quality=100, subsampling=0), RGB),
    "cmyk.jpg": (
        lambda path: Image.fromarray(RGB).convert("CMYK").save(path, quality=100, subsampling=0),
        RGB,
    ),
    "lossless.webp": (lambda path: Image.fromarray(RGB).save(path, lossless=True), RGB),
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the demo's overlays at opacity 0: the pictures as it read them, beside their
    labels.
    """
    from clipmask import load_cfg
    from tests.conftest import ROOT

    folder = tmp_path_factory.mktemp("odd")
    (folder / "in").mkdir()
    for name, (write, _) in WRITERS.items():
        write(folder / "in" / name)
    (folder / "in" / "broken.jpg").write_bytes((folder / "in" / "jpeg.jpg").read_bytes()[:300])
    (folder / "in" / "empty.png").touch()
    (folder / "in" / "text.png").write_text("no picture")
    small: list[object] = [
        "MODEL.CLIPMASK.HIDDEN_DIM",
        16,
        "MODEL.CLIPMASK.NUM_HEADS",
        2,
        "MODEL.CLIPMASK.FFN_DIM",
        32,
    ]
    cfg: CfgNode = load_cfg(ROOT / "configs" / "toy.yaml", [str(word) for word in small])
    weights = write_checkpoint(folder / "model.pth", cfg)
    words = [
        "--weights",
        str(weights),
        "--input",
        str(folder / "in"),
        "--output",
        str(folder / "out"),
    ]
    assert main([*words, "--opacity", "0", "--save", "overlay,labels"]) == 1, (
        "three are broken, the rest go on"
    )
    return folder / "out"


@pytest.mark.parametrize("name", WRITERS)
def test_a_picture_is_read_as_it_is_seen(results: Path, name: str) -> None:
    expected = WRITERS[name][1].astype(int)
    stem = Path(name).stem
    found = next(
        results / f"{known}_overlay.png"
        for known in (stem, f"in_{stem}", f"in_{stem}_{Path(name).suffix[1:]}")
        if (results / f"{known}_overlay.png").is_file()
    )
    seen = read_image(found)[:40, :56].astype(int)
    assert np.abs(seen - expected).mean() < (2.5 if name.endswith(".jpg") else 0.6)
    assert Image.open(str(found).replace("_overlay", "_labels")).size == (56, 40)


def test_broken_ones_have_no_result(results: Path) -> None:
    written = {path.name for path in results.glob("[!.]*")}
    assert len(written) == 2 * len(WRITERS)
    assert not any(name.startswith(("broken", "empty", "text")) for name in written)
