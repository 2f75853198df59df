"""Reading of the texts of an image from its dataset dict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clipmask.errors import UserError


def read_texts(record: Mapping[str, Any]) -> list[str]:
    """Returns the texts that describe an image: the strings of ``"text"`` that are not blank.

    Args:
        record: a dataset dict. Its ``text`` is a string or a list of strings; if it is missing or
            None, there is no text.

    Raises:
        UserError: ``text`` has another type; the message names the image's file.
    """
    text = record.get("text")
    strings = [text] if isinstance(text, str) else text
    if strings is None:
        return []
    if not isinstance(strings, list) or not all(isinstance(string, str) for string in strings):
        raise UserError(
            f"image {record.get('file_name', '(no file name)')}: its 'text' is {text!r}; it must be"
            " a string or a list of strings. Correct it where the dataset is registered"
        )
    return [string for string in strings if string.strip()]
