"""Colours over a picture: exact, with honest shares, names in the regions that have room for
them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clipmask.data.datasets.camvid import CLASSES
from clipmask.errors import UserError
from clipmask.visualizer import class_shares, colorize, comparison, overlay, palette, strips

NAMES = ["road", "car;automobile", "sky"]
COLORS = [[128, 64, 128], [0, 0, 142], [70, 130, 180]]


@pytest.fixture
def picture() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (96, 128, 3), dtype=np.uint8)
    labels = np.zeros((96, 128), dtype=np.uint8)
    labels[:40], labels[60:80, 30:90], labels[-4:] = 2, 1, 255
    return image, labels


def test_opacity_zero_is_the_image(picture: tuple[np.ndarray, np.ndarray]) -> None:
    image, labels = picture
    assert np.array_equal(overlay(image, labels, NAMES, COLORS, opacity=0, legend=False), image)


def test_opacity_one_is_the_colours(picture: tuple[np.ndarray, np.ndarray]) -> None:
    image, labels = picture
    drawn = overlay(image, labels, NAMES, COLORS, opacity=1, legend="inside", ignore_label=255)
    assert np.array_equal(drawn[labels != 255], colorize(labels, COLORS)[labels != 255])
    assert np.array_equal(drawn[labels == 255], image[labels == 255])


def test_the_legend_goes_below(picture: tuple[np.ndarray, np.ndarray]) -> None:
    image, labels = picture
    plain = overlay(image, labels, NAMES, COLORS, legend=False)
    with_legend = overlay(image, labels, NAMES, COLORS)
    assert with_legend.shape[0] > 96
    assert np.array_equal(with_legend[:96, :128], plain)


def test_a_film_keeps_its_size_and_its_legend_in_place() -> None:
    image, labels = np.full((240, 320, 3), 90, np.uint8), np.zeros((240, 320), dtype=np.uint8)
    labels[:100] = 2
    frames = [overlay(image, map_, NAMES, COLORS, legend="inside") for map_ in (labels, 2 - labels)]
    assert all(frame.shape == image.shape for frame in frames)
    swatch = [np.abs(frame[-30:].astype(int) - COLORS[1]).sum(2).argmin() for frame in frames]
    assert swatch[0] == swatch[1]
    assert (overlay(image[:20], labels[:20], NAMES, COLORS, legend="inside").shape) == (20, 320, 3)


@settings(max_examples=20)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 200), st.integers(0, 1000))
def test_any_size_and_any_number_of_classes(
    height: int, width: int, classes: int, seed: int
) -> None:
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


def test_what_does_not_fit_together(picture: tuple[np.ndarray, np.ndarray]) -> None:
    image, labels = picture
    with pytest.raises(UserError, match="can't draw labels"):
        overlay(image[:50], labels, NAMES, COLORS)
    with pytest.raises(UserError, match="3 class names but 2 colours"):
        overlay(image, labels, NAMES, COLORS[:2])


def changed(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Where (H, W) the names of regions are drawn."""
    drawn = [
        overlay(image, labels, names, COLORS, legend=False) for names in (NAMES, [""] * len(NAMES))
    ]
    return (drawn[0] != drawn[1]).any(axis=2)


def test_names_stand_inside_large_regions_only() -> None:
    labels = np.full((240, 320), 255)
    labels[20:100, 40:200] = 0  # room for its name
    labels[120:124] = 1  # too flat
    labels[:, 300:303] = 2  # too narrow
    written = changed(np.full((240, 320, 3), 90, np.uint8), labels)
    assert written.any()
    assert (labels[written] == 0).all()
    middle = np.argwhere(written).mean(axis=0)
    np.testing.assert_allclose(middle, [59.5, 119.5], atol=5)


def test_each_large_part_of_a_class_is_named() -> None:
    labels = np.full((240, 320), 255)
    labels[:80, :150] = labels[150:, 170:] = 0
    written = changed(np.zeros((240, 320, 3), np.uint8), labels)
    assert written[:80, :150].any()
    assert written[150:, 170:].any()


def test_ids_outside_the_classes_are_left_as_they_are() -> None:
    image, labels = np.full((8, 8, 3), 7, np.uint8), np.full((8, 8), -1)
    labels[:, 4:] = 99
    assert np.array_equal(overlay(image, labels, NAMES, COLORS, legend=False), image)
    assert (colorize(labels, COLORS) == 0).all()


def test_real_pictures(test_data: Path) -> None:
    names = list(CLASSES)
    for file in sorted((test_data / "camvid" / "val").iterdir())[:3]:
        image = np.asarray(Image.open(file).convert("RGB"))
        labels = np.asarray(
            Image.open(next((test_data / "camvid" / "valannot").glob(f"{file.stem}.*")))
        )
        drawn = overlay(image, labels, names, palette(names), ignore_label=11)
        assert drawn.shape[1] == image.shape[1]
        same = (drawn[: len(image)] == image).all(axis=2)
        assert same[labels == 11].mean() > 0.995, (
            "void is covered by no colour, and hardly by a name"
        )


@pytest.mark.parametrize("background", ["dark", "bright", "busy"])
@pytest.mark.parametrize("opacity", [0.1, 0.5, 1.0])
def test_names_can_be_read_on_any_background(background: str, opacity: float) -> None:
    """White letters on a plate: the contrast between them is what WCAG 2 asks of text, 4.5:1, and
    more.
    """
    busy = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    image = {"dark": np.full_like(busy, 5), "bright": np.full_like(busy, 255), "busy": busy}[
        background
    ]
    for color in ([255, 255, 255], [255, 255, 0], [0, 0, 0]):
        plain, named = (
            overlay(image, np.zeros((120, 160), int), [name], [color], opacity, legend=False)
            for name in ("", "house")
        )
        rows, columns = np.nonzero((plain != named).any(axis=2))
        box = named[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] / 255
        linear = np.where(box <= 0.04045, box / 12.92, ((box + 0.055) / 1.055) ** 2.4)
        luminance = linear @ [0.2126, 0.7152, 0.0722]
        assert luminance.max() > 0.9
        assert (luminance.max() + 0.05) / (np.median(luminance) + 0.05) > 4.5
        assert np.percentile(luminance, 10) < 0.15


@pytest.mark.parametrize("opacity", [-0.1, 1.1, float("nan")])
def test_opacity_is_a_share(opacity: float) -> None:
    image, labels = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8)
    with pytest.raises(UserError, match=r"opacity .*: is between 0 \(the picture\) and 1"):
        overlay(image, labels, ["road"], palette(["road"]), opacity)


def test_background_is_left_clear_unless_it_is_asked_for() -> None:
    image = np.full((40, 60, 3), 100, np.uint8)
    labels = np.zeros((40, 60), np.uint8)
    labels[:, 30:] = 1
    names, colors = ["background", "tumour"], [[60, 60, 60], [230, 159, 0]]
    drawn = overlay(image, labels, names, colors, legend=False)
    assert (drawn[:, :28] == image[:, :28]).all()
    assert (drawn[:, 32:] != image[:, 32:]).any()
    painted = overlay(image, labels, names, colors, legend=False, paint_background=True)
    assert (painted[:, :28] != image[:, :28]).any()
    alone = overlay(image, np.zeros_like(labels), names[:1], colors[:1], legend=False)
    assert (alone != image).any()


def test_strips_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    labels = np.kron(rng.integers(0, 4, (20, 16)), np.ones((40, 60), int)).astype(np.uint8)
    labels[300:310] = 255
    image = rng.integers(0, 256, (*labels.shape, 3), dtype=np.uint8)
    names = ["background", "road", "car", "sky"]

    def drawn() -> list[np.ndarray]:
        colors = palette(names)
        return [
            overlay(image, labels, names, colors),
            colorize(labels, colors),
            comparison(image, labels, labels[::-1], names, colors),
            class_shares(labels, len(names)),
        ]

    monkeypatch.setattr(strips, "STRIP_PIXELS", labels.size)
    whole = drawn()
    monkeypatch.setattr(strips, "STRIP_PIXELS", 7 * labels.shape[1])
    for one, other in zip(whole, drawn(), strict=True):
        np.testing.assert_array_equal(one, other)
