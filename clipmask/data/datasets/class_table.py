"""The classes of public datasets, read from the tables in ``classes/``.

Each row describes one class: its id in the dataset's label files, its official name, its colour in
the dataset's palette, and synonyms in plain English. CLIP embeds the synonyms instead of the
name, because names such as ``wall-brick`` or ``chest of drawers, chest, bureau, dresser`` mean
little to CLIP.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parent / "classes"


class Row(NamedTuple):
    """One class of a table.

    Attributes:
        label_id: the id of the class in the label files.
        name: the official name.
        color: red, green and blue, 0..255; None: the dataset has no palette.
        synonyms: one or more names in plain English, the most common first.
    """

    label_id: int
    name: str
    color: list[int] | None
    synonyms: list[str]


def read_table(name: str) -> list[Row]:
    """Returns the rows of ``classes/{name}.tsv``, in the order of class ids."""
    rows = []
    with (FOLDER / f"{name}.tsv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            color = list(map(int, row["color"].split())) or None
            rows.append(Row(int(row["id"]), row["name"], color, row["synonyms"].split("; ")))
    return rows


def class_metadata(rows: list[Row]) -> dict[str, Any]:
    """Returns the metadata of classes: ``stuff_classes``, ``class_synonyms``, ``stuff_colors``.

    ``stuff_colors`` is left out if a class has no colour.
    """
    metadata: dict[str, Any] = {
        "stuff_classes": [row.name for row in rows],
        "class_synonyms": {row.name: row.synonyms for row in rows if row.synonyms != [row.name]},
    }
    colors = [row.color for row in rows]
    if None not in colors:
        metadata["stuff_colors"] = colors
    return metadata
