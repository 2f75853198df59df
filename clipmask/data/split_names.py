"""What splits are called, and lists of their pictures as JSON.

{"train": ["a.jpg", "b"], "val": ["c"]}         lists by their split
{"a": "train", "b": "train", "c": "val"}        the split of each picture
["a.jpg", {"image": "b.jpg"}]                   one list, of a split that the file's name tells
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from clipmask.errors import UserError

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
# what an entry may call its picture
_PICTURES = ("image", "img", "file_name", "filename", "path", "name", "id")


def split_name(text: str) -> str | None:
    """Returns the split that a folder's or file's name has as a word in it: images_train ->
    train.
    """
    words = _splits_in(text)
    return words.pop() if len(words) == 1 else None


def is_train_and_val(text: str) -> bool:
    """Whether a name says that both are in it, as trainval and train_val do."""
    joined = re.sub(r"train(?=val)", "train ", text.lower())
    return _splits_in(joined) == {"train", "val"}


def _splits_in(text: str) -> set[str]:
    words = re.split(r"[^a-z]+", text.lower())
    return {SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES}


def read_json_lists(file: Path) -> dict[str | None, list[str]]:
    """Reads the names of pictures in a JSON file; see the module's text.

    Args:
        file: the JSON file.

    Returns:
        The list of each split; under None the one list of a file that names no split.

    Raises:
        UserError: the file is no JSON, or is none of the known forms.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"{file}: is no JSON that can be read ({error})") from error
    if isinstance(content, list):
        if content and all(isinstance(item, dict) and _splits_of(item) for item in content):
            raise UserError(
                f"{file}: holds {len(content)} pairs of lists, as folds are kept; save the one that"
                ' you mean in a file of its own: {"train": [...], "val": [...]}'
            )
        return {None: _names(content, file)}
    if isinstance(content, dict):
        if content and all(isinstance(value, str) for value in content.values()):
            return _by_picture(content, file)
        lists = _splits_of(content)
        if lists:
            return {split: _names(content[key], file) for split, key in lists.items()}
    raise UserError(
        f'{file}: is not understood as lists of pictures; write {{"train": ["a.jpg", ...], "val":'
        " [...]}, or a text file of a picture a line for each split"
    )


def _splits_of(content: dict[str, Any]) -> dict[str, str]:
    """Returns split -> key of the lists in a mapping whose keys are names of splits."""
    found: dict[str, str] = {}
    for key, value in content.items():
        split = split_name(str(key))
        if split and isinstance(value, list):
            found.setdefault(split, key)
    return found


def _by_picture(content: dict[str, str], file: Path) -> dict[str | None, list[str]]:
    lists: dict[str | None, list[str]] = {}
    for picture, text in content.items():
        split = split_name(text)
        if split is None:
            raise UserError(f"{file}: {picture!r} is of {text!r}, which is no name of a split")
        lists.setdefault(split, []).append(picture)
    return lists


def _names(entries: list[Any], file: Path) -> list[str]:
    names = []
    for entry in entries:
        value = entry
        if isinstance(entry, dict):
            value = next((entry[key] for key in _PICTURES if key in entry), None)
        elif isinstance(entry, list):  # picture and label map
            value = entry[0] if entry else None
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise UserError(f"{file}: {json.dumps(entry)[:60]} names no picture")
        names.append(str(value))
    return names
