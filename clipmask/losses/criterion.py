"""The training loss: match, then class cross-entropy and mask losses of every layer.

    loss_cls  = w_cls  sum over queries of v_c (-log softmax(logits)_c) / sum over queries of v_c
    loss_bce  = w_bce  sum over matched pairs of BCE / number of pairs                         Eq.
              (14)
    loss_dice = w_dice sum over matched pairs of Dice / number of pairs                        optional

c is the class matched to the query, or no object, which has v = ``no_object_weight`` (else 1). Both
denominators belong to the effective batch: they follow from its number of matched (image, class)
pairs and of images, so a batch split over devices or accumulation steps gives the same gradient as
a whole one.

Masks are compared as inference reads them: enlarged bilinearly, to ``loss_stride`` pixels a cell.
Where that is less than ``stride``, thin things no longer share their cells with what is beside
them.

Shapes: L predictions, B batch, Q queries, K classes, E channels, M most classes present in one
    image, n = h * w cells.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from fvcore.common.config import CfgNode
from torch import Tensor

from clipmask.losses.mask_losses import paired_bce, paired_dice
from clipmask.losses.matcher import Matcher, Matches
from clipmask.losses.targets import LabelSpace, Targets, in_slots, make_targets


class Criterion:
    """Matches predictions with label maps and returns the weighted losses.

    Args:
        ignore_label: the id of void in label maps whose own is not given.
        class_weight: w_cls, in the loss and in the matching.
        bce_weight: w_bce, likewise.
        dice_weight: w_dice, likewise; 0 leaves dice out.
        no_object_weight: v of no object.
        stride: pixels per cell of the mask logits.
        loss_stride: pixels per cell where masks are compared with labels, a divisor of ``stride``.
    """

    def __init__(
        self,
        ignore_label: int,
        *,
        class_weight: float,
        bce_weight: float,
        dice_weight: float,
        no_object_weight: float,
        stride: int = 4,
        loss_stride: int = 4,
    ) -> None:
        self.ignore_label, self.stride, self.loss_stride = ignore_label, stride, loss_stride
        self.class_weight, self.bce_weight, self.dice_weight = class_weight, bce_weight, dice_weight
        self.no_object_weight = no_object_weight
        self.matcher = Matcher(class_weight, bce_weight, dice_weight)

    @classmethod
    def from_config(cls, cfg: CfgNode, ignore_label: int) -> Criterion:
        """Builds it from MODEL.CLIPMASK; ``ignore_label`` as for the class."""
        node = cfg.MODEL.CLIPMASK
        return cls(
            ignore_label,
            class_weight=node.CLASS_WEIGHT,
            bce_weight=node.BCE_WEIGHT,
            dice_weight=node.DICE_WEIGHT,
            no_object_weight=node.NO_OBJECT_WEIGHT,
            loss_stride=node.LOSS_STRIDE,
        )

    def __call__(
        self,
        pred_logits: Tensor,
        mask_embed: Tensor,
        pixels: Tensor,
        labels: Sequence[Tensor],
        normalizer: Tensor | None = None,
        spaces: Sequence[LabelSpace] | None = None,
    ) -> dict[str, Tensor]:
        """Computes the losses of one forward pass.

        Args:
            pred_logits: (L, B, Q, K + 1) class logits, no object at index K, last layer last.
            mask_embed: (L, B, Q, E).
            pixels: (B, E, h, w); mask logits are ``mask_embed . pixels``.
            labels: one integer map (H_i, W_i) an image on the same device.
            normalizer: (2,) float, the pairs and images that the sums are divided by; None counts
                this batch.
            spaces: how each image's ids are read; None: K classes and ``ignore_label`` in all.

        Returns:
            Scalars ``loss_cls``, ``loss_bce`` and, if weighted, ``loss_dice`` of the last layer,
            and of the earlier ones the same names with ``_0``, ``_1``, ... appended.
        """
        num_classes = pred_logits.shape[-1] - 1
        spaces = spaces or self._same_space(labels, num_classes)
        targets = self.matching_targets(labels, pixels, num_classes, spaces)
        if normalizer is None:
            matched = targets.present.sum(1).clamp_max(pred_logits.shape[2]).sum().float()
            normalizer = torch.stack([matched, torch.full_like(matched, len(labels))])
        pairs, images = normalizer.unbind()
        matches = self.matcher(pred_logits, mask_embed, pixels, targets)

        # Reduced precision ends here: sums over tens of thousands of pixels need float32.
        with torch.autocast(pixels.device.type, enabled=False):
            terms = {
                "loss_cls": (
                    self.class_weight
                    * self._class_loss(pred_logits.float(), matches, pairs, images)
                )
            }
            own = in_slots(labels, matches.label, num_classes, spaces)
            masks = self._mask_losses(mask_embed.float(), pixels.float(), matches.query, own)
        for name, (weight, sums) in masks.items():
            terms[name] = weight * sums / pairs.clamp_min(1)
        last = len(pred_logits) - 1
        return {
            name if layer == last else f"{name}_{layer}": values[layer]
            for layer in [last, *range(last)]
            for name, values in terms.items()
        }

    def _class_loss(
        self, logits: Tensor, matches: Matches, pairs: Tensor, images: Tensor
    ) -> Tensor:
        """(L,) weighted cross-entropy; queries without a match are no object."""
        layers, batch, queries, width = logits.shape
        # One slot more than there are queries takes the writes of absent matches.
        slot = matches.query.masked_fill(matches.query < 0, queries)
        target = logits.new_full((layers, batch, queries + 1), width - 1, dtype=torch.long)
        target = target.scatter(2, slot, matches.label.expand(layers, -1, -1))[..., :queries]
        weight = logits.new_ones(width)
        weight[-1] = self.no_object_weight
        losses = F.cross_entropy(logits.flatten(0, 2), target.flatten(), weight, reduction="none")
        total = pairs + (images * queries - pairs) * self.no_object_weight
        return losses.view(layers, -1).sum(1) / total

    def _same_space(self, labels: Sequence[Tensor], num_classes: int) -> list[LabelSpace]:
        return [LabelSpace(num_classes, self.ignore_label)] * len(labels)

    def matching_targets(
        self,
        labels: Sequence[Tensor],
        pixels: Tensor,
        num_classes: int,
        spaces: Sequence[LabelSpace] | None = None,
    ) -> Targets:
        """Returns what the matcher compares with; arguments as in ``__call__``."""
        spaces = spaces or self._same_space(labels, num_classes)
        height, width = (-(-length // self.matcher.factor) for length in pixels.shape[-2:])
        return make_targets(
            labels, (height, width), self.stride * self.matcher.factor, num_classes, spaces
        )

    def _mask_losses(
        self, embed: Tensor, pixels: Tensor, query: Tensor, labels: Sequence[Tensor]
    ) -> dict[str, tuple[float, Tensor]]:
        """Each mask loss by name with its weight: sums over matched pairs, (L,). Only matched
        queries get a mask.

        Args:
            embed: (L, B, Q, E).
            pixels: (B, E, h, w).
            query: (L, B, M), ``Matches.query``.
            labels: one map (H_i, W_i) an image of places among its M classes.
        """
        layers, _, most = query.shape
        index = query.clamp_min(0).unsqueeze(-1).expand(-1, -1, -1, embed.shape[-1])
        chosen = embed.gather(2, index).movedim(0, 1).flatten(1, 2)  # (B, L * M, E)
        logits = self._enlarged(
            (chosen @ pixels.flatten(2)).unflatten(2, pixels.shape[-2:]), labels
        )
        height, width = logits.shape[-2:]
        logits = logits.flatten(2).unflatten(1, (layers, most))  # (B, L, M, n)
        slots = [LabelSpace(most, most)] * len(labels)
        targets = make_targets(labels, (height, width), self.loss_stride, most, slots)
        coverage = targets.coverage.flatten(2).unsqueeze(1)  # (B, 1, M, n)
        weight = targets.weight.flatten(1)[:, None, None]  # (B, 1, 1, n)
        matched = (query >= 0).float()  # (L, B, M)

        def summed(losses: Tensor) -> Tensor:
            return (losses.movedim(1, 0) * matched).sum((1, 2))

        terms = {"loss_bce": (self.bce_weight, summed(paired_bce(logits, coverage, weight)))}
        if self.dice_weight > 0:
            terms["loss_dice"] = (self.dice_weight, summed(paired_dice(logits, coverage, weight)))
        return terms

    def _enlarged(self, logits: Tensor, labels: Sequence[Tensor]) -> Tensor:
        """Brings (B, masks, h, w) from ``stride`` to ``loss_stride`` as inference does: each image
        by itself.

        At an image's border its own cells go on, and not the padding beyond; there results are 0,
        where nothing counts.
        """
        factor = self.stride // self.loss_stride
        if factor == 1:
            return logits
        height, width = (length * factor for length in logits.shape[-2:])
        images = []
        for masks, label in zip(logits, labels, strict=True):
            rows, columns = (-(-length // self.stride) for length in label.shape)
            own = F.interpolate(
                masks[None, :, :rows, :columns], scale_factor=factor, mode="bilinear"
            )[0]
            images.append(F.pad(own, (0, width - own.shape[-1], 0, height - own.shape[-2])))
        return torch.stack(images)
