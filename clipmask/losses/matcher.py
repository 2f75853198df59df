"""Hungarian matching of queries to the classes present in each image.

The cost of query q for class k of an image is, with weights as in the loss,

    C[q, k] = - w_cls softmax(logits_q)_k
              + w_bce BCE(mask_q, coverage_k) + w_dice Dice(mask_q, coverage_k)

(MaskFormer, Sec. 3.2, with Eq. 14 of the paper as mask cost). The costs of all layers and images
are computed in one batch. They leave the device in one transfer, together with which classes are
present; ``scipy`` then solves each small assignment. Masks are compared on means over 2 x 2 of
their cells, at stride 8. This is a quarter of the work, and single pixels hardly change a matching.

Shapes: L predictions, B batch, Q queries, K classes, E channels, M most classes present in one
image, n cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from clipmask.losses.mask_losses import MaskLoss
from clipmask.losses.targets import Targets


class Matches(NamedTuple):
    """The pairing of queries and classes.

    Attributes:
        query: (L, B, M) int64, the query matched to each present class; -1 if there is no query,
            because the image has fewer than M classes or more classes than queries.
        label: (B, M) int64, the present classes of each image in rising order, then -1.
    """

    query: Tensor
    label: Tensor


class Matcher:
    """Matches queries with the present classes, for a whole batch.

    Args:
        class_weight: w_cls.
        mask_losses: at least one, with their weights.
    """

    factor = 2  # cells of the masks (stride 4) along a side of a cell of the comparison (stride 8)

    def __init__(self, class_weight: float, mask_losses: Sequence[MaskLoss]) -> None:
        self.class_weight, self.mask_losses = class_weight, tuple(mask_losses)

    @torch.no_grad()
    def __call__(
        self, pred_logits: Tensor, mask_embed: Tensor, pixels: Tensor, targets: Targets
    ) -> Matches:
        """Finds the cheapest pairing of each layer and image.

        Args:
            pred_logits: (L, B, Q, K + 1).
            mask_embed: (L, B, Q, E).
            pixels: (B, E, h, w).
            targets: on the grid of the comparison, ``factor`` times coarser, rounded up.

        Returns:
            The matches on the device of ``pred_logits``.
        """
        cost = self.cost(pred_logits, mask_embed, pixels, targets)
        query, label = assign(*to_host(cost, targets.present))
        return Matches(
            torch.from_numpy(query).to(cost.device, non_blocking=True),
            torch.from_numpy(label).to(cost.device, non_blocking=True),
        )

    def cost(
        self, pred_logits: Tensor, mask_embed: Tensor, pixels: Tensor, targets: Targets
    ) -> Tensor:
        """Returns C, (L, B, Q, K), in float32 under autocast too; arguments as in ``__call__``."""
        with torch.autocast(pixels.device.type, enabled=False):
            embed = mask_embed.float().movedim(0, 1)  # (B, L, Q, E)
            pooled = F.avg_pool2d(
                pixels.float(), self.factor, ceil_mode=True, count_include_pad=False
            )
            weight = targets.weight.flatten(1).unsqueeze(1)  # (B, 1, n)
            cover = targets.coverage.flatten(2) * weight  # (B, K, n), times the labelled share
            layers = []
            for embed_l in embed.unbind(1):  # only the Q x n logits of one layer are in memory
                logits = embed_l @ pooled.flatten(2)  # (B, Q, n)
                costs = [
                    loss.weight * loss.pairwise(logits, cover, weight) for loss in self.mask_losses
                ]
                layers.append(torch.stack(costs).sum(0))
            classes = pred_logits.float().softmax(-1)[..., :-1]  # (L, B, Q, K)
            cost = torch.stack(layers) - self.class_weight * classes
        # After a diverged step costs may not be finite, but every process must finish the step. Its
        # loss is not finite either, so the step is skipped.
        return cost.nan_to_num(nan=1e4, posinf=1e4, neginf=-1e4)


def to_host(cost: Tensor, present: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Copies costs (L, B, Q, K) and presence (B, K), bool, to the host in one transfer."""
    host = torch.cat([cost.flatten(), present.to(cost.dtype).flatten()]).cpu().numpy()
    return host[: cost.numel()].reshape(cost.shape), host[cost.numel() :].reshape(present.shape) > 0


def assign(cost: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Solves the assignments on the host.

    Args:
        cost: (L, B, Q, K) finite float.
        present: (B, K) bool.

    Returns:
        ``Matches.query`` (L, B, M) and ``Matches.label`` (B, M) as int64 arrays; M is at least 1.
    """
    # imported here, because the import takes half a second and predictions need no matching
    from scipy.optimize import linear_sum_assignment

    layers, batch = cost.shape[:2]
    most = int(present.sum(1).max(initial=1))  # some kernels refuse a dimension of 0
    query = np.full((layers, batch, most), -1, dtype=np.int64)
    label = np.full((batch, most), -1, dtype=np.int64)
    for image in range(batch):
        classes = np.flatnonzero(present[image])
        label[image, : len(classes)] = classes
        for layer in range(layers):
            rows, columns = linear_sum_assignment(cost[layer, image][:, classes])
            query[layer, image, columns] = rows
    return query, label
