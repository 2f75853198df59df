"""Trees with links are searched once, and paths to one file are known as such."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clipmask.data import files
from clipmask.data.files import files_below, identities


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("images/a/0.png", "images/b/1.png", "images/2.png", "labels/0.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


def _found(folder: Path) -> list[str]:
    return sorted(path.as_posix() for path in files_below(folder))


def test_links_that_lead_back_add_nothing(tree: Path) -> None:
    images = tree / "images"
    before = _found(images)
    (images / "up").symlink_to("..")
    (images / "self").symlink_to(".")
    (images / "a" / "sister").symlink_to("../b")
    (images / "b" / "sister").symlink_to("../a")
    assert _found(images) == before == ["2.png", "a/0.png", "b/1.png"]


def test_a_link_to_a_folder_elsewhere_is_followed_once(tree: Path) -> None:
    elsewhere = tree / "elsewhere" / "deep"
    elsewhere.mkdir(parents=True)
    (elsewhere / "3.png").touch()
    for name in ("one", "other"):
        (tree / "images" / name).symlink_to(tree / "elsewhere")
    assert [name for name in _found(tree / "images") if "3" in name] == ["one/deep/3.png"]


def test_hidden_and_special_files_are_passed_over_and_broken_links_are_not(tree: Path) -> None:
    images = tree / "images"
    (images / ".hidden").mkdir()
    (images / ".hidden" / "4.png").touch()
    (images / ".5.png").touch()
    os.mkfifo(images / "pipe.png")
    (images / "zeros.png").symlink_to("/dev/zero")
    (images / "gone.png").symlink_to("nowhere.png")
    assert _found(images) == ["2.png", "a/0.png", "b/1.png", "gone.png"]


def test_a_missing_folder_has_no_files(tmp_path: Path) -> None:
    assert _found(tmp_path / "none") == []


@pytest.mark.parametrize("few", [0, 100])  # by lists of folders, and file by file
def test_all_paths_to_a_file_have_one_identity(
    tree: Path, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(files, "_FEW", few)
    monkeypatch.chdir(tree)
    (tree / "images" / "link.png").symlink_to("a/0.png")
    os.link(tree / "images" / "2.png", tree / "hard.png")
    (tree / "folder").symlink_to("images")
    paths = ["images/a/0.png", "images/link.png", "folder/a/0.png", "images/2.png", "hard.png"]
    paths += ["images/b/1.png", "images/none.png", "images", "nowhere/0.png"]
    found = identities(paths)
    assert found[0] == found[1] == found[2] is not None
    assert found[3] == found[4] is not None
    assert len({found[0], found[3], found[5]}) == 3
    assert found[6:] == [None, None, None]
