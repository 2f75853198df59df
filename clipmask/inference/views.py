"""Test-time augmentation: scores averaged over scales, the mirror image and sliding windows.

    score_k(p) = 1 / |V| sum_{v in V} sum_{w in windows(v)} a_w(p) score_k(p; v, w)
    sum_w a_w(p) = 1

V holds the image at every scale, as it is and mirrored. The model sees each window as an image of
its own. The scores of a window are computed directly at the pixels of the output (class_maps.py),
so nothing is interpolated twice, and they are added into one buffer, so that two maps of K x H x W
never exist together. a_w is a product of two triangles over the rows and the columns of the window:
where two windows overlap, one fades linearly into the other.

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

# Pixels of windows that go through the model together: two windows of 512 x 1024, or one view that
# is larger.
BATCH_PIXELS = 2**20
# The weight at a window's very edge, relative to 0.5 in its middle; above 0, as a pixel may be in
# one window only.
LEAST_WEIGHT = 1e-3
Model = TypeVar("Model")


class Span(NamedTuple):
    """One window along one axis, in pixels of its view and of the output.

    Attributes:
        start: the window's first row or column in the view.
        stop: the one after its last.
        first: the first output row or column whose centre lies in it.
        last: the one after the last such.
        offset: where output row ``first`` begins, in pixels of the view from ``start``; may be a
            little below 0.
        covered: pixels of the view that the output rows ``first`` .. ``last`` cover.
        weight: (last - first,) float32, above 0; over all windows of an axis they sum to one at
            each output row.
    """

    start: int
    stop: int
    first: int
    last: int
    offset: float
    covered: float
    weight: Tensor


class Crop(NamedTuple):
    """One window of one view: what the model is shown, and where its scores belong.

    Attributes:
        inputs: the image's dataset dict, all its keys, with the window as ``image``.
        rows: the window's rows.
        columns: the window's columns; of the mirrored output where ``mirrored``.
        mirrored: the view is the mirror image.
    """

    inputs: dict[str, Any]
    rows: Span
    columns: Span
    mirrored: bool


def windows(length: int, size: int, overlap: float) -> list[tuple[int, int]]:
    """Places windows along one axis: as few as the overlap allows, evenly, the first and last flush
    with the borders.

    Args:
        length: pixels of the view along this axis.
        size: pixels of a window; of a view that is shorter, the only window is the whole.
        overlap: least share of a window that lies in the next, in [0, 1).

    Returns:
        (start, stop) of each, in order.
    """
    if length <= size:
        return [(0, length)]
    step = max(1, int(size * (1 - overlap) + 1e-6))  # 100 * (1 - 0.9) is 9.99...
    count = -(-(length - size) // step) + 1
    starts = [index * (length - size) // (count - 1) for index in range(count)]
    return [(start, start + size) for start in starts]


def spans(length: int, output: int, size: int, overlap: float) -> list[Span]:
    """Places windows along one axis and says what each gives to the output; see ``Span``.

    Args:
        length: pixels of the view along this axis.
        output: pixels of the output along it.
        size: see ``windows``.
        overlap: likewise.

    Returns:
        One a window, in order; without those in which no output pixel has its centre.
    """
    centre = (torch.arange(output, dtype=torch.float64) + 0.5) * (length / output)
    total = torch.zeros(output, dtype=torch.float64)
    found = []
    for start, stop in windows(length, size, overlap):
        # ceil(edge * output / length - 1 / 2): the first output pixel whose centre is at the edge
        # or beyond.
        first, last = (-((length - 2 * edge * output) // (2 * length)) for edge in (start, stop))
        inside = (centre[first:last] - start) / (stop - start)  # 0 .. 1
        weight = torch.minimum(inside, 1 - inside).clamp_min(LEAST_WEIGHT)
        total[first:last] += weight
        offset, covered = (
            (first * length - start * output) / output,
            (last - first) * length / output,
        )
        found.append(Span(start, stop, first, last, offset, covered, weight))
    return [
        span._replace(weight=(span.weight / total[span.first : span.last]).float())
        for span in found
        if span.last > span.first
    ]


@dataclass(frozen=True)
class Views:
    """What the model is shown of an image in evaluation.

    Attributes:
        scales: factors on the image's size.
        flip: show the mirror image too.
        window: height and width in pixels of windows that each view is cut into; None: it is seen
            whole.
        overlap: least share of a window that lies in the next, in [0, 1).
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    window: tuple[int, int] | None = None
    overlap: float = 0.25

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Views | None:
        """Builds them from TEST.AUG and TEST.SLIDING_WINDOW; None where neither is enabled.

        Raises:
            UserError: a value makes no sense; the message names its key.
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
        """How many views there are of an image, each in one or more windows."""
        return len(self.scales) * (1 + self.flip)

    def most_rows(self, inputs: dict[str, Any]) -> int:
        """Returns how many rows of an image's scores have to be in memory together: of a single
        view those of a window, of several all.
        """
        height = target_size(inputs)[0]
        if self.count > 1 or self.window is None:
            return height
        length = _scaled(inputs["image"].shape[-2], self.scales[0])
        return min(height, min(length, self.window[0]) * height // length + 2)

    def crops(self, inputs: dict[str, Any]) -> Iterator[Crop]:
        """Cuts every view of one image into its windows, one view after the other.

        Args:
            inputs: a dataset dict; ``image`` is (3, h, w), uint8 or float.
        """
        target = target_size(inputs)
        for scale, mirrored in itertools.product(self.scales, (False, True)[: 1 + self.flip]):
            # Mirrored before it is resized: the views of a mirrored picture are then the same, to
            # the bit.
            view = _resized(inputs["image"].flip(-1) if mirrored else inputs["image"], scale)
            extent = (view.shape[-2], view.shape[-1])
            rows, columns = (
                spans(length, output, size, self.overlap)
                for length, output, size in zip(extent, target, self.window or extent, strict=True)
            )
            for row, column in itertools.product(rows, columns):
                part = view[:, row.start : row.stop, column.start : column.stop]
                yield Crop({**inputs, "image": part}, row, column, mirrored)


class ClipMaskWithViews(nn.Module):
    """A model that segments several views of each image and averages their scores, for evaluation
    alone.

    It stands around a model as ``SemanticSegmentorWithTTA`` does in Detectron2, and predicts as the
    model does.

    Args:
        model: the model; it stays usable by itself, and its later changes count here too.
        views: what the model is shown of an image.
    """

    def __init__(self, model: ClipMask, views: Views) -> None:
        super().__init__()
        self.model, self.views = model, views

    def forward(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Tensor]]:
        """Returns one ``{"sem_seg": (K, H, W)}`` an image; see ``ClipMask.forward`` in
        evaluation.
        """
        return [{"sem_seg": self._scores(inputs)} for inputs in batched_inputs]

    def predict_labels(self, batched_inputs: list[dict[str, Any]]) -> list[Tensor]:
        """Returns one (H, W) map of class ids an image; see ``ClipMask.predict_labels``."""
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
    """Returns what predicts as the config says: the model, or the model with views where the config
    enables some.

    Args:
        cfg: TEST.AUG and TEST.SLIDING_WINDOW are read.
        model: the model, as it is in memory on any device.

    Raises:
        UserError: a value makes no sense, or views are enabled and the model is no ``ClipMask``.
    """
    views = Views.from_config(cfg)
    if views is None:
        return model
    if not isinstance(model, ClipMask):
        raise UserError(
            "TEST.AUG.ENABLED and TEST.SLIDING_WINDOW.ENABLED work with a model in PyTorch whose"
            f" MODEL.META_ARCHITECTURE is ClipMask or derived from it; {type(model).__name__} is"
            " none"
        )
    return ClipMaskWithViews(model, views)


@torch.no_grad()
def augmented_scores(
    decode: Callable[[list[dict[str, Any]]], DecoderOutput], inputs: dict[str, Any], views: Views
) -> Tensor:
    """Returns the scores (K, H, W) of one image, float32, at least 0: the mean over its views,
    blended over windows.

    Args:
        decode: the model, from dataset dicts to (class, mask) pairs.
        inputs: a dataset dict, as ``ClipMask.forward`` takes it in evaluation.
        views: what the model is shown.
    """
    height = target_size(inputs)[0]
    (scores,) = _bands(decode, inputs, views, height)
    return scores


@torch.no_grad()
def augmented_labels(
    decode: Callable[[list[dict[str, Any]]], DecoderOutput], inputs: dict[str, Any], views: Views
) -> Tensor:
    """Returns the class of largest score at each pixel (H, W); its type is that of ``label_map``.

    Of a single view in windows only the scores of as many rows as a window has are in memory, so
    that pictures of any height can be segmented. Several views need the scores of the whole
    picture. The arguments are those of ``augmented_scores``.
    """
    bands = _bands(decode, inputs, views, views.most_rows(inputs))
    return torch.cat([best_labels(scores) for scores in bands])


def _bands(
    decode: Callable[[list[dict[str, Any]]], DecoderOutput],
    inputs: dict[str, Any],
    views: Views,
    rows: int,
) -> Iterator[Tensor]:
    """Computes the scores of an image in a buffer of some rows, from the top.

    Args:
        decode, inputs, views: as for ``augmented_scores``.
        rows: of the buffer; ``views.most_rows``, or more.

    Yields:
        The scores (K, n, W) of each band, which hold until the next is asked for.
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
            if crop.rows.last > top + rows:  # then no later window reaches above this one
                done = crop.rows.first - top
                yield buffer[:, :done]
                buffer[:, : rows - done] = buffer[:, done:].clone()
                buffer[:, rows - done :] = 0
                top = crop.rows.first
            _add(buffer, logits, masks, crop, top)
    assert buffer is not None, "every view has a window"
    yield buffer[:, : height - top].div_(views.count)


def _add(total: Tensor, logits: Tensor, masks: Tensor, crop: Crop, above: int) -> None:
    """Adds the weighted scores of one window, strip by strip, to ``total`` (K, rows, W), which has
    ``above`` rows of the image above it.
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
    """Groups crops that follow each other and are of one size, so that none is padded, up to
    BATCH_PIXELS.
    """
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
    """Resizes (3, h, w) as the test mapper does."""
    size = [_scaled(length, scale) for length in image.shape[1:]]
    if size == list(image.shape[1:]):
        return image
    return v2.functional.resize_image(
        image, size, interpolation=v2.InterpolationMode.BILINEAR, antialias=True
    )


def _scaled(length: int, scale: float) -> int:
    return max(1, round(length * scale))
