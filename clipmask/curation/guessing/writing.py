"""Writing of a guessed descriptor, with comments for the person who corrects it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import yaml

from clipmask.curation.guessing.guess import FolderGuess, Splits
from clipmask.curation.guessing.values import GuessedClass


def descriptor_text(guess: FolderGuess, name: str, place: Path) -> str:
    """Returns the text of a descriptor.

    Args:
        guess: the guess about the folder.
        name: the name of the dataset.
        place: the folder of the file; paths are relative to it.
    """
    pairing, values = guess.pairing, guess.values
    total = len(pairing.pairs)
    lines = [
        (
            f"# Written by clipmask-data init for {guess.folder}, from {guess.num_sampled} of its"
            f" {total} label maps."
        ),
        (
            "# Correct it, check it with clipmask-data check, and train with train_net.py"
            " --dataset. All paths are relative to this file."
        ),
        f"name: {_scalar(name)}",
        f"images: {_scalar(_relative(guess.folder / pairing.images, place))}",
        f"labels: {_scalar(_relative(guess.folder / pairing.labels, place))}",
    ]
    if pairing.image_suffix is not None:
        lines.append(f"image_suffix: {_scalar(pairing.image_suffix)}")
    lines.append(f"label_suffix: {_scalar(pairing.label_suffix)}  # replaces the picture's suffix")
    if pairing.image_prefix or pairing.label_prefix:
        if pairing.image_prefix:
            lines.append(f"image_prefix: {_scalar(pairing.image_prefix)}")
        lines.append(
            f"label_prefix: {_scalar(pairing.label_prefix)}  # replaces the picture's prefix"
        )
    if pairing.flat:
        lines.append("labels_flat: true  # all label maps lie in one folder")
    if pairing.label_folders:
        lines += [
            "# The second folder replaces the first in the path of a label map:",
            f"label_folders: {_mapping(pairing.label_folders)}",
        ]
    lines += ["", f"# {values.why['encoding']}.", f"encoding: {values.encoding}"]
    lines += ["", f"# Void (pixels without a class): {values.why['void']}."]
    if values.encoding == "ids":
        ids = values.ignore_ids
        lines.append(f"ignore_id: {ids[0] if len(ids) == 1 else list(ids)}")
    else:
        lines.append(f"void_colors: {json.dumps([list(color) for color in values.void_colors])}")
    if values.transparent is not None:
        lines.append(f"transparent: {_scalar(values.transparent)}  # what transparent pixels mean")
    if values.tolerance:
        lines += [
            (
                "# Up to this distance, colours of smoothed edges count as the nearest class;"
                " beyond it, they are void:"
            ),
            f"color_tolerance: {values.tolerance:g}",
            "others: void",
        ]
    values_of_pictures = guess.depth.format.as_metadata()
    if values_of_pictures:
        lines += ["", f"# The values of pictures that become black and white: {guess.depth.why}."]
        lines += [f"{key}: {json.dumps(value)}" for key, value in values_of_pictures.items()]
    lines += ["", *_class_comment(guess), "classes:"]
    lines += [
        _class_line(item, number, values.encoding == "ids")
        for number, item in enumerate(values.classes)
    ]
    lines += ["", f"# {guess.splits.why}.", f"splits: {_mapping(_split_values(guess, place))}", ""]
    return "\n".join(lines)


def _class_comment(guess: FolderGuess) -> list[str]:
    """Returns the comment above the classes."""
    origin = "PLACEHOLDERS: replace them by the true names"
    if guess.names_from:
        origin = f"from {guess.names_from}"
    return [
        f"# Names are {origin}. CLIP reads them, so plain words are best.",
        f"# {guess.values.why['classes']}. A class may also have synonyms: [other names].",
    ]


def _class_line(item: GuessedClass, number: int, ids: bool) -> str:
    """Returns the line of a class, with a hint that helps to identify the class."""
    hint = f"{100 * item.share:.1f} % of the pixels" if item.share else "not found"
    if ids and item.id == number and item.color is None:
        return f"  - {_scalar(item.name)}  # id {number}, {hint}"
    fields = [f"name: {_scalar(item.name)}"]
    if ids:
        fields.append(f"id: {item.id}")
    if item.color is not None:
        fields.append(f"color: {list(item.color)}")
    return f"  - {{{', '.join(fields)}}}  # {hint}"


def _split_values(guess: FolderGuess, place: Path) -> dict[str, Any]:
    splits: Splits = guess.splits
    values: dict[str, Any] = {}
    for split, source in splits.sources.items():
        if isinstance(source, Path):
            values[split] = _relative(guess.folder / source, place)
        else:
            values[split] = source
    if splits.seed:
        return {**values, "seed": splits.seed}
    return values


def _relative(path: Path, place: Path) -> str:
    try:
        return Path(os.path.relpath(path.resolve(), place.resolve())).as_posix()
    except ValueError:  # another drive
        return path.resolve().as_posix()


def _mapping(values: dict[str, Any]) -> str:
    items = ", ".join(f"{_scalar(key)}: {_scalar(value)}" for key, value in values.items())
    return f"{{{items}}}"


def _scalar(value: Any) -> str:
    """Returns a value in YAML; a text has quotes only if YAML needs them."""
    if not isinstance(value, str):
        return json.dumps(value)
    try:  # in a mapping, where most characters need quotes
        plain = yaml.safe_load(f"{{key: {value}}}") == {"key": value} and "#" not in value
    except yaml.YAMLError:
        plain = False
    if plain:
        return value
    return json.dumps(value, ensure_ascii=False)
