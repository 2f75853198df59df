"""A finding: one kind of problem of a dataset, with all its occurrences."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One kind of problem of a dataset, with a table of its occurrences.

    Attributes:
        kind: an identifier for programs.
        title: the problem in a few words.
        advice: its effect, and how to solve it.
        stops: whether training would end with an error.
        columns: the headings of the table.
        rows: the rows of the table, with one value per column.
    """

    kind: str
    title: str
    advice: str
    stops: bool
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]

    def as_dict(self) -> dict[str, Any]:
        """Returns the finding as plain values, with one dict per row."""
        return {
            "kind": self.kind,
            "title": self.title,
            "advice": self.advice,
            "stops_training": self.stops,
            "rows": [dict(zip(self.columns, row, strict=True)) for row in self.rows],
        }


def one_column(values: Iterable[str]) -> list[tuple[Any, ...]]:
    """Returns the rows of a table with one column."""
    return [(value,) for value in values]
