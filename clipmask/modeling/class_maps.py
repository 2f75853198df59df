"""From (class, mask) pairs to class maps and label maps, at any size, without Q full-size masks.

    score_k(p) = sum_q softmax(logits_q)_k sigmoid(mask_q(p))        (MaskFormer, Sec. 3.4, semantic inference)

mask_q(p) is the stride-4 mask read bilinearly at the centre of output pixel p. The output is made in strips of rows:
only one strip of the Q masks exists at a time, and for label maps only one strip of the K scores.

Shapes: Q queries, K classes, h and w rows and columns at stride 4, H and W output rows and columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# Elements of one strip of masks or scores: 8 MiB in float32, small enough for caches and large enough for kernels.
STRIP_ELEMENTS = 2 * 2**20
# Classes whose scores are compared at once.
CLASS_BLOCK = 128


def target_size(inputs: Mapping[str, Any]) -> tuple[int, int]:
    """Returns H and W of an image's result: ``height`` and ``width`` of its dataset dict, the image's own without."""
    height, width = inputs["image"].shape[-2:]
    return int(inputs.get("height", height)), int(inputs.get("width", width))


def class_scores(
    logits: Tensor, masks: Tensor, input_size: tuple[int, int], output_size: tuple[int, int], stride: int = 4
) -> Tensor:
    """Returns the scores (K, H, W) of one image, float, at least 0.

    Args:
        logits: (Q, K + 1) class logits, no object last.
        masks: (Q, h, w) mask logits.
        input_size: height and width in pixels of the image that the network saw, without padding.
        output_size: H and W.
        stride: input pixels per mask cell.
    """
    height, width = (-(-length // stride) * stride for length in output_size)  # whole cells, in which strips come
    scores = masks.new_empty((logits.shape[-1] - 1, height, width), dtype=torch.float32)
    for first, strip in _strips(logits, masks, input_size, output_size, stride, (0.0, 0.0)):
        _, rows, tall, columns, wide = strip.shape
        target = scores[:, first : first + rows * tall, : columns * wide]
        target.unflatten(2, (columns, wide)).unflatten(1, (rows, tall)).copy_(strip)
    return scores[:, : output_size[0], : output_size[1]].contiguous()


def label_map(
    logits: Tensor, masks: Tensor, input_size: tuple[int, int], output_size: tuple[int, int], stride: int = 4
) -> Tensor:
    """Returns the class of largest score at each pixel (H, W), uint8 up to 255 classes and int64 beyond.

    No map of K x H x W is made; arguments as in ``class_scores``.
    """
    labels = masks.new_empty(output_size, dtype=_label_type(logits.shape[-1] - 1))
    for first, strip in _strips(logits, masks, input_size, output_size, stride, (0.0, 0.0)):
        # Classes alone are brought into rows and columns, (rows, columns).
        found = _largest(strip).to(labels.dtype).flatten(2, 3).flatten(0, 1)
        rows = labels[first : first + len(found)]
        rows.copy_(found[: len(rows), : output_size[1]])
    return labels


def best_labels(scores: Tensor) -> Tensor:
    """Returns the class of largest score (K, H, W) at each pixel, (H, W), of the type of ``label_map``."""
    return _largest(scores).to(_label_type(len(scores)))


def _largest(scores: Tensor) -> Tensor:
    """The index of the largest of K scores (K, ...), int64.

    On CPUs ``max`` gives argmax's indices many times faster, but takes four times as long for each score where it has
    a thousand of them as where it has a hundred.
    """
    best, index = scores[:CLASS_BLOCK].max(0)
    for first in range(CLASS_BLOCK, len(scores), CLASS_BLOCK):
        values, other = scores[first : first + CLASS_BLOCK].max(0)
        index = torch.where(values > best, other + first, index)
        best = torch.maximum(best, values)
    return index


def _label_type(num_classes: int) -> torch.dtype:
    return torch.uint8 if num_classes <= 255 else torch.int64


def score_strips(
    logits: Tensor,
    masks: Tensor,
    input_size: tuple[float, float],
    output_size: tuple[int, int],
    stride: int = 4,
    offset: tuple[float, float] = (0.0, 0.0),
) -> Iterator[tuple[int, Tensor]]:
    """Makes the scores of ``class_scores`` strip by strip, or those of a part of the output.

    Args:
        logits: (Q, K + 1) class logits, no object last.
        masks: (Q, h, w) mask logits.
        input_size: height and width in input pixels that the output covers.
        output_size: H and W.
        stride: input pixels per mask cell.
        offset: where the output's top left corner lies in the masks, in input pixels.

    Yields:
        The first row of each strip and its scores (K, rows, W).
    """
    for first, strip in _strips(logits, masks, input_size, output_size, stride, offset):
        rows = strip.flatten(3, 4).flatten(1, 2)
        yield first, rows[:, : output_size[0] - first, : output_size[1]]


def _strips(
    logits: Tensor,
    masks: Tensor,
    input_size: tuple[float, float],
    output_size: tuple[int, int],
    stride: int,
    offset: tuple[float, float],
) -> Iterator[tuple[int, Tensor]]:
    """As ``score_strips``, but (K, n, s, m, s) for n * s rows and m * s columns, which whole cells may be too many.

    s is 1, or the stride where every pixel of the input is one of the output. In memory pixels then lie as the sum over
    queries leaves them, those with the same place in their cells together: who takes the largest of K scores before
    bringing them into rows and columns moves K times less.
    """
    probability = logits.float().softmax(-1)[:, :-1].T  # (K, Q)
    masks = masks.float()
    whole = tuple(input_size) == tuple(output_size) and offset == (0.0, 0.0)
    rows = max(1, STRIP_ELEMENTS // (max(probability.shape) * output_size[1]))
    if whole:
        # What a gradient of masks or of class logits needs must not be written over.
        keep = torch.is_grad_enabled() and (masks.requires_grad or logits.requires_grad)
        strips = _enlarged(masks, output_size, stride, rows, keep)
    else:
        strips = _resized(masks, input_size, output_size, stride, offset, rows)
    for first, strip in strips:
        with torch.autocast(masks.device.type, enabled=False):  # scores are float32 whatever the caller's precision
            scores = probability @ strip.sigmoid_().flatten(1)
        places = scores.unflatten(1, strip.shape[1:]).permute(0, 3, 1, 4, 2)
        yield first, places[..., : -(-output_size[1] // places.shape[-1]), :]


def _enlarged(
    masks: Tensor, output_size: tuple[int, int], stride: int, rows: int, keep: bool
) -> Iterator[tuple[int, Tensor]]:
    """Strips of some rows of the masks, each cell ``stride`` x ``stride`` pixels: the first row, and (Q, s, s, n, w).

    Without ``keep`` each strip is written over by the next.

    A pixel's place in its cell alone says how far it is between which neighbours, so that all pixels of one place are
    one ``lerp`` of two slices: a third of the time of torch's own kernel, and no indices.
    """
    queries, _, width = masks.shape
    cells = -(-output_size[0] // stride)
    padded = F.pad(masks.unsqueeze(0), (1, 1, 1, 1), mode="replicate").squeeze(0)
    most = min(cells, max(1, rows // stride))
    tall, strip = masks.new_empty(0), masks.new_empty(0)
    for first in range(0, cells, most):
        count = min(most, cells - first)
        if keep or tall.shape[-2:-1] != (count,):
            tall = masks.new_empty(queries, stride, count, width + 2)
            strip = masks.new_empty(queries, stride, stride, count, width)
        for place in range(stride):
            _between(padded[:, first : first + count + 2], 1, place, stride, tall[:, place])
        for place in range(stride):
            _between(tall, 3, place, stride, strip[:, :, place])
        yield first * stride, strip


def _between(values: Tensor, axis: int, place: int, stride: int, result: Tensor) -> None:
    """Writes the pixels at ``place`` of every cell along an axis, which has one cell more at both ends."""
    centre = (place + 0.5) / stride + 0.5  # in cells, from the centre of the cell before
    before = values.narrow(axis, int(centre), values.shape[axis] - 2)
    after = values.narrow(axis, int(centre) + 1, values.shape[axis] - 2)
    if torch.is_grad_enabled() and values.requires_grad:
        result.copy_(torch.lerp(before, after, centre - int(centre)))
    else:
        torch.lerp(before, after, centre - int(centre), out=result)


def _resized(
    masks: Tensor,
    input_size: tuple[float, float],
    output_size: tuple[int, int],
    stride: int,
    offset: tuple[float, float],
    rows: int,
) -> Iterator[tuple[int, Tensor]]:
    """Strips of some rows of the masks at any scale and offset: the first row, and (Q, 1, 1, rows, at least W)."""
    _, cells_y, cells_x = masks.shape
    height, width = output_size
    upper, lower, share = _neighbours(height, cells_y, input_size[0] / stride, offset[0] / stride, masks.device)
    # Output columns that begin where the masks do are left to torch's own kernel, which knows no offset.
    across = None
    if offset[1] != 0:
        across = _neighbours(width, cells_x, input_size[1] / stride, offset[1] / stride, masks.device)
    scale = width * stride / input_size[1]
    for first in range(0, height, rows):
        part = slice(first, first + rows)
        strip = torch.lerp(masks[:, upper[part]], masks[:, lower[part]], share[part, None])  # (Q, rows, w)
        if across is None:
            # More columns than there are, equal to the last: rounding can then cost no output column.
            strip = F.pad(strip, (0, 1 + int(1 / scale)), mode="replicate")
            strip = F.interpolate(strip, scale_factor=scale, mode="linear", align_corners=False)
        else:
            left, right, weight = across
            strip = torch.lerp(_columns(strip, left), _columns(strip, right), weight)
        yield first, strip[:, None, None]


def _neighbours(
    count: int, cells: int, covered: float, offset: float, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """The two cells between whose centres each of ``count`` output rows lies, and the second one's share.

    The first and last rows read beyond the outermost centres, which is the outermost cell itself, as bilinear
    interpolation has it everywhere. ``covered`` and ``offset`` are in cells; all three results are (count,).
    """
    centre = (torch.arange(count, device=device) + 0.5) * (covered / count) + (offset - 0.5)
    centre = centre.clamp(0, cells - 1)
    before = centre.floor().long()
    return before, (before + 1).clamp_max(cells - 1), centre - before


def _columns(strip: Tensor, index: Tensor) -> Tensor:
    """``strip[..., index]``; gather does it in half the time."""
    return strip.gather(-1, index.expand(*strip.shape[:-1], -1))
