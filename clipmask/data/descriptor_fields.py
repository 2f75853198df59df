"""The keys of a descriptor: the checks of their values and the error messages."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml

from clipmask.data.image_format import ImageFormat
from clipmask.data.label_format import LEAST_ID, MOST_ID, RGB
from clipmask.data.splits import Source
from clipmask.errors import UserError, did_you_mean
from clipmask.paths import refuse_special, user_path
from clipmask.plain_yaml import load_yaml

KEYS = (
    "name",
    "images",
    "labels",
    "image_prefix",
    "image_suffix",
    "label_prefix",
    "label_suffix",
    "label_folders",
    "labels_flat",
    "encoding",
    "ignore_id",
    "void_colors",
    "color_tolerance",
    "others",
    "transparent",
    "image_range",
    "bands",
    "classes",
    "splits",
    "license",
)


class Fields:
    """The content of a descriptor; each method returns the checked value of a key.

    All methods raise a ``UserError`` if the value is missing or wrong.

    Args:
        path: the path of the file, for messages; paths in the file are relative to its folder.
        content: the keys and values of the file.

    Raises:
        UserError: a key is unknown.
    """

    def __init__(self, path: Path, content: Mapping[str, Any]) -> None:
        self.path, self.content = path, content
        self.refuse_unknown(content, KEYS, "")

    def fail(self, message: str) -> NoReturn:
        """Raises a ``UserError`` that names the file."""
        raise UserError(f"descriptor {self.path}: {message}")

    def name(self, key: str, default: str) -> str:
        """Returns the name of the dataset: letters, digits, ``_``, ``-`` and ``.``."""
        value = self.content.get(key)
        if value is None:
            return re.sub(r"[^\w.-]+", "_", default)
        if not isinstance(value, str) or not re.fullmatch(r"[\w.-]+", value):
            self.fail(f"{key} is {value!r}; it may have letters, digits, '_', '-' and '.'")
        return value

    def text(self, key: str) -> str | None:
        """Returns a line of text, or None if the key is absent."""
        value = self.content.get(key)
        if value is not None and not (isinstance(value, str) and value.strip()):
            self.fail(f"{key} is {value!r}; it must be a text")
        if not value:
            return None
        return value.strip()

    def folder(self, key: str) -> Path:
        """Returns the path of an existing folder."""
        value = self.content.get(key)
        if not isinstance(value, str) or not value:
            self.fail(
                f"{key} is {'missing' if value is None else repr(value)}; name a folder, relative"
                " to this file"
            )
        folder = self._from_here(key, value)
        if not folder.is_dir():
            self.fail(
                f"{key}: {value}: no such folder ({folder.absolute()}); paths are relative to the"
                " descriptor"
            )
        # "a/../b" is not "b" if "a" is a link to a folder elsewhere
        short = Path(os.path.normpath(folder))
        if short.is_dir() and short.samefile(folder):
            return short
        return folder

    def _from_here(self, key: str, value: str) -> Path:
        """Returns a path that is given relative to the descriptor."""
        try:
            return user_path(self.path.parent / user_path(value))
        except UserError as error:
            self.fail(f"{key}: {error}")

    def part(self, key: str, default: str | None, example: str) -> str | None:
        """Returns a text such as the beginning or the end of file names."""
        value = self.content.get(key)
        if value is None:
            return default
        if not isinstance(value, str) or not value or "/" in value or "*" in value:
            self.fail(f"{key} is {value!r}; it must be a part of file names, such as {example}")
        return value

    def folder_names(self, key: str) -> dict[str, str]:
        """Returns a mapping from the name of one folder to the name or path of another."""
        value = self.content.get(key) or {}
        names = [*value, *value.values()] if isinstance(value, dict) else [None]
        wrong = any(not isinstance(name, str) or not name.strip("/") for name in names)
        if wrong or any("/" in name for name in value):
            self.fail(
                f"{key} is {value!r}; it must map names of folders, such as {{images: masks}}"
            )
        return {name: other.strip("/") for name, other in value.items()}

    def flag(self, key: str) -> bool:
        """Returns a boolean; False if the key is absent."""
        value = self.content.get(key, False)
        if not isinstance(value, bool):
            self.fail(f"{key} is {value!r}; it must be true or false")
        return value

    def number(self, key: str) -> float:
        """Returns a number of 0 or more; 0 if the key is absent."""
        value = self.content.get(key, 0)
        if not _is_number(value) or value < 0:
            self.fail(f"{key} is {value!r}; it must be a number, 0 or more")
        return float(value)

    def choice(self, key: str, choices: Sequence[str], default: str) -> str:
        """Returns one of ``choices``."""
        value = self.content.get(key, default)
        if value not in choices:
            self.fail(f"{key} is {value!r}; it must be one of {', '.join(choices)}")
        return str(value)

    def ids(self, key: str, default: int) -> tuple[int, ...]:
        """Returns the ids of a key that holds one id or a list of ids."""
        return self.read_ids(self.content.get(key, default), key)

    def colors(self, key: str) -> tuple[RGB, ...]:
        """Returns a list of colours."""
        value = self.content.get(key) or ()
        if not isinstance(value, list | tuple):
            self.fail(f"{key} is {value!r}; it must be a list of colours, such as [[0, 0, 0]]")
        return tuple(self.read_color(item, f"{key}[{place}]") for place, item in enumerate(value))

    def image_format(self) -> ImageFormat:
        """Returns how pictures are scaled to 8 bits."""
        try:
            return ImageFormat.from_metadata(self.content)
        except UserError as error:
            self.fail(str(error))

    def splits(self, images: Path, default: Mapping[str, Source]) -> dict[str, Source]:
        """Returns for each split its share (all sum to 1), or the path of its file or subfolder."""
        value = self.content.get("splits")
        if value is None:
            return dict(default)
        if isinstance(value, dict):
            value = {split: item for split, item in value.items() if split != "seed"}
        if not isinstance(value, dict) or not value:
            self.fail(
                f"splits is {value!r}; write {{train: 0.8, val: 0.2}}, or name text files or"
                " subfolders of images"
            )
        for split in value:
            if not isinstance(split, str) or not re.fullmatch(r"[\w.-]+", split):
                self.fail(
                    f"splits: {split!r} can't be the name of a split; use letters, digits, '_', '-'"
                    " and '.'"
                )
        shares = {split: item for split, item in value.items() if _is_number(item)}
        if len(shares) == len(value):
            if min(shares.values()) < 0 or not math.isclose(sum(shares.values()), 1, abs_tol=1e-6):
                self.fail(
                    f"splits: {_shown(shares)} sum to {sum(shares.values()):g}; shares must be 0 or"
                    " more and sum to 1"
                )
            return {split: float(share) for split, share in shares.items()}
        if shares:
            self.fail(
                f"splits: {_shown(value)} mixes shares with files or folders; use one or the other"
                " for all splits"
            )
        return {split: self._place(split, item, images) for split, item in value.items()}

    def split_seed(self) -> int:
        """Returns the ``seed`` in ``splits``; 0 if it is absent."""
        splits = self.content.get("splits")
        value = splits.get("seed", 0) if isinstance(splits, dict) else 0
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            self.fail(f"splits: seed is {value!r}; it must be a whole number, 0 or more")
        return value

    def _place(self, split: str, value: Any, images: Path) -> Path:
        """Returns the path of the text file or subfolder that a split names."""
        if isinstance(value, str) and value:
            file, folder = self._from_here(f"splits: {split}", value), images / value
            if file.is_file():
                return file
            if folder.is_dir():
                return folder
            self.fail(
                f"splits: {split}: {value}: neither a text file ({file}) nor a subfolder of images"
                f" ({folder})"
            )
        self.fail(
            f"splits: {split} is {value!r}; it must be a share, a text file of image paths or a"
            " subfolder of images"
        )

    def read_ids(self, value: Any, where: str) -> tuple[int, ...]:
        """Returns the ids of a value, one id or a list of ids; ``where`` it is, for the message."""
        ids = value if isinstance(value, list | tuple) else [value]
        if not ids or not all(_is_whole(item, LEAST_ID, MOST_ID) for item in ids):
            self.fail(
                f"{where} is {value!r}; it must be a whole number, {LEAST_ID} to {MOST_ID}, or a"
                " list of such numbers"
            )
        return tuple(ids)

    def read_color(self, value: Any, where: str) -> RGB:
        """Returns the colour of a value, [r, g, b] or ``#rrggbb``; ``where`` as in ``read_ids``."""
        if isinstance(value, str) and re.fullmatch(r"#[0-9a-fA-F]{6}", value):
            value = list(bytes.fromhex(value[1:]))
        if (
            not isinstance(value, list | tuple)
            or len(value) != 3
            or not all(_is_whole(item, 0, 255) for item in value)
        ):
            self.fail(
                f"{where} is {value!r}; it must be [red, green, blue], each 0 to 255, or '#rrggbb'"
            )
        red, green, blue = value
        return red, green, blue

    def refuse_unknown(self, content: Mapping[Any, Any], keys: Sequence[str], where: str) -> None:
        """Refuses keys of ``content`` that are not in ``keys``."""
        for key in content:
            if key not in keys:
                known = f"the keys are {', '.join(keys)}"
                hint = did_you_mean(str(key).lower(), keys, known, cutoff=0.5)
                self.fail(f"{where}there is no key {key!r}; {hint}")


def read_yaml(path: Path) -> Mapping[str, Any]:
    """Reads the keys and values of a descriptor.

    Raises:
        UserError: the file is missing or can't be read, or it is not a mapping in YAML.
    """
    refuse_special(path, "descriptor")
    try:
        content = load_yaml(path.read_text(encoding="utf-8-sig"))
    except IsADirectoryError as error:
        raise UserError(
            f"descriptor {path}: is a folder; name the YAML file that describes it, which"
            f" clipmask-data init {path} writes"
        ) from error
    except FileNotFoundError as error:
        raise UserError(
            f"descriptor {path}: no such file; it is a YAML file that describes a dataset"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"descriptor {path}: can't be read ({error})") from error
    except yaml.YAMLError as error:
        raise UserError(
            f"descriptor {path}: not plain YAML: {' '.join(str(error).split())}"
        ) from error
    if not isinstance(content, dict):
        raise UserError(
            f"descriptor {path}: not a mapping of keys to values; it needs images, labels and"
            " classes"
        )
    return content


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _shown(value: Mapping[str, Any]) -> str:
    return "{" + ", ".join(f"{key}: {item}" for key, item in value.items()) + "}"
