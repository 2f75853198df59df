"""Class names in tables with a heading, and in JSON files of datasets."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from clipmask.curation.headings import find_columns
from clipmask.data.label_format import RGB

# headings of columns
_COLUMNS = {
    "name": ("name", "class", "classname", "label", "category", "labelname"),
    "id": ("id", "index", "classid", "pixelvalue", "value", "labelid", "classindex"),
    "red": ("r", "red"),
    "green": ("g", "green"),
    "blue": ("b", "blue"),
}
_PLACES = re.compile(r"[^,;\t]+(?:[,;\t][^,;\t]+)+")


class Row(NamedTuple):
    """A class of a table.

    Attributes:
        name: the name.
        id: the id in the label maps; None: the table gives none.
        color: red, green and blue, 0..255; None: the table gives none.
        is_void: whether the table leaves the class out of evaluations.
    """

    name: str
    id: int | None = None
    color: RGB | None = None
    is_void: bool = False


def read_table(lines: Sequence[str]) -> list[Row]:
    """Reads a table whose first line names its columns.

    Args:
        lines: the lines of the file, without empty ones.

    Returns:
        The classes. Nothing if the first line is no heading with a name and an id or a colour, or
        if a row does not fit it.
    """
    if not lines or not _PLACES.fullmatch(lines[0]):
        return []
    titles = _cells(lines[0])
    columns = find_columns(titles, _COLUMNS)
    colored = {"red", "green", "blue"} <= columns.keys()
    if "name" not in columns or not (colored or "id" in columns):
        return []
    wanted = [kind for kind in columns if kind != "name"]
    rows = []
    for line in lines[1:]:
        cells = _cells(line)
        if len(cells) < len(titles) or not all(cells[columns[kind]].isdigit() for kind in wanted):
            return []
        color: RGB | None = None
        if colored:
            red, green, blue = (int(cells[columns[kind]]) for kind in ("red", "green", "blue"))
            color = (red, green, blue)
        id = None
        if "id" in columns:
            id = int(cells[columns["id"]])
        rows.append(Row(cells[columns["name"]], id, color))
    return rows


def _cells(line: str) -> list[str]:
    return [part.strip().strip("\"'") for part in re.split(r"[,;\t]", line)]


def read_json_names(text: str) -> list[Row]:
    """Reads the classes of a JSON file.

    Known are ``{"0": "road"}`` (id2label.json), Mapillary Vistas' ``config_v2.0.json``, whose list
    ``labels`` is in the order of the ids, and WoodScape's lists ``class_names``, ``class_indexes``
    and ``class_colors``.

    Args:
        text: the content of the file.

    Returns:
        The classes; nothing for other files.
    """
    try:
        content = json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        return []
    if not isinstance(content, dict) or not content:
        return []
    try:
        if all(str(key).isdigit() and isinstance(name, str) for key, name in content.items()):
            return [Row(name, int(id)) for id, name in content.items()]
        if isinstance(content.get("labels"), list):
            return [_label(place, label) for place, label in enumerate(content["labels"])]
        if isinstance(content.get("class_names"), list):
            return _lists(content)
    except (KeyError, TypeError, ValueError, AttributeError):
        return []
    return []


def _label(place: int, label: dict[str, Any]) -> Row:
    red, green, blue = map(int, label["color"])
    is_void = label.get("evaluate") is False
    return Row(str(label.get("readable") or label["name"]), place, (red, green, blue), is_void)


def _lists(content: dict[str, Any]) -> list[Row]:
    names = list(map(str, content["class_names"]))
    ids = list(map(int, content.get("class_indexes", range(len(names)))))
    # the order of the channels is not stated, so the colours are not read
    return [Row(name, id) for name, id in zip(names, ids, strict=True)]
