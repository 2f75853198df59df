"""Computes targets from label maps on the model's device; the host does not wait for them.

A label map is reduced to a grid of cells: for each cell and class the share of the cell's labelled
pixels that the class covers. So a thin pole keeps its weight, while one sampled pixel per cell
could miss it. Void pixels and padding have no effect, because each cell is weighted by its labelled
share. The matching uses a coarse grid and every class; the losses use a fine grid and the classes
that an image shows.

Shapes: B batch, K classes, H and W pixels, h and w cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class LabelSpace(NamedTuple):
    """How the ids of one image's label map are read.

    Attributes:
        num_classes: K of the image's dataset; ids 0 .. K - 1 are classes.
        ignore_label: the id of void; any other id that is no class is void too.
    """

    num_classes: int
    ignore_label: int


class Targets(NamedTuple):
    """The targets with which the matcher and the mask losses compare predictions.

    Attributes:
        coverage: (B, K, h, w) share of each cell's labelled pixels, in [0, 1]; 0 where none is
            labelled.
        weight: (B, h, w) share of each cell's pixels that is labelled, in [0, 1].
        present: (B, K) bool, the classes with any labelled pixel.
    """

    coverage: Tensor
    weight: Tensor
    present: Tensor


def make_targets(
    labels: Sequence[Tensor],
    grid: tuple[int, int],
    stride: int,
    num_classes: int,
    spaces: Sequence[LabelSpace],
) -> Targets:
    """Reduces label maps to a grid.

    Args:
        labels: one integer map (H_i, W_i) per image.
        grid: h and w, at least the images' sizes over ``stride``, rounded up.
        stride: pixels per cell along each side.
        num_classes: K of the result, the largest number of classes of an image.
        spaces: how the ids of each image are read.

    Returns:
        Targets on the labels' device.
    """
    height, width = grid
    counts = labels[0].new_zeros((len(labels), num_classes + 1, height, width), dtype=torch.float32)
    ones = counts.new_ones((1, 1, 1)).expand(1, height, width)
    for image, (label, space) in enumerate(zip(labels, spaces, strict=True)):
        # Padding gets the id num_classes, which is not a class. The ignore label would not do: the
        # labels' type may be unable to hold it.
        padded = F.pad(
            label,
            (0, width * stride - label.shape[1], 0, height * stride - label.shape[0]),
            value=num_classes,
        )
        for dy in range(stride):
            for dx in range(stride):
                # One pixel of every cell at a time, because an index of all pixels would need
                # eight bytes for each of them.
                index = class_index(padded[dy::stride, dx::stride], space, num_classes)
                counts[image].scatter_add_(0, index.unsqueeze(0), ones)
    counts = counts[:, :num_classes]
    labelled = counts.sum(1)
    return Targets(
        coverage=counts / labelled.clamp_min(1).unsqueeze(1),
        weight=labelled / stride**2,
        present=counts.flatten(2).sum(2) > 0,
    )


def in_slots(
    labels: Sequence[Tensor], classes: Tensor, num_classes: int, spaces: Sequence[LabelSpace]
) -> list[Tensor]:
    """Replaces class ids by places in each image's list of present classes.

    Targets are then made for M classes and not for all K.

    Args:
        labels: one integer map (H_i, W_i) per image, ids of classes and of void.
        classes: (B, M) int64, the classes that each image shows, then -1 (``Matches.label``).
        num_classes: the largest number of classes of the images' datasets.
        spaces: how the ids of each image are read.

    Returns:
        One int64 map (H_i, W_i) per image, 0 .. M - 1, and M for void.
    """
    batch, most = classes.shape
    place = classes.new_full((batch, num_classes + 1), most)
    place.scatter_(
        1,
        classes.masked_fill(classes < 0, num_classes),
        torch.arange(most, device=classes.device).expand(batch, -1),
    )
    place[:, num_classes] = most  # the entry of void; the -1 were written there too
    return [
        place[image][class_index(label, space, num_classes)]
        for image, (label, space) in enumerate(zip(labels, spaces, strict=True))
    ]


def count_pairs(labels: Sequence[Tensor], spaces: Sequence[LabelSpace], num_queries: int) -> Tensor:
    """Counts the (image, class) pairs that are matched, a float scalar on the labels' device.

    Args:
        labels: one integer map (H_i, W_i) per image, ids of classes and of void.
        spaces: how the ids of each image are read.
        num_queries: Q; at most Q classes of an image are matched.
    """
    total = torch.zeros((), device=labels[0].device)
    for label, space in zip(labels, spaces, strict=True):
        index = class_index(label, space, space.num_classes).flatten()
        seen = torch.zeros(space.num_classes + 1, device=label.device).scatter_(0, index, 1.0)
        total = total + seen[: space.num_classes].sum().clamp_max(num_queries)
    return total


def class_index(label: Tensor, space: LabelSpace, void: int) -> Tensor:
    """Returns ids as int64, same shape; ids that are no class of the image become ``void``.

    Args:
        label: integer ids of any shape.
        space: which ids are classes, and which one is void.
        void: the value that void and all ids that are no class get.
    """
    index = label.long()
    outside = (index == space.ignore_label) | (index < 0) | (index >= space.num_classes)
    return index.masked_fill(outside, void)
