"""Semantic injection: CLIP's text embedding T enters one scale of the image (Sec. 3.2).

    T_ri    = unsqueeze(FC_ri(T))                     Eq. (1)-(3)
    K_i     = concat[T_ri, FC_i(r_i)]                 Eq. (4), (6), (8)
    r_new_i = LayerNorm(r_i + MultiHead(r_i, K_i))    Eq. (5), (7), (9)

The three equations of a line are those of r1, r2 and r3.

The paper does not name the axis of the concatenation. ``TokenInjection`` concatenates over tokens:
text tokens and image tokens together are keys and values, and the image's own cells are the
queries. ``ChannelInjection`` concatenates over channels: the mean t of the T_ri is put beside the
channels of every cell and makes the queries; the image is keys and values:

    r_new_i = LayerNorm(r_i + MultiHead(FC(concat[t, FC_i(r_i)]), r_i))
    FC(concat[t, r]) = W_t t + W_r r + b

With a fixed vocabulary t is the same constant c for all images and cells. Then FC(concat[c, r]) =
W_r r + (W_t c + b) is a linear layer of r alone, and its bias could learn the same without text.
Channels are therefore allowed only for texts that differ from image to image (MODEL.CLIP.TEXT
annotation).

The paper attends to all pixels. Here the image keys are averaged down to a bounded number, so that
the cost is linear in H * W. Both halves of the concatenation are normalised, because FC_ri(T) and
FC_i(r_i) have unrelated magnitudes, and the larger one would dominate the result.

Shapes: B batch, K classes, L texts of an image, D text width, C channels, N = H * W cells, M image
keys.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clipmask.backbones.recompute import Recomputable
from clipmask.modeling.layers import Attention, Positions, as_map, ceil_div, pool, tokens


class Injection(Recomputable):
    """The part that both ways of injecting T into one scale share.

    Args:
        dim: C, the width of the scale.
        text_dim: D, the width of T.
        num_heads: heads of the attention.
        max_image_keys: bound on M; with 0 every cell is a key, as in the paper.
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
        self,
        r: Tensor,
        T: Tensor,
        positions: Positions,
        stride: int,
        valid: Tensor | None = None,
        text_valid: Tensor | None = None,
    ) -> Tensor:
        """Returns r_new, (B, C, H, W).

        Args:
            r: (B, C, H, W), one scale of the image.
            T: (K, D), centred text embeddings for all images, or (B, L, D), each image's own.
            positions: the position encodings of the batch.
            stride: pixels per cell of ``r``.
            valid: bool (B, H, W), False on padding, or None if there is none.
            text_valid: bool (B, L), False on padding of ``T``, or None if there is none.
        """
        grid = (r.shape[-2], r.shape[-1])
        image, image_place, image_open = self.image_keys(r, positions, stride, valid)
        text = self.text(T).expand(r.shape[0], -1, -1)  # (B, K, C) or (B, L, C)
        cells = tokens(r)  # (B, N, C)
        queries, keys = self._attended(cells, image, text, text_valid)

        # Text has no place in the image: its keys, which come first, get no position encoding.
        before = keys.shape[1] - image.shape[1]
        key_place = nn.functional.pad(image_place, (0, 0, before, 0)).to(keys.dtype)
        mask = _mask(before, image_open, text_valid, keys)
        place = positions(grid, stride, r.shape[1]).to(queries.dtype)
        # Eq. (5), (7), (9) for r1, r2, r3
        injected = self.attention(queries + place, keys + key_place, keys, mask)
        return as_map(self.norm(injected + cells), grid)

    def image_keys(
        self, r: Tensor, positions: Positions, stride: int, valid: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Averages the cells of a scale in square blocks to image keys; arguments as for a call.

        Returns:
            The keys (B, M, C), their position encodings (B or 1, M, C) float32, and bool (B or 1,
            1, M), False for keys without any pixel of the image; None if there are none.
        """
        factor = self._key_factor(*r.shape[-2:])
        key_map = pool(r, factor, valid)  # (B, C, h, w), h * w = M
        place = positions((key_map.shape[-2], key_map.shape[-1]), stride * factor, r.shape[1])
        if valid is None:
            return tokens(key_map), place, None
        # A key is open if any of its cells is valid.
        open_ = pool(valid.unsqueeze(1).float(), factor) > 0
        return tokens(key_map), place, open_.flatten(2)

    def _attended(
        self, cells: Tensor, image: Tensor, text: Tensor, text_valid: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Makes the queries (B, N, C) and the keys (B, L + M, C) or (B, M, C) of the attention.

        It makes them from the image's ``cells`` (B, N, C), the ``image`` keys (B, M, C) and the
        ``text`` (B, L, C).
        """
        raise NotImplementedError

    def _key_factor(self, height: int, width: int) -> int:
        """The smallest side of a block at which the image keys keep their bound."""
        factor, bound = 1, self.max_image_keys
        while bound and ceil_div(height, factor) * ceil_div(width, factor) > bound:
            factor += 1
        return factor


class TokenInjection(Injection):
    """Injection with the concatenation over tokens; arguments as for ``Injection``."""

    def _attended(
        self, cells: Tensor, image: Tensor, text: Tensor, text_valid: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        return cells, self.norm_keys(torch.cat([text, self.image(image)], dim=1))  # (B, L + M, C)


class ChannelInjection(Injection):
    """Injection with the concatenation over channels; arguments as for ``Injection``."""

    def __init__(self, dim: int, text_dim: int, num_heads: int, max_image_keys: int) -> None:
        super().__init__(dim, text_dim, num_heads, max_image_keys)
        # FC(concat[t, r]) as two layers, so that t is projected once per image and not per cell.
        self.join_text = nn.Linear(dim, dim)
        self.join_image = nn.Linear(dim, dim, bias=False)

    def _attended(
        self, cells: Tensor, image: Tensor, text: Tensor, text_valid: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        if text_valid is None:
            t = text.mean(1, keepdim=True)  # (B, 1, C)
        else:
            share = text_valid.unsqueeze(-1).to(text.dtype)
            t = (text * share).sum(1, keepdim=True) / share.sum(1, keepdim=True)
        from_image = self.join_image(self.norm_keys(self.image(cells)))
        return self.join_text(self.norm_keys(t)) + from_image, image


def _mask(
    before: int, image: Tensor | None, text_valid: Tensor | None, keys: Tensor
) -> Tensor | None:
    """The attention mask (B or 1, 1, keys): True for image keys and texts that are no padding.

    ``before`` of the keys (B, keys, C) are texts. None if every key is open.
    """
    if not before or (image is None and text_valid is None):
        return image
    if image is None:
        image = keys.new_ones((len(keys), 1, keys.shape[1] - before), dtype=torch.bool)
    if text_valid is None:
        return torch.cat([image.new_ones((len(image), 1, before)), image], dim=-1)
    return torch.cat([text_valid.unsqueeze(1), image], dim=-1)
