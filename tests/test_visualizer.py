"""Pictures of label maps: exact colours, honest legends, any size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFont

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
    assert palette(["road"]) == palette(["road"] * 2)[:1] == [[195, 240, 195]], "colours are part of saved pictures"
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


def changed(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Where (H, W) the names of regions are drawn."""
    drawn = [overlay(image, labels, names, COLORS, legend=False) for names in (NAMES, [""] * len(NAMES))]
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


@pytest.mark.parametrize("width", [1, 32, 300])
def test_no_entry_of_the_legend_is_cut_off(width: int) -> None:
    """A margin stays free of ink at the right and below, whatever the width and the length of the names."""
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


def test_ids_outside_the_classes_are_left_as_they_are() -> None:
    image, labels = np.full((8, 8, 3), 7, np.uint8), np.full((8, 8), -1)
    labels[:, 4:] = 99
    assert np.array_equal(overlay(image, labels, NAMES, COLORS, legend=False), image)
    assert (colorize(labels, COLORS) == 0).all()


def test_panels_of_tiny_pictures_have_room_for_their_captions() -> None:
    labels = np.zeros((8, 8), dtype=int)
    drawn = side_by_side(np.full((8, 8, 3), 200, np.uint8), labels, labels, NAMES, COLORS)
    assert drawn.shape[1] > 100


def test_real_pictures(test_data: Path) -> None:
    names = ["sky", "building", "pole", "road", "sidewalk", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"]
    for file in sorted((test_data / "camvid" / "val").iterdir())[:3]:
        image = np.asarray(Image.open(file).convert("RGB"))
        labels = np.asarray(Image.open(next((test_data / "camvid" / "valannot").glob(f"{file.stem}.*"))))
        drawn = overlay(image, labels, names, palette(names), ignore_label=11)
        assert drawn.shape[1] == image.shape[1]
        assert np.array_equal(drawn[: len(image)][labels == 11], image[labels == 11])
