"""Pixel decoder: backbone features and T become three injected scales and one embedding per pixel.

It is Sec. 3.2 of the paper.

    r_i     = project(features_i)                   i = 1, 2, 3 (strides 8, 16, 32)
    r_new_i = inject(r_i, T)                        Eq. (1)-(9), injection.py
    fused   = fuse(r_new_1, r_new_2, r_new_3)       Eq. (10)-(13), scale_fusion.py
    fused   = inject(fused, T)                      "merge ... with the original text"
    pixels  = embed(smooth(up(fused) + lateral(res2)))     at stride 4

The lateral connection from res2 gives the masks their resolution. Three quarters of all cells are
at stride 4, where C channels would cost more than half of a ResNet-50. Therefore the fused map and
all maps after it have E channels.

Shapes: B batch, C channels, E channels at stride 4, K classes, L texts of an image, D text width,
H and W image size in pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from clipmask.d2 import ShapeSpec
from clipmask.modeling.injection import ChannelInjection, TokenInjection
from clipmask.modeling.layers import (
    ChannelNorm,
    Positions,
    SeparableBlock,
    ceil_div,
    cut,
    upsample,
    valid_cells,
)
from clipmask.modeling.scale_fusion import ScaleFusion


class PixelFeatures(NamedTuple):
    """The result of the pixel decoder, which the mask decoder reads."""

    scales: tuple[Tensor, ...]  # r_new_1, r_new_2, r_new_3, each (B, C, H / stride, W / stride)
    strides: tuple[int, ...]  # pixels per cell of each scale
    pixels: Tensor  # (B, E, H / 4, W / 4), the per-pixel embedding
    pixel_stride: int  # pixels per cell of it, 4
    positions: Positions  # of the batch, with each image's size
    # For each scale, then for ``pixels``: bool (B, h, w), False on padding; None without padding
    valid: tuple[Tensor | None, ...]


class PixelDecoder(nn.Module):
    """Injects T into every scale, fuses the scales and returns to stride 4.

    Args:
        channels: channels of each used backbone feature, including ``res2``.
        strides: pixels per cell of each feature.
        scales: names of r1, r2, r3, finest first; fewer scales are an ablation.
        dim: C.
        mask_dim: E.
        text_dim: D.
        num_heads: heads of the injections into the scales. The injection into the fused map has
            E / C times as many.
        max_image_keys: see ``Injection``.
        injection: ``tokens`` or ``channels``, see injection.py; ``none`` leaves T out of the
            features, the ablation without CLIP.
        fusion: see ``ScaleFusion``.
    """

    lateral_name = "res2"

    def __init__(
        self,
        channels: Mapping[str, int],
        strides: Mapping[str, int],
        scales: Sequence[str],
        *,
        dim: int,
        mask_dim: int,
        text_dim: int,
        num_heads: int,
        max_image_keys: int,
        injection: str = "tokens",
        fusion: str = "both",
    ) -> None:
        super().__init__()
        self.scale_names = tuple(scales)
        self.strides = tuple(strides[name] for name in scales)
        self.pixel_stride = strides[self.lateral_name]
        self.project = nn.ModuleDict()
        for name in scales:
            self.project[name] = nn.Sequential(nn.Conv2d(channels[name], dim, 1), ChannelNorm(dim))
        kind = ChannelInjection if injection == "channels" else TokenInjection
        self.inject = nn.ModuleDict()
        if injection != "none":
            for name in scales:
                self.inject[name] = kind(dim, text_dim, num_heads, max_image_keys)
            # The heads of the fused map are at least as wide as those of the scales: narrow heads
            # are slow.
            heads = max(1, num_heads * mask_dim // dim)
            while mask_dim % heads:
                heads -= 1
            self.inject["fused"] = kind(mask_dim, text_dim, heads, max_image_keys)
        self.fuse = ScaleFusion(dim, mask_dim, len(self.scale_names), fusion)
        self.lateral = nn.Sequential(
            nn.Conv2d(channels[self.lateral_name], mask_dim, 1), ChannelNorm(mask_dim)
        )
        # Dense 3x3 convolutions at stride 4 would cost more than all other parts of this module.
        self.smooth = nn.ModuleList(SeparableBlock(mask_dim) for _ in range(2))
        self.embed = nn.Conv2d(mask_dim, mask_dim, 1)

    @classmethod
    def from_config(
        cls, cfg: CfgNode, shapes: Mapping[str, ShapeSpec], text_dim: int
    ) -> PixelDecoder:
        """Builds it from MODEL.CLIPMASK, the backbone's ``output_shape()`` and D."""
        node = cfg.MODEL.CLIPMASK
        return cls(
            {name: shape.channels or 0 for name, shape in shapes.items()},
            {name: shape.stride or 0 for name, shape in shapes.items()},
            node.SCALES,
            dim=node.HIDDEN_DIM,
            mask_dim=min(node.MASK_DIM, node.HIDDEN_DIM),
            text_dim=text_dim,
            num_heads=node.NUM_HEADS,
            max_image_keys=node.MAX_IMAGE_KEYS,
            injection=node.INJECTION,
            fusion=node.FUSION,
        )

    def forward(
        self,
        features: dict[str, Tensor],
        T: Tensor,
        sizes: list[tuple[int, int]],
        text_valid: Tensor | None = None,
    ) -> PixelFeatures:
        """Decodes one batch.

        Args:
            features: the backbone's maps, each (B, C_i, H_i, W_i) of the padded batch.
            T: (K, D), centred text embeddings for all images, or (B, L, D), each image's own.
            sizes: height and width of each image in pixels, without padding; one entry if all
                images have the same size.
            text_valid: bool (B, L), False on padding of ``T``, or None if there is none.

        Returns:
            The injected scales and the per-pixel embedding, cut to the largest image of the batch.
        """
        injected, valid, positions = [], [], Positions(sizes, T.device)
        for name, stride in zip(self.scale_names, self.strides, strict=True):
            r, mask = self._projected(self.project[name], features[name], sizes, stride)
            valid.append(mask)
            injected.append(self._inject(name, r, T, positions, stride, mask, text_valid))
        fused = self.fuse(injected, self.strides, valid)
        fused = self._inject("fused", fused, T, positions, self.strides[0], valid[0], text_valid)

        # Maps at stride 4 are the largest. Each is bound to the one name ``pixels``, so that the
        # map before it is freed.
        res2, stride = features[self.lateral_name], self.pixel_stride
        pixels, mask = self._projected(self.lateral, res2, sizes, stride)
        valid.append(mask)
        grid = (pixels.shape[-2], pixels.shape[-1])
        # The sum in place goes into the enlarged map, which is no module's output: hooks may keep
        # outputs. With gradients it is not done in place: the enlarged map may be a view, whose
        # gradients would come back channels-first.
        raised = upsample(fused, self.strides[0] // stride, grid, valid[0]).to(pixels.dtype)
        pixels = raised + pixels if torch.is_grad_enabled() else raised.add_(pixels)
        del raised
        for block in self.smooth:
            pixels = block(pixels, mask)
        return PixelFeatures(
            tuple(injected), self.strides, self.embed(pixels), stride, positions, tuple(valid)
        )

    def _inject(self, name: str, r: Tensor, *arguments: object) -> Tensor:
        return self.inject[name](r, *arguments) if name in self.inject else r

    @staticmethod
    def _projected(
        projection: nn.Module, map_: Tensor, sizes: list[tuple[int, int]], stride: int
    ) -> tuple[Tensor, Tensor | None]:
        """Projects one map of the backbone, without what is padding in every image of the batch.

        Returns:
            The projected map (B, C or E, h, w), and bool (B, h, w), False on padding; None without
            padding, for which attention is faster.
        """
        height, width = (ceil_div(max(sides), stride) for sides in zip(*sizes, strict=True))
        projected = projection(cut(map_, (height, width)))
        if len(sizes) == 1:
            return projected, None
        return projected, valid_cells(sizes, (height, width), stride, map_.device)
