"""Truth beside prediction: right is pale, wrong has the colour of the truth, void is grey and
counts nowhere.
"""

from __future__ import annotations

import numpy as np
import pytest

from clipmask.errors import UserError
from clipmask.visualizer import comparison, error_map
from clipmask.visualizer.compare import VOID, _entries

NAMES = ["road", "car;automobile", "sky"]
COLORS = [[128, 64, 128], [0, 0, 142], [70, 130, 180]]


@pytest.fixture
def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Picture, truth with void below, and a prediction that takes some road for sky."""
    image = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    truth = np.zeros((96, 128), dtype=np.uint8)
    truth[:40], truth[60:80, 30:90], truth[-4:] = 2, 1, 255
    prediction = np.where(truth == 255, 0, truth)
    prediction[50:55] = 2
    return image, truth, prediction


@pytest.mark.parametrize("void", [None, 255])
def test_errors_have_the_color_of_the_truth(
    scene: tuple[np.ndarray, np.ndarray, np.ndarray], void: int | None
) -> None:
    image, truth, prediction = scene
    drawn = error_map(image, truth, prediction, COLORS, void)
    wrong = (truth != 255) & (truth != prediction)
    assert (drawn[wrong] == COLORS[0]).all()
    assert (drawn[truth == 255] == VOID).all()
    right = drawn[(truth == prediction)].astype(int)
    assert np.ptp(right, axis=-1).max() == 0
    assert right.min() > VOID[0] + 40, "what is right can't be taken for void, nor for a class"


def test_four_panels_and_a_legend(scene: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    image, truth, prediction = scene
    drawn = comparison(image, truth, prediction, NAMES, COLORS, 255)
    assert drawn.dtype == np.uint8
    assert drawn.shape[1] >= 4 * 128
    assert drawn.shape[0] > 96
    other = comparison(image, truth, truth, NAMES, COLORS, 255)
    assert not np.array_equal(drawn, other)


def test_figures_are_of_what_is_known() -> None:
    truth, prediction = np.array([[0, 0, 0, 1, -1]]), np.array([[0, 0, 2, 1, -1]])
    entries = _entries(truth, prediction, NAMES, COLORS)
    assert [entry.text for entry in entries[1:]] == [
        "road  75.0 | 50.0, 67",
        "car  25.0 | 25.0, 100",
        "sky  0.0 | 25.0, 0",
        "void  20.0",
    ]


@pytest.mark.parametrize("size", [(8, 8), (1, 1), (200, 30)])
def test_any_size_and_a_truth_that_is_all_void(size: tuple[int, int]) -> None:
    image, labels = np.full((*size, 3), 200, np.uint8), np.zeros(size, dtype=np.uint8)
    drawn = comparison(image, labels, labels, NAMES, COLORS)
    assert drawn.shape[1] > 100, "the captions have room"
    assert comparison(image, labels + 255, labels, NAMES, COLORS).shape[1] > 100


def test_what_does_not_fit_together(scene: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    image, truth, prediction = scene
    with pytest.raises(UserError, match="can't draw labels"):
        comparison(image, truth, prediction[1:], NAMES, COLORS)
    with pytest.raises(UserError, match="3 class names but 2 colours"):
        comparison(image, truth, prediction, NAMES, COLORS[:2])
