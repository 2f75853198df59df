"""From (class, mask) pairs to class maps and label maps, at any size.

    score_k(p) = sum_q softmax(logits_q)_k sigmoid(mask_q(p))

This is semantic inference of MaskFormer, Sec. 3.4. mask_q(p) is the stride-4 mask, interpolated
bilinearly at the centre of output pixel p. ``plain_scores`` computes the formula directly. Large
outputs are computed in strips of rows: only one strip of the Q masks exists at a time, and for
label maps only one strip of the K scores.

Shapes: Q queries, K classes, h and w rows and columns at stride 4, H and W output rows and columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

STRIDE = 4  # input pixels per mask cell

# A picture is not cut into strips up to this number of elements of its Q masks or K score maps: 32
# MiB in float32.
WHOLE_ELEMENTS = 8 * 2**20
# Elements of one strip of masks or scores: 8 MiB in float32. Smaller strips would cost more calls,
# larger ones would not fit into caches.
STRIP_ELEMENTS = 2 * 2**20
# Number of classes whose scores are compared at once.
CLASS_BLOCK = 128


def target_size(inputs: Mapping[str, Any]) -> tuple[int, int]:
    """Returns H and W of an image's result: ``height`` and ``width``, or the size of ``image``."""
    height, width = inputs["image"].shape[-2:]
    return int(inputs.get("height", height)), int(inputs.get("width", width))


def class_scores(
    logits: Tensor, masks: Tensor, input_size: tuple[int, int], output_size: tuple[int, int]
) -> Tensor:
    """Returns the scores (K, H, W) of one image, float32, at least 0.

    Args:
        logits: (Q, K + 1) class logits, no object last.
        masks: (Q, h, w) mask logits.
        input_size: height and width in pixels of the image that the network saw, without padding.
        output_size: H and W.
    """
    if _is_plain(logits, input_size, output_size):
        return plain_scores(logits, masks, output_size)
    scores = masks.new_empty((logits.shape[-1] - 1, *output_size), dtype=torch.float32)
    for first, strip in score_strips(logits, masks, input_size, output_size):
        scores[:, first : first + strip.shape[1]] = strip
    return scores


def label_map(
    logits: Tensor, masks: Tensor, input_size: tuple[int, int], output_size: tuple[int, int]
) -> Tensor:
    """Returns the class (H, W) of largest score at each pixel, without a map of K x H x W.

    Arguments are those of ``class_scores``; the type is uint8 up to 255 classes and int64 beyond.
    """
    if _is_plain(logits, input_size, output_size):
        return best_labels(plain_scores(logits, masks, output_size))
    labels = masks.new_empty(output_size, dtype=_label_type(logits.shape[-1] - 1))
    for first, strip in score_strips(logits, masks, input_size, output_size):
        labels[first : first + strip.shape[1]] = best_labels(strip)
    return labels


def plain_scores(
    logits: Tensor,
    masks: Tensor,
    size: tuple[int, int],
    input_size: tuple[int, int] | None = None,
) -> Tensor:
    """Returns the scores (K, H, W) of an image, computed without strips.

    Args:
        logits: (Q, K + 1) class logits, no object last; or (B, Q, K + 1), for scores (B, K, H, W).
        masks: (Q, h, w) mask logits, or (B, Q, h, w).
        size: H and W.
        input_size: height and width in pixels of the image that the network saw; None: H and W.
    """
    probability = _probability(logits)
    cells = masks.float().movedim(-3, -1)  # (h, w, Q) or (B, h, w, Q)
    # Four axes and channels-last, so that both axes are interpolated for many queries at once.
    batch = cells.reshape(-1, *cells.shape[-3:]).permute(0, 3, 1, 2)
    scale = (float(STRIDE), float(STRIDE))
    if input_size is not None and tuple(input_size) != tuple(size):
        scale = (size[0] * STRIDE / input_size[0], size[1] * STRIDE / input_size[1])
        # The last row and column are repeated, so that rounding of the scale can't drop a pixel.
        batch = F.pad(batch, (0, 1 + int(1 / scale[1]), 0, 1 + int(1 / scale[0])), mode="replicate")
    large = F.interpolate(
        batch, scale_factor=scale, mode="bilinear", align_corners=False
    ).sigmoid_()
    large = large[..., : size[0], : size[1]].reshape(*masks.shape[:-2], *size)
    # Scores are float32 under autocast too.
    with torch.autocast(masks.device.type, enabled=False):
        return torch.einsum("...kq,...qhw->...khw", probability, large)


def _is_plain(logits: Tensor, input_size: tuple[int, int], output_size: tuple[int, int]) -> bool:
    """Returns whether a result has its image's size and is small enough to need no strips."""
    pixels = output_size[0] * output_size[1]
    return tuple(input_size) == tuple(output_size) and max(logits.shape) * pixels <= WHOLE_ELEMENTS


def _probability(logits: Tensor) -> Tensor:
    """Turns class logits (..., Q, K + 1) into probabilities (..., K, Q), float32."""
    return logits.float().softmax(-1)[..., :-1].transpose(-1, -2)


def best_labels(scores: Tensor) -> Tensor:
    """Returns the class (H, W) of largest score at each pixel of ``scores`` (K, H, W).

    Its type is that of ``label_map``. On CPUs ``max`` finds the indices many times faster than
    ``argmax``, but its time for each score is four times longer for a thousand scores than for a
    hundred. So it is called in blocks.
    """
    best, index = scores[:CLASS_BLOCK].max(0)
    for first in range(CLASS_BLOCK, len(scores), CLASS_BLOCK):
        values, other = scores[first : first + CLASS_BLOCK].max(0)
        index = torch.where(values > best, other + first, index)
        best = torch.maximum(best, values)
    return index.to(_label_type(len(scores)))


def _label_type(num_classes: int) -> torch.dtype:
    return torch.uint8 if num_classes <= 255 else torch.int64


def score_strips(
    logits: Tensor,
    masks: Tensor,
    input_size: tuple[float, float],
    output_size: tuple[int, int],
    offset: tuple[float, float] = (0.0, 0.0),
) -> Iterator[tuple[int, Tensor]]:
    """Computes the scores of ``class_scores`` strip by strip, for the whole output or a part of it.

    Args:
        logits: (Q, K + 1) class logits, no object last.
        masks: (Q, h, w) mask logits.
        input_size: height and width in input pixels that the output covers.
        output_size: H and W.
        offset: where the output's top left corner lies in the masks, in input pixels.

    Yields:
        The first row of each strip and its scores (K, rows, W).
    """
    probability = _probability(logits)
    rows = max(1, STRIP_ELEMENTS // (max(probability.shape) * output_size[1]))
    for first, strip in _resized(masks.float(), input_size, output_size, offset, rows):
        with torch.autocast(masks.device.type, enabled=False):  # as in plain_scores
            scores = probability @ strip.sigmoid_().flatten(1)
        yield first, scores.unflatten(1, strip.shape[1:])[..., : output_size[1]]


def _resized(
    masks: Tensor,
    input_size: tuple[float, float],
    output_size: tuple[int, int],
    offset: tuple[float, float],
    rows: int,
) -> Iterator[tuple[int, Tensor]]:
    """Resizes the masks strip by strip, at any scale and offset.

    The queries of a cell lie side by side in memory: so both axes are interpolated for many
    queries at once, which takes a quarter of the time.

    Yields:
        The first row of each strip, and its masks (Q, rows, at least W).
    """
    height, width = output_size
    cells = masks.permute(1, 2, 0).contiguous()  # (h, w, Q)
    upper, lower, share = _neighbours(
        height, cells.shape[0], input_size[0] / STRIDE, offset[0] / STRIDE, masks.device
    )
    scale = width * STRIDE / input_size[1]
    if offset[1] != 0:
        left, right, weight = _neighbours(
            width, cells.shape[1], input_size[1] / STRIDE, offset[1] / STRIDE, masks.device
        )
    else:
        # The last column is repeated, so that rounding of the scale can't drop one.
        count = cells.shape[1]
        repeated = torch.arange(count + 1 + int(1 / scale), device=masks.device)
        cells = cells.index_select(1, repeated.clamp_max(count - 1))
    for first in range(0, height, rows):
        part = slice(first, first + rows)
        above, below = cells.index_select(0, upper[part]), cells.index_select(0, lower[part])
        strip = torch.lerp(above, below, share[part, None, None])  # (rows, w, Q)
        if offset[1] == 0:  # torch's own kernel is faster, but takes no offset
            strip = strip.unsqueeze(0).permute(0, 3, 1, 2)  # (1, Q, rows, w), channels-last
            yield first, F.interpolate(strip, scale_factor=(1.0, scale), mode="bilinear")[0]
        else:
            before, after = strip.index_select(1, left), strip.index_select(1, right)
            yield first, torch.lerp(before, after, weight[:, None]).permute(2, 0, 1)


def _neighbours(
    count: int, cells: int, covered: float, offset: float, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """For each of ``count`` output rows: the two nearest cells, and the weight of the second.

    Rows beyond the outermost centres get the outermost cell, as in bilinear interpolation.
    ``covered`` and ``offset`` are in cells. All three results are (count,).
    """
    centre = (torch.arange(count, device=device) + 0.5) * (covered / count) + (offset - 0.5)
    centre = centre.clamp(0, cells - 1)
    before = centre.floor().long()
    return before, (before + 1).clamp_max(cells - 1), centre - before
