"""The blended scores and labels of an image from the (class, mask) pairs of its views.

The formula is in views.py. The scores are added into one buffer, strip by strip.

Shapes: Q queries, K classes, H and W rows and columns of the output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from clipmask.modeling.class_maps import best_labels, score_strips, target_size
from clipmask.modeling.mask_decoder import DecoderOutput

if TYPE_CHECKING:  # views.py imports this module
    from clipmask.inference.views import Crop, Views

# The number of pixels that go through the model together: two windows of 512 x 1024, or one larger
# view.
BATCH_PIXELS = 2**20


class LabelBlock(NamedTuple):
    """A part of a label map.

    Attributes:
        top, left: the row and the column of its upper left corner.
        labels: (n, m) class ids.
    """

    top: int
    left: int
    labels: Tensor


@torch.no_grad()
def augmented_scores(
    decode: Callable[[list[dict[str, Any]]], DecoderOutput], inputs: dict[str, Any], views: Views
) -> Tensor:
    """Computes the scores of an image as the mean over its views.

    Args:
        decode: the model's function from dataset dicts to (class, mask) pairs.
        inputs: a dataset dict, as for ``ClipMask.forward`` in evaluation.
        views: the views of the image.

    Returns:
        (K, H, W) float32, 0 or more.
    """
    height, width = target_size(inputs)
    (scores,) = _bands(decode, inputs, views, height, (0, width))
    return scores


@torch.no_grad()
def augmented_labels(
    decode: Callable[[list[dict[str, Any]]], DecoderOutput],
    inputs: dict[str, Any],
    views: Views,
    classes: int,
) -> Tensor:
    """Returns the label map (H, W) of an image: at each pixel, the class with the largest score.

    Args:
        decode, inputs, views: as for ``augmented_scores``.
        classes: K, the number of scores per pixel.
    """
    labels: Tensor | None = None
    for block in label_blocks(decode, inputs, views, classes):
        if labels is None:
            labels = block.labels.new_empty(target_size(inputs))
        rows, columns = block.labels.shape
        labels[block.top : block.top + rows, block.left : block.left + columns] = block.labels
    assert labels is not None, "every image has a window"
    return labels


@torch.no_grad()
def label_blocks(
    decode: Callable[[list[dict[str, Any]]], DecoderOutput],
    inputs: dict[str, Any],
    views: Views,
    classes: int,
) -> Iterator[LabelBlock]:
    """Yields the label map of an image in blocks: panel by panel, from the top to the bottom.

    With a single view in windows, only as many scores as a panel has in the rows of a window are in
    memory, so that images of any size can be segmented. Several views need the scores of the whole
    image.

    Args:
        decode, inputs, views, classes: as for ``augmented_labels``.
    """
    rows = views.most_rows(inputs)
    for panel in views.panels(inputs, classes):
        top = 0
        for scores in _bands(decode, inputs, views, rows, panel):
            yield LabelBlock(top, panel[0], best_labels(scores))
            top += scores.shape[1]


def _bands(
    decode: Callable[[list[dict[str, Any]]], DecoderOutput],
    inputs: dict[str, Any],
    views: Views,
    rows: int,
    panel: tuple[int, int],
) -> Iterator[Tensor]:
    """Computes the scores of a panel in bands of rows, from the top to the bottom.

    Args:
        decode, inputs, views: as for ``augmented_scores``.
        rows: the number of rows of the buffer, ``views.most_rows`` or more.
        panel: the first column of the panel, and the one after its last.

    Yields:
        The scores (K, n, m) of each band. The next band overwrites them.
    """
    height, width = target_size(inputs)[0], panel[1] - panel[0]
    buffer: Tensor | None = None
    top = 0
    for batch in _batches(views.crops(inputs, panel)):
        outputs = decode([crop.inputs for crop in batch])
        if buffer is None:
            classes = outputs.pred_logits.shape[-1] - 1
            buffer = outputs.pixels.new_zeros((classes, rows, width), dtype=torch.float32)
        for crop, logits, masks in zip(
            batch, outputs.pred_logits[-1], outputs.pred_masks, strict=True
        ):
            if crop.rows.last > top + rows:  # no later window covers rows above this one
                done = crop.rows.first - top
                yield buffer[:, :done]
                buffer[:, : rows - done] = buffer[:, done:].clone()
                buffer[:, rows - done :] = 0
                top = crop.rows.first
            _add(buffer, logits, masks, crop, (top, panel[0]), target_size(inputs)[1])
    assert buffer is not None, "every view has a window"
    yield buffer[:, : height - top].div_(views.count)


def _add(
    total: Tensor,
    logits: Tensor,
    masks: Tensor,
    crop: Crop,
    corner: tuple[int, int],
    width: int,
) -> None:
    """Adds the weighted scores of one window to a buffer, strip by strip.

    Args:
        total: the buffer (K, rows, columns).
        logits, masks: the (class, mask) pairs of the window.
        crop: the window.
        corner: the row and the column of the image where the buffer begins.
        width: W, the number of columns of the image.
    """
    rows, columns = crop.rows, crop.columns
    row_weight, column_weight = rows.weight.to(total.device), columns.weight.to(total.device)
    size = (len(row_weight), len(column_weight))
    left = (width - columns.last if crop.mirrored else columns.first) - corner[1]
    inside = slice(max(0, -left), min(size[1], total.shape[2] - left))  # columns of the window
    covered, offset = (rows.covered, columns.covered), (rows.offset, columns.offset)
    for first, strip in score_strips(logits, masks, covered, size, offset=offset):
        part = slice(first, first + strip.shape[1])
        strip = strip * (row_weight[part, None] * column_weight)
        top = rows.first - corner[0] + first
        target = total[:, top : top + strip.shape[1], left + inside.start : left + inside.stop]
        target += (strip.flip(-1) if crop.mirrored else strip)[..., inside]


def _batches(crops: Iterable[Crop]) -> Iterator[list[Crop]]:
    """Groups successive crops of the same size, up to BATCH_PIXELS, so that none is padded."""
    batch: list[Crop] = []
    for crop in crops:
        shape = crop.inputs["image"].shape
        full = (len(batch) + 1) * shape[1] * shape[2] > BATCH_PIXELS
        if batch and (full or batch[0].inputs["image"].shape != shape):
            yield batch
            batch = []
        batch.append(crop)
    yield batch
