"""The runs of a model: on a batch of pictures in memory, and on a file window by window."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from fvcore.common.config import CfgNode
from numpy.typing import NDArray
from torch import Tensor

from clipmask.data import TestMapper
from clipmask.data.image_format import shown
from clipmask.data.picture_file import PictureFile
from clipmask.inference.batches import in_parts
from clipmask.inference.classes import Classes
from clipmask.inference.exported import ExportedModel
from clipmask.inference.from_file import NoScores, OnWindow, segment_file
from clipmask.inference.large import LargeSegmentation, ShownFile
from clipmask.inference.scores import KeptScores, SecondRun
from clipmask.inference.segmentation import Segmentation
from clipmask.inference.stream import ReadPicture
from clipmask.inference.views import ClipMaskWithViews, with_views
from clipmask.modeling import ClipMask
from clipmask.modeling.class_maps import best_labels
from clipmask.visualizer import Drawing

logger = logging.getLogger(__name__)

# a function from a frame's pixels (H, W, 3) and scores (K, H, W) to the smoothed scores
Smoothing = Callable[[NDArray[np.uint8], Tensor], Tensor]

LARGE = 4_000_000  # pixels; a warning is logged if a larger picture is segmented as a whole


@dataclass(frozen=True, eq=False)
class Request:
    """What one call of a predictor asks for.

    Attributes:
        classes: the classes and their colours.
        inputs: what the model gets beside the image: the vocabulary and the texts.
        scores: True: the results store their scores.
        smoothing: see ``Predictor.stream``.
        on_window: see ``Predictor.stream``.
        server_ids, drawing: as in the results.
    """

    classes: Classes
    inputs: Mapping[str, Any]
    scores: bool
    smoothing: Smoothing | None
    on_window: OnWindow
    server_ids: Mapping[str, int]
    drawing: Drawing


class Segmenter:
    """Runs a model, with the views of TEST.AUG and TEST.SLIDING_WINDOW if they are enabled.

    Args:
        cfg: the config of the model; INPUT and TEST are read.
        model: the model in evaluation mode, or an exported network.

    Attributes:
        model: the model, or its wrapper with views.

    Raises:
        UserError: views are enabled and the model can't have them, see ``with_views``.
    """

    def __init__(self, cfg: CfgNode, model: ClipMask | ExportedModel) -> None:
        self.model = with_views(cfg, model)
        self._plain_model = model
        self._mapper = TestMapper.from_config(cfg)
        self._warned_of_size = False

    def segment(self, batch: Sequence[ReadPicture], request: Request) -> Iterator[Segmentation]:
        """Segments pictures of one size, which are in memory."""
        inputs = [self._inputs(picture.pixels, request.inputs) for picture in batch]
        self._warn_of_size(*inputs[0]["image"].shape[1:])
        stored: list[Tensor] = []
        with torch.inference_mode():
            if request.smoothing is None and not request.scores:
                maps = in_parts(self.model.predict_labels, inputs, self._device)
            else:
                outputs = in_parts(self.model, inputs, self._device)
                stored = [output["sem_seg"] for output in outputs]
                maps = [
                    _labels(picture, scores, request.smoothing)
                    for picture, scores in zip(batch, stored, strict=True)
                ]
        for index, (picture, labels) in enumerate(zip(batch, maps, strict=True)):
            score: Callable[[Segmentation], NDArray[np.float32]]
            score = SecondRun(self.scores, picture.pixels, request.inputs)
            if request.scores:
                score = KeptScores(stored[index].float().cpu().numpy())
            yield Segmentation(
                shown(picture.pixels),
                labels.cpu().numpy(),
                request.classes.names,
                request.classes.colors,
                picture.source,
                score,
                request.server_ids,
                request.drawing,
            )

    def segment_file(self, file: PictureFile, request: Request) -> Segmentation:
        """Segments a picture that is read window by window.

        Raises:
            UserError: the file is damaged, or the disk is full.
        """
        model = cast(ClipMaskWithViews, self.model)
        labels = segment_file(model, file, self._mapper, request.inputs, request.on_window)
        return LargeSegmentation(
            cast(NDArray[np.uint8], ShownFile(file)),
            labels.mapped(),
            request.classes.names,
            request.classes.colors,
            os.fspath(file.path),
            NoScores(file),
            request.server_ids,
            request.drawing,
            _stored=labels,
        )

    def scores(self, pixels: NDArray[np.uint8], inputs: Mapping[str, Any]) -> NDArray[np.float32]:
        """Returns the scores (K, H, W) of one picture.

        Args:
            pixels: (H, W, channels).
            inputs: what the model gets beside the image.
        """
        with torch.inference_mode():
            outputs: Any = self.model([self._inputs(pixels, inputs)])
        return outputs[0]["sem_seg"].float().cpu().numpy()

    @property
    def _device(self) -> str:
        """The type of the model's device; empty for an exported network."""
        if isinstance(self._plain_model, ClipMask):
            return self._plain_model.device.type
        return ""

    def _inputs(self, pixels: NDArray[np.uint8], others: Mapping[str, Any]) -> dict[str, Any]:
        return {**self._mapper.from_array(pixels), **others}

    def _warn_of_size(self, height: int, width: int) -> None:
        """Logs a warning for the first large picture that is segmented as a whole."""
        windowed = isinstance(self.model, ClipMaskWithViews) and self.model.views.window is not None
        if windowed or self._warned_of_size or height * width <= LARGE:
            return
        self._warned_of_size = True
        logger.warning(
            "pictures of %dx%d pixels (width x height) are segmented as a whole, which takes time"
            " and memory; to avoid that, use --sliding-window (TEST.SLIDING_WINDOW.ENABLED True),"
            " or set INPUT.MIN_SIZE_TEST, such as 1024, to make them smaller",
            width,
            height,
        )


def _labels(picture: ReadPicture, scores: Tensor, smoothing: Smoothing | None) -> Tensor:
    """Returns the label map of a picture; with smoothing, that of the smoothed scores."""
    if smoothing is not None:
        scores = smoothing(picture.pixels, scores)
    return best_labels(scores)
