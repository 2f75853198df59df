"""Turns logits of names into logits of classes.

A query scores names, the rows of T. A class is one name, or it has several members, whose
probabilities are added:

    softmax over classes = sum over members of softmax over names
    <=>    logit_k = log sum_{s in k} exp(logit_s)

So an image with a coarse list of classes also trains the fine names below it: the gradient of the
class is the gradient of the sum. The images of one batch may have different lists, and each is
scored against its own. Where an image has fewer classes than another, the logits of the classes
that it lacks are ``ABSENT``, and their probability is exactly 0.

Shapes: L predictions, B batch, Q queries, S names, K classes, M most members of a class.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from clipmask.errors import UserError
from clipmask.recent import Recent
from clipmask.vocabulary import Vocabulary

ABSENT = -1e4  # far below any logit, which is at most 100; float16 can represent it
KEPT = 256  # number of vocabularies whose columns are cached; a joint training has fewer


def class_logits(
    logits: Tensor, columns: Sequence[Tensor | None], num_classes: Sequence[int]
) -> Tensor:
    """Brings logits of names to each image's own classes.

    Args:
        logits: (L, B, Q, S + 1), no object last.
        columns: for each image ``class_columns`` of its vocabulary, on the device of ``logits``.
        num_classes: K of each image.

    Returns:
        (L, B, Q, K + 1), where K is the largest number of classes of an image; no object is last.
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
    """Returns which columns of the logits make up each class.

    Args:
        vocabulary: the classes.
        first: the column of its first name.

    Returns:
        int64 (K, M), -1 after the last member of a class; None if column k is class k.
    """
    if first == 0 and all(len(rows) == 1 for rows in vocabulary.rows):
        return None
    most = max(map(len, vocabulary.rows))
    padded = []
    for rows in vocabulary.rows:
        own = [first + row for row in rows]
        padded.append(own + [-1] * (most - len(own)))
    return torch.tensor(padded)


class ClassColumns:
    """Computes the columns of a vocabulary's classes, and caches those of the last vocabularies.

    Args:
        heads: for a linear classifier, the vocabularies of its training; it has the columns of all
            of them, one after the other. Empty for a classifier that takes any names.
    """

    def __init__(self, heads: Sequence[Vocabulary] = ()) -> None:
        self._heads = tuple(heads)
        self._known: Recent[tuple[Vocabulary, torch.device], Tensor | None] = Recent(KEPT)

    def __call__(self, vocabulary: Vocabulary, device: torch.device) -> Tensor | None:
        """Returns ``class_columns`` of a vocabulary on a device.

        Raises:
            UserError: the classifier is linear, and was not trained with these classes.
        """
        return self._known.get((vocabulary, device), lambda: self._find(vocabulary, device))

    def _find(self, vocabulary: Vocabulary, device: torch.device) -> Tensor | None:
        columns = self._head(vocabulary) if self._heads else class_columns(vocabulary)
        if columns is None:
            return None
        return columns.to(device)

    def _head(self, vocabulary: Vocabulary) -> Tensor | None:
        """Returns the columns of the classes of a training dataset in a linear classifier."""
        first = 0
        for trained in self._heads:
            if trained.names == vocabulary.names:
                alone = len(self._heads) == 1
                if alone:
                    return None
                return torch.arange(first, first + len(trained)).unsqueeze(1)
            first += len(trained)
        raise UserError(
            "this model was trained with MODEL.CLIPMASK.CLASSIFIER linear: its classes are fixed, "
            f"{', '.join(self._heads[0].names)}. Train with CLASSIFIER cosine to change them later"
        )


def _merged(scores: Tensor, columns: Tensor) -> Tensor:
    """Adds up the members of each class: (L, Q, S) logits and columns (K, M) to (L, Q, K)."""
    if columns.shape[1] == 1:
        return scores[..., columns[:, 0]]
    chosen = scores[..., columns.clamp_min(0)]  # (L, Q, K, M)
    return torch.logsumexp(chosen.masked_fill(columns < 0, ABSENT), dim=-1)
