"""Files, patterns and folders lead to pictures, each once."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipmask.cli.demo.inputs import find_pictures
from clipmask.errors import UserError


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (
        "a/x.png",
        "a/deep/y.JPG",
        "a/notes.txt",
        "a/._x.png",
        "b/x.jpg",
        "b/odd.dat",
        "c[1].png",
        "d/sub/z.png",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("patterns", "recursive", "expected"),
    [
        (["a"], False, ["a/x.png"]),
        (["a"], True, ["a/deep/y.JPG", "a/x.png"]),
        (["*/x.*"], False, ["a/x.png", "b/x.jpg"]),
        (["**/*"], False, ["a/deep/y.JPG", "a/x.png", "b/x.jpg", "c[1].png", "d/sub/z.png"]),
        (["b/*.dat"], False, ["b/odd.dat"]),
        (["b/odd.dat", "a/notes.txt"], False, ["b/odd.dat", "a/notes.txt"]),
        (["c[1].png"], False, ["c[1].png"]),
        (["b/x.jpg", "b", "*/x.jpg", "./b/x.jpg", "a"], False, ["b/x.jpg", "a/x.png"]),
    ],
)
def test_what_is_found(
    tree: Path, patterns: list[str], recursive: bool, expected: list[str]
) -> None:
    assert [str(found.path) for found in find_pictures(patterns, recursive=recursive)] == expected


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("gone.png", r"gone\.png: no such"),
        ("a/*.bmp", r"a/\*\.bmp: the pattern matches no picture"),
        ("d", "d: no pictures.*there are 1 in its subfolders: add --recursive"),
        ("a/notes*", r"a/notes\*: the pattern"),
    ],
)
def test_what_leads_nowhere_is_named(tree: Path, pattern: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_pictures(["a/x.png", pattern])


def test_a_home_folder_and_earlier_results(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tree / "d"))
    assert [found.path for found in find_pictures(["~/sub/*.png"])] == [
        tree / "d" / "sub" / "z.png"
    ]
    found = find_pictures(["a"], recursive=True, exclude=Path("a/deep"))
    assert [str(picture.path) for picture in found] == ["a/x.png"]
    assert len(find_pictures(["a"], recursive=True, exclude=Path("a"))) == 2


def test_a_film_among_pictures_wants_the_other_option(tree: Path) -> None:
    (tree / "drive.mp4").write_bytes(b"film")
    with pytest.raises(UserError, match="--video-input"):
        find_pictures([str(tree / "drive.mp4")])
    films = tree / "films"
    films.mkdir()
    (films / "a.MOV").write_bytes(b"film")
    with pytest.raises(UserError, match="--video-input"):
        find_pictures([str(films)])
