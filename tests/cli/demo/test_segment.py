"""What ``--output`` names: a file or a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipmask.cli.demo.segment import is_file, output_path
from clipmask.errors import UserError
from clipmask.film.video import CODECS

FOLDERS = ["results", "results.v2", "run1.0", "a.2024", "made.mp4", "old.xyz"]


@pytest.mark.parametrize("name", FOLDERS)
def test_folders(name: str, tmp_path: Path) -> None:
    if name in ("made.mp4", "old.xyz"):
        (tmp_path / name).mkdir()
    assert not is_file(tmp_path / name, CODECS, {".png"})


@pytest.mark.parametrize("name", ["a.mp4", "a.M4V", "a.webm"])
def test_films(name: str, tmp_path: Path) -> None:
    assert is_file(tmp_path / name, CODECS, {".png"})


@pytest.mark.parametrize("name", ["a.png", "a.mpv", "a.xyz", "a.MPEG"])
def test_endings_that_no_film_is_written_with(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\.mp4"):
        is_file(tmp_path / name, CODECS, {".png"})


def test_a_slash_makes_a_folder(tmp_path: Path) -> None:
    path = output_path(f"{tmp_path}/a.mpv/")
    assert path.is_dir()
    assert not is_file(path, CODECS, {".png"})
