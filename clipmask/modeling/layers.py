"""The pieces that several parts of the model share: attention, normalisation, positions, pooling,
upsampling.

Shapes: B batch, C channels, N and M numbers of tokens, H and W rows and columns of a feature map.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# The largest side of a block that ``pool_to_slots`` finds: maps at stride 8 of pictures of 8192
# pixels have no larger.
LARGEST_FACTOR = 1024
Number = TypeVar("Number", int, Tensor)


def ceil_div(a: int, b: Number) -> Number:
    """Returns a / b rounded up, for a >= 0 and b > 0; runtimes disagree on -(-a // b), which
    divides below 0.
    """
    return (a + b - 1) // b


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each pixel of a (B, C, H, W) map.

    Unlike group or batch normalisation it mixes no pixels, so padding cannot reach the valid part
    of an image.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalises ``x`` (B, C, H, W) at each pixel; same shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class SeparableBlock(nn.Module):
    """x + GELU(pointwise(norm(depthwise 5x5(x)))): neighbours meet, far cheaper than in a dense
    convolution.

    Args:
        dim: C.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.spread = nn.Conv2d(dim, dim, 5, padding=2, groups=dim, bias=False)
        self.norm = ChannelNorm(dim)
        self.mix = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Refines a map.

        Args:
            x: (B, C, H, W).
            valid: bool (B, H, W), False on padding, or None where there is none. The convolution
                then meets zeros beyond the image, as it does at the edge of the batch.

        Returns:
            (B, C, H, W)
        """
        # Without names in between, which would keep maps that are no longer needed.
        mixed = self.mix(self.norm(self.spread(x if valid is None else x * valid.unsqueeze(1))))
        return F.gelu(mixed).add_(x)  # nothing keeps what GELU returns: one map less


class Attention(nn.Module):
    """Multi-head attention, MultiHead(Q, K, V) = W_o concat_h softmax(Q_h K_h^T / sqrt(d)) V_h.

    It runs through ``torch.nn.functional.scaled_dot_product_attention``, which never stores the
    weights where a fused kernel serves.

    Args:
        dim: C, the width of queries, keys, values and result.
        num_heads: number of heads; divides ``dim``.
        dropout: dropped share of the attention weights in training, in [0, 1).
    """

    def __init__(self, dim: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.num_heads, self.dropout = num_heads, dropout
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)
        for layer in (self.query, self.key, self.value, self.out):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """Attends from ``query`` (B, N, C) to ``key`` and ``value`` (B, M, C).

        Args:
            query: (B, N, C).
            key: (B, M, C).
            value: (B, M, C).
            mask: bool, broadcastable to (B, N, M); True where attention is allowed. Each query
                needs one.

        Returns:
            (B, N, C)
        """
        q, k, v = (
            self._split(self.query(query)),
            self._split(self.key(key)),
            self._split(self.value(value)),
        )
        heads = F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=None if mask is None else mask.unsqueeze(1),
            dropout_p=self.dropout if self.training else 0.0,
        )  # (B, heads, N, C / heads)
        return self.out(heads.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (B, heads, N, C / heads)


class MLP(nn.Sequential):
    """Linear layers with ReLU between them.

    Args:
        widths: input width, hidden widths, output width.
    """

    def __init__(self, *widths: int) -> None:
        layers: list[nn.Module] = []
        for fan_in, fan_out in itertools.pairwise(widths):
            layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
        super().__init__(*layers[:-1])


def tokens(x: Tensor) -> Tensor:
    """Turns a map (B, C, H, W) into tokens (B, H * W, C), row by row; a view where the map is
    channels-last.
    """
    return x.flatten(2).transpose(1, 2)


def as_map(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """Turns tokens (B, H * W, C) back into a map (B, C, H, W), channels-last as the model's maps
    all are.

    Split first, permuted then: the other way round a batch of one gets strides by which torch does
    not know the map for channels-last, and resizing it takes ten times as long.
    """
    return x.unflatten(1, grid).permute(0, 3, 1, 2)


def valid_cells(
    sizes: Sequence[tuple[int, int]], grid: tuple[int, int], stride: int, device: torch.device
) -> Tensor:
    """Says which cells of a feature grid hold any pixel of their image.

    Args:
        sizes: height and width of each image in pixels, before padding.
        grid: rows and columns of the feature map.
        stride: pixels per cell.
        device: where the result shall be.

    Returns:
        (B, H, W) bool
    """
    # Python numbers against a range made on the device: a tensor made of a list would wait for the
    # device to copy it.
    y, x = torch.arange(grid[0], device=device), torch.arange(grid[1], device=device)
    inside_y = torch.stack([y < ceil_div(height, stride) for height, _ in sizes])  # (B, H)
    inside_x = torch.stack([x < ceil_div(width, stride) for _, width in sizes])  # (B, W)
    return inside_y[:, :, None] & inside_x[:, None, :]


def sine_positions(
    sizes: Sequence[tuple[int, int]],
    grid: tuple[int, int],
    stride: int,
    dim: int,
    device: torch.device,
) -> Tensor:
    """Fixed sine and cosine encoding of where each cell's centre lies in its own image.

    Positions are relative to the image without padding (0 at its top left, 1 at its bottom right),
    so they do not depend on what an image is batched with; the form is that of "Attention is all
    you need", Sec. 3.5, with the first half of the channels for y and the second for x, at
    wavelengths from 1 to 10,000 image sizes.

    Args:
        sizes: height and width of each image in pixels, before padding; or of all of them, once.
        grid: rows and columns of the feature map.
        stride: pixels per cell.
        dim: C, divisible by 4.
        device: where the result shall be.

    Returns:
        (B, H * W, C), or (1, H * W, C) where ``sizes`` has one entry; values in [-1, 1].
    """
    axes = []
    for axis in (0, 1):
        cells = torch.arange(grid[axis], device=device) + 0.5
        centre = torch.stack([cells * (stride / size[axis]) for size in sizes])  # (B, H) or (B, W)
        axes.append(_waves(centre, dim))  # (B, H or W, C / 2)
    y = axes[0][:, :, None].expand(-1, -1, grid[1], -1)
    x = axes[1][:, None].expand(-1, grid[0], -1, -1)
    return torch.cat([y, x], dim=-1).flatten(1, 2)


def _waves(centre: Tensor, dim: int) -> Tensor:
    """Encodes places (...) along one axis, in image sizes: (..., C / 2)."""
    frequency = 10_000 ** (-torch.arange(dim // 4, device=centre.device) / (dim // 4)) * 2 * math.pi
    angle = centre[..., None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


class Positions:
    """The encodings of one batch, each grid's made once however many parts of the model ask for it.

    Args:
        sizes: height and width of each image in pixels, before padding; or of all of them, once.
        device: where they shall be.
    """

    def __init__(self, sizes: Sequence[tuple[int, int]], device: torch.device) -> None:
        self.sizes, self.device = sizes, device
        self._made: dict[tuple[int, int], Tensor] = {}

    def __call__(self, grid: tuple[int, int], stride: int, dim: int) -> Tensor:
        """Returns ``sine_positions`` of a grid of (rows, columns), (B or 1, H * W, C) float32.

        Grids of one stride are equal: each covers the largest image of the batch.
        """
        key = (stride, dim)
        if key not in self._made:
            self._made[key] = sine_positions(self.sizes, grid, stride, dim, self.device)
        return self._made[key]

    def of_cells(self, rows: Tensor, columns: Tensor, stride: Tensor, dim: int) -> Tensor:
        """Returns the encodings of single cells, where all images have one size.

        Args:
            rows: (M,) row of each cell.
            columns: (M,).
            stride: () pixels per cell.
            dim: C.

        Returns:
            (1, M, C) float32.
        """
        ((height, width),) = self.sizes
        y, x = (rows + 0.5) * (stride / height), (columns + 0.5) * (stride / width)
        return torch.cat([_waves(y, dim), _waves(x, dim)], dim=-1).unsqueeze(0)


def cut(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """Returns the first rows and columns of a map (B, C, H, W), as many as ``grid`` says.

    The slice is of the pixels' rows of channels: the gradient of a plain slice comes back
    channels-first, and every map before it would be copied from one layout to the other.
    """
    return x.permute(0, 2, 3, 1)[:, : grid[0], : grid[1]].permute(0, 3, 1, 2)


def pool(x: Tensor, factor: int, valid: Tensor | None = None) -> Tensor:
    """Averages blocks of ``factor`` x ``factor`` cells, over the valid ones alone.

    Args:
        x: (B, C, H, W).
        factor: side of a block; blocks at the far edges may be smaller.
        valid: bool (B, H, W), or None where every cell counts.

    Returns:
        (B, C, ceil(H / factor), ceil(W / factor)); 0 in blocks without a valid cell.
    """
    if factor == 1:
        return x
    if valid is None:
        return F.avg_pool2d(x, factor, ceil_mode=True, count_include_pad=False)
    weight = valid.unsqueeze(1).to(x.dtype)
    share = F.avg_pool2d(weight, factor, ceil_mode=True, count_include_pad=False)
    return F.avg_pool2d(
        x * weight, factor, ceil_mode=True, count_include_pad=False
    ) / share.clamp_min(1e-6)


class KeySlots(NamedTuple):
    """Pooled cells in a fixed number M of places, the first of which are used.

    Attributes:
        tokens: (B, M, C) means of blocks of cells; 0 in unused slots.
        rows: (M,) int64, the row of each slot's block among the blocks.
        columns: (M,) int64.
        factor: () int64, side of a block in cells.
        used: bool (1, 1, M).
    """

    tokens: Tensor
    rows: Tensor
    columns: Tensor
    factor: Tensor
    used: Tensor


def pool_to_slots(x: Tensor, slots: int) -> KeySlots:
    """Averages square blocks of cells, the smallest of which there are no more than ``slots``.

    It does what ``pool`` does with a factor found in Python, by operations on tensors of fixed
    numbers of elements, so that one graph holds for maps of every size.

    Args:
        x: (B, C, H, W), H and W up to ``LARGEST_FACTOR``.
        slots: M.
    """
    batch, dim, height, width = x.shape
    sides = torch.arange(1, LARGEST_FACTOR + 1, device=x.device)
    blocks = ceil_div(height, sides) * ceil_div(width, sides)  # fewer for larger sides
    factor = 1 + (blocks > slots).sum()
    rows, columns = ceil_div(height, factor), ceil_div(width, factor)
    y, x_ = (
        torch.arange(height, device=x.device) // factor,
        torch.arange(width, device=x.device) // factor,
    )
    slot = (y[:, None] * columns + x_).flatten()  # (N,)
    index = slot[None, :, None].expand(batch, -1, dim)
    sums = x.new_zeros((batch, slots, dim)).scatter_add(1, index, tokens(x))
    counts = x.new_zeros(slots).scatter_add(0, slot, torch.ones_like(slot, dtype=x.dtype))
    place = torch.arange(slots, device=x.device)
    used = place < rows * columns
    means = sums / counts.clamp_min(1)[:, None]
    return KeySlots(means, place // columns, place % columns, factor, used[None, None])


def upsample(x: Tensor, factor: int, grid: tuple[int, int], valid: Tensor | None = None) -> Tensor:
    """Enlarges a map by an exact integer factor, bilinearly, and cuts it to a grid.

    A factor and not a target size: the cells of a coarse map then stay where they lie in the image
    even where the image is no multiple of the coarse stride.

    Args:
        x: (B, C, H, W).
        factor: how many fine cells one coarse cell spans.
        grid: rows and columns wanted, at most ``factor`` times those of ``x``.
        valid: bool (B, H, W), False on padding, which then has no share in any cell: at its border
            an image continues as at the edge of a batch, with its last cells. None where there is
            no padding.

    Returns:
        (B, C, *grid); 0 where no valid cell is near.
    """
    if factor > 1:
        if valid is None:
            x = _enlarge(x, factor)
        else:
            weight = valid.unsqueeze(1).to(x.dtype)
            x = _enlarge(x * weight, factor) / _enlarge(weight, factor).clamp_min(1e-6)
    return cut(x, grid)


def _enlarge(x: Tensor, factor: int) -> Tensor:
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
