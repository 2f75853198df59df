"""The scores of a result: kept with it, or computed by a second run of the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipmask.errors import UserError
from clipmask.inference.segmentation import Segmentation


class SecondRun:
    """Makes the scores of a result by running the model again; a pickled result leaves the model
    behind.

    Args:
        scores: computes the scores (K, H, W) of a picture's pixels.
        pixels: of the picture, uint8 (H, W, channels).
        asked: what the model was given beside the picture.
    """

    def __init__(
        self,
        scores: Callable[[NDArray[np.uint8], Mapping[str, Any]], NDArray[np.float32]],
        pixels: NDArray[np.uint8],
        asked: Mapping[str, Any],
    ) -> None:
        self._scores, self._pixels, self._asked = scores, pixels, asked

    def __call__(self, result: Segmentation) -> NDArray[np.float32]:
        return self._scores(self._pixels, self._asked)

    def __reduce__(self) -> tuple[Callable[[], object], tuple[()]]:
        return _left_behind, ()


def _left_behind() -> Callable[[Segmentation], NDArray[np.float32]]:
    return _no_scores


def _no_scores(result: Segmentation) -> NDArray[np.float32]:
    raise UserError(
        "scores() of a result that was pickled: its model is not in the pickle. Keep the scores"
        " with the result: predictor(picture, scores=True)"
    )


class KeptScores:
    """The scores that were kept with a result.

    Args:
        scores: (K, H, W) float32, as ``Segmentation.scores`` gives them.
    """

    def __init__(self, scores: NDArray[np.float32]) -> None:
        self._scores = scores

    def __call__(self, result: Segmentation) -> NDArray[np.float32]:
        return self._scores
