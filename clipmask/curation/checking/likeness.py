"""Which pictures look alike though their pixels differ: saved again, resized, slightly lighter.

The hash is the one that N. Krawetz described as "pHash" (Looks Like It, 2011): the lowest
frequencies of a small grey picture, each larger or smaller than their median. It ignores light and
contrast, so two hashes that meet are only taken for alike pictures if small colour versions of them
differ little too.
"""

from __future__ import annotations

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
# of 64 that may differ: then at least one of the four bands is equal, by which they are found
MOST_BITS = _BANDS - 1
MOST_LEVELS = 6.0  # of 255 that the colour versions may differ, on average


class Likeness(NamedTuple):
    """A picture's 64-bit hash, and its colours at 12x12 pixels."""

    bits: int
    thumb: bytes


def likeness(image: NDArray[np.uint8]) -> Likeness:
    """Returns what pictures that look alike have in common.

    Args:
        image: uint8 (H, W, 3).
    """
    picture = Image.fromarray(image)
    thumb = picture.resize((_THUMB, _THUMB), Image.Resampling.BOX)
    grey = np.asarray(picture.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX), np.float32)
    low = dctn(grey)[:_LOW, :_LOW].ravel()
    bits = low > np.median(low[1:])  # the first is the mean, which light changes
    return Likeness(int.from_bytes(np.packbits(bits).tobytes(), "big"), thumb.tobytes())


def are_alike(one: Likeness, other: Likeness) -> bool:
    """Whether two pictures look alike."""
    if (one.bits ^ other.bits).bit_count() > MOST_BITS:
        return False
    first, second = (np.frombuffer(item.thumb, np.uint8).astype(np.int16) for item in (one, other))
    return float(np.abs(first - second).mean()) <= MOST_LEVELS


def alike_groups(items: Sequence[Likeness]) -> list[list[int]]:
    """Groups pictures with the first that they look like.

    Returns:
        Positions in ``items``, two or more in each group, in order. Only pictures that share a band
        of their hashes are compared, so that this takes seconds for many thousands.
    """
    groups: dict[int, list[int]] = {}  # position of a group's first -> its members
    # band of a hash -> firsts of groups with it
    banded: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for position, item in enumerate(items):
        bands = [(band, item.bits >> 16 * band & 0xFFFF) for band in range(_BANDS)]
        near = dict.fromkeys(first for band in bands for first in banded[band])
        first = next((first for first in near if are_alike(items[first], item)), None)
        if first is None:
            groups[position] = [position]
            for band in bands:
                banded[band].append(position)
        else:
            groups[first].append(position)
    return [members for members in groups.values() if len(members) > 1]
