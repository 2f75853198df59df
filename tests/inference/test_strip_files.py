"""Pictures written strip by strip are those written as a whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipmask.errors import UserError
from clipmask.inference import strip_files
from clipmask.inference.strip_files import check_suffix, write_strips

pytest.importorskip("tifffile")
pytest.importorskip("imagecodecs")
pytest.importorskip("pyvips")


@pytest.mark.parametrize("suffix", [".tif", ".TIFF", ".png"])
@pytest.mark.parametrize("size", [(1, 1), (100, 100), (129, 65), (300, 517)])
@pytest.mark.parametrize("kind", ["grey", "deep", "color"])
def test_any_strips(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    suffix: str,
    size: tuple[int, int],
    kind: str,
) -> None:
    monkeypatch.setattr(strip_files, "TILE", 64)
    generator = np.random.default_rng(0)
    shape = (*size, 3) if kind == "color" else size
    picture = generator.integers(0, 256, shape).astype(np.uint16 if kind == "deep" else np.uint8)
    cuts = sorted(generator.integers(0, size[0] + 1, 5).tolist())
    strips = np.split(picture, cuts)  # some of them are empty
    write_strips(tmp_path / f"a{suffix}", size, [strip for strip in strips if len(strip)])
    with Image.open(tmp_path / f"a{suffix}") as image:
        np.testing.assert_array_equal(np.asarray(image), picture)
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]


@pytest.mark.parametrize(("suffix", "total"), [(".tif", 512), (".png", 1024), (".jpg", 1024)])
def test_rows_are_counted(tmp_path: Path, suffix: str, total: int) -> None:
    strips = [np.zeros((rows, 70, 3), np.uint8) for rows in (100, 150, 262)]
    seen: list[tuple[int, int]] = []
    write_strips(tmp_path / f"a{suffix}", (512, 70), strips, on_rows=lambda *two: seen.append(two))
    assert seen[:2] == [(100, total), (250, total)]
    assert seen[-1] == (total, total)
    assert sorted(seen) == seen


def test_what_can_not_be_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\.tif, \.png or \.jpg"):
        check_suffix(tmp_path / "a.webp", (10, 10))
    with pytest.raises(UserError, match="65500"):
        check_suffix(tmp_path / "a.jpg", (10, 70000))
