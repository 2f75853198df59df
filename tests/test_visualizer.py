"""Pictures of label maps: exact colours, honest legends, any size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipmask.errors import UserError
from clipmask.visualizer import class_shares, colorize, overlay, palette, side_by_side

NAMES = ["road", "car;automobile", "sky"]
COLORS = [[128, 64, 128], [0, 0, 142], [70, 130, 180]]


@pytest.fixture
def picture() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (96, 128, 3), dtype=np.uint8)
    labels = np.zeros((96, 128), dtype=np.uint8)
    labels[:40], labels[60:80, 30:90], labels[-4:] = 2, 1, 255
    return image, labels


def test_colorize_is_exact(picture: tuple[np.ndarray, np.ndarray]) -> None:
    _, labels = picture
    painted = colorize(labels, COLORS)
    for index, color in enumerate(COLORS):
        assert (painted[labels == index] == color).all()
    assert (painted[labels == 255] == 0).all()


def test_opacity_zero_is_the_image(picture: tuple[np.ndarray, np.ndarray]) -> None:
    image, labels = picture
    assert np.array_equal(overlay(image, labels, NAMES, COLORS, opacity=0, legend=False), image)


def test_opacity_one_is_the_colours(picture: tuple[np.ndarray, np.ndarray]) -> None:
    image, labels = picture
    drawn = overlay(image, labels, NAMES, COLORS, opacity=1, legend=False, ignore_label=255, region_names=False)
    assert np.array_equal(drawn[labels != 255], colorize(labels, COLORS)[labels != 255])
    assert np.array_equal(drawn[labels == 255], image[labels == 255])


def test_the_legend_goes_below(picture: tuple[np.ndarray, np.ndarray]) -> None:
    image, labels = picture
    plain = overlay(image, labels, NAMES, COLORS, legend=False)
    with_legend = overlay(image, labels, NAMES, COLORS)
    assert with_legend.shape[0] > 96
    assert np.array_equal(with_legend[:96, :128], plain)


def test_a_film_keeps_its_size(picture: tuple[np.ndarray, np.ndarray]) -> None:
    image, labels = picture
    shapes = {overlay(image, map_, NAMES, COLORS, legend="all").shape for map_ in (labels, labels * 0)}
    assert len(shapes) == 1


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 200), st.integers(0, 1000))
def test_any_size_and_any_number_of_classes(height: int, width: int, classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = [f"class {index}" for index in range(classes)]
    labels = rng.integers(0, classes, (height, width))
    drawn = overlay(np.zeros((height, width, 3), np.uint8), labels, names, palette(names))
    assert drawn.dtype == np.uint8
    assert drawn.shape[0] > height
    assert drawn.shape[1] >= width
    assert class_shares(labels, classes).sum() == pytest.approx(100)


def test_void_has_no_share() -> None:
    labels = np.array([[0, 0, 1, 255]])
    np.testing.assert_allclose(class_shares(labels, 3, 255), [200 / 3, 100 / 3, 0])
    assert class_shares(np.full((2, 2), 255), 3).sum() == 0


def test_palette_belongs_to_names() -> None:
    names = [f"name {index}" for index in range(24)]
    colors = dict(zip(names, palette(names), strict=True))
    assert len({tuple(color) for color in colors.values()}) == 24
    assert dict(zip(names[::-1], palette(names[::-1]), strict=True)) == colors
    many = palette([f"class {index}" for index in range(300)])
    assert all(0 <= channel <= 255 for color in many for channel in color)


def test_side_by_side(picture: tuple[np.ndarray, np.ndarray]) -> None:
    image, labels = picture
    drawn = side_by_side(image, labels, labels * 0, NAMES, COLORS, 255)
    assert drawn.shape[1] > 3 * 128
    assert drawn.shape[0] > 96


def test_what_does_not_fit_together(picture: tuple[np.ndarray, np.ndarray]) -> None:
    image, labels = picture
    with pytest.raises(UserError, match="can't draw labels"):
        overlay(image[:50], labels, NAMES, COLORS)
    with pytest.raises(UserError, match="3 class names but 2 colours"):
        overlay(image, labels, NAMES, COLORS[:2])
