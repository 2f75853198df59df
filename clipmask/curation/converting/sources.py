"""Which format a file or folder of annotations has, and all that stands in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from clipmask.curation.converting.coco import is_coco, read_coco
from clipmask.curation.converting.cvat import read_cvat
from clipmask.curation.converting.files import read_json
from clipmask.curation.converting.formats import ANNOTATIONS
from clipmask.curation.converting.label_studio import is_label_studio, read_label_studio
from clipmask.curation.converting.labelme import is_labelme, read_labelme
from clipmask.curation.converting.panoptic import is_panoptic, read_panoptic
from clipmask.curation.converting.pixel_masks import ARRAYS, read_arrays, read_masks
from clipmask.curation.converting.run_lengths import is_run_lengths, read_run_lengths
from clipmask.curation.converting.shapes import Annotations
from clipmask.curation.converting.supervisely import is_supervisely, read_supervisely
from clipmask.curation.converting.via import is_via, read_via
from clipmask.curation.converting.yolo import read_yolo, yolo_labels
from clipmask.data.split_names import split_name
from clipmask.errors import UserError

ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")
_JSON: dict[str, tuple[Callable[[Any], bool], Callable[[Path, str | None], Annotations]]] = {
    "panoptic": (is_panoptic, read_panoptic),  # before coco, which has these keys too
    "coco": (is_coco, read_coco),
    "label-studio": (is_label_studio, read_label_studio),
    "labelme": (is_labelme, read_labelme),
    "supervisely": (is_supervisely, read_supervisely),
    "via": (is_via, read_via),
}
_FILES = (".json", ".xml", ".csv")  # endings of files of annotations
_READERS = {
    **{kind: reader for kind, (_, reader) in _JSON.items()},
    "cvat": read_cvat,
    "run-lengths": read_run_lengths,
}


def read_source(
    source: Path, root: Path, pictures: Sequence[Path], format: str | None
) -> tuple[str, Annotations]:
    """Reads annotations.

    Args:
        source: a file of annotations, or a folder with some in it.
        root: the folder of the pictures.
        pictures: all pictures in ``root``, relative to it.
        format: one of ``ANNOTATIONS``; None: finds out.

    Returns:
        The format, and what was read.

    Raises:
        UserError: the format can't be recognised, or a file is not as it says.
    """
    if source.suffix.lower() in ARCHIVES:
        raise UserError(f"{source}: is packed; unpack it, and name the folder")
    if source.suffix.lower() in (".yaml", ".yml"):  # that of Ultralytics, beside the pictures
        format = "yolo"
    if format in ("yolo", "npy", "masks"):
        return format, _of_folder(format, root, pictures)
    files = (
        [source] if source.is_file() else sorted(p for p in source.rglob("*") if p.suffix in _FILES)
    )
    found: dict[str, list[Annotations]] = {}
    for path in files:
        kind = _kind(path)
        if kind is not None and format in (None, kind):
            split = split_name(path.stem) or (
                None if path == source else _split_of(path.relative_to(source))
            )
            found.setdefault(kind, []).append(_READERS[kind](path, split))
    if len(found) > 1:
        raise UserError(
            f"{source}: holds annotations of {' and '.join(found)}; say which with --format"
        )
    for kind, parts in found.items():
        return kind, _together(parts)
    if format is None and source.is_dir():
        if any((root / yolo_labels(picture)).is_file() for picture in pictures):
            return "yolo", _of_folder("yolo", root, pictures)
        if any(path.suffix in ARRAYS for path in root.rglob("*")):
            return "npy", _of_folder("npy", root, pictures)
    what = f"of the format {format}" if format else f"of a known format ({', '.join(ANNOTATIONS)})"
    hint = "" if format else "; masks of one class each are read with --format masks"
    raise UserError(f"{source}: no annotations {what} found{hint}")


def annotations_in(folder: Path, pictures: Sequence[Path]) -> str | None:
    """Returns the format of the annotations in a folder, of the first file that has some; None
    where there are none.

    Args:
        folder: where to look.
        pictures: all pictures in it, relative to it.
    """
    for path in sorted(p for p in folder.rglob("*") if p.suffix in _FILES):
        try:
            kind = _kind(path)
        except UserError:
            continue
        if kind is not None:
            return kind
    yolo = any((folder / yolo_labels(picture)).is_file() for picture in pictures)
    arrays = any(path.suffix in ARRAYS for path in folder.rglob("*"))
    return "yolo" if yolo else "npy" if arrays else None


def _of_folder(format: str, root: Path, pictures: Sequence[Path]) -> Annotations:
    reader = {"yolo": read_yolo, "npy": read_arrays, "masks": read_masks}[format]
    return reader(root, pictures, _split_of)


def _split_of(picture: Path) -> str | None:
    """Returns the split that the folders of a picture tell."""
    return next(
        (name for part in picture.parent.parts for name in [split_name(part)] if name), None
    )


def _kind(path: Path) -> str | None:
    """Returns the format of a file; None if it is another's."""
    if path.suffix == ".xml":
        return (
            "cvat"
            if "<annotations>" in path.read_text(encoding="utf-8", errors="replace")[:1000]
            else None
        )
    if path.suffix == ".csv":
        return "run-lengths" if is_run_lengths(path) else None
    content = read_json(path)
    return next((kind for kind, (is_kind, _) in _JSON.items() if is_kind(content)), None)


def _together(parts: Sequence[Annotations]) -> Annotations:
    """Joins what several files hold."""
    names: dict[str, None] = {}
    skipped: dict[str, int] = {}
    colors: dict[str, tuple[int, int, int]] = {}
    for part in parts:
        names |= dict.fromkeys(part.names)
        colors |= part.colors
        for what, count in part.skipped.items():
            skipped[what] = skipped.get(what, 0) + count
    pictures = tuple(picture for part in parts for picture in part.pictures)
    complete = all(part.complete for part in parts)
    unnamed = all(part.unnamed for part in parts)
    return Annotations(pictures, tuple(names), colors, skipped, complete, unnamed)
