"""Large pictures: whether one is read from its file window by window, and its label map.

A picture file of more than TEST.SLIDING_WINDOW.FROM_FILE_ABOVE pixels is read window by window if
sliding windows are enabled. The labels are those of the picture in memory, because the same windows
are segmented by the same functions.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from fvcore.common.config import CfgNode
from torch import Tensor

from clipmask.data import TestMapper
from clipmask.data.image_format import ImageFormat
from clipmask.data.part_readers import NotInParts
from clipmask.data.picture_file import PictureFile, picture_size
from clipmask.errors import UserError
from clipmask.inference.label_file import LabelFile
from clipmask.inference.views import ClipMaskWithViews

logger = logging.getLogger(__name__)
# Bytes per pixel, about, for a picture in memory, its label map and its overlay.
WHOLE_BYTES = 16
OnWindow = Callable[[int, int], object]


def ignore_windows(done: int, total: int) -> None:
    """The ``on_window`` of callers who do not want to know."""


class FileWindows:
    """The windows of a picture file as the model takes them, for ``Views.crops``.

    Args:
        file: the picture, whose windows are read from the top to the bottom.
        mapper: converts pixels to the model's input; it does not resize.

    Attributes:
        shape: (channels, H, W).
    """

    def __init__(self, file: PictureFile, mapper: TestMapper) -> None:
        self._file, self._mapper = file, mapper
        height, width, channels = file.shape
        self.shape = (channels, height, width)

    def __getitem__(self, where: tuple[slice, slice, slice]) -> Tensor:
        _, rows, columns = where
        part = np.ascontiguousarray(self._file[rows][:, columns])
        image: Tensor = self._mapper.from_array(part)["image"]
        return image


def open_large(
    image: object,
    segmenter: object,
    cfg: CfgNode,
    image_format: ImageFormat,
    whole: str = "",
) -> PictureFile | None:
    """Opens a picture that is read window by window.

    Args:
        image: a picture of any form.
        segmenter: the model, with or without views.
        cfg: the config; TEST and INPUT are read.
        image_format: how picture files are read.
        whole: what needs the whole picture in memory, as the subject of a sentence; empty: nothing.

    Returns:
        The picture; None if it is to be read as a whole, because it is small, or not a file, or
        windows are not enabled, or something needs it whole and INPUT.MAX_PIXELS allows it.

    Raises:
        UserError: the picture has more than INPUT.MAX_PIXELS pixels and can't be read window by
            window; or it is damaged.
    """
    windowed = isinstance(segmenter, ClipMaskWithViews) and segmenter.views.window is not None
    if not windowed or not isinstance(image, str | os.PathLike):
        return None
    size = picture_size(image)
    if size is None or size[0] * size[1] <= cfg.TEST.SLIDING_WINDOW.FROM_FILE_ABOVE:
        return None
    pixels, most = size[0] * size[1], cfg.INPUT.MAX_PIXELS
    within = not most or pixels <= most
    memory = f"as a whole it takes about {WHOLE_BYTES * pixels / 1e9:.1f} GB of memory"
    whole = whole or _what_needs_it_whole(cfg)
    if whole and within:
        return None
    stop = (
        f"the picture has {size[1]}x{size[0]} pixels (width x height), and {memory}; if there is so"
        f" much, set INPUT.MAX_PIXELS {pixels}"
    )
    if whole:
        raise UserError(f"image {image}: {whole} needs the picture as a whole; {stop}")
    try:
        return PictureFile(image, image_format)
    except NotInParts as error:
        if not within:
            raise UserError(f"{error}. Now {stop}") from error
        _warn_once(f"{error}. Now the picture is read as a whole: {memory}")
        return None


@functools.lru_cache(maxsize=256)
def _warn_once(message: str) -> None:
    logger.warning(message)


def _what_needs_it_whole(cfg: CfgNode) -> str:
    """Returns the key that needs whole pictures; empty if windows are enough."""
    if cfg.TEST.AUG.ENABLED:
        return "TEST.AUG.ENABLED (--tta), which averages over views of all scores,"
    if cfg.INPUT.MIN_SIZE_TEST:
        return f"INPUT.MIN_SIZE_TEST {cfg.INPUT.MIN_SIZE_TEST}, which resizes pictures,"
    return ""


def segment_file(
    segmenter: ClipMaskWithViews,
    file: PictureFile,
    mapper: TestMapper,
    extra: Mapping[str, Any],
    on_window: OnWindow,
) -> LabelFile:
    """Segments a picture window by window.

    Args:
        segmenter: the model with a single view in windows.
        file: the picture.
        mapper: see ``FileWindows``.
        extra: the other inputs of the model: the vocabulary and the texts.
        on_window: a function that is called with the numbers of windows done and in all.

    Returns:
        The label map.

    Raises:
        UserError: the file is damaged, or the disk is full.
    """
    labels: LabelFile | None = None
    inputs = {"image": FileWindows(file, mapper), **extra}
    with contextlib.ExitStack() as unfinished, torch.inference_mode():
        for block in segmenter.predict_blocks(inputs, on_window):
            ids = block.labels.cpu().numpy()
            if labels is None:
                labels = LabelFile((file.shape[0], file.shape[1]), ids.dtype)
                unfinished.callback(labels.close)
            labels.write(block.top, block.left, ids)
        unfinished.pop_all()  # the file stays open for the result
    assert labels is not None, "every picture has a window"
    return labels


class NoScores:
    """Says that the scores of a picture are not computed.

    Args:
        file: the picture.
    """

    def __init__(self, file: PictureFile) -> None:
        self._file = file

    def __call__(self, result: Any) -> Any:
        height, width, _ = self._file.shape
        size = 4 * len(result.names) * height * width / 1e9
        raise UserError(
            f"{self._file.path}: the scores of this picture, which is read part by part, would take"
            f" {size:.1f} GB; set TEST.SLIDING_WINDOW.FROM_FILE_ABOVE to more than its"
            f" {height * width} pixels if there is so much memory"
        )
