"""Image keys of the injections for one graph that serves pictures of every size.

``Injection.image_keys`` finds the side of its blocks in Python, so a graph would be valid for one
size only. Here M keys are always made: the first are the blocks, and attention ignores the others.
Every tensor has a fixed number of elements, and the result of the injection is the same.

Shapes: B pictures of one size, C channels, H and W rows and columns of a map, N = H * W, M keys.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from clipmask.modeling.injection import Injection
from clipmask.modeling.layers import Positions, ceil_div, tokens, waves

# The largest side of a block, which suffices for maps at stride 8 of pictures of 8192 pixels.
LARGEST_FACTOR = 1024


def use_slots(injection: Injection) -> None:
    """Makes an injection use ``keys_in_slots`` for its image keys, if their number is bounded."""
    if injection.max_image_keys:
        keys = functools.partial(keys_in_slots, injection.max_image_keys)
        injection.image_keys = keys  # type: ignore[method-assign]


def keys_in_slots(
    slots: int, r: Tensor, positions: Positions, stride: int, valid: None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Averages square blocks of cells, as small as possible with at most ``slots`` blocks.

    Args:
        slots: M.
        r: (B, C, H, W), H and W up to ``LARGEST_FACTOR``.
        positions: the position encodings; all pictures have one size.
        stride: pixels per cell of ``r``.
        valid: None, because pictures of one size have no padding.

    Returns:
        The keys (B, M, C), 0 in unused slots, their position encodings (1, M, C) float32, and bool
        (1, 1, M), False for unused slots.
    """
    batch, dim, height, width = r.shape
    sides = torch.arange(1, LARGEST_FACTOR + 1, device=r.device)
    blocks = ceil_div(height, sides) * ceil_div(width, sides)  # fewer for larger sides
    factor = 1 + (blocks > slots).sum()
    rows, columns = ceil_div(height, factor), ceil_div(width, factor)
    block_row = torch.arange(height, device=r.device) // factor
    block_column = torch.arange(width, device=r.device) // factor
    slot = (block_row[:, None] * columns + block_column).flatten()  # (N,)
    index = slot[None, :, None].expand(batch, -1, dim)
    sums = r.new_zeros((batch, slots, dim)).scatter_add(1, index, tokens(r))
    counts = r.new_zeros(slots).scatter_add(0, slot, torch.ones_like(slot, dtype=r.dtype))
    number = torch.arange(slots, device=r.device)
    means = sums / counts.clamp_min(1)[:, None]
    place = _places(number // columns, number % columns, stride * factor, positions, dim)
    return means, place, (number < rows * columns)[None, None]


def _places(
    rows: Tensor, columns: Tensor, stride: Tensor, positions: Positions, dim: int
) -> Tensor:
    """The encodings (1, M, C) of blocks at rows and columns (M,), ``stride`` pixels each."""
    ((height, width),) = positions.sizes
    y, x = (rows + 0.5) * (stride / height), (columns + 0.5) * (stride / width)
    return torch.cat([waves(y, dim), waves(x, dim)], dim=-1).unsqueeze(0)
