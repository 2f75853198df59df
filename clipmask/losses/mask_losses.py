"""Mask losses against soft targets: binary cross-entropy (Eq. 14) and dice, as means over labelled
pixels.

With logits x, coverage y in [0, 1] and labelled share w of each cell n,

    BCE  = sum_n w_n (softplus(x_n) - x_n y_n) / sum_n w_n
         (14)
    Dice = 1 - (2 sum_n w_n p_n y_n + 1) / (sum_n w_n p_n + sum_n w_n y_n + 1),   p = sigmoid(x)
                                                                                  (V-Net, smoothed)

-[y log p + (1 - y) log(1 - p)] = softplus(x) - x y, which needs no logarithm of a small number.
Void and padding have w = 0.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def weighted_means(
    logits: Tensor, cover: Tensor, weight: Tensor, dice: bool
) -> tuple[Tensor, Tensor | None]:
    """Compares every query with every class: matrix products, nothing at queries x classes x cells.

    Args:
        logits: (B, Q, n) x.
        cover: (B, K, n) w y.
        weight: (B, 1, n) w.
        dice: whether to compute the second result.

    Returns:
        BCE and Dice (or None), each (B, Q, K).
    """
    total = weight.sum(-1, keepdim=True).clamp_min(1e-6)  # (B, 1, 1)
    bce = ((F.softplus(logits) @ weight.mT) - logits @ cover.mT) / total
    if not dice:
        return bce, None
    probability = logits.sigmoid()
    sizes = probability @ weight.mT + cover.sum(-1).unsqueeze(1)
    return bce, 1 - (2 * probability @ cover.mT + 1) / (sizes + 1)


def paired_bce(logits: Tensor, coverage: Tensor, weight: Tensor) -> Tensor:
    """BCE of each mask with its own target, Eq. (14).

    Args:
        logits: (B, L, M, n) x, the masks of M classes in L layers.
        coverage: (B, 1, M, n) y, in [0, 1].
        weight: (B, 1, 1, n) w, in [0, 1].

    Returns:
        (B, L, M); 0 where an image has no labelled pixel.
    """
    share = weight / weight.sum(-1, keepdim=True).clamp_min(1e-6)
    return ((F.softplus(logits) - logits * coverage) * share).sum(-1)


def paired_dice(logits: Tensor, coverage: Tensor, weight: Tensor) -> Tensor:
    """Dice of each mask with its own target; arguments and result as in ``paired_bce``, values in
    [0, 1).
    """
    probability = logits.sigmoid() * weight
    overlap = (probability * coverage).sum(-1)
    sizes = probability.sum(-1) + (coverage * weight).sum(-1)
    return 1 - (2 * overlap + 1) / (sizes + 1)
