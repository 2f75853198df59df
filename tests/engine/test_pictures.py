"""The same images at each evaluation, drawn at their own size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipmask.engine.pictures import draw_pictures, spread

from . import tiny


@pytest.mark.parametrize(
    ("count", "wanted", "expected"), [(10, 2, [2, 7]), (3, 3, [0, 1, 2]), (2, 5, [0, 1]), (5, 0, [])]
)
def test_positions_are_spread(count: int, wanted: int, expected: list[int]) -> None:
    assert spread(count, wanted) == expected


def test_pictures_are_files_of_known_images(tmp_path: Path, tiny_root: Path) -> None:
    cfg = tiny.tiny_cfg(tmp_path, "TEST.NUM_PICTURES", 2)
    model = tiny.TinySegmenter(cfg).train()
    model.backbone.eval()
    first = draw_pictures(cfg, model, tmp_path / "pictures")
    again = draw_pictures(cfg, model, tmp_path / "pictures")
    assert list(first) == list(again) == ["1", "3"]
    for name, picture in first.items():
        assert picture.dtype == np.uint8
        assert picture.shape[1] >= 3 * 32
        assert np.array_equal(np.asarray(Image.open(tmp_path / "pictures" / f"{name}.png")), picture)
    assert model.training
    assert not model.backbone.training
