"""Pictures written strip by strip are those written as a whole."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipmask.cli.interrupts import interrupted_by_signals
from clipmask.errors import UserError
from clipmask.inference import strip_files
from clipmask.inference.strip_files import check_suffix, write_strips

pytest.importorskip("tifffile")
pytest.importorskip("imagecodecs")
pytest.importorskip("pyvips")


@pytest.mark.parametrize("suffix", [".tif", ".TIFF", ".png"])
@pytest.mark.parametrize("tile", [64, 512])
@pytest.mark.parametrize("size", [(1, 1), (100, 100), (129, 65), (300, 517)])
@pytest.mark.parametrize("kind", ["grey", "deep", "color"])
def test_any_strips(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    suffix: str,
    tile: int,
    size: tuple[int, int],
    kind: str,
) -> None:
    monkeypatch.setattr(strip_files, "TILE", tile)
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


@pytest.mark.parametrize("rows", [512, 600])
def test_the_end_is_told_once(tmp_path: Path, rows: int) -> None:
    seen: list[tuple[int, int]] = []
    strips = [np.zeros((rows, 70), np.uint8)]
    write_strips(tmp_path / "a.tif", (rows, 70), strips, on_rows=lambda *two: seen.append(two))
    assert seen == [(rows, rows)]


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_name_is_written_again_with_other_pixels(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    for value in (10, 200, 90):
        picture = np.full((70, 90), value, np.uint8)
        write_strips(path, picture.shape, [picture], on_rows=lambda *_: None)
        with Image.open(path) as image:
            assert np.unique(np.asarray(image)).tolist() == [value]
        assert not [file for file in _open_files() if str(tmp_path) in file]


def _open_files() -> list[str]:
    folder = Path("/proc/self/fd")
    if not folder.exists():
        pytest.skip("only Linux lists the open files of a process")
    files = []
    for link in folder.iterdir():
        with contextlib.suppress(OSError):  # such as that of the list itself
            files.append(os.readlink(link))
    return files


@pytest.mark.parametrize("suffix", [".tif", ".png", ".jpg"])
def test_an_interrupt_ends_the_writing(tmp_path: Path, suffix: str) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3)).astype(np.uint8)
    sent: list[int] = []

    def interrupted(done: int, total: int) -> None:
        if done > total // 2 and not sent:
            sent.append(done)
            os.kill(os.getpid(), signal.SIGTERM)

    strips = [picture[:500], picture[500:]]
    with interrupted_by_signals(), pytest.raises(KeyboardInterrupt):
        write_strips(tmp_path / f"a{suffix}", (1000, 1000), strips, on_rows=interrupted)
    assert sent
    assert not list(tmp_path.glob("*.*.tif"))


def test_what_can_not_be_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\.tif, \.png or \.jpg"):
        check_suffix(tmp_path / "a.webp", (10, 10))
    with pytest.raises(UserError, match="65500"):
        check_suffix(tmp_path / "a.jpg", (10, 70000))
