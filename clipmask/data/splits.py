"""Which picture of a described dataset belongs to which split.

Shares are drawn by a hash of each picture's path relative to the folder of images, so neither the
order of the files nor the machine matters. Of up to ``FEW`` pictures, the order of the hashes is
cut so that each split gets its share to the picture. Of more, each picture's own hash decides, so
that a file that is added moves no other.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path, PurePosixPath

from clipmask.errors import UserError
from clipmask.paths import refuse_special

LISTS = (".txt", ".csv", ".tsv", ".lst")  # endings of files that list pictures
TABLES = (".csv", ".tsv")  # of those whose first line may name columns
FEW = 500  # pictures, up to which shares are met exactly
Source = float | Path  # a share, or a text file or folder


def split_paths(
    splits: Mapping[str, Source],
    pictures: Sequence[Path],
    labelled: Sequence[Path],
    descriptor: Path,
    images: Path,
    seed: int = 0,
) -> dict[str, list[Path]]:
    """Shares pictures out.

    Args:
        splits: shares that sum to 1; or for each a text file, which lists pictures (see
            ``named_pictures``); or a folder below ``images``.
        pictures: all there are, relative to ``images``.
        labelled: those with a label map, in order; the others are in no split.
        descriptor: the YAML file, for messages.
        images: their folder.
        seed: of the shares.

    Returns:
        For each split its pictures, in the order of ``labelled`` or of the text file.

    Raises:
        UserError: a text file names a picture that is not there, or that could be several, or is
            empty.
    """
    shares = {split: source for split, source in splits.items() if isinstance(source, float)}
    if shares:
        return by_share(shares, labelled, seed)
    found: dict[str, list[Path]] = {}
    for split, source in splits.items():
        assert isinstance(source, Path)
        if source.is_dir():
            inside = source.relative_to(images)
            found[split] = [image for image in labelled if image.is_relative_to(inside)]
        else:
            known = set(labelled)
            found[split] = [
                image for image in _listed(source, pictures, descriptor, images) if image in known
            ]
    return found


def by_share(
    shares: Mapping[str, float], images: Sequence[Path], seed: int = 0
) -> dict[str, list[Path]]:
    """Draws splits by shares, see the module's text.

    Args:
        shares: of each split, sum 1.
        images: relative paths, each once.
        seed: another one gives another draw.

    Returns:
        For each split its images, in the order given. None with a share above 0 is empty if there
        are as many images as splits.
    """
    wanted = [split for split, share in shares.items() if share > 0]
    draws = {image: _draw(image, seed) for image in images}
    if len(images) > FEW:
        ends = list(accumulate(shares[split] for split in wanted))
        chosen = {
            image: wanted[min(bisect_right(ends, draw), len(wanted) - 1)]
            for image, draw in draws.items()
        }
    else:
        counts = _counts([shares[split] for split in wanted], len(images))
        order = [split for split, count in zip(wanted, counts, strict=True) for _ in range(count)]
        chosen = dict(zip(sorted(images, key=draws.__getitem__), order, strict=True))
    return {split: [image for image in images if chosen[image] == split] for split in shares}


def _counts(shares: Sequence[float], total: int) -> list[int]:
    """Returns whole numbers in the ratio of ``shares``, which sum to ``total``; 1 or more each,
    where that can be.
    """
    exact = [share * total for share in shares]
    counts = [int(number + 1e-9) for number in exact]
    by_rest = sorted(range(len(shares)), key=lambda place: counts[place] - exact[place])
    for place in by_rest[: total - sum(counts)]:
        counts[place] += 1
    while total >= len(counts) and 0 in counts:
        counts[counts.index(max(counts))] -= 1
        counts[counts.index(0)] += 1
    return counts


def _draw(image: Path, seed: int) -> float:
    """Returns a number from 0 up to 1 that depends on the path, and on the seed, alone."""
    text = image.as_posix() + (f"#{seed}" if seed else "")
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def _listed(file: Path, pictures: Sequence[Path], descriptor: Path, images: Path) -> list[Path]:
    """Returns the pictures that a text file lists, each once; empty lines and those with # are
    passed over.
    """
    refuse_special(file, f"descriptor {descriptor}:")
    index = picture_index(pictures)
    chosen: dict[Path, None] = {}
    for number, line in enumerate(
        file.read_text(encoding="utf-8-sig", errors="replace").splitlines(), 1
    ):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        exact = named_pictures(line, index)
        if not exact and number == 1 and file.suffix.lower() in TABLES:
            continue  # the names of columns
        if len(exact) != 1:
            fault = (
                f"could be {' or '.join(sorted(map(str, exact))[:3])}"
                if exact
                else f"no such picture in {images}"
            )
            raise UserError(
                f"descriptor {descriptor}: {file}, line {number}: {line.strip()!r}: {fault}; write"
                " paths relative to images"
            )
        chosen[exact.pop()] = None
    if not chosen:
        raise UserError(
            f"descriptor {descriptor}: {file}: lists no pictures; write one path a line"
        )
    return list(chosen)


Index = Mapping[str, set[Path]]


def picture_index(pictures: Sequence[Path]) -> Index:
    """Returns pictures by what a list may call them: their path or any end of it, with or without
    suffix.
    """
    index: defaultdict[str, set[Path]] = defaultdict(set)
    for picture in pictures:
        for start in range(len(picture.parts)):
            end = Path(*picture.parts[start:])
            index[end.as_posix()].add(picture)
            index[end.with_suffix("").as_posix()].add(picture)
    return index


def named_pictures(line: str, index: Index) -> set[Path]:
    """Returns the pictures that a line of a list may mean.

    The whole line is tried first, then its first column (columns end at a comma, semicolon, tab or
    blank, as where a label map follows the picture). The ending of the file may be missing. A path
    may begin elsewhere, on another machine or above the folder of images, if it ends in the whole
    path that a picture has below that folder.

    Args:
        line: one line.
        index: from ``picture_index``.

    Returns:
        Nothing where no picture fits; several where the line is ambiguous.
    """
    columns = (line, re.split(r"[,;\t]", line)[0], (line.split() or [""])[0])
    ways = [PurePosixPath(text.strip().strip("\"'").replace("\\", "/")).parts for text in columns]
    for parts in ways:
        name = "/".join(parts).removeprefix("./")
        found = index.get(name, set())
        if found:
            return {picture for picture in found if picture.as_posix() == name} or found
    for parts in ways[::-1]:  # a whole line would end in the path of its last column
        for start in range(1, len(parts)):
            name = "/".join(parts[start:])
            found = {
                path
                for path in index.get(name, ())
                if name in (path.as_posix(), path.with_suffix("").as_posix())
            }
            if found:
                return found
    return set()
