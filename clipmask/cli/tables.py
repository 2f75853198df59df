"""Tables for a terminal; text is aligned to the left, numbers to the right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clipmask.escaping import escaped


def format_table(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], most: int | None = None
) -> str:
    """Formats a table, indented by two spaces.

    Args:
        columns: the headings.
        rows: the values of each row; floats are shown with two decimals.
        most: the largest number of rows that are shown; a last line counts the others. None: all.
    """
    shown = rows if most is None else rows[:most]
    padded = []
    for place, heading in enumerate(columns):
        padded.append(_padded_column(heading, [row[place] for row in shown]))
    lines = ["  " + "  ".join(cells).rstrip() for cells in zip(*padded, strict=True)]
    if len(shown) < len(rows):
        lines.append(f"  ... and {len(rows) - len(shown)} more")
    return "\n".join(lines)


def _padded_column(heading: str, values: Sequence[Any]) -> list[str]:
    """Returns the heading, a rule and the values of a column, padded to the same width."""
    texts = [heading, *map(_text, values)]
    width = max(map(len, texts))
    texts.insert(1, "-" * width)
    are_numbers = bool(values) and all(isinstance(value, int | float) for value in values)
    return [text.rjust(width) if are_numbers else text.ljust(width) for text in texts]


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.2f}"
    return escaped(str(value))
