"""Reading of tables of run lengths, as in Kaggle's competitions.

Each row is a mask: the name of its picture and the runs of its pixels, ``start length start length
...``. Pixels are counted from 1, down the first column, then down the next one. In the table of
Carvana, with the columns ``img`` and ``rle_mask``, they are counted along the rows.
"""

from __future__ import annotations

import csv
import functools
import re
from pathlib import Path

import numpy as np

from clipmask.curation.converting.shapes import Annotations, Labelled, Mask, Shape
from clipmask.curation.headings import find_columns, plain
from clipmask.errors import UserError

_RUNS = ("encodedpixels", "rlemask", "rle", "encoding", "runlengths")
_PICTURES = ("imageid", "image", "img", "id", "filename", "imagename")
_CLASSES = ("classid", "class", "classname", "label", "category")
_JOINED = ("imageidclassid", "imagelabel")  # picture and class in one column, such as a.jpg_3
_COLUMNS = {"runs": _RUNS, "picture": _PICTURES, "class": _CLASSES, "joined": _JOINED}
_EMPTY = ("", "-1", "nan")  # the values for a mask without pixels
_MOST_LETTERS = 2**31 - 1  # limit of a field, because a mask may have many runs
_NUMBERED = "class_{}"


def is_run_lengths(path: Path) -> bool:
    """Returns whether a table has a column of run lengths and one of pictures.

    Submissions are refused, because their masks are predictions or placeholders.
    """
    if "submission" in path.stem.lower():
        return False
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        columns = find_columns(next(csv.reader([file.readline()]), []), _COLUMNS)
    return "runs" in columns and bool(columns.keys() & {"picture", "joined"})


def read_run_lengths(path: Path, split: str | None) -> Annotations:
    """Reads the masks of each picture; without a column of classes, all have the class ``class_1``.

    A row without runs means that the picture does not show the class.

    Args:
        path: the table.
        split: the split of its pictures, or None.

    Raises:
        UserError: a row lacks a column, or its runs are not pairs of whole numbers in rising order.
    """
    shapes: dict[str, list[Shape]] = {}
    names: set[str] = set()
    csv.field_size_limit(_MOST_LETTERS)
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        rows = csv.reader(file)
        heading = next(rows, [])
        columns = find_columns(heading, _COLUMNS)
        along_rows = [plain(title) for title in heading] == ["img", "rlemask"]
        for number, row in enumerate(rows, 2):
            if not row:
                continue
            where = f"annotations {path}, line {number}"
            if len(row) < len(heading):
                raise UserError(f"{where}: has {len(row)} of {len(heading)} columns")
            picture, name = _of_row(row, columns, where)
            names.add(name)
            found = shapes.setdefault(picture, [])
            text = row[columns["runs"]].strip()
            if text.lower() not in _EMPTY:
                runs = _runs(text, where)
                found.append(Shape(name, functools.partial(_draw, runs, along_rows, where)))
    pictures = tuple(
        Labelled(picture, tuple(found), path.parent, split) for picture, found in shapes.items()
    )
    numbered = all(re.fullmatch(_NUMBERED.format(r"\d+"), name) for name in names)
    return Annotations(pictures, tuple(sorted(names, key=_order)), unnamed=numbered)


def _of_row(row: list[str], columns: dict[str, int], where: str) -> tuple[str, str]:
    """Returns the picture and the class of a row."""
    if "joined" in columns:
        picture, line, label = row[columns["joined"]].strip().rpartition("_")
        if not (picture and line and label):
            raise UserError(
                f"{where}: {row[columns['joined']]!r} is not a picture with a class, such as"
                " a.jpg_3"
            )
    else:
        picture, label = row[columns["picture"]].strip(), "1"
        if "class" in columns:
            label = row[columns["class"]].strip()
    if label.isdigit():
        label = _NUMBERED.format(label)
    return picture, label


def _order(name: str) -> tuple[int, str]:
    number = re.search(r"\d+$", name)
    return int(number[0]) if number else 0, name


def _runs(text: str, where: str) -> np.ndarray:
    """Returns the runs (N, 2): the first pixel of each, from 1, and its length."""
    words = text.split()
    if len(words) % 2 or not all(word.isdigit() for word in words):
        raise UserError(
            f"{where}: {text[:40]!r} are not run lengths; these must be pairs of whole numbers:"
            " start and length"
        )
    runs = np.array(words, np.int64).reshape(-1, 2)
    ends = runs.sum(1)
    if runs[0, 0] < 1 or (runs[1:, 0] < ends[:-1]).any():
        raise UserError(
            f"{where}: the runs {text[:40]!r} do not rise from 1 on; count the start of each from"
            " the first pixel of the picture, not from the end of the run before"
        )
    return runs


def _draw(runs: np.ndarray, along_rows: bool, where: str, height: int, width: int) -> Mask:
    if runs.sum(1).max() - 1 > height * width:
        raise UserError(
            f"{where}: a run ends at pixel {runs.sum(1).max() - 1}, but the picture has {width}x"
            f"{height} = {height * width}"
        )
    steps = np.zeros(height * width + 1, np.int8)
    steps[runs[:, 0] - 1] += 1
    np.add.at(steps, runs.sum(1) - 1, -1)
    flat = np.cumsum(steps[:-1], dtype=np.int8) > 0
    if along_rows:
        return flat.reshape(height, width)
    return flat.reshape(width, height).T
