"""The legend: nothing cut off, what is there by share."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import ImageFont

from clipmask.visualizer import overlay

NAMES = ["road", "car;automobile", "sky"]
COLORS = [[128, 64, 128], [0, 0, 142], [70, 130, 180]]


@pytest.fixture
def picture() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (96, 128, 3), dtype=np.uint8)
    labels = np.zeros((96, 128), dtype=np.uint8)
    labels[:40], labels[60:80, 30:90], labels[-4:] = 2, 1, 255
    return image, labels


@pytest.mark.parametrize("width", [1, 32, 300])
def test_no_entry_of_the_legend_is_cut_off(width: int) -> None:
    """A margin stays free of ink at the right and below, whatever the width and the length of the
    names.
    """
    names = ["a class with a name that is rather long", "b", "Ågj"]
    labels = np.tile(np.arange(3), (12, width))[:, :width]
    drawn = overlay(np.zeros((12, width, 3), np.uint8), labels, names, COLORS)
    strip = drawn[12:].astype(int)
    assert np.ptp(strip[:, -3:], axis=(0, 1)).max() == 0
    assert np.ptp(strip[-2:], axis=(0, 1)).max() == 0
    assert np.ptp(strip, axis=(0, 1)).max() > 100


def test_the_legend_lists_what_is_there_by_share(picture: tuple[np.ndarray, np.ndarray]) -> None:
    """The swatches from top to bottom: one for each class in the picture, the largest first."""
    labels = np.zeros((60, 40), dtype=int)
    labels[:35] = 2
    drawn = overlay(np.zeros((60, 40, 3), np.uint8), labels, NAMES, COLORS)
    column = [tuple(color) for color in drawn[60:, 10].tolist()]
    seen = list(dict.fromkeys(color for color in column if list(color) in COLORS))
    assert seen == [tuple(COLORS[2]), tuple(COLORS[0])]


def test_without_freetype_a_bitmap_font_does(
    picture: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow before 10.1 takes no size; its font lacks most scripts."""
    small = ImageFont.load_default_imagefont()
    monkeypatch.setattr(ImageFont, "load_default", lambda: small)
    image, labels = picture
    drawn = overlay(image, labels, ["road", "車", "sky"], COLORS)
    assert drawn.shape[0] > 96
    assert not np.array_equal(drawn[:96, :128], overlay(image, labels, [""] * 3, COLORS)[:96, :128])
