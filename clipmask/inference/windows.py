"""The places of sliding windows along one axis, and their weights where they overlap.

    sum_w a_w(p) = 1

a_w is a triangle over the extent of the window w: where two windows overlap, one fades linearly
into the other.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# The weight at the edge of a window, where the middle has 0.5. It is above 0, because a pixel may
# lie in one window only.
LEAST_WEIGHT = 1e-3


class Span(NamedTuple):
    """The extent of a window along one axis, in pixels of its view and of the output.

    Attributes:
        start, stop: the window covers rows (or columns) ``start`` .. ``stop`` - 1 of the view.
        first, last: the centres of output rows ``first`` .. ``last`` - 1 lie in the window.
        offset: the begin of output row ``first``, in pixels of the view from ``start``; it may be
            slightly negative.
        covered: the extent of these output rows, in pixels of the view.
        weight: (last - first,) float32, above 0; the weights of all windows sum to one at each
            output row.
    """

    start: int
    stop: int
    first: int
    last: int
    offset: float
    covered: float
    weight: Tensor


def windows(length: int, size: int, overlap: float) -> list[tuple[int, int]]:
    """Places as few windows along one axis as the overlap allows, at equal distances.

    The first and the last window touch the borders.

    Args:
        length: the length of the view along this axis, in pixels.
        size: the length of a window, in pixels. If the view is shorter, it is the only window.
        overlap: the least share of a window that overlaps with the next one, in [0, 1).

    Returns:
        (start, stop) of each window, in order.
    """
    if length <= size:
        return [(0, length)]
    step = max(1, int(size * (1 - overlap) + 1e-6))  # 100 * (1 - 0.9) is 9.99...
    count = -(-(length - size) // step) + 1
    starts = [index * (length - size) // (count - 1) for index in range(count)]
    return [(start, start + size) for start in starts]


def spans(length: int, output: int, size: int, overlap: float) -> list[Span]:
    """Places windows along one axis, and computes their part of the output; see ``Span``.

    Args:
        length: the length of the view along this axis, in pixels.
        output: the length of the output along this axis, in pixels.
        size, overlap: as for ``windows``.

    Returns:
        One span per window, in order. Windows without the centre of any output pixel are left out.
    """
    centre = (torch.arange(output, dtype=torch.float64) + 0.5) * (length / output)
    total = torch.zeros(output, dtype=torch.float64)
    found = []
    for start, stop in windows(length, size, overlap):
        # ceil(edge * output / length - 1 / 2): the first output pixel whose centre is not before
        # the edge
        first, last = (-((length - 2 * edge * output) // (2 * length)) for edge in (start, stop))
        inside = (centre[first:last] - start) / (stop - start)  # 0 .. 1
        weight = torch.minimum(inside, 1 - inside).clamp_min(LEAST_WEIGHT)
        total[first:last] += weight
        offset = (first * length - start * output) / output
        covered = (last - first) * length / output
        if last > first:
            found.append(Span(start, stop, first, last, offset, covered, weight))
    return [
        span._replace(weight=(span.weight / total[span.first : span.last]).float())
        for span in found
    ]
