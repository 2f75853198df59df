"""Building blocks of the model: attention, normalisation, positions, pooling, upsampling.

Shapes: B batch, C channels, N and M numbers of tokens, H and W rows and columns of a feature map.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clipmask.backbones.recompute import Recomputable

Number = TypeVar("Number", int, Tensor)


def ceil_div(a: int, b: Number) -> Number:
    """Returns a / b rounded up, for a >= 0 and b > 0.

    It is not written as -(-a // b): ONNX runtimes disagree about the division of negative numbers.
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


class SeparableBlock(Recomputable):
    """A residual block of separable convolutions: x + GELU(pointwise(norm(depthwise 5x5(x)))).

    It mixes neighbouring cells of C = ``dim`` channels at far lower cost than a dense convolution.
    """

    fine = True

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.spread = nn.Conv2d(dim, dim, 5, padding=2, groups=dim, bias=False)
        self.norm = ChannelNorm(dim)
        self.mix = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Refines a map ``x`` (B, C, H, W); same shape.

        ``valid`` is bool (B, H, W), False on padding, or None if there is none. Padding is set to
        zero, so that the convolution sees the same as at the edge of the batch.
        """
        # One expression, because a variable would keep a map in memory that is not needed.
        mixed = self.mix(self.norm(self.spread(x if valid is None else x * valid.unsqueeze(1))))
        return F.gelu(mixed).add_(x)  # in place: autograd does not need the output of GELU


class Attention(nn.Module):
    """Multi-head attention, MultiHead(Q, K, V) = W_o concat_h softmax(Q_h K_h^T / sqrt(d)) V_h.

    It calls ``torch.nn.functional.scaled_dot_product_attention``, whose fused kernels do not store
    the attention weights.

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
        """Attends from ``query`` (B, N, C) to ``key`` and ``value`` (B, M, C); returns (B, N, C).

        ``mask`` is bool, broadcastable to (B, N, M), True where attention is allowed. Each query
        needs at least one key. None allows all.
        """
        q, k = self._split(self.query(query)), self._split(self.key(key))
        v = self._split(self.value(value))
        mask = None if mask is None else mask.unsqueeze(1)
        dropout = self.dropout if self.training else 0.0
        heads = F.scaled_dot_product_attention(q, k, v, mask, dropout)  # (B, heads, N, C / heads)
        return self.out(heads.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (B, heads, N, C / heads)


class MLP(nn.Sequential):
    """Linear layers with ReLU between them; ``widths`` are input, hidden and output width."""

    def __init__(self, *widths: int) -> None:
        layers: list[nn.Module] = []
        for fan_in, fan_out in itertools.pairwise(widths):
            layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
        super().__init__(*layers[:-1])


def tokens(x: Tensor) -> Tensor:
    """Turns a map (B, C, H, W) into tokens (B, H * W, C), row by row.

    For a channels-last map the result is a view.
    """
    return x.flatten(2).transpose(1, 2)


def as_map(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """Turns tokens (B, H * W, C) back into a channels-last map (B, C, H, W).

    The tokens are first split and then permuted. In the other order the strides of a batch of one
    would not be those of a channels-last map, and torch would need ten times as long to resize it.
    """
    return x.unflatten(1, grid).permute(0, 3, 1, 2)


def valid_cells(
    sizes: Sequence[tuple[int, int]], grid: tuple[int, int], stride: int, device: torch.device
) -> Tensor:
    """Finds the cells of a feature grid that hold any pixel of their image.

    Args:
        sizes: height and width of each image in pixels, before padding.
        grid: rows and columns of the feature map.
        stride: pixels per cell.
        device: the device of the result.

    Returns:
        (B, H, W) bool
    """
    # Python numbers are compared with a range on the device, because copying a tensor of them would
    # wait for the device.
    y, x = torch.arange(grid[0], device=device), torch.arange(grid[1], device=device)
    inside_y = torch.stack([y < ceil_div(height, stride) for height, _ in sizes])  # (B, H)
    inside_x = torch.stack([x < ceil_div(width, stride) for _, width in sizes])  # (B, W)
    return inside_y[:, :, None] & inside_x[:, None, :]


class Positions:
    """Sine and cosine encodings of where each cell's centre lies in its own image, for one batch.

    Positions are relative to the image without padding (0 at its top left, 1 at its bottom right),
    so they do not depend on the other images of a batch. The formula is that of "Attention is all
    you need", Sec. 3.5. The first half of the channels encodes y and the second half x, at
    wavelengths from 1 to 10,000 image sizes. A grid's encodings are computed once.

    Args:
        sizes: height and width of each image in pixels, before padding; one entry if all images
            have the same size.
        device: the device of the encodings.
    """

    def __init__(self, sizes: Sequence[tuple[int, int]], device: torch.device) -> None:
        self.sizes, self.device = sizes, device
        self._made: dict[tuple[int, int], Tensor] = {}

    def __call__(self, grid: tuple[int, int], stride: int, dim: int) -> Tensor:
        """Returns the encodings of a grid, in [-1, 1].

        All grids of one stride are equal, because each covers the largest image of the batch.

        Args:
            grid: H and W, rows and columns of the feature map.
            stride: pixels per cell.
            dim: C, divisible by 4.

        Returns:
            (B, H * W, C) float32, or (1, H * W, C) if all images have the same size.
        """
        key = (stride, dim)
        if key not in self._made:
            y, x = (self._along(axis, grid[axis], stride, dim) for axis in (0, 1))
            y = y[:, :, None].expand(-1, -1, grid[1], -1)
            x = x[:, None].expand(-1, grid[0], -1, -1)
            self._made[key] = torch.cat([y, x], dim=-1).flatten(1, 2)
        return self._made[key]

    def _along(self, axis: int, count: int, stride: int, dim: int) -> Tensor:
        """Encodes the ``count`` rows (axis 0) or columns (axis 1): (B or 1, count, C / 2)."""
        cells = torch.arange(count, device=self.device) + 0.5
        return waves(torch.stack([cells * (stride / size[axis]) for size in self.sizes]), dim)


def waves(centre: Tensor, dim: int) -> Tensor:
    """Encodes positions (...) along one axis, in image sizes, as (..., C / 2)."""
    frequency = 10_000 ** (-torch.arange(dim // 4, device=centre.device) / (dim // 4)) * 2 * math.pi
    angle = centre[..., None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


def cut(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """Crops a map (B, C, H, W) to the rows and columns of ``grid``.

    The permuted map is sliced, because the gradient of a plain slice is channels-first. Every map
    before it would then be copied from one layout to the other.
    """
    return x.permute(0, 2, 3, 1)[:, : grid[0], : grid[1]].permute(0, 3, 1, 2)


def pool(x: Tensor, factor: int, valid: Tensor | None = None) -> Tensor:
    """Averages the valid cells of each block of ``factor`` x ``factor`` cells.

    Args:
        x: (B, C, H, W).
        factor: side of a block; blocks at the far edges may be smaller.
        valid: bool (B, H, W), or None if every cell is valid.

    Returns:
        (B, C, ceil(H / factor), ceil(W / factor)); 0 in blocks without a valid cell.
    """
    if factor == 1:
        return x
    if valid is None:
        return F.avg_pool2d(x, factor, ceil_mode=True, count_include_pad=False)
    weight = valid.unsqueeze(1).to(x.dtype)
    share = F.avg_pool2d(weight, factor, ceil_mode=True, count_include_pad=False)
    sums = F.avg_pool2d(x * weight, factor, ceil_mode=True, count_include_pad=False)
    return sums / share.clamp_min(1e-6)


def upsample(x: Tensor, factor: int, grid: tuple[int, int], valid: Tensor | None = None) -> Tensor:
    """Enlarges a map by an integer factor, bilinearly, and crops it to a grid.

    A factor is used and not a target size. So the cells of a coarse map keep their position in the
    image, even if the size of the image is not a multiple of the coarse stride.

    Args:
        x: (B, C, H, W).
        factor: number of fine cells along a side of a coarse cell.
        grid: rows and columns of the result, at most ``factor`` times those of ``x``.
        valid: bool (B, H, W), False on padding, which has no effect on the result: beyond its
            border an image continues with its last cells, as at the edge of a batch. None if there
            is no padding.

    Returns:
        (B, C, *grid); 0 at cells without a valid neighbour.
    """
    if factor > 1:
        enlarge = functools.partial(F.interpolate, scale_factor=factor, mode="bilinear")
        if valid is None:
            x = enlarge(x)
        else:
            weight = valid.unsqueeze(1).to(x.dtype)
            x = enlarge(x * weight) / enlarge(weight).clamp_min(1e-6)
    return cut(x, grid)
