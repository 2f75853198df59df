"""Boundary IoU of label maps: how well contours agree, independent of the size of the regions.

Cheng et al., "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation", CVPR 2021, Eq.
(2): with G and P the pixels of a class in truth and prediction, and X_d those pixels of X that lie
within d pixels of X's contour,

    BIoU = |G_d ∩ P_d| / |G_d ∪ P_d|,    d = 2 % of the image's diagonal.

Distances are counted in king's moves, as in the paper's own code, so a pixel is in X_d when the (2d
+ 1)-square around it holds a pixel that is not in X. A label map is a partition: that pixel has
another label then, and all classes are done at once by comparing each label with the largest and
the smallest one in its square. Two decisions go beyond the paper, whose subject are masks of single
objects:

- The frame of the image is no contour, the square is cut there (the paper's code pads with
  background). An object ends where the picture does; road and sky go on. Nobody has to find the
  frame, and a band of d pixels along it, a tenth of the picture, would count interior pixels as
  boundary and pull the score towards plain IoU.
- Void counts nowhere: it is void in the prediction too, and contact with it makes no contour, for
  nobody knows what is there. Two classes on either side of a strip of void have a contour between
  them.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

DIAGONAL_SHARE = 0.02  # d over the diagonal, from the paper


def boundary_width(height: int, width: int) -> int:
    """Returns d, in pixels, 1 or more."""
    return max(1, round(DIAGONAL_SHARE * math.hypot(height, width)))


def boundary_region(
    labels: NDArray[np.integer], num_classes: int, distance: int
) -> NDArray[np.bool_]:
    """Marks the pixels of a label map whose square of 2 ``distance`` + 1 pixels holds another
    class.

    Args:
        labels: (H, W) ids, 0..K-1; any other id is void.
        num_classes: K.
        distance: d, in pixels.

    Returns:
        (H, W), False where the map is void.
    """
    valid = (labels >= 0) & (labels < num_classes)
    # a byte a pixel is soon looked through
    small = np.where(valid, labels, 0).astype(np.min_scalar_type(num_classes))
    region = np.zeros(labels.shape, dtype=bool)
    # 1..K up and down: the largest of the latter is the smallest id
    for ids in (small + 1, num_classes - small):
        ids[~valid] = 0  # below all of them
        region |= _square_maximum(ids, distance) != ids
    return region & valid


def _square_maximum(
    values: NDArray[np.unsignedinteger], distance: int
) -> NDArray[np.unsignedinteger]:
    """Returns the maximum over the square around each pixel of (H, W), cut at the frame."""
    return _column_maximum(_column_maximum(values, distance).T, distance).T


def _column_maximum(
    values: NDArray[np.unsignedinteger], distance: int
) -> NDArray[np.unsignedinteger]:
    """Returns the maximum over the 2 ``distance`` + 1 neighbours in each pixel's column.

    Windows double until they are that long: some five passes over the whole picture, ten times
    faster than a filter that walks along each line.
    """
    values = np.pad(values, [(distance, distance), (0, 0)])
    size, wanted = 1, 2 * distance + 1
    while size < wanted:
        step = min(size, wanted - size)
        values, size = np.maximum(values[:-step], values[step:]), size + step
    return values


def boundary_counts(
    truth: NDArray[np.integer], predicted: NDArray[np.integer], num_classes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Counts the pixels of the boundary regions of one image.

    Args:
        truth: (H, W) ids, 0..K-1; any other is void.
        predicted: (H, W) ids.
        num_classes: K.

    Returns:
        |G_d ∩ P_d| and |G_d ∪ P_d| of each class, (K,) both.
    """
    distance = boundary_width(*truth.shape)
    known = (truth >= 0) & (truth < num_classes)
    in_truth = boundary_region(truth, num_classes, distance)
    wide_enough = np.promote_types(predicted.dtype, np.min_scalar_type(num_classes))
    predicted = np.where(known, predicted.astype(wide_enough), num_classes)
    in_predicted = boundary_region(predicted, num_classes, distance)

    def count(labels: NDArray[np.integer], region: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.bincount(labels[region], minlength=num_classes)

    shared = count(truth, in_truth & in_predicted & (truth == predicted))
    return shared, count(truth, in_truth) + count(predicted, in_predicted) - shared
