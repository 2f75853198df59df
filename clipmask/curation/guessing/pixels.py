"""Examination of pixels: whether a file is a photograph, or label ids or colours."""

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
from clipmask.data.opening import open_header
from clipmask.errors import UserError

LOSSY = ("JPEG", "MPO", "JPEG2000", "AVIF")
MOST_VALUES = 4096  # the largest number of different values of a label map with smoothed edges
ID_MODES = ("L", "P", "1", "I", "I;16", "I;16L", "I;16B", "I;16N", "F")
_COLOR_MODES = ("RGB", "RGBA", "LA", "PA")
_CLEAR = 1 << 24  # marks a transparent pixel among packed colours
# A lossy file may hold labels if at least this share of pixels has only equal neighbours.
_FLAT = 0.5
# Black is a border colour if at least this share of the black pixels touches another colour.
_VOID_WIDTH = 0.6


class Look(NamedTuple):
    """Statistics of the pixels of one file.

    Attributes:
        mode: Pillow's mode.
        lossy: whether the file format is lossy.
        values: the number of different values.
        flat: the share of pixels whose neighbours all have the same value.
    """

    mode: str
    lossy: bool
    values: int
    flat: float = 0.0

    @property
    def could_be_labels(self) -> bool:
        """Whether the file may be a label map; one in a lossy format is flat except at edges."""
        if self.mode not in ID_MODES + _COLOR_MODES:
            return False
        if self.lossy:
            return self.flat >= _FLAT
        return self.values <= MOST_VALUES


def look(path: Path) -> Look | None:
    """Computes the statistics of a file; None if it can't be read."""
    try:
        with open_header(path) as image:
            lossy, values = image.format in LOSSY, _values(image)
            solid = sum(_solid(values).values()) if lossy else 0
            return Look(image.mode, lossy, len(np.unique(values)), solid / max(1, values.size))
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError):
        return _look_at_bands(path)


def _look_at_bands(path: Path) -> Look | None:
    """Computes the statistics of a TIFF file that Pillow can't read; None for other files."""
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
    """Statistics of the pixels of several label maps.

    Attributes:
        files: the number of files that could be read.
        modes: Pillow's modes, with the number of files.
        ids: the number of pixels of each id or index, in files with one channel.
        colors: the number of pixels of each colour, in all files with colours.
        id_colors: for each index that occurs, its colours in the palettes.
        solid: for each colour, the number of pixels whose eight neighbours have the same colour; it
            is 0 for the colours of smoothed edges.
        transparent: the number of transparent pixels, which have no colour.
        clear_ids: the ids and indices that a file marks as transparent.
        with_nan: the number of files that hold NaN, which could not be read.
        borders: the number of black pixels that touch another colour.
        lossy: the number of files in a lossy format.
    """

    files: int = 0
    lossy: int = 0
    modes: Counter[str] = field(default_factory=Counter)
    ids: Counter[int] = field(default_factory=Counter)
    colors: Counter[RGB] = field(default_factory=Counter)
    id_colors: dict[int, set[RGB]] = field(default_factory=dict)
    solid: Counter[RGB] = field(default_factory=Counter)
    transparent: int = 0
    clear_ids: set[int] = field(default_factory=set)
    with_nan: int = 0
    borders: int = 0

    @property
    def one_channel(self) -> bool:
        """Whether at least 90 % of the files have one number per pixel."""
        count = sum(number for mode, number in self.modes.items() if mode in ID_MODES)
        return count >= 0.9 * self.files

    @property
    def one_palette(self) -> bool:
        """Whether each index has the same colour in all files."""
        return all(len(colors) == 1 for colors in self.id_colors.values())

    @property
    def black_is_border(self) -> bool:
        """Whether black occurs as thin lines and edges only, such as unlabelled borders."""
        return self.colors[0, 0, 0] > 0 and self.borders >= _VOID_WIDTH * self.colors[0, 0, 0]

    def add(self, path: Path) -> None:
        """Adds the pixels of a file; a file that can't be read is skipped."""
        try:
            with open_header(path) as opened:
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
        """Adds the pixels of a 64-bit TIFF file."""
        wide = read_wide_labels(path) if path.suffix.lower() in TIFF_SUFFIXES else None
        if wide is not None and (wide == wide.astype(np.int32)).all():
            self._add_ids(Image.fromarray(wide.astype(np.int32)))
            self.modes["I"] += 1
            self.files += 1

    def _add_ids(self, image: Image.Image) -> None:
        pixels = np.asarray(image)
        if pixels.dtype.kind == "f" and np.isnan(pixels).any():
            self.with_nan += 1
            raise ValueError("NaN is no id")
        self.clear_ids |= _marked_clear(image)
        values, counts = np.unique(pixels, return_counts=True)
        self.ids.update(
            {int(value): int(count) for value, count in zip(values, counts, strict=True)}
        )
        palette = None
        if image.mode == "P":
            palette = np.array(image.getpalette() or [], np.uint8).reshape(-1, 3)
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


def _marked_clear(image: Image.Image) -> set[int]:
    """Returns the values of a picture with one channel that its file marks as transparent."""
    marked = image.info.get("transparency")
    if isinstance(marked, bytes):  # the alpha of each entry of a palette
        return {value for value, alpha in enumerate(marked) if alpha < 128}
    return {marked} if isinstance(marked, int) else set()


def _solid(pixels: NDArray[Any]) -> dict[Any, int]:
    """Counts, for each value, the pixels whose eight neighbours have the same value."""
    if min(pixels.shape) < 3:
        return {}
    alike = np.ones((pixels.shape[0] - 2, pixels.shape[1] - 2), bool)
    middle = pixels[1:-1, 1:-1]
    for down, right in itertools.product(range(3), repeat=2):
        alike &= pixels[down : down + middle.shape[0], right : right + middle.shape[1]] == middle
    values, counts = np.unique(middle[alike], return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def _touching(inside: NDArray[np.bool_]) -> int:
    """Counts the pixels of a region that are at most two pixels from its border.

    The edge of the picture is not a border.
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
    """Computes the statistics of several label maps."""
    pixels = LabelPixels()
    for path in paths:
        pixels.add(path)
    return pixels
