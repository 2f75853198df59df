"""Finds ids in training labels that are neither a class nor void."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clipmask.errors import UserError, listed
from clipmask.losses.targets import LabelSpace

HOST = "cpu"  # type of the device whose memory the host reads without waiting
INTERVAL = 100  # number of batches after which the result on a device is read


class StrayIds:
    """Checks the ids of the label maps of training inputs, also of those from a user's own loader.

    Label maps in the host's memory, as from all loaders here, are checked at once. Those on a
    device are checked there. The host reads the result only at every hundredth batch, because it
    has to wait for the device.
    """

    def __init__(self) -> None:
        self._batches = 0
        self._found: Tensor | None = None  # bool scalar on the device

    def check(self, batched_inputs: Sequence[dict[str, Any]], spaces: Sequence[LabelSpace]) -> None:
        """Checks a batch.

        Args:
            batched_inputs: with ``sem_seg``, (H, W) integer labels.
            spaces: how the ids of each image are read.

        Raises:
            UserError: an image of this batch, or of a batch that was checked on the device before,
                has an id that is neither one of its classes nor void.
        """
        if torch.compiler.is_compiling():
            return
        for inputs, space in zip(batched_inputs, spaces, strict=True):
            label = inputs["sem_seg"]
            if label.device.type == HOST:
                # NumPy reads the host's memory without an operation of PyTorch
                ids = label.numpy()
                wrong = _outside(ids.astype(np.int32), space)
                if wrong.any():
                    raise UserError(_message(np.unique(ids[wrong]).tolist(), inputs, space))
            else:
                found = _outside(label.int(), space).any()
                self._found = found if self._found is None else self._found | found
        self._batches += 1
        if self._found is not None and self._batches % INTERVAL == 0 and bool(self._found):
            raise UserError(_message([], batched_inputs[0], spaces[0]))


def _outside(ids: Any, space: LabelSpace) -> Any:
    """Returns where (H, W) a label map, an array or a tensor, holds neither a class nor void."""
    return ((ids < 0) | (ids >= space.num_classes)) & (ids != space.ignore_label)


def _message(ids: list[int], inputs: dict[str, Any], space: LabelSpace) -> str:
    where = inputs.get("file_name", "a training input")
    what = f"the ids {listed(ids, 10)}"
    if not ids:
        where, what = f"{where} or of an earlier one", "ids"
    return (
        f"the labels of {where} hold {what} that are"
        f" neither a class (0..{space.num_classes - 1}) nor void ({space.ignore_label}): set"
        " ignore_label in the dataset's metadata to the void of its files, or let"
        " clipmask.data.build_train_loader read files whose ids are not the classes"
    )
