"""Conversion of annotations to label maps of ids in a folder, with their descriptor."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from clipmask.curation.converting.shapes import Annotations, Labelled
from clipmask.curation.converting.sources import read_source
from clipmask.curation.guessing.drawing import seed_with_all_classes
from clipmask.curation.guessing.naming import Named
from clipmask.curation.guessing.pairing import CONVERTED, find_pictures
from clipmask.data.image_format import PLAIN
from clipmask.data.reading import read_image
from clipmask.data.splits import FEW, Index, named_pictures, picture_index
from clipmask.errors import UserError
from clipmask.visualizer import palette

VOID = 255
MOST_CLASSES = 255
SHARES = {"train": 0.8, "val": 0.2}  # used if the annotations have no splits


@dataclass(frozen=True)
class Options:
    """Options of the conversion.

    Attributes:
        format: the format of the annotations; None: it is detected.
        names: the class names, in the order of the ids; other classes in the annotations are then
            an error. None: all classes, in the order of the annotations.
        background: the name of the class of pixels without annotation; None: they are void.
        smaller_above: True: where shapes overlap, the smaller one is on top. False: the later one
            in the file is.
    """

    format: str | None = None
    names: tuple[str, ...] | None = None
    background: str | None = "background"
    smaller_above: bool = True


@dataclass(frozen=True)
class Converted:
    """A report of the conversion.

    Attributes:
        format: the format of the annotations.
        names: the class names.
        background: the class of pixels without annotation; None: they are void.
        pictures: the number of pictures.
        splits: the number of pictures in each split; empty if the annotations have no splits.
        skipped: descriptions of skipped annotations -> their numbers.
        seed: the seed of the shares, if there are no splits.
    """

    format: str
    names: tuple[str, ...]
    background: str | None
    pictures: int
    splits: dict[str, int]
    skipped: dict[str, int]
    seed: int = 0


def convert(
    source: Path,
    images: Path | None,
    output: Path,
    options: Options,
    progress: Callable[[int, int], None] | None = None,
) -> Converted:
    """Writes ``labels/``, lists of the splits and ``{output's name}.yaml`` into a folder.

    The pictures are not copied. The label maps are PNGs with a palette and ids 0 .. K-1; 255 is
    void: classes with a name such as void, and, without a background, pixels without annotation.

    Args:
        source: a file of annotations, or a folder.
        images: the folder of the pictures; None: that of ``source``, or the one above.
        output: the output folder, which is created if it is missing.
        options: the options.
        progress: a function that is called after each picture with its number, from 1, and the
            number of all pictures.

    Raises:
        UserError: annotations or pictures can't be found or read; there are no classes, or too
            many.
    """
    root = _root(source, images)
    pictures = find_pictures(root)
    format, found = read_source(source, root, pictures, options.format)
    found = _renamed(found, options)
    if found.complete:
        options = replace(options, background=None)
    skipped = dict(found.skipped)
    placed = _placed(found, root, pictures, skipped)
    inner = Path(os.path.commonpath([picture.parent for picture in placed]) or ".")
    root = root / inner
    placed = {picture.relative_to(inner): labelled for picture, labelled in placed.items()}
    names = _names(found, options)
    table = _colors(names, found)
    shown: dict[Path, set[int]] = {}
    try:
        for number, (picture, labelled) in enumerate(placed.items(), 1):
            shown[picture] = _write_labels(
                root / picture,
                output / "labels" / picture.with_suffix(".png"),
                labelled,
                names,
                table,
                options,
            )
            if progress is not None:
                progress(number, len(placed))
        splits = _splits(placed)
        suffixes = {picture.suffix for picture in placed}
        seed = 0
        if not splits and len(shown) <= FEW:
            seed = seed_with_all_classes(SHARES, shown)
        _write_descriptor(output, root, names, table, splits, seed, suffixes)
    except OSError as error:
        raise UserError(f"--output {output}: can't be written to ({error})") from error
    counts = {split: len(members) for split, members in splits.items()}
    return Converted(format, names, options.background, len(placed), counts, skipped, seed)


def _root(source: Path, images: Path | None) -> Path:
    if not source.exists():
        raise UserError(f"{source}: no such file or folder")
    if images is not None:
        if not images.is_dir():
            raise UserError(f"--images {images}: no such folder")
        return images
    folder, above = source, source.parent
    if not source.is_dir():
        folder, above = source.parent, source.parent / ".."
    if find_pictures(folder.absolute()):
        return folder
    return above


def _placed(
    found: Annotations, root: Path, pictures: Sequence[Path], skipped: dict[str, int]
) -> dict[Path, Labelled]:
    """Finds the pictures of the annotations.

    Several annotations of one picture are joined. Annotations of missing pictures are counted in
    ``skipped``.

    Returns:
        The annotations of each picture; the paths are relative to ``root``.
    """
    index = picture_index(pictures)
    placed: dict[Path, Labelled] = {}
    absent: list[str] = []
    for labelled in found.pictures:
        picture = _picture(labelled, root, index)
        if picture is None:
            absent.append(labelled.picture)
            continue
        if picture in placed:
            shapes = (*placed[picture].shapes, *labelled.shapes)
            labelled = labelled._replace(shapes=shapes)
        placed[picture] = labelled
    if absent and not placed:
        raise UserError(
            f"the annotations name {absent[0]!r}: no such picture in {root}; name the folder of the"
            " pictures with --images"
        )
    if not placed:
        raise UserError("the annotations contain no picture")
    if absent:
        skipped[f"pictures that are not in {root}, {absent[0]} first"] = len(absent)
    if not any(labelled.shapes for labelled in placed.values()):
        kinds = ", ".join(f"{count} {what}" for what, count in skipped.items()) or "they are empty"
        raise UserError(
            f"the annotations have no shape with an area ({kinds}); label maps need polygons, masks"
            " or brushes"
        )
    taken: dict[Path, Path] = {}
    for picture in placed:
        other = taken.setdefault(picture.with_suffix(""), picture)
        if other != picture:
            raise UserError(
                f"{root / other} and {root / picture} would have the same label map; rename one of"
                " them"
            )
    return placed


def _picture(labelled: Labelled, root: Path, index: Index) -> Path | None:
    """Returns the picture that annotations name, or None if it does not exist.

    Label Studio puts eight random digits before the names of uploaded files; they are ignored.
    """
    beside = labelled.folder / labelled.picture
    if beside.is_file() and beside.resolve().is_relative_to(root.resolve()):
        return beside.resolve().relative_to(root.resolve())
    last = labelled.picture.split("/")[-1]
    names = (labelled.picture, last, re.sub(r"^[0-9a-f]{8}-", "", last))
    found: set[Path] = set()
    for name in names:
        found = named_pictures(name, index)
        if found:
            break
    if len(found) > 1 and labelled.split:
        found = {path for path in found if labelled.split in path.as_posix()} or found
    if len(found) > 1:
        could = " or ".join(sorted(map(str, found))[:3])
        raise UserError(
            f"the annotations name {labelled.picture!r}: could be {could} in {root}; name the"
            " folder of the pictures with --images"
        )
    if not found:
        return None
    return found.pop()


def _renamed(found: Annotations, options: Options) -> Annotations:
    """Renames classes without real names to the names in ``options``, in order.

    It does so only if both have the same number of names, and no name in common.
    """
    if not found.unnamed:
        return found
    old = list(dict.fromkeys(_without_void([*found.names, *_shape_names(found)])))
    given = list(options.names or ())
    if not found.complete and given[:1] == [options.background]:
        given = given[1:]
    if len(given) != len(old) or {*given} & {*old}:
        return found
    new = dict(zip(old, given, strict=True))
    pictures = []
    for labelled in found.pictures:
        shapes = [s._replace(name=new.get(s.name, s.name)) for s in labelled.shapes]
        pictures.append(labelled._replace(shapes=tuple(shapes)))
    colors = {new[name]: color for name, color in found.colors.items() if name in new}
    return found._replace(pictures=tuple(pictures), names=tuple(given), colors=colors)


def _shape_names(found: Annotations) -> list[str]:
    """Returns the class names of all shapes, without duplicates, in the order of the shapes."""
    names: dict[str, None] = {}
    for labelled in found.pictures:
        names.update(dict.fromkeys(shape.name for shape in labelled.shapes))
    return list(names)


def _without_void(names: Sequence[str]) -> list[str]:
    """Returns the names that do not mean void."""
    return [name for name in names if not Named(name).is_void]


def _names(found: Annotations, options: Options) -> tuple[str, ...]:
    """Returns the class names in the order of the ids; a background comes first."""
    seen = _shape_names(found)
    listed = _without_void([*found.names, *seen])
    names = dict.fromkeys(options.names or listed)
    unknown = [name for name in _without_void(seen) if name not in names]
    if unknown:
        hint = ""
        if options.names:
            hint = f"; the annotations have {', '.join(listed)}"
        raise UserError(f"--names lacks {', '.join(unknown)}, which the annotations have{hint}")
    if options.background is not None and not found.complete:
        background = options.background
        for name in names:
            if name.strip("_").casefold() == options.background.casefold():
                background = name
                break
        names = {**dict.fromkeys([background]), **names}
    if not names:
        raise UserError("the annotations contain no class")
    if len(names) > MOST_CLASSES:
        raise UserError(
            f"the annotations have {len(names)} classes; at most {MOST_CLASSES} are possible"
        )
    return tuple(names)


def _colors(names: Sequence[str], found: Annotations) -> list[list[int]]:
    given = {name: found.colors[name] for name in names if name in found.colors}
    if len({*given.values()}) < len(given):
        given = {}
    return palette(names, given)


def _write_labels(
    picture: Path,
    path: Path,
    labelled: Labelled,
    names: Sequence[str],
    table: Sequence[Sequence[int]],
    options: Options,
) -> set[int]:
    """Writes the label map of a picture; returns the ids of its classes."""
    height, width = read_image(picture, image_format=PLAIN).shape[:2]
    labels = _painted(labelled, names, options, (height, width))
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(labels)
    entries = np.zeros((256, 3), np.uint8)
    entries[: len(table)] = table
    entries[VOID] = (224, 224, 224)
    image.putpalette(entries.ravel().tolist())
    image.save(path)
    return {int(id) for id in np.unique(labels) if id != VOID}


def _painted(
    labelled: Labelled, names: Sequence[str], options: Options, size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Returns the label map (H, W) of a picture."""
    ids = {name: place for place, name in enumerate(names)}
    empty = VOID
    if options.background is not None:
        empty = ids.get(options.background, 0)
    labels = np.full(size, empty, np.uint8)
    masks = [(ids.get(shape.name, VOID), shape.draw(*size)) for shape in labelled.shapes]
    if options.smaller_above:
        masks.sort(key=lambda item: -int(item[1].sum()))
    for id, mask in masks:
        labels[mask] = id
    return labels


def _splits(placed: dict[Path, Labelled]) -> dict[str, list[Path]]:
    """Returns the pictures of each split; empty if the annotations have no split for training."""
    splits: dict[str, list[Path]] = {}
    for picture, labelled in placed.items():
        if labelled.split is None:
            return {}
        splits.setdefault(labelled.split.lower(), []).append(picture)
    if "train" not in splits or len(splits) < 2:
        return {}
    return splits


def _write_descriptor(
    output: Path,
    root: Path,
    names: Sequence[str],
    table: Sequence[Sequence[int]],
    splits: dict[str, list[Path]],
    seed: int,
    suffixes: set[str],
) -> None:
    for split, pictures in splits.items():
        text = "".join(f"{picture.as_posix()}\n" for picture in pictures)
        (output / f"{split}.txt").write_text(text, encoding="utf-8")
    classes = [
        {"name": name, "color": list(color)} for name, color in zip(names, table, strict=True)
    ]
    sources: dict[str, str | float] = {split: f"{split}.txt" for split in splits}
    if not sources:
        sources = {**SHARES}
        if seed:
            sources["seed"] = seed
    content: dict[str, Any] = {
        "name": output.resolve().name,
        "images": Path(os.path.relpath(root.resolve(), output.resolve())).as_posix(),
    }
    if len(suffixes) == 1:
        content["image_suffix"] = suffixes.pop()
    content |= {"labels": "labels", "ignore_id": VOID, "splits": sources}
    text = f"{CONVERTED} CLIP reads the names; plain words are best.\n"
    text += yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    text += "classes:\n"
    for item in classes:
        text += f"- {json.dumps(item, ensure_ascii=False)}\n"
    (output / f"{output.resolve().name}.yaml").write_text(text, encoding="utf-8")
