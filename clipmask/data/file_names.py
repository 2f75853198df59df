"""File names for the results of pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path


def result_names(pictures: Sequence[tuple[Path, Path]]) -> list[Path]:
    """Returns a different file name, without suffix, for the result of each picture.

    The names also differ on file systems that ignore upper and lower case. A result has the name of
    its picture. If two names are equal, the name of the picture's folder is put before them; if
    they are still equal, the picture's suffix is appended; and last, its number.

    Args:
        pictures: different files, each with the folder of its result, relative to the folder of all
            results.

    Returns:
        One path for each picture, relative to the folder of all results.
    """
    levels = [0] * len(pictures)
    while True:
        names = []
        for number, (path, folder) in enumerate(pictures):
            names.append(folder / _name(path, levels[number], number))
        counts = Counter(str(name).casefold() for name in names)
        equal = [number for number, name in enumerate(names) if counts[str(name).casefold()] > 1]
        if not equal:
            return names
        for number in equal:  # at the last level all names differ by their number, so this ends
            levels[number] += levels[number] < 3


def _name(path: Path, level: int, number: int) -> str:
    parent, stem, suffix = path.resolve().parent.name, path.stem, path.suffix.lstrip(".")
    names = (stem, f"{parent}_{stem}", f"{parent}_{stem}_{suffix}", f"{parent}_{stem}_{number}")
    return names[level]
