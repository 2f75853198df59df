"""Reading of files of class names, in the formats of annotation tools and datasets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from clipmask.curation.guessing.name_tables import Row, read_json_names, read_table
from clipmask.data.label_format import RGB

FILES = (
    "classes.txt",
    "labels.txt",
    "label_colors.txt",
    "labelmap.txt",
    "class_names.txt",
    "names.txt",
    "class_dict.csv",
    "_classes.csv",
    "classes.csv",
    "objectInfo150.txt",
)
_JSON = ("id2label.json", "config_v2.0.json", "config_v1.2.json", "seg_annotation_info.json")
_OTHERS = re.compile(r"colou?r|class|label", re.IGNORECASE)  # in names of further tables of colours
_VOID = {
    "void",
    "unlabelled",
    "unlabeled",
    "ignore",
    "ignored",
    "__ignore__",
    "ignore label",
    "don't care",
    "unknown",
    "undefined",
    "no data",
    "nodata",
}
_NUMBERED = re.compile(r"(\d+)\s*[:,;\t ]\s*(\D.*)")
_COLOR_FIRST = re.compile(r"(\d{1,3})[\s,]+(\d{1,3})[\s,]+(\d{1,3})[\s,]+(\S.*)")
_COLOR_LAST = re.compile(
    r"(?:(\d+)[\s,:]+)?(\S.*?)[,:\s]\s*(\d{1,3})[\s,]+(\d{1,3})[\s,]+(\d{1,3})\s*(?::.*)?"
)


class Named(NamedTuple):
    """A class in a file of names, with its id and colour if the file gives them."""

    name: str
    id: int | None = None
    color: RGB | None = None

    @property
    def is_void(self) -> bool:
        """Whether the name means void."""
        words = {word.replace("_", " ").strip() for word in _VOID}
        return self.name.lower().replace("_", " ").strip() in words


class NameFile(NamedTuple):
    """A file of names and its content.

    Attributes:
        path: the file.
        names: the classes, in the order of the file.
        by_place: whether the ids are the numbers of the lines, because the file gives neither ids
            nor colours.
    """

    path: Path
    names: tuple[Named, ...]
    by_place: bool = False


def find_names(folders: Sequence[Path]) -> NameFile | None:
    """Reads the first file of names in some folders, in the order of ``FILES``.

    The result is None if there is no such file.
    """
    for folder in folders:
        for name in FILES:
            path = folder / name
            if path.is_file():
                text = path.read_text(encoding="utf-8-sig", errors="replace")
                if name == "objectInfo150.txt":
                    names, by_place = read_ade20k(text), False
                else:
                    names, by_place = read_names(text), _is_plain(text)
                if names:
                    return NameFile(path, names, by_place)
        found = _in_json(folder) or _in_table_of_colors(folder)
        if found is not None:
            return found
    return None


def _in_json(folder: Path) -> NameFile | None:
    for name in _JSON:
        path = folder / name
        if path.is_file():
            rows = read_json_names(path.read_text(encoding="utf-8-sig", errors="replace"))
            if rows:
                return NameFile(path, _named(rows))
    return None


def _in_table_of_colors(folder: Path) -> NameFile | None:
    """Finds a table of class names and colours whose file name is not a usual one.

    An example is RUGD_annotation-colormap.txt.
    """
    for path in sorted(folder.glob("*.*")):
        if path.suffix.lower() not in (".txt", ".csv") or not _OTHERS.search(path.stem):
            continue
        names = read_names(path.read_text(encoding="utf-8-sig", errors="replace"))
        if len(names) > 1 and all(named.color is not None for named in names):
            return NameFile(path, names)
    return None


def _named(rows: Sequence[Row]) -> tuple[Named, ...]:
    return tuple(
        Named("void" if row.is_void else _clean(row.name), row.id, row.color) for row in rows
    )


def read_names(text: str) -> tuple[Named, ...]:
    """Reads class names, one per line.

    A line may be ``name``, ``3: name``, ``3,name``, ``r g b name`` (CamVid's label_colors.txt),
    ``name,r,g,b``, ``3 name r g b`` or ``name:r,g,b::`` (CVAT's labelmap.txt). If the first line
    names columns, they may be in any order. Headings, empty lines and lines that
    begin with # are skipped. If all lines are only names, the number of a line (from 0) is its id;
    labelme's ``__ignore__`` in the first line is then not counted.

    Args:
        text: the content of a file.

    Returns:
        The classes in order; a number is appended to names that occur again.
    """
    lines = [line for line in _filled_lines(text) if not line.startswith("#")]
    names = list(_named(read_table(lines)))
    if not names:
        if lines and _is_heading(lines[0], lines[1:]):
            del lines[0]
        names = list(map(_parsed, lines))
    if _are_plain(names):
        if names and names[0].name == "__ignore__":
            del names[0]
        names = [Named(named.name, place) for place, named in enumerate(names)]
    counts: dict[str, int] = {}
    for place, named in enumerate(names):
        counts[named.name] = counts.get(named.name, 0) + 1
        if counts[named.name] > 1:
            names[place] = named._replace(name=f"{named.name} {counts[named.name]}")
    return tuple(names)


def read_ade20k(text: str) -> tuple[Named, ...]:
    """Reads ADE20K's objectInfo150.txt.

    Its rows are id, shares, counts and synonyms, separated by tabs. The id 0 is void.

    Args:
        text: the content of the file.
    """
    names = []
    for line in text.splitlines():
        row = line.split("\t")
        if len(row) > 1 and row[0].strip().isdigit():
            names.append(Named(_clean(row[-1]), int(row[0])))
    if names:
        names.insert(0, Named("void", 0))
    return tuple(names)


def _filled_lines(text: str) -> list[str]:
    """Returns the lines of a text that are not empty, without blanks around them."""
    return list(filter(None, map(str.strip, text.splitlines())))


def _is_plain(text: str) -> bool:
    """Returns whether all lines are only names, without ids or colours."""
    return _are_plain(map(_parsed, _filled_lines(text)))


def _are_plain(names: Iterable[Named]) -> bool:
    return all(named.id is None and named.color is None for named in names)


def _is_heading(line: str, others: Sequence[str]) -> bool:
    """Returns whether a first line is a heading: it has no number, but all other lines have."""
    return (
        bool(others)
        and not re.search(r"\d", line)
        and all(re.search(r"\d", other) for other in others)
    )


def _parsed(line: str) -> Named:
    match = _COLOR_FIRST.fullmatch(line)
    if match:
        return Named(_clean(match[4]), color=_rgb(match.groups()[:3]))
    match = _COLOR_LAST.fullmatch(line)
    if match:
        id = None
        if match[1] is not None:
            id = int(match[1])
        return Named(_clean(match[2]), id, _rgb(match.groups()[2:]))
    match = _NUMBERED.fullmatch(line)
    if match:
        return Named(_clean(match[2]), id=int(match[1]))
    return Named(line if line == "__ignore__" else _clean(line))


def _clean(name: str) -> str:
    """Returns a name in plain words for CLIP, without underscores, quotes and synonyms.

    Synonyms follow a comma, semicolon or colon.
    """
    first = re.split(r"[,;:]", name.strip().strip("\"'"))[0]
    return first.replace("_", " ").strip() or "unnamed"


def _rgb(texts: Sequence[str]) -> RGB:
    red, green, blue = (min(255, int(text)) for text in texts)
    return red, green, blue
