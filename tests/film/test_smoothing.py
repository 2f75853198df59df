"""Smoothing averages where the picture continues, follows what moves, and leaves alone what is
new.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from clipmask.errors import UserError
from clipmask.film import smoothing
from clipmask.film.smoothing import Smoothing, memory_size
from clipmask.inference import Predictor
from tests.closeness import assert_best, assert_same

pytest.importorskip("cv2", exc_type=ImportError)
HEIGHT, WIDTH = 64, 96


def scene(seed: int, height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    """A picture with texture at every place, so that motion can be seen in it."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 4 + 8, width // 4 + 8, 3))
    fine = torch.from_numpy(coarse).permute(2, 0, 1)[None].float()
    large = torch.nn.functional.interpolate(fine, scale_factor=4, mode="bicubic")[0].permute(
        1, 2, 0
    )
    return large.clamp(0, 255).to(torch.uint8).numpy()


def cut_out(picture: NDArray[np.uint8], left: int) -> NDArray[np.uint8]:
    return np.ascontiguousarray(picture[:HEIGHT, left : left + WIDTH])


def maps(seed: int, classes: int = 3, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Tensor:
    return torch.rand(classes, *size, generator=torch.Generator().manual_seed(seed))


def test_a_still_picture_is_averaged_as_the_formula_says() -> None:
    smooth, frame = Smoothing(0.5), cut_out(scene(0), 0)
    expected = maps(0)
    for number in range(4):
        scores = maps(number)
        expected = scores if number == 0 else scores + 0.5 * (expected - scores)
        torch.testing.assert_close(smooth(frame, scores.clone()), expected, atol=2e-3, rtol=0)


def test_what_moves_is_followed_and_not_smeared() -> None:
    """Scores that move with the picture stay what they are; averaged in place they would be another
    mixture.
    """
    picture, wide = scene(1), torch.zeros(2, HEIGHT, WIDTH + 32)
    wide[0, :, 40:60] = wide[1, :, :40] = wide[1, :, 60:] = 1.0
    smooth = Smoothing(0.8)
    for step in range(5):
        scores = wide[:, :, 3 * step : 3 * step + WIDTH].clone()
        smoothed = smooth(cut_out(picture, 3 * step), scores.clone())
    inner = (slice(None), slice(4, -4), slice(4, -16))
    wrong = (smoothed.argmax(0) != scores.argmax(0))[inner[1:]].float().mean()
    assert wrong < 0.01


def test_flicker_falls() -> None:
    """Scores with noise over a camera that pans: labels change less from frame to frame, and are
    right more often.
    """
    picture, truth = scene(2), (torch.arange(WIDTH + 32) // 16 % 2).expand(HEIGHT, -1)
    smooth, right = Smoothing(0.8), {True: 0.0, False: 0.0}
    for step in range(8):
        now = truth[:, 2 * step : 2 * step + WIDTH]
        scores = torch.nn.functional.one_hot(now, 2).permute(2, 0, 1) + maps(step, 2) * 2
        right[False] += (scores.argmax(0) == now).float().mean().item()
        right[True] += (
            (smooth(cut_out(picture, 2 * step), scores.float()).argmax(0) == now)
            .float()
            .mean()
            .item()
        )
    assert right[True] > right[False] + 0.2


def test_a_cut_forgets() -> None:
    smooth = Smoothing(0.9)
    smooth(cut_out(scene(3), 0), maps(0))
    scores = maps(1)
    assert torch.equal(smooth(255 - cut_out(scene(4), 0), scores.clone()), scores)


@pytest.mark.parametrize("change", ["size", "classes", "reset"])
def test_another_film_begins_afresh(change: str) -> None:
    smooth, frame = Smoothing(0.9), cut_out(scene(5), 0)
    smooth(frame, maps(0))
    scores = maps(
        1, 4 if change == "classes" else 3, (48, 64) if change == "size" else (HEIGHT, WIDTH)
    )
    if change == "reset":
        smooth.reset()
    small = np.ascontiguousarray(frame[:48, :64]) if change == "size" else frame
    assert torch.equal(smooth(small, scores.clone()), scores)


def test_strength_zero_changes_nothing() -> None:
    smooth, frame = Smoothing(0.0), cut_out(scene(6), 0)
    for number in range(3):
        scores = maps(number)
        assert torch.equal(smooth(frame, scores.clone()), scores)


def test_equal_frames_give_equal_bytes() -> None:
    def run() -> Tensor:
        smooth = Smoothing(0.7)
        return [smooth(cut_out(scene(7), 2 * step), maps(step)) for step in range(4)][-1]

    assert torch.equal(run(), run())


def test_large_frames_are_remembered_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    """The full scores keep their detail: only the smoothed difference passes through the smaller
    size.
    """
    monkeypatch.setattr(smoothing, "MAX_PIXELS", HEIGHT * WIDTH // 4)
    smooth, frame, first, second = Smoothing(0.5), cut_out(scene(8), 0), maps(0), maps(1)
    assert torch.equal(smooth(frame, first.clone()), first)
    smoothed = smooth(frame, second.clone())
    assert smoothed.shape == second.shape
    assert 0.02 < (smoothed - second).abs().mean() < 0.3
    assert smoothed.mean() == pytest.approx(float((first.mean() + second.mean()) / 2), abs=0.01)


def test_the_memory_is_bounded() -> None:
    for classes, size in [
        (19, (1024, 2048)),
        (150, (2160, 3840)),
        (1000, (360, 480)),
        (2, (16, 100000)),
    ]:
        height, width = memory_size(classes, size)
        assert height <= size[0]
        assert width <= size[1]
        assert height * width <= smoothing.MAX_PIXELS
        assert classes * height * width <= smoothing.MAX_ELEMENTS
    assert memory_size(11, (360, 480)) == (360, 480)


def test_frames_too_small_for_motion_are_left_alone() -> None:
    smooth, frame = Smoothing(), np.zeros((8, 8, 3), np.uint8)
    for number in range(2):
        scores = maps(number, 3, (8, 8))
        assert torch.equal(smooth(frame, scores.clone()), scores)


@pytest.mark.parametrize("strength", [-0.1, 1.0, float("nan")])
def test_strengths_that_make_no_sense(strength: float) -> None:
    with pytest.raises(UserError, match="at least 0"):
        Smoothing(strength)


def test_scores_of_another_size() -> None:
    with pytest.raises(UserError, match=r"\(3, 64, 96\) by a frame \(64, 64, 3\)"):
        Smoothing()(np.zeros((64, 64, 3), np.uint8), maps(0))


def test_the_predictor_takes_it(checkpoint: Path) -> None:
    """Without strength the labels are those of each frame by itself; with it they, and the scores,
    are smoothed.
    """
    frames = [cut_out(scene(9), 2 * step) for step in range(3)]
    predictor = Predictor.from_checkpoint(checkpoint)
    alone = predictor(frames)
    for mine, other in zip(alone, predictor.stream(frames, smoothing=Smoothing(0.0)), strict=True):
        assert_best(mine.labels, other.scores())
    smoothed = list(predictor.stream(frames, smoothing=Smoothing(0.9), scores=True))
    assert len(smoothed) == 3
    assert_same(smoothed[0].scores(), next(predictor.stream(frames[:1], scores=True)).scores())
    assert not np.array_equal(smoothed[2].scores(), alone[2].scores())
    assert_best(smoothed[2].labels, smoothed[2].scores())
