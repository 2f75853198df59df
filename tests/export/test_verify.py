"""A network that disagrees with its model is noticed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fvcore.common.config import CfgNode

from clipmask import ClipMask
from clipmask.errors import UserError
from clipmask.export.verify import Agreement, check, compare, made_pictures
from clipmask.inference import Predictor


def test_the_model_agrees_with_itself_and_not_with_another(
    small_cfg: CfgNode, small_model: ClipMask
) -> None:
    small_cfg.INPUT.MIN_SIZE_TEST = 0
    predictor = Predictor(small_cfg, small_model)
    pictures = made_pictures([(40, 56), (33, 20)])

    def labels(image: Any, text: Any) -> Any:
        return predictor(image[0].transpose(1, 2, 0)).labels[None]

    def scores(image: Any, text: Any) -> Any:
        return predictor(image[0].transpose(1, 2, 0)).scores()[None] + 0.25

    agreement = compare(predictor, labels, pictures, timed=True)
    assert (agreement.labels, agreement.difference, agreement.pictures) == (1.0, None, 2)
    assert agreement.seconds is not None
    assert min(agreement.seconds) > 0
    agreement = compare(predictor, scores, pictures)
    assert agreement.labels > 0.999
    assert agreement.difference == pytest.approx(0.25, abs=1e-4)
    agreement = compare(predictor, lambda image, text: (labels(image, text) + 1) % 5, pictures)
    assert agreement.labels == 0
    with pytest.raises(UserError, match="not kept"):
        check(agreement, "int8")


def test_fewer_bits_may_differ_more() -> None:
    for share, precision, stricter in ((0.99, "half", "full"), (0.95, "int8", "half")):
        agreement = Agreement(share, None, None, 1)
        check(agreement, precision)
        with pytest.raises(UserError):
            check(agreement, stricter)


def test_pictures_are_the_same_each_time() -> None:
    first, second = (made_pictures([(30, 50)])[0] for _ in range(2))
    assert first.shape == (30, 50, 3)
    assert first.std() > 10
    assert np.array_equal(first, second)
