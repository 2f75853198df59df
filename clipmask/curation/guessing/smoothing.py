"""Smoothed edges of label maps: which colours are blends of two classes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clipmask.curation.guessing.pixels import LabelPixels
from clipmask.data.label_format import RGB

MANY = 64  # with more colours than this, very rare ones count as smoothed edges
HARDLY = 0.001  # largest share of all pixels of a very rare colour
_SELDOM = 0.03  # largest share of all pixels of a smoothed edge's colour
# largest distance in RGB from the line between two colours at which a colour is their blend
_BLEND = 12.0
_MOST_TOLERANCE = 60.0
# for main colours of lossy files: their least share of all pixels, and the side of the cells of RGB
# in which colours are counted together
_MAIN, _CELL = 0.005, 16
# A colour is not an edge if at least this share of its pixels has only neighbours of this colour.
_AREA = 0.3
_APART = 40.0  # least distance in RGB of two classes in lossy files
_GREYS_APART = 40  # least difference of two levels of grey that smoothing blends


def smoothed_edges(pixels: LabelPixels) -> set[RGB]:
    """Returns the colours of smoothed edges.

    They are blends of two other colours, rare, and form lines but no areas.

    Args:
        pixels: the statistics of the label maps; ``solid`` distinguishes areas from lines.
    """
    if pixels.lossy:
        return set(pixels.colors) - set(_main_colors(pixels))
    total = sum(pixels.colors.values())
    areas = np.array([color for color in pixels.colors if pixels.solid[color]], float)
    lines = []
    for color, count in pixels.colors.items():
        if not pixels.solid[color] and count < _SELDOM * total:
            lines.append(color)
    if not lines or len(areas) < 2 or len(areas) > MANY:
        return set()
    tested = np.array(lines, float)
    blended = np.zeros(len(lines), bool)
    for one, other in itertools.combinations(areas, 2):
        along = other - one
        share = ((tested - one) @ along / max(1.0, float(along @ along))).clip(0, 1)
        blended |= np.linalg.norm(tested - one - share[:, None] * along, axis=1) <= _BLEND
    found = {color for color, is_blend in zip(lines, blended.tolist(), strict=True) if is_blend}
    if found:  # even rarer colours are blends of three or more, where edges meet
        found |= {color for color in lines if pixels.colors[color] < HARDLY * total}
    return found


def are_smoothed_greys(pixels: LabelPixels) -> bool:
    """Returns whether files of one channel hold levels of grey with smoothed edges, and not ids.

    Every number lies between two others, so the levels have to be far apart, as 0 and 255 are, and
    several values have to lie near the middle between two of them.
    """
    edges = smoothed_edges(pixels)
    levels = sorted(grey for grey, _, _ in pixels.colors if pixels.solid[grey, grey, grey])
    gaps = list(itertools.pairwise(levels))
    if not edges or any(upper - lower < _GREYS_APART for lower, upper in gaps):
        return False
    middle = set()
    for grey, _, _ in edges:
        if any(0.2 <= (grey - lower) / (upper - lower) <= 0.8 for lower, upper in gaps):
            middle.add(grey)
    return len(middle) > 1


def _main_colors(pixels: LabelPixels) -> list[RGB]:
    """Returns the main colours of lossy files.

    Of similar colours, the most frequent is a main colour; blends of two others are not.
    """
    colors = np.array(list(pixels.colors), float)
    counts = np.array(list(pixels.colors.values()), float)
    least = _MAIN * counts.sum()
    main: list[NDArray[np.float64]] = []
    while counts.size and len(main) < MANY:
        cells, cell = np.unique((colors // _CELL).astype(int), axis=0, return_inverse=True)
        sums = np.bincount(cell.ravel(), counts, len(cells))
        if sums.max() < least:
            break
        inside = cell.ravel() == sums.argmax()
        color = colors[inside][counts[inside].argmax()]
        key = (int(color[0]), int(color[1]), int(color[2]))
        is_area = pixels.solid[key] >= _AREA * pixels.colors[key]
        if is_area or not _is_blend(color, np.array(main)):
            main.append(color)
        far = np.linalg.norm(colors - color, axis=1) >= _APART
        colors, counts = colors[far], counts[far]
    return [(int(red), int(green), int(blue)) for red, green, blue in main]


def _is_blend(color: np.ndarray, areas: np.ndarray) -> bool:
    """Returns whether a colour lies near the line between two of ``areas`` (N, 3)."""
    for one, other in itertools.combinations(areas, 2):
        along = other - one
        share = ((color - one) @ along / max(1.0, float(along @ along))).clip(0, 1)
        if np.linalg.norm(color - one - share * along) <= _BLEND:
            return True
    return False


def tolerance_of(colors: Sequence[RGB]) -> float:
    """Returns a tolerance that is at most half the distance between any two colours."""
    table = np.array(colors, float)
    distance = np.linalg.norm(table[:, None] - table, axis=-1)
    apart = distance[~np.eye(len(table), dtype=bool)]
    if apart.size:
        return float(min(_MOST_TOLERANCE, apart.min() // 2))
    return _MOST_TOLERANCE
