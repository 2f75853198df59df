"""Unpacking of Parquet and Arrow files of Hugging Face ``datasets`` into pictures and label maps.

The result is an ordinary folder, for which a descriptor is then guessed. pyarrow reads the files;
it is an extra (pip install 'clipmask[parquet]').
"""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from clipmask.curation.converting.files import read_json
from clipmask.data.split_names import split_name
from clipmask.errors import UserError

SUFFIXES = (".parquet", ".arrow")
NAMES_FILE = "classes.txt"  # ``clipmask-data init`` reads this file of names
_ROWS = 8  # number of rows that are in memory together
_LABEL_WORDS = re.compile(r"label|mask|annot|gt|truth|seg|class|target", re.IGNORECASE)
_OTHER_WORDS = re.compile(r"instance|panoptic|depth|edge|bound|overlay|pred|color", re.IGNORECASE)
# suffixes of Pillow's formats; other formats have their name as the suffix
_ENDINGS = {"JPEG": ".jpg", "MPO": ".jpg", "TIFF": ".tif"}


class Unpacked(NamedTuple):
    """A report of the unpacking.

    Attributes:
        columns: the columns of the pictures and of the label maps.
        splits: the number of pictures of each split; the key is empty for files without a split.
        unlabelled: the number of pictures without a label map.
        names_from: the source of the class names, or None.
    """

    columns: tuple[str, str]
    splits: dict[str, int]
    unlabelled: int
    names_from: str | None


def parquet_files(source: Path) -> list[Path]:
    """Returns the Parquet and Arrow files in a folder, sorted; or the file that a path names."""
    if source.is_file():
        if source.suffix.lower() not in SUFFIXES:
            return []
        return [source]
    files = (path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES)
    return sorted(path for path in files if not path.name.startswith("cache-"))


def unpack(files: Sequence[Path], output: Path, labels: str | None = None) -> Unpacked:
    """Writes the pictures to ``images/`` and their label maps to ``labels/``, unchanged.

    Each split has its own subfolder. Class names from an ``id2label.json`` beside the files, or
    from the schema, are written to ``classes.txt``.

    Args:
        files: the files of one dataset; their names (train-00000-of-00001.parquet) or folders
            contain the splits.
        output: the output folder.
        labels: the column of the label maps; None: it is guessed.

    Raises:
        UserError: pyarrow is not installed; a file can't be read; the columns of pictures and
            label maps are missing or ambiguous; or a cell holds no picture.
    """
    found: tuple[str, str] | None = None
    splits: Counter[str] = Counter()
    unlabelled = 0
    taken: set[Path] = set()
    for file in files:
        schema, rows = _opened(file)
        columns = _columns(file, schema, labels)
        found = found or columns
        if columns != found:
            raise UserError(
                f"{file}: has pictures in the columns {' and '.join(columns)}, but {files[0]} in"
                f" {' and '.join(found)}; convert them one by one"
            )
        split = _split(file)
        for number, row in enumerate(rows(columns)):
            labelled = _write_pair(row, columns, output, split, f"{file}, row {number}", taken)
            splits[split] += 1
            unlabelled += not labelled
    assert found is not None, "there is a file"
    return Unpacked(found, dict(splits), unlabelled, _write_names(files, output))


def _write_pair(
    row: Mapping[str, Any],
    columns: tuple[str, str],
    output: Path,
    split: str,
    where: str,
    taken: set[Path],
) -> bool:
    """Writes a picture and its label map; returns whether there is a label map."""
    content, name = _content(row[columns[0]], f"{where}: {columns[0]}")
    stem = Path(name or "").stem or f"{len(taken):06d}"
    if Path(split, stem) in taken:
        stem = f"{stem}_{len(taken):06d}"
    taken.add(Path(split, stem))
    if content is None:
        raise UserError(f"{where}: {columns[0]} is empty; drop rows without a picture")
    _write(output / "images" / split, stem, content, f"{where}: {columns[0]}")
    content, _ = _content(row[columns[1]], f"{where}: {columns[1]}")
    if content is not None:
        _write(output / "labels" / split, stem, content, f"{where}: {columns[1]}")
    return content is not None


def _write(folder: Path, stem: str, content: bytes, where: str) -> None:
    """Writes the bytes of a picture to a file with the suffix of its format."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            kind = str(image.format)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{where}: holds no picture that can be read ({error})") from error
    path = folder / f"{stem}{_ENDINGS.get(kind, '.' + kind.lower())}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise UserError(f"{path}: can't be written ({error})") from error


def _content(cell: Any, where: str) -> tuple[bytes | None, str | None]:
    """Returns the bytes and the name of a picture in a cell, which is bytes or {bytes, path}."""
    if cell is None or isinstance(cell, bytes):
        return cell, None
    content, path = cell.get("bytes"), cell.get("path")
    if content is None and path:
        raise UserError(
            f"{where}: holds only the path {path}, not the picture; write the dataset again with"
            " the pictures inside (as push_to_hub and to_parquet of datasets do), or call"
            " clipmask-data init with the folder of these files"
        )
    return content, path


def _columns(file: Path, schema: Any, labels: str | None) -> tuple[str, str]:
    """Returns the columns of pictures and of label maps."""
    pictures = [field.name for field in schema if _is_picture(field.type)]
    all_of_them = ", ".join(f"{field.name} ({field.type})" for field in schema)
    if labels is not None and labels not in pictures:
        raise UserError(
            f"{file}: --labels {labels}: is not a column of pictures; such columns are"
            f" {', '.join(pictures) or 'none'} of {all_of_them}"
        )
    if len(pictures) < 2:
        raise UserError(
            f"{file}: has {len(pictures)} column{'s' * (len(pictures) != 1)} of pictures; each row"
            f" needs a picture and a label map. Its columns are {all_of_them}"
        )
    maps = [name for name in pictures if _LABEL_WORDS.search(name)]
    if labels:
        maps = [labels]
    if len(maps) > 1:
        maps = [name for name in maps if not _OTHER_WORDS.search(name)] or maps
    others = [name for name in pictures if name not in maps and not _LABEL_WORDS.search(name)]
    if len(others) > 1:
        others = [name for name in others if not _OTHER_WORDS.search(name)] or others
    if len(maps) != 1:
        raise UserError(
            f"{file}: the columns {', '.join(pictures)} hold pictures; name the one with the label"
            " maps: --labels COLUMN"
        )
    if len(others) != 1:
        raise UserError(
            f"{file}: the columns {', '.join(pictures)} hold pictures, and {maps[0]} the label"
            " maps, but it is not clear to which of the others they belong: drop the columns that"
            " are not needed"
        )
    return others[0], maps[0]


def _is_picture(kind: Any) -> bool:
    """Returns whether a column holds bytes, or {bytes, path} as for ``datasets.Image``."""
    pyarrow = _library()
    if pyarrow.types.is_struct(kind):
        place = kind.get_field_index("bytes")
        if place < 0:
            return False
        kind = kind.field(place).type
    return pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind)


def _split(file: Path) -> str:
    """Returns the split in the name of a file or of a folder above it; empty if there is none."""
    folder = file.absolute().parent
    for name in (file.stem, folder.name, folder.parent.name):
        split = split_name(name)
        if split:
            return split
    return ""


def _opened(file: Path) -> tuple[Any, Callable[[Sequence[str]], Iterator[Mapping[str, Any]]]]:
    """Opens a file.

    Returns:
        The schema, and a function that yields the rows of some columns one at a time.
    """
    pyarrow = _library()
    wrong = (OSError, pyarrow.ArrowException)
    table = None
    try:
        if file.suffix.lower() == ".parquet":
            table = _table(file)
            schema = table.schema_arrow
        else:
            schema = _stream(file).schema
    except wrong as error:
        raise UserError(f"{file}: can't be read ({error})") from error

    def rows(columns: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        try:
            if table is not None:
                batches = table.iter_batches(_ROWS, columns=list(columns))
            else:
                batches = _stream(file)
            for batch in batches:
                chosen = batch.select(list(columns))
                for start in range(0, len(chosen), _ROWS):
                    yield from chosen.slice(start, _ROWS).to_pylist()
        except wrong as error:
            raise UserError(f"{file}: can't be read ({error})") from error

    return schema, rows


def _table(file: Path) -> Any:
    from pyarrow.parquet import ParquetFile

    return ParquetFile(file)


def _stream(file: Path) -> Any:
    pyarrow = _library()
    return pyarrow.ipc.open_stream(pyarrow.memory_map(str(file)))


def _write_names(files: Sequence[Path], output: Path) -> str | None:
    """Writes the class names, if they are known; returns their source, or None."""
    candidates: dict[Path, None] = {}
    for file in files:
        folders = file.absolute().parents[:3]
        candidates.update(dict.fromkeys(folder / "id2label.json" for folder in folders))
    names: dict[int, str] = {}
    source = next((path for path in candidates if path.is_file()), None)
    if source is not None:
        content = read_json(source)
        try:
            names = {int(number): str(name) for number, name in content.items()}
        except (AttributeError, ValueError) as error:
            raise UserError(f"{source}: is not a table of ids and names ({error})") from error
    else:
        names = dict(enumerate(_names_of_schema(_opened(files[0])[0])))
    if not names:
        return None
    lines = [f"{number}: {' '.join(name.split())}\n" for number, name in sorted(names.items())]
    (output / NAMES_FILE).write_text("".join(lines), encoding="utf-8")
    if source is None:
        return "the schema's metadata"
    return str(source)


def _names_of_schema(schema: Any) -> list[str]:
    """Returns the class names that ``datasets`` stores in the schema; empty if there are none.

    Only lists of classes count, because a single class describes the whole picture.
    """
    try:
        text = (schema.metadata or {}).get(b"huggingface", b"{}")
        features = json.loads(text)["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return []
    for feature in features.values():
        inner = None
        if isinstance(feature, list) and feature:
            inner = feature[0]
        elif isinstance(feature, dict):
            inner = feature.get("feature")
            if feature.get("_type") == "Image" and feature.get("names"):
                return list(map(str, feature["names"]))
        if isinstance(inner, dict) and inner.get("_type") == "ClassLabel":
            return list(map(str, inner.get("names") or ()))
    return []


def _library() -> Any:
    try:
        import pyarrow
        import pyarrow.ipc
    except ImportError as error:
        raise UserError(
            "files of Parquet and Arrow are read by pyarrow, which is not installed: pip install"
            " 'clipmask[parquet]'"
        ) from error
    return pyarrow
