"""What the results of pictures are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path


def result_names(pictures: Sequence[tuple[Path, Path]]) -> list[Path]:
    """Names the result of each picture, without ending; no two are equal, not even on disks that
    ignore case.

    A name is the picture's own; where two would meet it gets the name of the picture's folder
    before it, then the picture's ending behind it, then its number.

    Args:
        pictures: different files, each with the folder that its result goes to, relative to that of
            all results.

    Returns:
        Paths relative to the folder of all results, one for each picture.
    """
    levels = [0] * len(pictures)
    while True:
        names = [
            _name(*picture, level, number)
            for number, (picture, level) in enumerate(zip(pictures, levels, strict=True))
        ]
        counts = Counter(str(name).casefold() for name in names)
        meeting = [number for number, name in enumerate(names) if counts[str(name).casefold()] > 1]
        if not meeting:
            return names
        for number in meeting:  # at the last level all names differ by their number, so this ends
            levels[number] += levels[number] < 3


def _name(path: Path, folder: Path, level: int, number: int) -> Path:
    parent, stem, ending = path.resolve().parent.name, path.stem, path.suffix.lstrip(".")
    return (
        folder
        / (stem, f"{parent}_{stem}", f"{parent}_{stem}_{ending}", f"{parent}_{stem}_{number}")[
            level
        ]
    )
