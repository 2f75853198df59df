"""Search for the pictures that the demo reads."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from clipmask.data.reading import PICTURE_SUFFIXES
from clipmask.errors import UserError
from clipmask.film.video import FILM_SUFFIXES
from clipmask.paths import user_path


class Input(NamedTuple):
    """A picture, and the folder of its result, relative to the output folder."""

    path: Path
    folder: Path


def find_pictures(
    patterns: Sequence[str],
    *,
    recursive: bool = False,
    exclude: Path | None = None,
    option: str = "--input",
) -> list[Input]:
    """Finds the pictures given by files, quoted patterns and folders.

    Args:
        patterns: paths of files and folders, and patterns with ``*``, ``?``, ``[...]`` or ``**``.
        recursive: True: search subfolders too.
        exclude: a folder that is not searched, such as that of earlier results.
        option: the name of the option, for messages.

    Returns:
        Each picture once, sorted within each pattern. The result of a picture in a subfolder has
        the same subfolder.

    Raises:
        UserError: a pattern matches no picture.
    """
    found: dict[Path, Input] = {}
    for pattern in patterns:
        pictures = _expand(str(user_path(pattern)), recursive, exclude, option)
        for picture in pictures:
            found.setdefault(picture.path.resolve(), picture)
    return list(found.values())


def _expand(pattern: str, recursive: bool, exclude: Path | None, option: str) -> list[Input]:
    path = Path(pattern)
    if path.is_dir():
        return _in_folder(path, recursive, exclude, option)
    if path.exists():
        if path.suffix.lower() in FILM_SUFFIXES:
            raise UserError(f"{option} {pattern}: is a film; segment it with --video-input")
        return [Input(path, Path())]
    if not glob.has_magic(pattern):
        raise UserError(f"{option} {pattern}: no such file or folder")
    named = bool(Path(pattern).suffix) and not glob.has_magic(Path(pattern).suffix)
    pictures = []
    for match in map(Path, sorted(glob.glob(pattern, recursive=True))):
        if match.is_file() and (named or _is_picture(match)):
            pictures.append(Input(match, Path()))
    if not pictures:
        raise UserError(f"{option} {pattern}: the pattern matches no picture")
    return pictures


def _in_folder(folder: Path, recursive: bool, exclude: Path | None, option: str) -> list[Input]:
    everything = sorted(path for path in folder.rglob("*") if path.is_file() and _is_picture(path))
    if exclude is not None and exclude.resolve() != folder.resolve():
        excluded = exclude.resolve()
        everything = [path for path in everything if excluded not in path.resolve().parents]
    pictures = everything
    if not recursive:
        pictures = [path for path in everything if path.parent == folder]
    if not pictures:
        films = sorted(path for path in folder.iterdir() if path.suffix.lower() in FILM_SUFFIXES)
        hint = ""
        if films:
            hint = f"; {films[0].name} is a film: segment it with --video-input"
        if everything and option == "--input":
            hint = f"; there are {len(everything)} in its subfolders: add --recursive"
        raise UserError(f"{option} {folder}: no pictures in this folder{hint}")
    return [Input(path, path.parent.relative_to(folder)) for path in pictures]


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".")
