"""Detection of the format of annotations, and reading of all files of a source."""

from __future__ import annotations

import itertools
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
LINES = (".ndjson", ".jsonl")
_JSON: dict[str, tuple[Callable[[Any], bool], Callable[[Path, str | None], Annotations]]] = {
    "panoptic": (is_panoptic, read_panoptic),  # before coco, which has these keys too
    "coco": (is_coco, read_coco),
    "label-studio": (is_label_studio, read_label_studio),
    "labelme": (is_labelme, read_labelme),
    "supervisely": (is_supervisely, read_supervisely),
    "via": (is_via, read_via),
}
_FILES = (".json", ".xml", ".csv")  # suffixes of files of annotations
_READERS = {
    **{kind: reader for kind, (_, reader) in _JSON.items()},
    "cvat": read_cvat,
    "run-lengths": read_run_lengths,
}


def read_source(
    source: Path, root: Path, pictures: Sequence[Path], format: str | None
) -> tuple[str, Annotations]:
    """Reads the annotations of a file or folder.

    Args:
        source: a file of annotations, or a folder that contains some.
        root: the folder of the pictures.
        pictures: all pictures in ``root``, relative to it.
        format: one of ``ANNOTATIONS``; None: it is detected.

    Returns:
        The format and the annotations.

    Raises:
        UserError: the format is not recognised, or a file violates it.
    """
    if source.suffix.lower() in ARCHIVES:
        raise UserError(f"{source}: is packed; unpack it, and name the folder")
    if source.suffix.lower() in LINES:
        raise UserError(
            f"{source}: has a JSON object on each line, as Labelbox exports, which is not read;"
            " export in COCO's format, or masks as PNGs"
        )
    if source.suffix.lower() in (".yaml", ".yml"):  # the descriptor of Ultralytics
        format = "yolo"
    if format in ("yolo", "npy", "masks"):
        return format, _of_folder(format, root, pictures)
    files = [source]
    if not source.is_file():
        files = sorted(path for path in source.rglob("*") if path.suffix in _FILES)
    found: dict[str, list[Annotations]] = {}
    for path in files:
        kind = _kind(path)
        if kind is not None and format in (None, kind):
            split = split_name(path.stem)
            if split is None and path != source:
                split = _split_of(path.relative_to(source))
            found.setdefault(kind, []).append(_READERS[kind](path, split))
    if len(found) > 1:
        raise UserError(
            f"{source}: holds annotations in the formats {' and '.join(found)}; choose one with"
            " --format"
        )
    for kind, parts in found.items():
        return kind, _together(parts)
    if format is not None:
        raise UserError(f"{source}: no annotations of the format {format} found")
    beside = source.is_dir() and _beside(root, pictures)
    if beside:
        return beside, _of_folder(beside, root, pictures)
    raise UserError(
        f"{source}: no annotations of a known format ({', '.join(ANNOTATIONS)}) found; masks of one"
        " class each are read with --format masks"
    )


def annotations_in(folder: Path, pictures: Sequence[Path]) -> str | None:
    """Returns the format of the first file of annotations in a folder; None if there is none.

    Args:
        folder: the folder.
        pictures: all pictures in it, relative to it.
    """
    for path in sorted(path for path in folder.rglob("*") if path.suffix in _FILES):
        try:
            kind = _kind(path)
        except UserError:
            continue
        if kind is not None:
            return kind
    return _beside(folder, pictures)


def _beside(folder: Path, pictures: Sequence[Path]) -> str | None:
    """Returns the format of files beside the pictures, text or arrays; None if there are none."""
    if any((folder / yolo_labels(picture)).is_file() for picture in pictures):
        return "yolo"
    if any(path.suffix in ARRAYS for path in folder.rglob("*")):
        return "npy"
    return None


def _of_folder(format: str, root: Path, pictures: Sequence[Path]) -> Annotations:
    reader = {"yolo": read_yolo, "npy": read_arrays, "masks": read_masks}[format]
    return reader(root, pictures, _split_of)


def _split_of(picture: Path) -> str | None:
    """Returns the split in the folders of a picture, or None."""
    names = map(split_name, picture.parent.parts)
    return next((name for name in names if name), None)


def _kind(path: Path) -> str | None:
    """Returns the format of a file; None if it is not a known format of annotations."""
    if path.suffix == ".xml":
        beginning = path.read_text(encoding="utf-8", errors="replace")[:1000]
        if "<annotations>" not in beginning:
            return None
        return "cvat"
    if path.suffix == ".csv":
        if not is_run_lengths(path):
            return None
        return "run-lengths"
    content = read_json(path)
    return next((kind for kind, (is_kind, _) in _JSON.items() if is_kind(content)), None)


def _together(parts: Sequence[Annotations]) -> Annotations:
    """Joins the annotations of several files."""
    names: dict[str, None] = {}
    skipped: dict[str, int] = {}
    colors: dict[str, tuple[int, int, int]] = {}
    for part in parts:
        names |= dict.fromkeys(part.names)
        colors |= part.colors
        for what, count in part.skipped.items():
            skipped[what] = skipped.get(what, 0) + count
    pictures = tuple(itertools.chain.from_iterable(part.pictures for part in parts))
    complete = all(part.complete for part in parts)
    unnamed = all(part.unnamed for part in parts)
    return Annotations(pictures, tuple(names), colors, skipped, complete, unnamed)
