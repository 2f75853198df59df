"""Semantic injection: CLIP's text embedding T of the class names enters one scale of the image (Sec. 3.2).

    T_ri  = unsqueeze(FC_ri(T))                       (1)-(3)
    K_i   = concat[T_ri, FC_i(r_i)]                   (4), (6), (8)
    r_new_i = LayerNorm(r_i + MultiHead(r_i, K_i))    (5), (7), (9)

The concatenation runs over tokens: text tokens beside image tokens are keys and values, the image's own cells are
the queries. The paper attends to all pixels; averaging the image keys down to a bounded number makes the cost linear
in H * W. The concatenation is normalised because FC_ri(T) and FC_i(r_i) come at unrelated magnitudes, and whichever
is larger would own the softmax.

Shapes: B batch, K classes, D text width, C channels, N = H * W cells, M image keys.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from clipmask.modeling.layers import Attention, pool, sine_positions, tokens


class SemanticInjection(nn.Module):
    """Injects T into one scale, Eq. (1)-(9).

    Args:
        dim: C, the width of the scale.
        text_dim: D, the width of T.
        num_heads: heads of the attention.
        max_image_keys: bound on M; 0 takes every cell as a key, as the paper writes.
    """

    def __init__(self, dim: int, text_dim: int, num_heads: int, max_image_keys: int) -> None:
        super().__init__()
        self.max_image_keys = max_image_keys
        self.text = nn.Linear(text_dim, dim)
        self.image = nn.Linear(dim, dim)
        self.norm_keys = nn.LayerNorm(dim)
        self.attention = Attention(dim, num_heads)
        self.norm = nn.LayerNorm(dim)

    def forward(
        self, r: Tensor, T: Tensor, sizes: Sequence[tuple[int, int]], stride: int, valid: Tensor | None = None
    ) -> Tensor:
        """Returns r_new.

        Args:
            r: (B, C, H, W), one scale of the image.
            T: (K, D), centred text embeddings.
            sizes: height and width of each image in pixels, for the positions.
            stride: pixels per cell of ``r``.
            valid: bool (B, H, W), False on padding, or None where there is none.

        Returns:
            (B, C, H, W)
        """
        batch, _, *grid = r.shape
        factor = self._key_factor(grid[0], grid[1])
        key_map = pool(r, factor, valid)
        text = self.text(T).expand(batch, -1, -1)  # (B, K, C)
        keys = self.norm_keys(torch.cat([text, self.image(tokens(key_map))], dim=1))  # (B, K + M, C)

        def positions(map_: Tensor, cell: int) -> Tensor:
            height, width = map_.shape[-2:]
            return sine_positions(sizes, (height, width), cell, map_.shape[1], map_.device).to(map_.dtype)

        # Text has no place in the image: its keys carry no position.
        key_positions = nn.functional.pad(positions(key_map, stride * factor), (0, 0, text.shape[1], 0))
        cells = tokens(r)  # (B, N, C)
        injected = self.attention(
            cells + positions(r, stride), keys + key_positions, keys, self._mask(T, valid, factor)
        )
        return self.norm(cells + injected).transpose(1, 2).unflatten(2, (grid[0], grid[1]))

    def _key_factor(self, height: int, width: int) -> int:
        """The smallest block side that brings the image keys under their bound."""
        factor = 1
        while self.max_image_keys and math.ceil(height / factor) * math.ceil(width / factor) > self.max_image_keys:
            factor += 1
        return factor

    @staticmethod
    def _mask(T: Tensor, valid: Tensor | None, factor: int) -> Tensor | None:
        """(B, 1, K + M): every text token is open, an image key where any cell below it is valid."""
        if valid is None:
            return None
        blocks = pool(valid.unsqueeze(1).float(), factor) > 0  # (B, 1, h, w)
        return nn.functional.pad(blocks.flatten(2), (T.shape[0], 0), value=True)
