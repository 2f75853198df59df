"""From logits of names to logits of classes: what a query says of a dataset's own label space.

A query scores names, the rows of T. A class is one name, or any of its members, whose probabilities
add up:

    softmax over classes = sum over members of softmax over names    <=>    logit_k = log sum_{s in
                                                                     k} exp(logit_s)

so that an image of a coarse list teaches the fine names below it: the gradient of the class is that
of the sum. Images of one batch may have different lists. Each is scored against its own; where it
has fewer classes than another image, the logits of those that it lacks are ``ABSENT``, whose
probability is exactly 0.

Shapes: L predictions, B batch, Q queries, S names, K classes, M most members of a class.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from clipmask.vocabulary import Vocabulary

ABSENT = -1e4  # far below any logit (they are at most 100), and a number in 16 bits too


def class_logits(
    logits: Tensor, columns: Sequence[Tensor | None], num_classes: Sequence[int]
) -> Tensor:
    """Brings logits of names to each image's own classes.

    Args:
        logits: (L, B, Q, S + 1), no object last.
        columns: for each image ``class_columns`` of its vocabulary, on the device of ``logits``.
        num_classes: K of each image.

    Returns:
        (L, B, Q, K + 1), K the most of any image, no object last.
    """
    most = max(num_classes)
    if all(own is None for own in columns) and logits.shape[-1] == most + 1 == min(num_classes) + 1:
        return logits
    names, no_object = logits[..., :-1], logits[..., -1:]
    images = []
    for image, (own, count) in enumerate(zip(columns, num_classes, strict=True)):
        scores = names[:, image]  # (L, Q, S)
        merged = scores[..., :count] if own is None else _merged(scores, own)
        images.append(F.pad(merged, (0, most - count), value=ABSENT))
    return torch.cat([torch.stack(images, dim=1), no_object], dim=-1)


def class_columns(vocabulary: Vocabulary, first: int = 0) -> Tensor | None:
    """Says which columns of the logits make up each class.

    Args:
        vocabulary: the classes.
        first: column of its first name.

    Returns:
        int64 (K, M), -1 beyond a class's last member; None where class k is column k.
    """
    if first == 0 and all(len(rows) == 1 for rows in vocabulary.rows):
        return None
    most = max(len(rows) for rows in vocabulary.rows)
    padded = [[first + row for row in rows] + [-1] * (most - len(rows)) for rows in vocabulary.rows]
    return torch.tensor(padded)


def _merged(scores: Tensor, columns: Tensor) -> Tensor:
    """(L, Q, S) logits of names to (L, Q, K) of classes, by ``columns`` (K, M)."""
    if columns.shape[1] == 1:
        return scores[..., columns[:, 0]]
    chosen = scores[..., columns.clamp_min(0)]  # (L, Q, K, M)
    return torch.logsumexp(chosen.masked_fill(columns < 0, ABSENT), dim=-1)
