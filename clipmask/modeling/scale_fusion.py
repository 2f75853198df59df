"""Scale fusion: the injected scales merged pairwise and jointly (Sec. 3.2, Eq. 10-13).

    r_31     = FC_31(concat[r_new_3, r_new_1])                   Eq. (10)
    r_32     = FC_32(concat[r_new_3, r_new_2])                   Eq. (11)
    r_12     = FC_12(concat[r_new_1, r_new_2])                   Eq. (12)
    r_fusion = FC_fusion(concat[r_new_1, r_new_2, r_new_3])      Eq. (13)

The maps are resized to r1's grid and the four results are added.

An FC of a concatenation is a sum of FCs, FC(concat[a, b]) = W_a a + W_b b + bias, and bilinear
resizing is linear and keeps constants. So each part is projected on its own grid and resized
afterwards. This is the same function up to rounding, and most of the work is done on small maps.

Each term has its own normalisation and activation. Without a nonlinearity between them, the four
terms and their sum would be one linear map, and the pairwise terms would add nothing.

Shapes: B batch, C channels of the scales, E channels of the result, H and W rows and columns of r1.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clipmask.backbones.recompute import Recomputable
from clipmask.modeling.layers import ChannelNorm, upsample


class ScaleFusion(Recomputable):
    """Fuses one to three scales, Eq. (10)-(13).

    Args:
        dim: C.
        out_dim: E.
        num_scales: how many scales there are.
        mode: ``both``, ``joint`` (Eq. 13 alone) or ``pairwise`` (Eq. 10-12 alone). With two scales
            the only pair equals the joint term, with one scale there is a single term; neither is
            computed twice.

    Raises:
        ValueError: unknown ``mode``.
    """

    def __init__(self, dim: int, out_dim: int, num_scales: int, mode: str = "both") -> None:
        super().__init__()
        if mode not in ("both", "joint", "pairwise"):
            raise ValueError(f"fusion mode {mode!r} is unknown: use both, joint or pairwise")
        scales = range(num_scales)
        joint = [tuple(scales)] if mode != "pairwise" or num_scales < 2 else []
        pairs = list(itertools.combinations(scales, 2)) if mode != "joint" else []
        self.terms: list[tuple[int, ...]] = list(dict.fromkeys([*pairs, *joint]))
        # One convolution per scale computes its part of every term. Each term has one bias.
        self.parts = nn.ModuleList(
            nn.Conv2d(dim, out_dim * sum(scale in term for term in self.terms), 1, bias=False)
            for scale in scales
        )
        self.bias = nn.ParameterList(torch.zeros(out_dim) for _ in self.terms)
        self.norms = nn.ModuleList(ChannelNorm(out_dim) for _ in self.terms)
        self.norm = ChannelNorm(out_dim)

    def forward(
        self,
        scales: Sequence[Tensor],
        strides: Sequence[int],
        valid: Sequence[Tensor | None] | None = None,
    ) -> Tensor:
        """Returns the normalised sum of all terms on the first scale's grid.

        Args:
            scales: r_new_1, r_new_2, ..., finest first, each (B, C, H_i, W_i).
            strides: pixels per cell of each scale, multiples of the first.
            valid: for each scale bool (B, H_i, W_i), False on padding, or None if there is none.

        Returns:
            (B, E, H, W), the grid of the first scale.
        """
        height, width = scales[0].shape[-2:]
        pieces: list[list[Tensor]] = [[] for _ in self.terms]
        for index, (scale, stride, part) in enumerate(
            zip(scales, strides, self.parts, strict=True)
        ):
            mask = None if valid is None else valid[index]
            resized = upsample(part(scale), stride // strides[0], (height, width), mask)
            own_terms = [own for term, own in zip(self.terms, pieces, strict=True) if index in term]
            parts = resized.split(len(self.bias[0]), dim=1)  # one of E channels for each own term
            for own, piece in zip(own_terms, parts, strict=True):
                own.append(piece)
        fused = torch.zeros((), device=scales[0].device)
        for (first, *others), bias, norm in zip(pieces, self.bias, self.norms, strict=True):
            total = first + bias[:, None, None]
            for piece in others:
                total += piece
            fused = F.gelu(norm(total)).add_(fused)
        return self.norm(fused)
