"""How deep the values of pictures are: which of them should become black and white."""

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

_MOST_VALUES = 200_000  # of one picture that are looked at
_USED = 0.5  # share of a range of 2^n values that must be used for it to be taken as it is
_TAIL = 0.5  # percent at both ends of all values, which may lie beyond the range


@dataclass(frozen=True)
class Depth:
    """How pictures become 8-bit pictures, and what this was concluded from."""

    format: ImageFormat
    why: str


def guess_depth(pictures: Iterable[Path]) -> Depth:
    """Looks at the values of some pictures.

    Pictures of 8 bits stay as they are, and so do those of 16 bits that use all of them. Otherwise
    the range is that of the fewest bits that hold all values, such as 0..4095; or, where the values
    lie in a small part of it, as in satellite pictures, from the 0.5th to the 99.5th percentile of
    all.

    Args:
        pictures: files; those that can't be read are passed over.
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
        flat = (
            values[..., 0].ravel() if (values[..., 0] == values[..., 1]).all() else values.ravel()
        )
        samples.append(flat[:: max(1, flat.size // _MOST_VALUES)])
    if not samples:
        return Depth(PLAIN, "no picture could be read")
    everything = np.concatenate(samples).astype(np.float64)
    everything = everything[np.isfinite(everything)]
    if not everything.size:
        return Depth(PLAIN, "no picture holds a number")
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
        return Depth(ImageFormat(bands=bands), f"{found}: all alike{which}")
    return Depth(ImageFormat(range=(_rounded(low), _rounded(high)), bands=bands), f"{found}{which}")


def _guess_bands(path: Path) -> tuple[tuple[int, int, int] | None, str]:
    """Returns the bands of a TIFF file that are red, green and blue, and why; None for a plain
    picture.
    """
    try:
        count, is_rgb = count_bands(path)
    except UserError:
        return None, ""
    if count < 4:
        return None, ""
    every = f"bands: {list(range(1, count + 1))} takes all, and the model sees all"
    if is_rgb:
        reason = f"{count} bands, and the file says that the first three are red, green and blue"
        return (1, 2, 3), f"; {reason}; {every}"
    reason = f"{count} bands, taken for blue, green, red and others, as most satellites order them"
    return (3, 2, 1), f"; {reason}: look at show; {every}"


def _rounded(value: float) -> float:
    """Returns a value with three digits that count."""
    return float(f"{value:.3g}")
