"""Colours of classes, in each of the forms that people keep them in."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipmask.cli.demo.colors import read_colors
from clipmask.errors import UserError

EXPECTED = {"road": [128, 64, 128], "zebra crossing": [0, 0, 255]}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "road: [128, 64, 128]\nzebra crossing: '#0000ff'\n"),
        ("a.json", '{"road": [128, 64, 128], "zebra crossing": "#0000FF"}'),
        ("a.txt", "# mine\n\nroad: [128, 64, 128]\nzebra crossing: 0 0 255\n"),
        ("a.txt", "128 64 128 road\n0 0 255\tzebra crossing\n"),
        ("a.txt", "128, 64, 128, road\n\ufeffzebra crossing: #0000ff".replace("\ufeff", "")),
        ("a", "\ufeffroad: (128, 64, 128)\r\nzebra crossing: [0,0,255]\r\n"),
    ],
)
def test_colors_are_read(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_colors(tmp_path / name) == EXPECTED


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "1 2 3 road\nred", "line 2: 'red' is neither"),
        ("a.txt", "road: [1, 2]", r"road: \[1, 2\] is not \[r, g, b\]"),
        ("a.txt", "256 0 0 road", r"road: \[256, 0, 0\]"),
        ("a.txt", "", "holds no colour"),
        ("a.yaml", "- road", "must map class names"),
        ("a.yaml", "road: [a", "a.yaml: "),
        ("a.yaml", "road: red", "road: 'red' is not"),
        ("a.json", "{", "a.json: "),
        ("a.json", '{"road": [1.5, 0, 0]}', "road: "),
    ],
)
def test_what_is_no_color_is_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        read_colors(tmp_path / name)


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00\xd8")
    for name in ("a.txt", "gone.txt"):
        with pytest.raises(UserError, match=f"--colors .*{name}: can't be read"):
            read_colors(tmp_path / name)
