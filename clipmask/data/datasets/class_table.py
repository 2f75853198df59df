"""The classes of public datasets, read from the tables in ``classes/``.

A row is a class: its id in the dataset's label files, the name that the dataset's users know, its
colour in the dataset's palette, and synonyms in plain English that CLIP reads in place of the name.
Names such as ``wall-brick`` or ``chest of drawers, chest, bureau, dresser`` mean little to CLIP.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parent / "classes"


class Row(NamedTuple):
    """One class of a table.

    Attributes:
        label_id: its id in the label files.
        name: as in the dataset.
        color: red, green and blue, 0..255; None: the dataset has no palette.
        synonyms: one word or more, the most usual first.
    """

    label_id: int
    name: str
    color: list[int] | None
    synonyms: list[str]


def read_table(name: str) -> list[Row]:
    """Returns the rows of ``classes/{name}.tsv``, in the order of class ids."""
    with (FOLDER / f"{name}.tsv").open(encoding="utf-8", newline="") as file:
        return [
            Row(
                int(row["id"]),
                row["name"],
                [int(value) for value in row["color"].split()] or None,
                row["synonyms"].split("; "),
            )
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        ]


def class_metadata(rows: list[Row]) -> dict[str, Any]:
    """Returns the metadata about classes: ``stuff_classes``, ``class_synonyms`` and, where all
    have a colour, ``stuff_colors``.
    """
    colors = [row.color for row in rows if row.color is not None]
    metadata: dict[str, Any] = {
        "stuff_classes": [row.name for row in rows],
        "class_synonyms": {row.name: row.synonyms for row in rows if row.synonyms != [row.name]},
    }
    return metadata | ({"stuff_colors": colors} if len(colors) == len(rows) else {})
