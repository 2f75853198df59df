"""Guessing the range of values of pictures: which values should become black and white."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipmask.data.bands import TIFF_SUFFIXES, count_bands
from clipmask.data.image_format import PLAIN, ImageFormat
from clipmask.data.reading import read_values
from clipmask.errors import UserError

_MOST_VALUES = 200_000  # the number of values of one picture that are examined
_USED = 0.5  # the least share of a range of 2^n values that must be used to choose this range
_TAIL = 0.5  # percentage of values at each end that may lie outside the range


@dataclass(frozen=True)
class Depth:
    """How pictures become 8-bit pictures, and the reason for this guess."""

    format: ImageFormat
    why: str


def guess_depth(pictures: Iterable[Path]) -> Depth:
    """Guesses the range of values from some pictures.

    8-bit pictures get no range, and neither do 16-bit pictures that use all 16 bits. Otherwise, the
    range is that of the fewest bits that hold all values, such as 0..4095. If the values use only a
    small part of it, as in satellite pictures, the range is from the 0.5th to the 99.5th
    percentile of all values.

    Args:
        pictures: the files; files that can't be read are skipped.
    """
    samples: list[NDArray[Any]] = []
    bands, which = None, ""
    for path in pictures:
        try:
            if not samples and path.suffix.lower() in TIFF_SUFFIXES:
                bands, which = _guess_bands(path)
            values = read_values(path, bands)
        except UserError:
            continue
        if values.dtype == np.uint8:
            return Depth(ImageFormat(bands=bands), f"8 bits{which}")
        if (values[..., 0] == values[..., 1]).all():  # grey
            values = values[..., 0]
        flat = values.ravel()
        samples.append(flat[:: max(1, flat.size // _MOST_VALUES)])
    if not samples:
        return Depth(PLAIN, "no picture could be read")
    everything = np.concatenate(samples).astype(np.float64)
    everything = everything[np.isfinite(everything)]
    if not everything.size:
        return Depth(PLAIN, "no picture has a finite value")
    low, high = np.percentile(everything, (_TAIL, 100 - _TAIL))
    least, most = everything.min(), everything.max()
    found = f"values from {least:g} to {most:g}, 99 % of them from {low:g} to {high:g}"
    bits = max(1, int(np.ceil(np.log2(most + 1)))) if most > 0 else 1
    top = float(2**bits - 1)
    if (
        least >= 0
        and bits <= 16
        and high - low >= _USED * top
        and (everything == everything.round()).all()
    ):
        if bits == 16:
            return Depth(ImageFormat(bands=bands), f"{found}: all of 16 bits{which}")
        return Depth(
            ImageFormat(range=(0.0, top), bands=bands), f"{found}, which {bits} bits hold{which}"
        )
    if low == high:
        return Depth(ImageFormat(bands=bands), f"{found}: all equal{which}")
    return Depth(ImageFormat(range=(_rounded(low), _rounded(high)), bands=bands), f"{found}{which}")


def _guess_bands(path: Path) -> tuple[tuple[int, int, int] | None, str]:
    """Guesses which bands of a TIFF file are red, green and blue.

    Returns:
        The numbers of the bands, or None for a picture of up to three bands; and the reason.
    """
    try:
        count, is_rgb = count_bands(path)
    except UserError:
        return None, ""
    if count < 4:
        return None, ""
    every = f"to train on all bands, write bands: {list(range(1, count + 1))}"
    if is_rgb:
        reason = f"{count} bands, and the file says that the first three are red, green and blue"
        return (1, 2, 3), f"; {reason}; {every}"
    reason = f"{count} bands, assumed to be blue, green, red and others, as in most satellite data"
    return (3, 2, 1), f"; {reason}: check it with clipmask-data show; {every}"


def _rounded(value: float) -> float:
    """Rounds a value to three significant digits."""
    return float(f"{value:.3g}")
