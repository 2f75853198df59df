"""Pictures of training inputs for Detectron2's trainers, which leave VIS_PERIOD to the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clipmask.d2 import event_storage
from clipmask.data.image_format import shown
from clipmask.visualizer.colors import palette
from clipmask.visualizer.compare import comparison
from clipmask.vocabulary import Vocabulary


@torch.no_grad()
def draw_if_due(
    period: int,
    sample: dict[str, Any],
    predict: Callable[[], Tensor],
    vocabulary: Vocabulary,
    ignore_label: int,
    input_format: str,
) -> None:
    """Draws a training sample as the model is given it beside truth, prediction and errors.

    The picture is made every ``period`` steps, and put into Detectron2's event storage. Outside of
    Detectron2's training loop nothing is done.

    Args:
        period: VIS_PERIOD, steps between pictures; 0: none.
        sample: with ``image`` (3, H, W), 0..255, and ``sem_seg`` (H, W).
        predict: called in steps in which a picture is due; returns class ids (H, W).
        vocabulary: the sample's classes.
        ignore_label: void of its labels.
        input_format: order of the image's channels, RGB or BGR.
    """
    storage = event_storage() if period > 0 else None
    if storage is None or storage.iter % period:
        return
    image = sample["image"].permute(1, 2, 0).cpu().numpy().astype(np.uint8)
    if input_format == "BGR":
        image = np.ascontiguousarray(image[..., ::-1])
    names = list(vocabulary.names)
    picture = comparison(
        shown(image),
        sample["sem_seg"].cpu().numpy(),
        predict().cpu().numpy(),
        names,
        _colors(vocabulary) or palette(names),
        ignore_label,
    )
    storage.put_image(
        "training sample: input, truth, prediction, errors", picture.transpose(2, 0, 1)
    )


def _colors(vocabulary: Vocabulary) -> Sequence[Any] | None:
    colors = [item.color for item in vocabulary.classes if item.color is not None]
    return colors if len(colors) == len(vocabulary) else None
