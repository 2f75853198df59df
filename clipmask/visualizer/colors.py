"""Colours of classes, and label maps in these colours."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from clipmask.visualizer.strips import row_strips
from clipmask.vocabulary import first_synonym

Colors = Sequence[Sequence[int]]  # [r, g, b] of each class, 0..255

# Okabe and Ito's colours without black, then those that lie farthest from all before them in
# CIELAB, by normal sight and under simulated protanopia, deuteranopia and tritanopia alike; greys
# are left out, they are drawn around things.
PALETTE = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
    (135, 0, 240),
    (120, 45, 15),
    (195, 240, 195),
    (105, 60, 90),
    (60, 45, 165),
    (105, 255, 135),
    (150, 120, 255),
    (240, 0, 75),
    (150, 15, 135),
    (135, 195, 120),
    (255, 180, 210),
    (75, 120, 60),
    (195, 165, 75),
    (165, 60, 0),
    (150, 30, 210),
    (210, 15, 180),
    (165, 240, 255),
)
# Names that often come together have homes of their own, where they can in a colour that one
# expects of the thing.
_USUAL = {
    0: "bicycle",
    1: "sky",
    2: "tree, vegetation, plant",
    3: "sign, traffic sign",
    4: "car",
    5: "person, pedestrian",
    6: "sidewalk, pavement",
    7: "rider, bicyclist, cyclist",
    8: "building, house",
    10: "road, street",
    11: "truck",
    12: "traffic light",
    13: "fence",
    14: "motorcycle",
    15: "bus",
    16: "grass, terrain",
    17: "wall",
    19: "pole",
    22: "train",
    23: "water, river, sea",
}
_HOMES = {name: place for place, names in _USUAL.items() for name in names.split(", ")}
_TAKEN = 12.0  # CIELAB: nearer to a colour that was given, one of ours would be taken for it
_FEW = 6  # classes, up to which colours are kept as far apart as ``_APART``
_APART = 45.0  # CIELAB
# names of what is around the things
BACKGROUND = {"background", "_background_", "bg", "__background__"}
_BACKGROUND_COLOR = [60, 60, 60]
_TRIES = 16  # colours that are weighed for a name beyond the palette


def palette(
    names: Sequence[str], given: Mapping[str, Sequence[int]] | None = None
) -> list[list[int]]:
    """Chooses a colour for each class name, the same whatever the order of the names.

    Each name has a home among 24 colours that stay distinct for colour-blind readers: the usual
    ones of street scenes have one each, the others go by their hash. A class has the colour of its
    home in every vocabulary, but where another name there has the same home, and comes first (usual
    ones do, then the smaller hash), it moves to a free one. Beyond 24 classes colours follow from
    the name's hash too, and grow similar. Of a few classes, those without a usual colour also move
    where their home is near another's colour. Background is dark grey.

    Args:
        names: class names; of ``car;automobile`` the first counts. Equal names get equal colours.
        given: colours that some of the classes have already; the others keep away from them.

    Returns:
        [r, g, b], 0..255, for each name.
    """
    chosen = {name: list(color) for name, color in (given or {}).items() if name in names}
    around = sorted(name for name in names if is_background(name))
    if around:
        chosen.setdefault(around[0], list(_BACKGROUND_COLOR))
    fixed = _lab(np.array([*chosen.values()], dtype=float).reshape(-1, 3))
    distance = np.linalg.norm(_lab(np.array(PALETTE, dtype=float))[:, None] - fixed, axis=-1)
    free = [place for place in range(len(PALETTE)) if (distance[place] >= _TAKEN).all()]
    waiting = []
    for name in sorted(
        set(names) - chosen.keys(), key=lambda name: (_plain(name) not in _HOMES, _hash(name), name)
    ):
        home = _HOMES.get(_plain(name), _hash(name) % len(PALETTE))
        moves = (
            len(set(names)) <= _FEW
            and _plain(name) not in _HOMES
            and _nearest(home, chosen) < _APART
        )
        if home in free and not moves:
            free.remove(home)
            chosen[name] = list(PALETTE[home])
        else:
            waiting.append(name)
    for name in waiting:
        if free and len(set(names)) <= _FEW:
            place = max(free, key=lambda place: _nearest(place, chosen))
            free.remove(place)
            chosen[name] = list(PALETTE[place])
        elif free:
            place = free.pop(_hash(f"{_plain(name)} again") % len(free))
            chosen[name] = list(PALETTE[place])
        else:
            chosen[name] = _further_color(name, np.array([*chosen.values()], dtype=float))
    return [chosen[name] for name in names]


def is_background(name: str) -> bool:
    """Whether a class is what is around the things, by its name."""
    return _plain(name) in BACKGROUND


def _nearest(place: int, chosen: Mapping[str, Sequence[int]]) -> float:
    """Returns the distance in CIELAB from a colour of ``PALETTE`` to the nearest one that is
    taken.
    """
    if not chosen:
        return np.inf
    taken = _lab(np.array([*chosen.values()], dtype=float))
    return float(np.linalg.norm(taken - _lab(np.array(PALETTE[place], dtype=float)), axis=-1).min())


def _plain(name: str) -> str:
    return first_synonym(name).casefold()


def _hash(name: str) -> int:
    return zlib.crc32(_plain(name).encode())


def _further_color(name: str, taken: NDArray[np.float64]) -> list[int]:
    """Returns the first colour of the name's own series that differs from all ``taken`` (N, 3), or
    that does best.
    """
    tried = np.array([*_series(name)])  # (_TRIES, 3)
    nearest = np.linalg.norm(_lab(tried)[:, None] - _lab(taken), axis=-1).min(axis=1)
    best = int(nearest.argmax())
    if nearest[best] >= _TAKEN:
        best = int(np.argmax(nearest >= _TAKEN))
    return [int(channel) for channel in tried[best]]


def _series(name: str) -> Iterator[NDArray[np.float64]]:
    """Yields colours that follow from a name: hues, over changing light and dark."""
    for number in range(_TRIES):
        bits = zlib.crc32(f"{_plain(name)} {number}".encode())
        hue, value, saturation = (
            (bits & 0xFFFF) / 0x10000,
            (0.95, 0.6, 0.8)[number % 3],
            (0.55, 0.8)[number % 2],
        )
        channels = (np.abs(np.mod(hue * 6 + np.array([0, 4, 2]), 6) - 3) - 1).clip(0, 1)
        yield np.rint(255 * value * (1 - saturation + saturation * channels))


def _lab(colors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns sRGB (..., 3), 0..255, in CIELAB under D65, where distances are about those that are
    seen.
    """
    scaled = colors / 255
    linear = np.where(scaled <= 0.04045, scaled / 12.92, ((scaled + 0.055) / 1.055) ** 2.4)
    return linear_to_lab(linear)


def linear_to_lab(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turns linear RGB (..., 3), 0..1, into CIELAB (CIE 15:2004; sRGB's primaries, white D65)."""
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    ratio = linear @ to_xyz.T / to_xyz.sum(axis=1)
    f = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def colorize(labels: np.ndarray, colors: Colors) -> NDArray[np.uint8]:
    """Paints a label map in the plain colours of its classes.

    Args:
        labels: (H, W) ids of any integer type.
        colors: one for each of the K classes.

    Returns:
        uint8 (H, W, 3); black where an id is none of 0..K-1.
    """
    table = np.zeros((len(colors) + 1, 3), dtype=np.uint8)
    table[:-1] = colors
    drawn = np.empty((*labels.shape, 3), np.uint8)
    for rows in row_strips(labels.shape):
        part = labels[rows]
        is_class = (part >= 0) & (part < len(colors))
        drawn[rows] = table[np.where(is_class, part, len(colors))]
    return drawn
