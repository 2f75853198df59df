"""Columns of tables by their headings."""

from __future__ import annotations

from clipmask.curation.headings import find_columns


def test_the_first_column_of_each_kind_in_any_spelling() -> None:
    kinds = {"name": ("name", "classname"), "id": ("id",), "red": ("r",)}
    heading = ["Class Name", "ID", "name", "parent_id", "i-d"]
    assert find_columns(heading, kinds) == {"name": 0, "id": 1}
    assert find_columns([], kinds) == {}
