"""Pictures of training inputs for Detectron2's trainers, which leave VIS_PERIOD to the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from clipmask.d2 import event_storage
from clipmask.data.image_format import shown
from clipmask.visualizer.colors import palette
from clipmask.visualizer.compare import comparison
from clipmask.vocabulary import Vocabulary


def picture_storage(period: int) -> Any:
    """Returns Detectron2's event storage in the steps in which a picture is due.

    Args:
        period: VIS_PERIOD, steps between pictures; 0: none.

    Returns:
        The storage; None in other steps, and outside of Detectron2's training loop.
    """
    storage = event_storage() if period > 0 else None
    return storage if storage is not None and storage.iter % period == 0 else None


def put_training_picture(
    storage: Any,
    sample: dict[str, Any],
    predicted: Tensor,
    vocabulary: Vocabulary,
    ignore_label: int,
    input_format: str,
) -> None:
    """Draws a training sample as the model is given it beside truth, prediction and errors.

    Args:
        storage: takes the picture, uint8 (3, H', W'), RGB.
        sample: with ``image`` (3, H, W), 0..255, and ``sem_seg`` (H, W).
        predicted: class ids (H, W).
        vocabulary: the sample's classes.
        ignore_label: void of its labels.
        input_format: order of the image's channels, RGB or BGR.
    """
    image = sample["image"].permute(1, 2, 0).cpu().numpy().astype(np.uint8)
    if input_format == "BGR":
        image = np.ascontiguousarray(image[..., ::-1])
    names = list(vocabulary.names)
    picture = comparison(
        shown(image),
        sample["sem_seg"].cpu().numpy(),
        predicted.cpu().numpy(),
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
