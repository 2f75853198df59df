"""The text of an image in its dataset dict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clipmask.errors import UserError


def read_texts(record: Mapping[str, Any]) -> list[str]:
    """Returns what a dataset dict says of its image: the strings of ``"text"`` that are not blank,
    as written.

    Args:
        record: may have ``text``, a string or a list of strings; missing and None are no text.

    Raises:
        UserError: ``text`` is something else; the image's file is named.
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
