"""Columns of tables, found by their headings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence


def plain(title: str) -> str:
    """Returns a heading in lower case, without blanks and punctuation."""
    return re.sub(r"[\W_]", "", title.lower())


def find_columns(heading: Sequence[str], kinds: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Returns the position of the first column of each kind; kinds without a column are left out.

    Args:
        heading: the titles of all columns.
        kinds: for each kind the titles that it may have, as ``plain`` gives them.
    """
    found: dict[str, int] = {}
    for place, title in enumerate(heading):
        for kind, titles in kinds.items():
            if plain(title) in titles:
                found.setdefault(kind, place)
    return found
