"""The text of a dataset dict: strings as written, blanks left out, anything else refused."""

from __future__ import annotations

import pytest

from clipmask.data.texts import read_texts
from clipmask.errors import UserError


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({}, []),
        ({"text": None}, []),
        ({"text": " "}, []),
        ({"text": "a wet road; night"}, ["a wet road; night"]),
        ({"text": ["road", "", " Sky "]}, ["road", " Sky "]),
    ],
)
def test_strings_are_taken_as_written(record: dict[str, object], expected: list[str]) -> None:
    assert read_texts(record) == expected


@pytest.mark.parametrize("text", [1.5, b"road", ("road",), ["road", None]])
def test_anything_else_is_refused(text: object) -> None:
    with pytest.raises(UserError, match=r"image street\.png: its 'text' is"):
        read_texts({"file_name": "street.png", "text": text})
