"""Scores of label maps: IoU of each class, mIoU, and the accuracy of pixels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Scores(NamedTuple):
    """Scores in percent; nan if a score is not defined.

    Attributes:
        iou: (K,), nan for a class that does not occur in the truth.
        mean_iou: over the classes that do.
        accuracy: share of the labelled pixels that are right, pACC.
    """

    iou: NDArray[np.float64]
    mean_iou: float
    accuracy: float


def count_pixels(truth: NDArray, prediction: NDArray, num_classes: int) -> NDArray[np.int64]:
    """Counts the pixels of each true and predicted class.

    Args:
        truth, prediction: ids of one shape; what is none of 0..K-1 in the truth counts nowhere.
        num_classes: K.

    Returns:
        (K, K), truth by prediction.
    """
    known = (truth >= 0) & (truth < num_classes)
    cells = num_classes * truth[known].astype(np.int64) + prediction[known]
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def scores(confusion: NDArray[np.int64]) -> Scores:
    """Turns pixel counts (K, K), truth by prediction, into scores."""
    right, true, predicted = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    seen = true > 0
    iou = np.where(seen, 100 * right / np.maximum(1, true + predicted - right), np.nan)
    if not seen.any():
        return Scores(iou, float("nan"), float("nan"))
    return Scores(iou, float(iou[seen].mean()), float(100 * right.sum() / true.sum()))
