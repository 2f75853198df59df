"""Detection of similar pictures with different pixels: saved again, resized, slightly lighter.

The hash is "pHash" as described by N. Krawetz (Looks Like It, 2011): each bit says whether one of
the lowest frequencies of a small grey picture is above their median. The hash ignores light and
contrast. Therefore two pictures with similar hashes only count as similar if small colour versions
of them are similar too.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

# pixels of the grey picture, frequencies kept, pixels of the colour version
_SIDE, _LOW, _THUMB = 32, 8, 12
_BANDS = 4
# The number of the 64 bits that may differ. At least one of the four bands is then equal, so that
# similar pictures can be found by their bands.
MOST_BITS = _BANDS - 1
MOST_LEVELS = 6.0  # of 255; the largest mean difference of the colour versions


class Likeness(NamedTuple):
    """A picture's 64-bit hash, and its colours at 12x12 pixels."""

    bits: int
    thumb: bytes


def likeness(image: NDArray[np.uint8]) -> Likeness:
    """Computes the hash and the small colour version of a picture.

    Args:
        image: uint8 (H, W, 3).
    """
    picture = Image.fromarray(image)
    thumb = picture.resize((_THUMB, _THUMB), Image.Resampling.BOX)
    grey = np.asarray(picture.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX), np.float32)
    low = dctn(grey)[:_LOW, :_LOW].ravel()
    bits = low > np.median(low[1:])  # the first is the mean, which depends on the light
    return Likeness(int.from_bytes(np.packbits(bits).tobytes(), "big"), thumb.tobytes())


def are_alike(one: Likeness, other: Likeness) -> bool:
    """Returns whether two pictures are similar."""
    if (one.bits ^ other.bits).bit_count() > MOST_BITS:
        return False
    first, second = (np.frombuffer(item.thumb, np.uint8).astype(np.int16) for item in (one, other))
    return float(np.abs(first - second).mean()) <= MOST_LEVELS


def alike_groups(items: Sequence[Likeness]) -> list[list[int]]:
    """Groups similar pictures; each picture joins the first group whose first member it resembles.

    Only pictures with an equal band in their hashes are compared, so that many thousands take
    seconds.

    Returns:
        The groups of two or more positions in ``items``, in order.
    """
    groups: dict[int, list[int]] = {}  # position of a group's first member -> all members
    # band of a hash -> positions of the first members with this band
    banded: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for position, item in enumerate(items):
        bands = [(band, item.bits >> 16 * band & 0xFFFF) for band in range(_BANDS)]
        near = dict.fromkeys(itertools.chain.from_iterable(banded[band] for band in bands))
        first = next((first for first in near if are_alike(items[first], item)), None)
        if first is None:
            groups[position] = [position]
            for band in bands:
                banded[band].append(position)
        else:
            groups[first].append(position)
    return [members for members in groups.values() if len(members) > 1]
