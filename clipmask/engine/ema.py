"""The exponential moving average of the weights: average <- decay * average + (1 - decay) *
weights, after each step.

Floating-point buffers (the statistics of BatchNorm) are averaged with the weights that they belong
to; other buffers (counters, the position indices of Swin) are copied. A text embedding that is
computed from weights is not averaged; it is computed from the averaged weights when it is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from clipmask.modeling import ClipMask
from clipmask.modeling.text_embedding import TextEmbedding


class WeightAverage:
    """The averaged copy of a model; the first update copies the weights as they are.

    Args:
        model: the model in training, with its weights loaded.
        decay: share of the old average kept at each update, 0 < decay < 1.
    """

    def __init__(self, model: ClipMask, decay: float) -> None:
        ema = get_ema_multi_avg_fn(decay)

        @torch.no_grad()
        def update(
            averages: Sequence[Tensor], values: Sequence[Tensor], count: Tensor | int
        ) -> None:
            if averages[0].is_floating_point():
                ema(list(averages), list(values), count)
                return
            for average, value in zip(averages, values, strict=True):
                average.copy_(value)  # an average of integers would be rounded down

        self._average = AveragedModel(model, multi_avg_fn=update, use_buffers=True)
        self._average.requires_grad_(False).eval()

    @property
    def model(self) -> ClipMask:
        """The model with the averaged weights, in eval mode."""
        return cast(ClipMask, self._average.module)

    @property
    def updates(self) -> int:
        """How many updates the average has seen."""
        return int(self._average.n_averaged)

    def update(self, model: ClipMask) -> None:
        """Takes the current weights of ``model`` into the average."""
        self._average.update_parameters(model)
        for module in self._average.modules():
            if isinstance(module, TextEmbedding):
                module.outdate()

    def restore(self, weights: dict[str, Tensor], updates: int) -> None:
        """Puts back the averaged weights of a checkpoint and their number of updates."""
        self.model.load_state_dict(weights)
        self._average.n_averaged.fill_(updates)
