"""From (class, mask) pairs to class maps and label maps, at any size, without Q full-size masks.

    score_k(p) = sum_q softmax(logits_q)_k sigmoid(mask_q(p))        (MaskFormer, Sec. 3.4, semantic inference)

mask_q(p) is the stride-4 mask read bilinearly at the centre of output pixel p. The output is made in strips of rows:
only one strip of the Q masks exists at a time, and for label maps only one strip of the K scores.

Shapes: Q queries, K classes, h and w rows and columns at stride 4, H and W output rows and columns.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

# Elements of one strip of masks: 16 MiB in float32, small enough for caches and large enough to keep kernels busy.
STRIP_ELEMENTS = 4 * 2**20


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
    scores = masks.new_empty((logits.shape[-1] - 1, *output_size), dtype=torch.float32)
    for first, strip in _strips(logits, masks, input_size, output_size, stride):
        scores[:, first : first + strip.shape[1]] = strip
    return scores


def label_map(
    logits: Tensor, masks: Tensor, input_size: tuple[int, int], output_size: tuple[int, int], stride: int = 4
) -> Tensor:
    """Returns the class of largest score at each pixel (H, W), uint8 up to 255 classes and int64 beyond.

    No map of K x H x W is made; arguments as in ``class_scores``.
    """
    dtype = torch.uint8 if logits.shape[-1] <= 256 else torch.int64
    labels = masks.new_empty(output_size, dtype=dtype)
    for first, strip in _strips(logits, masks, input_size, output_size, stride):
        # max gives argmax's indices, many times faster on a CPU.
        labels[first : first + strip.shape[1]] = strip.max(0).indices
    return labels


def _strips(
    logits: Tensor, masks: Tensor, input_size: tuple[int, int], output_size: tuple[int, int], stride: int
) -> Iterator[tuple[int, Tensor]]:
    """Yields the first row of each strip and its scores (K, rows, W)."""
    probability = logits.float().softmax(-1)[:, :-1].T  # (K, Q)
    masks = masks.float()
    queries, cells_y, _ = masks.shape
    height, width = output_size
    # Centres of output rows in mask cells; the first and last rows read beyond the outermost centres, which is
    # the outermost cell itself, as bilinear interpolation has it everywhere.
    centre = (torch.arange(height, device=masks.device) + 0.5) * (input_size[0] / (height * stride)) - 0.5
    centre = centre.clamp(0, cells_y - 1)
    upper = centre.floor().long()
    lower = (upper + 1).clamp_max(cells_y - 1)
    share = (centre - upper)[:, None]  # (H, 1)
    scale = width * stride / input_size[1]
    rows = max(1, STRIP_ELEMENTS // (queries * width))
    for first in range(0, height, rows):
        part = slice(first, first + rows)
        strip = torch.lerp(masks[:, upper[part]], masks[:, lower[part]], share[part])  # (Q, rows, w)
        # One more column than there are, equal to the last: rounding of the scale can then cost no output column.
        strip = F.pad(strip, (0, 1), mode="replicate")
        strip = F.interpolate(strip, scale_factor=scale, mode="linear", align_corners=False)[..., :width]
        with torch.autocast(masks.device.type, enabled=False):  # scores are float32 whatever the caller's precision
            scores = torch.einsum("kq,qrw->krw", probability, strip.sigmoid_())
        yield first, scores
