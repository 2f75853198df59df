"""One kind of thing that is wrong with a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One kind of thing that is wrong.

    Attributes:
        kind: a word for programs.
        title: what it is.
        advice: what follows from it, and the way out.
        stops: whether training would end with an error.
        columns: of the table.
        rows: as many values as columns.
    """

    kind: str
    title: str
    advice: str
    stops: bool
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]

    def as_dict(self) -> dict[str, Any]:
        """Returns it as plain values, a dict for each row."""
        return {
            "kind": self.kind,
            "title": self.title,
            "advice": self.advice,
            "stops_training": self.stops,
            "rows": [dict(zip(self.columns, row, strict=True)) for row in self.rows],
        }
