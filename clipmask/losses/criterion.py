"""The training loss: matching, then the class cross-entropy and mask losses of every layer.

    loss_cls  = w_cls  sum over queries of v_c (-log softmax(logits)_c) / sum over queries of v_c
    loss_bce  = w_bce  sum over matched pairs of BCE / number of pairs                     Eq. (14)
    loss_dice = w_dice sum over matched pairs of Dice / number of pairs                    optional

c is the class matched to the query, or no object, which has v = ``no_object_weight`` (else 1).

Both denominators are those of the effective batch: its number of matched (image, class) pairs and
of images. So a batch that is split over devices or accumulation steps has the gradient of the
whole batch.

Masks are compared at the size at which inference reads them: enlarged bilinearly, to
``loss_stride`` pixels per cell. With a ``loss_stride`` below ``stride``, a thin object does not
share its cells with the objects beside it.

Shapes: L predictions, B batch, Q queries, K classes, E channels, M most classes present in one
image, n = h * w cells.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from fvcore.common.config import CfgNode
from torch import Tensor

from clipmask.losses.mask_losses import MaskLoss, configured_losses
from clipmask.losses.matcher import Matcher, Matches
from clipmask.losses.targets import LabelSpace, Targets, in_slots, make_targets


class Criterion:
    """Matches predictions with label maps and returns the weighted losses.

    Args:
        ignore_label: the id of void in label maps that come without an id of their own.
        class_weight: w_cls, in the loss and in the matching.
        mask_losses: at least one; their weights are used in the loss and in the matching.
        no_object_weight: v of queries that are no object.
        stride: pixels per cell of the mask logits.
        loss_stride: pixels per cell where masks are compared with labels, a divisor of ``stride``.
    """

    def __init__(
        self,
        ignore_label: int,
        *,
        class_weight: float,
        mask_losses: Sequence[MaskLoss],
        no_object_weight: float,
        stride: int = 4,
        loss_stride: int = 4,
    ) -> None:
        self.ignore_label, self.stride, self.loss_stride = ignore_label, stride, loss_stride
        self.class_weight, self.no_object_weight = class_weight, no_object_weight
        self.mask_losses = tuple(mask_losses)
        self.matcher = Matcher(class_weight, mask_losses)

    @classmethod
    def from_config(cls, cfg: CfgNode, ignore_label: int) -> Criterion:
        """Builds it from MODEL.CLIPMASK; ``ignore_label`` as for the class.

        Raises:
            UserError: the weights of all mask losses are 0.
        """
        node = cfg.MODEL.CLIPMASK
        return cls(
            ignore_label,
            class_weight=node.CLASS_WEIGHT,
            mask_losses=configured_losses(cfg),
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
            labels: one integer map (H_i, W_i) per image, on the same device.
            normalizer: (2,) float, the pairs and images by which the sums are divided; None: the
                numbers of this batch.
            spaces: how each image's ids are read; None: all have K classes and ``ignore_label``.

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
        for loss, sums in zip(self.mask_losses, masks, strict=True):
            terms[f"loss_{loss.name}"] = loss.weight * sums / pairs.clamp_min(1)
        last = len(pred_logits) - 1
        losses = {name: values[last] for name, values in terms.items()}
        for layer in range(last):
            losses.update({f"{name}_{layer}": values[layer] for name, values in terms.items()})
        return losses

    def _class_loss(
        self, logits: Tensor, matches: Matches, pairs: Tensor, images: Tensor
    ) -> Tensor:
        """(L,) weighted cross-entropy; queries without a match are no object."""
        layers, batch, queries, width = logits.shape
        # The entry after the last query takes the values of missing matches and is cut off.
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
        """Returns the targets of the matcher; arguments as in ``__call__``."""
        spaces = spaces or self._same_space(labels, num_classes)
        height, width = (-(-length // self.matcher.factor) for length in pixels.shape[-2:])
        return make_targets(
            labels, (height, width), self.stride * self.matcher.factor, num_classes, spaces
        )

    def _mask_losses(
        self, embed: Tensor, pixels: Tensor, query: Tensor, labels: Sequence[Tensor]
    ) -> list[Tensor]:
        """Sums each mask loss over the matched pairs, (L,). Other queries get no mask.

        Args:
            embed: (L, B, Q, E).
            pixels: (B, E, h, w).
            query: (L, B, M), ``Matches.query``.
            labels: one map (H_i, W_i) per image, see ``in_slots``.
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
        # One layer at a time, so that what is computed on the way fits into caches.
        each = logits.split(1, dim=1)  # of (B, 1, M, n)

        sums = []
        for loss in self.mask_losses:
            values = torch.cat([loss.paired(own, coverage, weight) for own in each], dim=1)
            sums.append((values.movedim(1, 0) * matched).sum((1, 2)))
        return sums

    def _enlarged(self, logits: Tensor, labels: Sequence[Tensor]) -> Tensor:
        """Enlarges (B, masks, h, w) from ``stride`` to ``loss_stride``, each image by itself.

        Inference does the same. At its border an image continues with its own last cells and not
        with the padding. The result is 0 on padding, which has no effect on the loss.
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
