"""Pictures of training samples, for our trainer and for Detectron2's.

Detectron2's trainers leave VIS_PERIOD to the model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
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
    """Puts a ``sample_picture`` into Detectron2's event storage, every ``period`` steps.

    Where there is no such storage, nothing is done; ClipMask's own training loop draws at each
    evaluation.

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
    labels = predict().cpu().numpy()
    picture = sample_picture(sample, labels, vocabulary, ignore_label, input_format)
    storage.put_image(
        "training sample: input, truth, prediction, errors", picture.transpose(2, 0, 1)
    )


def sample_picture(
    sample: dict[str, Any],
    labels: NDArray[Any],
    vocabulary: Vocabulary,
    ignore_label: int,
    input_format: str,
) -> NDArray[np.uint8]:
    """Draws a training sample as the model is given it beside truth, prediction and errors.

    Args:
        sample, vocabulary, ignore_label, input_format: as for ``draw_if_due``.
        labels: the predicted class ids (H, W).

    Returns:
        (H', W', 3), RGB.
    """
    image = sample["image"].permute(1, 2, 0).cpu().numpy().astype(np.uint8)
    if input_format == "BGR":
        image = np.ascontiguousarray(image[..., ::-1])
    names, truth = list(vocabulary.names), sample["sem_seg"].cpu().numpy()
    colors = vocabulary.colors or palette(names)
    return comparison(shown(image), truth, labels, names, colors, ignore_label)
