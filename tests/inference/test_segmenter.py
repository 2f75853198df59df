"""Labels and scores of pictures: they agree, and follow the config's views and picture format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clipmask.inference import Predictor
from tests.checkpoints import pixels
from tests.closeness import assert_best, assert_same
from tests.conftest import NAMES


def test_scores_agree_with_labels(predictor: Predictor) -> None:
    result = predictor(pixels())
    scores = result.scores()
    assert (scores.shape, scores.dtype) == ((len(NAMES), 40, 56), np.float32)
    assert_best(result.labels, scores)
    predictor.set_vocabulary(NAMES[:2])  # a result keeps its own classes
    assert_same(result.scores(), scores)


def test_pictures_are_given_to_the_model_as_the_config_says(checkpoint: Path) -> None:
    """A BGR model sees the reversed channels: of a reversed picture, the same numbers."""
    opts = ["INPUT.FORMAT", "BGR"]
    swapped = Predictor.from_checkpoint(checkpoint, opts=opts)(pixels()[..., ::-1])
    plain = Predictor.from_checkpoint(checkpoint)(pixels())
    assert_best(swapped.labels, plain.scores())


def test_scores_that_are_kept_need_no_second_run(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = predictor(pixels())
    kept = next(predictor.stream([pixels()], scores=True))
    expected = plain.scores()
    assert_best(kept.labels, expected)
    monkeypatch.setattr(predictor.model, "forward", None)
    assert_same(kept.scores(), expected)


def test_a_large_picture_that_is_seen_whole_is_worth_one_warning(
    checkpoint: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clipmask.inference.segmenter.LARGE", 50 * 60)
    size = ["INPUT.MIN_SIZE_TEST", "0"]
    whole = Predictor.from_checkpoint(checkpoint, opts=size)
    whole([pixels(50, 60)] * 2)
    assert not caplog.records
    whole([pixels(50, 61), pixels(60, 60), pixels(50, 61)])
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    for words in ("61x50 pixels", "--sliding-window", "INPUT.MIN_SIZE_TEST"):
        assert words in caplog.text
    caplog.clear()
    windows = ["TEST.SLIDING_WINDOW.ENABLED", "True", "TEST.SLIDING_WINDOW.SIZE", "[32, 32]"]
    for opts in (["INPUT.MIN_SIZE_TEST", "40"], [*size, *windows]):
        Predictor.from_checkpoint(checkpoint, opts=opts)(pixels(80, 90))
    assert not caplog.records


def test_views_of_the_config_reach_labels_and_scores(checkpoint: Path) -> None:
    opts = ["INPUT.MIN_SIZE_TEST", "0", "TEST.AUG.SCALES", "[1.0]", "TEST.AUG.ENABLED"]
    plain, flipping = (
        Predictor.from_checkpoint(checkpoint, opts=[*opts, value]) for value in ("False", "True")
    )
    straight, mirrored = flipping([pixels(), pixels()[:, ::-1].copy()])
    np.testing.assert_allclose(
        straight.scores(), mirrored.scores()[..., ::-1], rtol=1e-5, atol=1e-6
    )
    assert_best(straight.labels, straight.scores())
    assert np.abs(plain(pixels()).scores() - straight.scores()).max() > 1e-3
