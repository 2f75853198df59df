"""Test-time augmentation: scores averaged over scales, the mirror image and sliding windows.

    score_k(p) = 1 / |V| sum_{v in V} sum_{w in windows(v)} a_w(p) score_k(p; v, w)
    sum_w a_w(p) = 1

The views V are the image at every scale, unchanged and mirrored. The model segments each window as
a separate image. The scores of a window are computed directly at the pixels of the output
(class_maps.py), so nothing is interpolated twice. They are added into one buffer, so that two maps
of K x H x W are never in memory together. a_w is a product of two triangles over the rows and the
columns of the window: where two windows overlap, one fades linearly into the other.

Shapes: Q queries, K classes, h and w rows and columns of a view in pixels, H and W rows and columns
of the output.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn
from torchvision.transforms import v2

from clipmask.errors import UserError
from clipmask.modeling import ClipMask
from clipmask.modeling.class_maps import best_labels, score_strips, target_size
from clipmask.modeling.mask_decoder import DecoderOutput
from clipmask.validate import check_views

# The number of pixels that go through the model together: two windows of 512 x 1024, or one larger
# view.
BATCH_PIXELS = 2**20
# The weight at the edge of a window, where the middle has 0.5. It is above 0, because a pixel may
# lie in one window only.
LEAST_WEIGHT = 1e-3
Model = TypeVar("Model")


class Span(NamedTuple):
    """The extent of a window along one axis, in pixels of its view and of the output.

    Attributes:
        start, stop: the window covers rows (or columns) ``start`` .. ``stop`` - 1 of the view.
        first, last: the centres of output rows ``first`` .. ``last`` - 1 lie in the window.
        offset: the begin of output row ``first``, in pixels of the view from ``start``; it may be
            slightly negative.
        covered: the extent of these output rows, in pixels of the view.
        weight: (last - first,) float32, above 0; the weights of all windows sum to one at each
            output row.
    """

    start: int
    stop: int
    first: int
    last: int
    offset: float
    covered: float
    weight: Tensor


class Crop(NamedTuple):
    """One window of one view: the input of the model, and the place of its scores.

    Attributes:
        inputs: the dataset dict of the image, with the window as ``image``.
        rows: the rows of the window.
        columns: the columns of the window; if ``mirrored``, those of the mirrored output.
        mirrored: whether the view is the mirror image.
    """

    inputs: dict[str, Any]
    rows: Span
    columns: Span
    mirrored: bool


def windows(length: int, size: int, overlap: float) -> list[tuple[int, int]]:
    """Places as few windows along one axis as the overlap allows, at equal distances.

    The first and the last window touch the borders.

    Args:
        length: the length of the view along this axis, in pixels.
        size: the length of a window, in pixels. If the view is shorter, it is the only window.
        overlap: the least share of a window that overlaps with the next one, in [0, 1).

    Returns:
        (start, stop) of each window, in order.
    """
    if length <= size:
        return [(0, length)]
    step = max(1, int(size * (1 - overlap) + 1e-6))  # 100 * (1 - 0.9) is 9.99...
    count = -(-(length - size) // step) + 1
    starts = [index * (length - size) // (count - 1) for index in range(count)]
    return [(start, start + size) for start in starts]


def spans(length: int, output: int, size: int, overlap: float) -> list[Span]:
    """Places windows along one axis, and computes their part of the output; see ``Span``.

    Args:
        length: the length of the view along this axis, in pixels.
        output: the length of the output along this axis, in pixels.
        size, overlap: as for ``windows``.

    Returns:
        One span per window, in order. Windows without the centre of any output pixel are left out.
    """
    centre = (torch.arange(output, dtype=torch.float64) + 0.5) * (length / output)
    total = torch.zeros(output, dtype=torch.float64)
    found = []
    for start, stop in windows(length, size, overlap):
        # ceil(edge * output / length - 1 / 2): the first output pixel whose centre is not before
        # the edge
        first, last = (-((length - 2 * edge * output) // (2 * length)) for edge in (start, stop))
        inside = (centre[first:last] - start) / (stop - start)  # 0 .. 1
        weight = torch.minimum(inside, 1 - inside).clamp_min(LEAST_WEIGHT)
        total[first:last] += weight
        offset = (first * length - start * output) / output
        covered = (last - first) * length / output
        if last > first:
            found.append(Span(start, stop, first, last, offset, covered, weight))
    return [
        span._replace(weight=(span.weight / total[span.first : span.last]).float())
        for span in found
    ]


@dataclass(frozen=True)
class Views:
    """The views of an image over which the scores are averaged in evaluation.

    Attributes:
        scales: factors on the size of the image.
        flip: True: the mirror image is added at each scale.
        window: height and width of the windows into which each view is divided, in pixels; None:
            views are not divided.
        overlap: the least share of a window that overlaps with the next one, in [0, 1).
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    window: tuple[int, int] | None = None
    overlap: float = 0.25

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Views | None:
        """Builds the views of TEST.AUG and TEST.SLIDING_WINDOW; None if neither is enabled.

        Raises:
            UserError: a value is out of range; the message names its key.
        """
        check_views(cfg)
        aug, sliding = cfg.TEST.AUG, cfg.TEST.SLIDING_WINDOW
        if not aug.ENABLED and not sliding.ENABLED:
            return None
        return cls(
            scales=tuple(aug.SCALES) if aug.ENABLED else (1.0,),
            flip=aug.ENABLED and aug.FLIP,
            window=tuple(sliding.SIZE) if sliding.ENABLED else None,
            overlap=sliding.OVERLAP,
        )

    @property
    def count(self) -> int:
        """The number of views of an image; each has one or more windows."""
        return len(self.scales) * (1 + self.flip)

    def most_rows(self, inputs: dict[str, Any]) -> int:
        """Returns how many rows of an image's scores must be in memory together.

        For a single view, these are the rows of a window; for several views, all rows.
        """
        height = target_size(inputs)[0]
        if self.count > 1 or self.window is None:
            return height
        length = _scaled(inputs["image"].shape[-2], self.scales[0])
        return min(height, min(length, self.window[0]) * height // length + 2)

    def crops(self, inputs: dict[str, Any]) -> Iterator[Crop]:
        """Yields the windows of every view of an image, one view after the other.

        Args:
            inputs: a dataset dict; ``image`` is (3, h, w), uint8 or float.
        """
        target = target_size(inputs)
        for scale, mirrored in itertools.product(self.scales, (False, True)[: 1 + self.flip]):
            # The image is mirrored before it is resized, so that a mirrored picture has exactly the
            # same views.
            view = _resized(inputs["image"].flip(-1) if mirrored else inputs["image"], scale)
            height, width = view.shape[-2:]
            size = self.window or (height, width)
            rows = spans(height, target[0], size[0], self.overlap)
            columns = spans(width, target[1], size[1], self.overlap)
            for row, column in itertools.product(rows, columns):
                part = view[:, row.start : row.stop, column.start : column.stop]
                yield Crop({**inputs, "image": part}, row, column, mirrored)


class ClipMaskWithViews(nn.Module):
    """Averages the scores of a model over several views of each image, in evaluation only.

    It wraps a model and has the same interface, as ``SemanticSegmentorWithTTA`` in Detectron2.

    Args:
        model: the model, which is not copied.
        views: the views of each image.
    """

    def __init__(self, model: ClipMask, views: Views) -> None:
        super().__init__()
        self.model, self.views = model, views

    def forward(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Tensor]]:
        """Returns one ``{"sem_seg": (K, H, W)}`` per image, as ``ClipMask`` does in evaluation."""
        return [{"sem_seg": self._scores(inputs)} for inputs in batched_inputs]

    def predict_labels(self, batched_inputs: list[dict[str, Any]]) -> list[Tensor]:
        """Returns one label map (H, W) per image; see ``ClipMask.predict_labels``."""
        self._check()
        return [
            augmented_labels(self.model.decode, inputs, self.views) for inputs in batched_inputs
        ]

    def _scores(self, inputs: dict[str, Any]) -> Tensor:
        self._check()
        return augmented_scores(self.model.decode, inputs, self.views)

    def _check(self) -> None:
        assert not self.model.training, "call eval() first: views are for evaluation"


def with_views(cfg: CfgNode, model: Model) -> Model | ClipMaskWithViews:
    """Wraps a model for test-time augmentation, if the config enables it.

    Args:
        cfg: the config; TEST.AUG and TEST.SLIDING_WINDOW are read.
        model: the model, on any device.

    Returns:
        The model with views; the model itself if the config enables none.

    Raises:
        UserError: a value is out of range; or views are enabled and the model is not a
            ``ClipMask``.
    """
    views = Views.from_config(cfg)
    if views is None:
        return model
    if not isinstance(model, ClipMask):
        raise UserError(
            "TEST.AUG.ENABLED and TEST.SLIDING_WINDOW.ENABLED need a model in PyTorch whose"
            f" MODEL.META_ARCHITECTURE is ClipMask or derived from it; {type(model).__name__} is"
            " not"
        )
    return ClipMaskWithViews(model, views)


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
    height = target_size(inputs)[0]
    (scores,) = _bands(decode, inputs, views, height)
    return scores


@torch.no_grad()
def augmented_labels(
    decode: Callable[[list[dict[str, Any]]], DecoderOutput], inputs: dict[str, Any], views: Views
) -> Tensor:
    """Returns the label map (H, W) of an image: at each pixel, the class with the largest score.

    With a single view in windows, only as many rows of scores as a window has are in memory, so
    that pictures of any height can be segmented. Several views need the scores of the whole
    picture.

    Args:
        decode, inputs, views: as for ``augmented_scores``.
    """
    bands = _bands(decode, inputs, views, views.most_rows(inputs))
    return torch.cat([best_labels(scores) for scores in bands])


def _bands(
    decode: Callable[[list[dict[str, Any]]], DecoderOutput],
    inputs: dict[str, Any],
    views: Views,
    rows: int,
) -> Iterator[Tensor]:
    """Computes the scores of an image in bands of rows, from the top to the bottom.

    Args:
        decode, inputs, views: as for ``augmented_scores``.
        rows: the number of rows of the buffer, ``views.most_rows`` or more.

    Yields:
        The scores (K, n, W) of each band. The next band overwrites them.
    """
    height, width = target_size(inputs)
    buffer: Tensor | None = None
    top = 0
    for batch in _batches(views.crops(inputs)):
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
            _add(buffer, logits, masks, crop, top)
    assert buffer is not None, "every view has a window"
    yield buffer[:, : height - top].div_(views.count)


def _add(total: Tensor, logits: Tensor, masks: Tensor, crop: Crop, above: int) -> None:
    """Adds the weighted scores of one window to a buffer, strip by strip.

    Args:
        total: the buffer (K, rows, W).
        logits, masks: the (class, mask) pairs of the window.
        crop: the window.
        above: the number of rows of the image above the buffer.
    """
    rows, columns = crop.rows, crop.columns
    row_weight, column_weight = rows.weight.to(total.device), columns.weight.to(total.device)
    size = (len(row_weight), len(column_weight))
    left = total.shape[2] - columns.last if crop.mirrored else columns.first
    covered, offset = (rows.covered, columns.covered), (rows.offset, columns.offset)
    for first, strip in score_strips(logits, masks, covered, size, offset=offset):
        part = slice(first, first + strip.shape[1])
        strip = strip * (row_weight[part, None] * column_weight)
        top = rows.first - above + first
        target = total[:, top : top + strip.shape[1], left : left + size[1]]
        target += strip.flip(-1) if crop.mirrored else strip


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


def _resized(image: Tensor, scale: float) -> Tensor:
    """Resizes a picture (3, h, w) by a factor, in the same way as the test mapper."""
    size = [_scaled(length, scale) for length in image.shape[1:]]
    if size == list(image.shape[1:]):
        return image
    return v2.functional.resize_image(
        image, size, interpolation=v2.InterpolationMode.BILINEAR, antialias=True
    )


def _scaled(length: int, scale: float) -> int:
    return max(1, round(length * scale))
