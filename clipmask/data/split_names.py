"""Names of splits, and JSON files that list the pictures of splits.

{"train": ["a.jpg", "b"], "val": ["c"]}         a list for each split
{"a": "train", "b": "train", "c": "val"}        a split for each picture
["a.jpg", {"image": "b.jpg"}]                   one list; the file's name contains its split
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
# keys under which an entry of a list may have the name of its picture
_PICTURES = ("image", "img", "file_name", "filename", "path", "name", "id")


def split_name(text: str) -> str | None:
    """Returns the split in the name of a folder or file, such as train for images_train.

    Returns None if the name contains no split, or more than one.
    """
    words = _splits_in(text)
    if len(words) != 1:
        return None
    return words.pop()


def is_train_and_val(text: str) -> bool:
    """Returns whether a name contains both train and val, such as trainval and train_val."""
    joined = re.sub(r"train(?=val)", "train ", text.lower())
    return _splits_in(joined) == {"train", "val"}


def _splits_in(text: str) -> set[str]:
    words = re.split(r"[^a-z]+", text.lower())
    return {SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES}


def read_json_lists(file: Path) -> dict[str | None, list[str]]:
    """Reads the names of the pictures of each split from a JSON file.

    Args:
        file: the JSON file, in one of the forms at the top of this module.

    Returns:
        For each split the names of its pictures. A file with a single list gives it under None.

    Raises:
        UserError: the file is not JSON, or has none of the known forms.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"{file}: can't be read as JSON ({error})") from error
    if isinstance(content, list):
        if content and all(isinstance(item, dict) and _splits_of(item) for item in content):
            raise UserError(
                f"{file}: contains {len(content)} sets of lists, such as the folds of a"
                " cross-validation; write one of them to a file of its own:"
                ' {"train": [...], "val": [...]}'
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
        " [...]}, or for each split a text file with one picture per line"
    )


def _splits_of(content: dict[str, Any]) -> dict[str, str]:
    """Returns for each split the key under which a mapping has its list."""
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
            raise UserError(
                f"{file}: {picture!r} has the split {text!r}; known are train, val and test"
            )
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
            raise UserError(f"{file}: {json.dumps(entry)[:60]} is not the name of a picture")
        names.append(str(value))
    return names
