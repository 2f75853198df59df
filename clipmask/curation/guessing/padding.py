"""Detection of names that differ by leading zeros: images/7.jpg with labels/0007.png."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from clipmask.errors import UserError

_MOST = 6  # number of files with the same name that are compared
# number -> name -> files
_Groups = defaultdict[str, defaultdict[str, list[PurePosixPath]]]


def refuse_padding(folder: Path, files: Sequence[PurePosixPath], paired: int) -> None:
    """Refuses a folder in which leading zeros prevent pictures and label maps from matching.

    Args:
        folder: the folder.
        files: all pictures in it, relative to it.
        paired: the number of pairs with equal names.

    Raises:
        UserError: without leading zeros, more files would match than by their names.
    """
    by_number: _Groups = defaultdict(lambda: defaultdict(list))
    for file in files:
        by_number[_without_zeros(file.stem)][file.stem].append(file)
    pairs: defaultdict[tuple[PurePosixPath, PurePosixPath], list[tuple[str, str]]] = defaultdict(
        list
    )
    for stems in by_number.values():
        for one, other in itertools.permutations(stems.values(), 2):
            for first, second in itertools.product(one[:_MOST], other[:_MOST]):
                if first.parent < second.parent:
                    pairs[first.parent, second.parent].append((str(first), str(second)))
    most = max(pairs.values(), key=len, default=[])
    if len(most) > paired:
        example = " and ".join(most[0])
        raise UserError(
            f"{folder}: {example} differ by leading zeros, as do {len(most)} pairs of files in"
            " all; a picture and its label map need the same name, so rename the files of one"
            " folder"
        )


def _without_zeros(stem: str) -> str:
    return re.sub(r"\d+", lambda number: str(int(number[0])), stem)
