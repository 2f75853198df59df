"""Test-time augmentation: scores averaged over scales, the mirror image and sliding windows.

    score_k(p) = 1 / |V| sum_{v in V} sum_{w in windows(v)} a_w(p) score_k(p; v, w)
    sum_w a_w(p) = 1

The views V are the image at every scale, unchanged and mirrored. The model segments each window as
a separate image. The scores of a window are computed directly at the pixels of the output
(class_maps.py), so nothing is interpolated twice. They are added into one buffer, so that two maps
of K x H x W are never in memory together. a_w is a product of two triangles over the rows and the
columns of the window (windows.py). Label maps of a single view need the scores of one row of
windows only, and of a wide image only those of a panel, a part of its columns.

Shapes: Q queries, K classes, h and w rows and columns of a view in pixels, H and W rows and columns
of the output.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from fvcore.common.config import CfgNode
from torch import Tensor, nn

from clipmask.data.resizing import resize
from clipmask.errors import UserError
from clipmask.inference.blending import LabelBlock, augmented_labels, augmented_scores, label_blocks
from clipmask.inference.windows import Span, spans
from clipmask.modeling import ClipMask
from clipmask.modeling.class_maps import target_size
from clipmask.modeling.mask_decoder import DecoderOutput
from clipmask.validate import check_views

# The number of scores of a panel that are in memory together: 512 MiB in float32.
PANEL_ELEMENTS = 2**27
# The least number of windows side by side in a panel. At the border of two panels, some windows are
# computed twice.
PANEL_WINDOWS = 4
Model = TypeVar("Model")


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

    def panels(self, inputs: dict[str, Any], classes: int) -> list[tuple[int, int]]:
        """Divides the columns of the output, so that few scores are in memory together.

        Args:
            inputs: as for ``crops``.
            classes: K, the number of scores per pixel.

        Returns:
            The first column of each panel, and the one after its last, in order. Several views have
            one panel.
        """
        width = target_size(inputs)[1]
        if self.count > 1 or self.window is None:
            return [(0, width)]
        length = _scaled(inputs["image"].shape[-1], self.scales[0])
        columns = spans(length, width, self.window[1], self.overlap)
        widest = max(span.last - span.first for span in columns)
        most = max(PANEL_WINDOWS * widest, PANEL_ELEMENTS // (classes * self.most_rows(inputs)))
        starts = [0]
        for span in columns:
            if span.last - starts[-1] > most:
                starts.append(span.first)
        return list(itertools.pairwise([*starts, width]))

    def count_windows(self, inputs: dict[str, Any], classes: int) -> int:
        """Returns how many windows the label map of an image takes; for a single view only."""
        (height, width), size = inputs["image"].shape[-2:], self.window
        assert self.count == 1
        assert size is not None
        target = target_size(inputs)
        rows = spans(_scaled(height, self.scales[0]), target[0], size[0], self.overlap)
        columns = spans(_scaled(width, self.scales[0]), target[1], size[1], self.overlap)
        panels = self.panels(inputs, classes)
        return len(rows) * sum(_overlap(span, panel) for panel in panels for span in columns)

    def crops(self, inputs: dict[str, Any], panel: tuple[int, int] | None = None) -> Iterator[Crop]:
        """Yields the windows of every view of an image, one view after the other.

        Args:
            inputs: a dataset dict; ``image`` is (3, h, w), uint8 or float. For a single view of the
                image's own size, an object with ``shape`` and with ``[:, rows, columns]``, which
                returns a tensor, is enough.
            panel: one of ``panels``; windows without a column of it are left out. None: all.
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
            if panel is not None:
                columns = [span for span in columns if _overlap(span, panel)]
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
            augmented_labels(self.model.decode, inputs, self.views, self._classes(inputs))
            for inputs in batched_inputs
        ]

    def predict_blocks(
        self, inputs: dict[str, Any], on_window: Callable[[int, int], object]
    ) -> Iterator[LabelBlock]:
        """Yields the label map of one image in blocks, as soon as they are known.

        Args:
            inputs: the dataset dict; ``image`` may be as for ``Views.crops``.
            on_window: a function that is called with the numbers of windows done and in all.
        """
        self._check()
        classes = self._classes(inputs)
        total, done = self.views.count_windows(inputs, classes), 0

        def decode(batch: list[dict[str, Any]]) -> DecoderOutput:
            nonlocal done
            outputs = self.model.decode(batch)
            done += len(batch)
            on_window(done, total)
            return outputs

        yield from label_blocks(decode, inputs, self.views, classes)

    def _classes(self, inputs: dict[str, Any]) -> int:
        return len(inputs.get("vocabulary", self.model.vocabulary))

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


def _resized(image: Tensor, scale: float) -> Tensor:
    """Resizes a picture (3, h, w) by a factor, in the same way as the test mapper."""
    size = [_scaled(length, scale) for length in image.shape[1:]]
    if size == list(image.shape[1:]):
        return image
    return resize(image, size)


def _overlap(span: Span, panel: tuple[int, int]) -> bool:
    """Returns whether a window has output columns in a panel."""
    return span.first < panel[1] and span.last > panel[0]


def _scaled(length: int, scale: float) -> int:
    return max(1, round(length * scale))
