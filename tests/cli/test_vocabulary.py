"""Class names come from a text with commas or from a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipmask.cli.vocabulary import read_vocabulary
from clipmask.errors import UserError


def test_a_vocabulary_is_text_or_a_file(tmp_path: Path) -> None:
    assert read_vocabulary("road, zebra crossing,car;automobile,") == [
        "road",
        "zebra crossing",
        "car;automobile",
    ]
    (tmp_path / "names.txt").write_text("road\n\n zebra, crossing \n", encoding="utf-8-sig")
    assert read_vocabulary(str(tmp_path / "names.txt")) == ["road", "zebra, crossing"]


def test_what_holds_no_names_is_named(tmp_path: Path) -> None:
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\xfa")
    (tmp_path / "empty.txt").write_text("\n")
    for text, message in [
        ("gone.txt", "gone"),
        ("bytes.txt", "UTF-8"),
        ("empty.txt", "no class name"),
    ]:
        with pytest.raises(UserError, match=message):
            read_vocabulary(str(tmp_path / text))
    with pytest.raises(UserError, match="--names  , : holds no class name"):
        read_vocabulary(" , ", "--names")
