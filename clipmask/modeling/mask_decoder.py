"""Mask decoder: Q queries attend to the three injected scales and become (class, mask) pairs.

The approach is MaskFormer's ("Per-Pixel Classification is Not All You Need for Semantic
Segmentation", Sec. 3), on which the paper builds. Each layer attends only where the mask predicted
before it is positive ("Masked-attention Mask Transformer", Eq. 2-4). The class logit of a query is
the scaled cosine between its embedding and T; no object has a learned logit. Under cross-entropy
this is InfoNCE over the vocabulary, the contrastive loss of the paper's introduction.

    logit_k  = exp(s) cos(W_q x, W_t T_k)       k = 1 .. K
    logit_0  = w . x + b                        no object, kept last
    mask     = MLP(x) . pixels                  at every pixel of the stride-4 embedding

Shapes: B batch, Q queries, S names, K classes, D text width, C channels, E channels at stride 4,
L predictions (decoder layers and one before them), h and w rows and columns at stride 4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from clipmask.backbones.recompute import Recomputable
from clipmask.modeling.layers import MLP, Attention, pool, tokens
from clipmask.modeling.pixel_decoder import PixelFeatures


@dataclass(frozen=True)
class DecoderOutput:
    """The predictions of the mask decoder.

    A mask is a product, and its two factors are stored. In training only the matched queries need
    masks, so the product is computed for these alone.

    Attributes:
        pred_logits: (L, B, Q, S + 1) logits of names of every prediction, last layer last, with no
            object at index S. ``ClipMask`` turns them into (L, B, Q, K + 1) class logits, see
            ``text/class_logits.py``.
        mask_embed: (L, B, Q, E) mask embeddings of the same predictions.
        pixels: (B, E, h, w) per-pixel embedding at stride 4.
        sizes: height and width of each image in pixels, without padding; one entry if all images
            have the same size.

    In evaluation only the last prediction is made: L = 1.
    """

    pred_logits: Tensor
    mask_embed: Tensor
    pixels: Tensor
    sizes: list[tuple[int, int]]

    @property
    def pred_masks(self) -> Tensor:
        """(B, Q, h, w) mask logits of the last prediction, channels-last as all maps are."""
        masks = torch.einsum("behw,bqe->bhwq", self.pixels, self.mask_embed[-1])
        return masks.permute(0, 3, 1, 2)


class DecoderLayer(Recomputable):
    """Masked cross-attention, self-attention and feed-forward, each followed by a LayerNorm.

    Args:
        dim: C.
        num_heads: heads of both attentions.
        ffn_dim: hidden width of the feed-forward block.
        dropout: dropped share in training, in [0, 1).
    """

    def __init__(self, dim: int, num_heads: int, ffn_dim: int, dropout: float) -> None:
        super().__init__()
        self.cross_attention = Attention(dim, num_heads, dropout)
        self.self_attention = Attention(dim, num_heads, dropout)
        self.feed_forward = nn.Sequential(
            nn.Linear(dim, ffn_dim), nn.ReLU(), nn.Dropout(dropout), nn.Linear(ffn_dim, dim)
        )
        self.norm_cross = nn.LayerNorm(dim)
        self.norm_self = nn.LayerNorm(dim)
        self.norm_ffn = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, query_pos: Tensor, key: Tensor, value: Tensor, mask: Tensor
    ) -> Tensor:
        """Returns the updated queries, (B, Q, C).

        Args:
            x: (B, Q, C) queries.
            query_pos: (Q, C) learned position encoding, added to the queries in both attentions.
            key: (B, N, C) cells of one scale with their position encodings.
            value: (B, N, C) the same cells without position encodings.
            mask: bool (B, Q, N), True where a query may attend; at least one cell for each query.
        """
        x = self.norm_cross(x + self.dropout(self.cross_attention(x + query_pos, key, value, mask)))
        x = self.norm_self(x + self.dropout(self.self_attention(x + query_pos, x + query_pos, x)))
        return self.norm_ffn(x + self.dropout(self.feed_forward(x)))


class CosineClassifier(nn.Module):
    """Computes class logits as scaled cosines with T, and a learned no-object logit.

    Args:
        dim: C, the width of the queries.
        text_dim: D, the width of T.
    """

    # CLIP's initial value and bound of the scale ("Learning Transferable Visual Models ...", 2.5).
    first_scale, largest_scale = 1 / 0.07, 100.0

    def __init__(self, dim: int, text_dim: int) -> None:
        super().__init__()
        self.query = nn.Linear(dim, dim)
        self.text = nn.Linear(text_dim, dim, bias=False)
        self.no_object = nn.Linear(dim, 1)
        self.log_scale = nn.Parameter(torch.tensor(math.log(self.first_scale)))

    def forward(self, x: Tensor, T: Tensor) -> Tensor:
        """Scores queries ``x`` (B, Q, C) against names ``T`` (S, D) or (B, S, D), centred.

        Returns (B, Q, S + 1), no object last.
        """
        with torch.autocast(x.device.type, enabled=False):  # bf16 would round logits of 100 by 0.4
            # If the whole model was converted to 16 bits, its layers alone compute in 16 bits.
            x, T = x.to(self.query.weight.dtype), T.to(self.query.weight.dtype)
            query = F.normalize(self.query(x).float(), dim=-1)
            text = F.normalize(self.text(T).float(), dim=-1)
            cosine = query @ text.transpose(-2, -1)  # (B, Q, S)
            scale = self.log_scale.float().clamp(max=math.log(self.largest_scale)).exp()
            return torch.cat([scale * cosine, self.no_object(x).float()], dim=-1)


class LinearClassifier(nn.Linear):
    """MaskFormer's classifier, an ablation without text. Its classes are fixed.

    Args:
        dim: C.
        num_classes: K; for several datasets the sum over all of them.
    """

    def __init__(self, dim: int, num_classes: int) -> None:
        super().__init__(dim, num_classes + 1)

    def forward(self, x: Tensor, T: Tensor | None = None) -> Tensor:
        """Scores queries ``x`` (B, Q, C) without using T; returns (B, Q, K + 1)."""
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.to(self.weight.dtype)).float()


class MaskDecoder(nn.Module):
    """The queries, the decoder layers, and the class and mask heads that all layers share.

    Args:
        dim: C.
        mask_dim: E.
        text_dim: D.
        num_queries: Q.
        num_layers: decoder layers. They attend to the scales in turn, from coarse to fine.
        num_scales: number of scales of the pixel decoder.
        num_heads: heads of every attention.
        ffn_dim: hidden width of the feed-forward blocks.
        dropout: dropped share in training, in [0, 1).
        classifier: a ``CosineClassifier`` or a ``LinearClassifier``.
        text_queries: whether the first K queries start from FC(T_k) plus their learned embedding.
            In both cases any query may be matched with any class.
    """

    def __init__(
        self,
        *,
        dim: int,
        mask_dim: int,
        text_dim: int,
        num_queries: int,
        num_layers: int,
        num_scales: int,
        num_heads: int,
        ffn_dim: int,
        dropout: float,
        classifier: nn.Module,
        text_queries: bool,
    ) -> None:
        super().__init__()
        self.query = nn.Embedding(num_queries, dim)
        self.place = nn.Embedding(num_queries, dim)  # position encodings of the queries
        self.query_text = nn.Linear(text_dim, dim) if text_queries else None
        self.level = nn.Embedding(num_scales, dim)
        self.layers = nn.ModuleList(
            DecoderLayer(dim, num_heads, ffn_dim, dropout) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(dim)
        self.classifier = classifier
        self.mask_head = MLP(dim, dim, dim, mask_dim)

    @classmethod
    def from_config(cls, cfg: CfgNode, text_dim: int, num_classes: int) -> MaskDecoder:
        """Builds it from MODEL.CLIPMASK, D and K of a linear classifier, see its class."""
        node = cfg.MODEL.CLIPMASK
        dim = node.HIDDEN_DIM
        classifier: nn.Module
        if node.CLASSIFIER == "cosine":
            classifier = CosineClassifier(dim, text_dim)
        else:
            classifier = LinearClassifier(dim, num_classes)
        return cls(
            dim=dim,
            mask_dim=min(node.MASK_DIM, dim),
            text_dim=text_dim,
            num_queries=node.NUM_QUERIES,
            num_layers=node.DEC_LAYERS,
            num_scales=len(node.SCALES),
            num_heads=node.NUM_HEADS,
            ffn_dim=node.FFN_DIM,
            dropout=node.DROPOUT,
            classifier=classifier,
            text_queries=node.TEXT_QUERIES,
        )

    def forward(
        self, features: PixelFeatures, T: Tensor, text_valid: Tensor | None = None
    ) -> DecoderOutput:
        """Predicts with every layer in training, and with the last one only in evaluation.

        Args:
            features: scales and per-pixel embedding of the pixel decoder.
            T: (S, D), centred text embeddings of the names to choose from, or (B, S, D), the names
                of each image.
            text_valid: bool (B, S), False on padding of ``T``, or None if there is none.
        """
        scales = self._keys(features)
        x = self._start(T, text_valid).expand(features.pixels.shape[0], -1, -1)  # (B, Q, C)
        logits, embeds = [], []
        for step in range(len(self.layers) + 1):
            normed = self.norm(x)
            embed = self.mask_head(normed)
            if self.training or step == len(self.layers):
                logits.append(self.classifier(normed, T))
                embeds.append(embed)
            if step < len(self.layers):
                key, value, pixels, valid = scales[step % len(scales)]
                mask = self._open_cells(embed, pixels, valid)
                x = self.layers[step](x, self.place.weight, key, value, mask)
        sizes = list(features.positions.sizes)
        return DecoderOutput(torch.stack(logits), torch.stack(embeds), features.pixels, sizes)

    def _start(self, T: Tensor, text_valid: Tensor | None) -> Tensor:
        """The queries before the first layer, (Q, C) or (B, Q, C).

        If there are more than Q names, the names after the first Q start no query.
        """
        if self.query_text is None:
            return self.query.weight
        # The rows are always padded by Q and then cut to Q, so that the graph of an exported
        # network serves every S.
        count = len(self.query.weight)
        from_text = self.query_text(T)
        if text_valid is not None:
            from_text = from_text * text_valid.unsqueeze(-1).to(from_text.dtype)
        return self.query.weight + F.pad(from_text, (0, 0, 0, count))[..., :count, :]

    def _keys(self, features: PixelFeatures) -> list[tuple[Tensor, Tensor, Tensor, Tensor | None]]:
        """Prepares what the layers attend to, for each scale from coarse to fine.

        Returns:
            Keys (B, N, C), values (B, N, C), pooled pixels (B, E, N) and valid (B, 1, N) or None.
        """
        prepared = []
        pixels = features.pixels.detach()
        for index in reversed(range(len(features.scales))):
            scale, stride = features.scales[index], features.strides[index]
            valid = features.valid[index]
            value = tokens(scale) + self.level.weight[index]
            grid = (scale.shape[-2], scale.shape[-1])
            positions = features.positions(grid, stride, scale.shape[1])
            # The mean of the mask logits over a cell is the logit of the cell's mean embedding. So
            # the masks of the attention are computed at the scale's own resolution.
            pooled = pool(pixels, stride // features.pixel_stride, features.valid[-1])
            open_ = None if valid is None else valid.flatten(1)[:, None]
            prepared.append((value + positions.to(value.dtype), value, pooled.flatten(2), open_))
        return prepared

    @staticmethod
    def _open_cells(embed: Tensor, pixels: Tensor, valid: Tensor | None) -> Tensor:
        """The attention mask (B, Q, N): True where the current mask of the query is positive.

        A query whose mask is empty attends to all cells.
        """
        positive = embed.detach() @ pixels > 0
        if valid is None:
            return positive | ~positive.any(-1, keepdim=True)
        positive = positive & valid
        return (positive | ~positive.any(-1, keepdim=True)) & valid
