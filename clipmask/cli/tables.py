"""Tables in a terminal: columns of text to the left, of numbers to the right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clipmask.escaping import escaped


def format_table(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], most: int | None = None
) -> str:
    """Returns rows under their headings, indented by two spaces.

    Args:
        columns: headings.
        rows: values as they are to be read; floats get two decimals.
        most: rows that are shown, a line tells of the others; None: all.
    """
    shown = rows if most is None else rows[:most]
    texts = [
        [f"{value:.2f}" if isinstance(value, float) else escaped(str(value)) for value in row]
        for row in shown
    ]
    widths = [max(len(text) for text in column) for column in zip(columns, *texts, strict=True)]
    right = [
        bool(shown) and all(isinstance(row[place], int | float) for row in shown)
        for place in range(len(columns))
    ]
    lines = [
        "  "
        + "  ".join(
            text.rjust(width) if at else text.ljust(width)
            for text, width, at in zip(line, widths, right, strict=True)
        )
        for line in [list(columns), ["-" * width for width in widths], *texts]
    ]
    if len(shown) < len(rows):
        lines.append(f"  ... and {len(rows) - len(shown)} more")
    return "\n".join(line.rstrip() for line in lines)
