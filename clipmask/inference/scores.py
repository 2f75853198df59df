"""The class scores of a result: stored with it, or computed by a second run of the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipmask.errors import UserError
from clipmask.inference.segmentation import Segmentation


class SecondRun:
    """Computes the scores of a result by running the model again.

    A pickled result does not contain the model, so its scores can't be computed.

    Args:
        scores: a function that computes the scores (K, H, W) from the pixels and ``extra``.
        pixels: the picture, uint8 (H, W, channels).
        extra: the other inputs of the model: the vocabulary and the texts.
    """

    def __init__(
        self,
        scores: Callable[[NDArray[np.uint8], Mapping[str, Any]], NDArray[np.float32]],
        pixels: NDArray[np.uint8],
        extra: Mapping[str, Any],
    ) -> None:
        self._scores, self._pixels, self._extra = scores, pixels, extra

    def __call__(self, result: Segmentation) -> NDArray[np.float32]:
        return self._scores(self._pixels, self._extra)

    def __reduce__(self) -> tuple[Callable[[], object], tuple[()]]:
        return _unpickled, ()


def _unpickled() -> Callable[[Segmentation], NDArray[np.float32]]:
    return _no_scores


def _no_scores(result: Segmentation) -> NDArray[np.float32]:
    raise UserError(
        "scores() of a pickled result: the model is not in the pickle. Store the scores with the"
        " result: predictor(picture, scores=True)"
    )


class KeptScores:
    """Returns scores that are stored with a result.

    Args:
        scores: (K, H, W) float32, the value of ``Segmentation.scores``.
    """

    def __init__(self, scores: NDArray[np.float32]) -> None:
        self._scores = scores

    def __call__(self, result: Segmentation) -> NDArray[np.float32]:
        return self._scores
