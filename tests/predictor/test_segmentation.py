"""What a result tells of its labels, and that what it saves can be read again."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipmask.data import read_labels
from clipmask.errors import UserError
from clipmask.predictor import Segmentation
from tests.checkpoints import COLORS, pixels
from tests.conftest import NAMES


@pytest.fixture
def result() -> Segmentation:
    labels = np.zeros((40, 56), np.uint8)
    labels[:, 28:] = 1
    labels[:10, 28:] = 4
    return Segmentation(pixels(), labels, NAMES, COLORS, None, lambda _: np.zeros((5, 40, 56), np.float32))


def test_shares(result: Segmentation) -> None:
    assert result.shares == {"road": 50.0, "sky": 37.5, "tree": 0.0, "car": 0.0, "pole": 12.5}


def test_overlay_mixes_picture_and_colors(result: Segmentation) -> None:
    np.testing.assert_array_equal(result.overlay(opacity=0, legend=False), result.image)
    full = result.overlay(opacity=1, legend=False)
    assert full[-1, 0].tolist() == COLORS[0]
    assert full[-1, -1].tolist() == COLORS[1]
    assert result.overlay().shape[0] > 40  # the legend


def test_saved_labels_are_read_back(result: Segmentation, tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.png"
    result.save(path, "labels")
    np.testing.assert_array_equal(read_labels(path, 5, 255, (40, 56)), result.labels)


def test_more_than_255_classes_are_read_back(result: Segmentation, tmp_path: Path) -> None:
    names = tuple(f"thing {index}" for index in range(300))
    labels = result.labels.astype(np.int64) * 70
    wide = Segmentation(result.image, labels, names, [[1, 2, 3]] * 300, None, result._score)
    wide.save(tmp_path / "a.png", "labels")
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png", 300, 65535), labels)


def test_saved_pictures(result: Segmentation, tmp_path: Path) -> None:
    result.save(tmp_path / "color.png", "color")
    color = np.asarray(Image.open(tmp_path / "color.png"))
    np.testing.assert_array_equal(color, np.array(COLORS, np.uint8)[result.labels])
    result.save(tmp_path / "overlay.png")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "overlay.png")), result.overlay())
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(result._repr_png_()))), result.overlay())
    result.save(tmp_path / "overlay.jpg")
    assert Image.open(tmp_path / "overlay.jpg").format == "JPEG"


@pytest.mark.parametrize(
    ("name", "what", "message"),
    [
        ("a.png", "mask", "'mask'"),
        ("a.jpg", "labels", "compression"),
        ("a.webp", "color", "compression"),
        ("a.xyz", "overlay", r"\.xyz"),
        ("a.mpg", "overlay", r"\.mpg"),
        ("file/a.png", "overlay", "can't be written"),
    ],
)
def test_what_can_not_be_saved(result: Segmentation, tmp_path: Path, name: str, what: str, message: str) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=message):
        result.save(tmp_path / name, what)
    assert not (tmp_path / name).exists()
