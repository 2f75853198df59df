"""What a file's pixels look like: a photograph, ids or colours."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from clipmask.data.bands import TIFF_SUFFIXES, count_bands, read_bands, read_wide_labels
from clipmask.data.label_format import RGB
from clipmask.errors import UserError

LOSSY = ("JPEG", "MPO", "JPEG2000", "AVIF")
MOST_VALUES = 4096  # different ones that a label map may have, smoothed edges included
ID_MODES = ("L", "P", "1", "I", "I;16", "I;16L", "I;16B", "I;16N", "F")
_COLOR_MODES = ("RGB", "RGBA", "LA", "PA")
_CLEAR = 1 << 24  # stands for a transparent pixel among packed colours
# share of pixels with neighbours of their own value, from which a lossy file may hold labels
_FLAT = 0.5
# share of black pixels that touch another colour, from which black is drawn as borders
_VOID_WIDTH = 0.6


class Look(NamedTuple):
    """A file at a glance.

    Attributes:
        mode: Pillow's.
        lossy: whether its format is.
        values: how many different ones it has.
        flat: the share of pixels that have the value of all their neighbours.
    """

    mode: str
    lossy: bool
    values: int
    flat: float = 0.0

    @property
    def could_be_labels(self) -> bool:
        """Whether it may be a label map: one saved as JPEG is flat but along its edges."""
        if self.mode not in ID_MODES + _COLOR_MODES:
            return False
        return self.flat >= _FLAT if self.lossy else self.values <= MOST_VALUES


def look(path: Path) -> Look | None:
    """Returns how a file looks; None if it can't be read."""
    try:
        with Image.open(path) as image:
            lossy, values = image.format in LOSSY, _values(image)
            solid = sum(_solid(values).values()) if lossy else 0
            return Look(image.mode, lossy, len(np.unique(values)), solid / max(1, values.size))
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError):
        return _look_at_bands(path)


def _look_at_bands(path: Path) -> Look | None:
    """Returns how a TIFF file looks that has more bands than Pillow knows; None if it is none."""
    if path.suffix.lower() not in TIFF_SUFFIXES:
        return None
    try:
        wide = read_wide_labels(path)
        if wide is not None:
            return Look("I", False, len(np.unique(wide)))
        count, _ = count_bands(path)
        return Look(f"{count} bands", False, len(np.unique(read_bands(path, [1]))))
    except UserError:
        return None


def _values(image: Image.Image) -> NDArray[np.uint32]:
    """Returns a number for each pixel: its id or index, or r + 256 g + 65536 b."""
    if image.mode in ID_MODES:
        return np.asarray(image).astype(np.int64).astype(np.uint32)
    pixels = np.asarray(image.convert("RGB")).astype(np.uint32)
    return pixels[..., 0] + (pixels[..., 1] << 8) + (pixels[..., 2] << 16)


@dataclass
class LabelPixels:
    """What the label maps of a sample hold.

    Attributes:
        files: how many could be read.
        modes: Pillow's modes and how many files have each.
        ids: pixels of each id or index, of files with one channel.
        colors: pixels of each colour, of all files whose pixels have one.
        id_colors: the colours that palettes give each index that occurs.
        solid: pixels of each colour all of whose eight neighbours have it too, as no smoothed edge
            has.
        transparent: pixels that are transparent; they count in no colour.
        borders: black pixels that touch another colour.
        lossy: how many files have a format that changes colours.
    """

    files: int = 0
    lossy: int = 0
    modes: Counter[str] = field(default_factory=Counter)
    ids: Counter[int] = field(default_factory=Counter)
    colors: Counter[RGB] = field(default_factory=Counter)
    id_colors: dict[int, set[RGB]] = field(default_factory=dict)
    solid: Counter[RGB] = field(default_factory=Counter)
    transparent: int = 0
    borders: int = 0

    @property
    def one_channel(self) -> bool:
        """Whether the files hold one number a pixel; one stray file among ten does not count."""
        count = sum(number for mode, number in self.modes.items() if mode in ID_MODES)
        return count >= 0.9 * self.files

    @property
    def one_palette(self) -> bool:
        """Whether an index has the same colour in all files."""
        return all(len(colors) == 1 for colors in self.id_colors.values())

    @property
    def black_is_border(self) -> bool:
        """Whether black is drawn as thin lines and edges, as between things that nobody
        labelled.
        """
        return self.colors[0, 0, 0] > 0 and self.borders >= _VOID_WIDTH * self.colors[0, 0, 0]

    def add(self, path: Path) -> None:
        """Counts a file; one that can't be read is passed over."""
        try:
            with Image.open(path) as opened:
                image = ImageOps.exif_transpose(opened)
                if image.mode in ID_MODES:
                    self._add_ids(image)
                else:
                    self._add_colors(image)
                self.modes[image.mode] += 1
                self.files += 1
                self.lossy += opened.format in LOSSY
        except UnidentifiedImageError:
            self._add_wide(path)
        except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError):
            return

    def _add_wide(self, path: Path) -> None:
        """Counts a TIFF file of 64 bits."""
        wide = read_wide_labels(path) if path.suffix.lower() in TIFF_SUFFIXES else None
        if wide is not None and (wide == wide.astype(np.int32)).all():
            self._add_ids(Image.fromarray(wide.astype(np.int32)))
            self.modes["I"] += 1
            self.files += 1

    def _add_ids(self, image: Image.Image) -> None:
        pixels = np.asarray(image)
        values, counts = np.unique(pixels, return_counts=True)
        self.ids.update(
            {int(value): int(count) for value, count in zip(values, counts, strict=True)}
        )
        palette = (
            np.array(image.getpalette() or [], np.uint8).reshape(-1, 3)
            if image.mode == "P"
            else None
        )
        solid = _solid(pixels)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            if palette is None:
                color = (min(max(int(value), 0), 255),) * 3
            else:
                red, green, blue = palette[value].tolist() if value < len(palette) else (0, 0, 0)
                color = (red, green, blue)
                self.id_colors.setdefault(int(value), set()).add(color)
            self.colors[color] += count
            self.solid[color] += solid.get(value, 0)

    def _add_colors(self, image: Image.Image) -> None:
        packed = _values(image)
        clear = np.asarray(image.convert("RGBA"))[..., 3] < 128
        self.transparent += int(clear.sum())
        solid = _solid(np.where(clear, _CLEAR, packed))
        values, counts = np.unique(packed[~clear], return_counts=True)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            color = value & 255, value >> 8 & 255, value >> 16
            self.colors[color] += count
            self.solid[color] += solid.get(value, 0)
        self.borders += _touching((packed == 0) & ~clear)


def _solid(pixels: NDArray[Any]) -> dict[Any, int]:
    """Counts the pixels of each value that have it in common with their eight neighbours."""
    if min(pixels.shape) < 3:
        return {}
    alike = np.ones((pixels.shape[0] - 2, pixels.shape[1] - 2), bool)
    middle = pixels[1:-1, 1:-1]
    for down, right in itertools.product(range(3), repeat=2):
        alike &= pixels[down : down + middle.shape[0], right : right + middle.shape[1]] == middle
    values, counts = np.unique(middle[alike], return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def _touching(inside: NDArray[np.bool_]) -> int:
    """Counts the pixels of a region within two pixels of another one, the picture's edge not
    counted.
    """
    core = inside.copy()
    for _ in range(2):
        padded = np.pad(core, 1, mode="edge")
        core = (
            padded[1:-1, 1:-1]
            & padded[:-2, 1:-1]
            & padded[2:, 1:-1]
            & padded[1:-1, :-2]
            & padded[1:-1, 2:]
        )
    return int(inside.sum() - core.sum())


def read_sample(paths: Iterable[Path]) -> LabelPixels:
    """Counts what some label maps hold."""
    pixels = LabelPixels()
    for path in paths:
        pixels.add(path)
    return pixels
