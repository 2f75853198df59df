"""Mask losses against soft targets: binary cross-entropy (Eq. 14) and dice.

Each is a mean over labelled pixels. With logits x, coverage y in [0, 1] and labelled share w of
each cell n,

    BCE  = sum_n w_n (softplus(x_n) - x_n y_n) / sum_n w_n                                 Eq. (14)
    Dice = 1 - (2 sum_n w_n p_n y_n + 1) / (sum_n w_n p_n + sum_n w_n y_n + 1)
           with p = sigmoid(x), as in V-Net; the 1 smooths it

-[y log p + (1 - y) log(1 - p)] = softplus(x) - x y needs no logarithm of a small number.
Void and padding have w = 0.

To add a loss, write a subclass of ``MaskLoss`` and list it in ``configured_losses`` with the
config key of its weight. The matcher and the criterion then use it.

Shapes: B batch, L layers, Q queries, K classes, M classes that are present, n cells.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch.nn.functional as F
from fvcore.common.config import CfgNode
from torch import Tensor

from clipmask.errors import UserError


class MaskLoss(ABC):
    """One mask loss, in the two forms that a training step needs.

    Args:
        weight: factor of the loss, in the sum of losses and in the matching cost.

    Attributes:
        name: the loss is reported as ``loss_{name}``.
    """

    name: ClassVar[str]

    def __init__(self, weight: float) -> None:
        self.weight = weight

    @abstractmethod
    def pairwise(self, logits: Tensor, cover: Tensor, weight: Tensor) -> Tensor:
        """Compares every query with every class, for the matching.

        Use matrix products, so that no tensor of queries x classes x cells is stored.

        Args:
            logits: (B, Q, n) x.
            cover: (B, K, n) w y.
            weight: (B, 1, n) w, in [0, 1].

        Returns:
            (B, Q, K)
        """

    @abstractmethod
    def paired(self, logits: Tensor, coverage: Tensor, weight: Tensor) -> Tensor:
        """Compares each mask with its own target, for the loss.

        Args:
            logits: (B, L, M, n) x, the masks of M classes in L layers.
            coverage: (B, 1, M, n) y, in [0, 1].
            weight: (B, 1, 1, n) w, in [0, 1].

        Returns:
            (B, L, M)
        """


class BinaryCrossEntropy(MaskLoss):
    """Binary cross-entropy of each pixel, Eq. (14); 0 where an image has no labelled pixel."""

    name = "bce"

    def pairwise(self, logits: Tensor, cover: Tensor, weight: Tensor) -> Tensor:
        """See ``MaskLoss``."""
        total = weight.sum(-1, keepdim=True).clamp_min(1e-6)  # (B, 1, 1)
        return ((F.softplus(logits) @ weight.mT) - logits @ cover.mT) / total

    def paired(self, logits: Tensor, coverage: Tensor, weight: Tensor) -> Tensor:
        """See ``MaskLoss``."""
        share = weight / weight.sum(-1, keepdim=True).clamp_min(1e-6)
        return ((F.softplus(logits) - logits * coverage) * share).sum(-1)


class Dice(MaskLoss):
    """One minus the smoothed Dice coefficient of mask and target, in [0, 1)."""

    name = "dice"

    def pairwise(self, logits: Tensor, cover: Tensor, weight: Tensor) -> Tensor:
        """See ``MaskLoss``."""
        probability = logits.sigmoid()
        sizes = probability @ weight.mT + cover.sum(-1).unsqueeze(1)
        return 1 - (2 * probability @ cover.mT + 1) / (sizes + 1)

    def paired(self, logits: Tensor, coverage: Tensor, weight: Tensor) -> Tensor:
        """See ``MaskLoss``."""
        probability = logits.sigmoid() * weight
        overlap = (probability * coverage).sum(-1)
        sizes = probability.sum(-1) + (coverage * weight).sum(-1)
        return 1 - (2 * overlap + 1) / (sizes + 1)


def configured_losses(cfg: CfgNode) -> list[MaskLoss]:
    """Returns the mask losses that MODEL.CLIPMASK gives a weight above 0.

    Raises:
        UserError: all weights are 0.
    """
    node = cfg.MODEL.CLIPMASK
    losses = [BinaryCrossEntropy(node.BCE_WEIGHT), Dice(node.DICE_WEIGHT)]
    weighted = [loss for loss in losses if loss.weight > 0]
    if not weighted:
        raise UserError(
            "MODEL.CLIPMASK.BCE_WEIGHT and DICE_WEIGHT are both 0: nothing would train the masks."
            " Set one of them above 0",
            key="MODEL.CLIPMASK.BCE_WEIGHT",
        )
    return weighted
