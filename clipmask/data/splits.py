"""Assignment of the pictures of a described dataset to splits.

For shares, the split of a picture depends on a hash of its path relative to the folder of images;
the order of the files and the machine have no effect. Up to ``FEW`` pictures are sorted by their
hash and cut, so that each split gets exactly its share. Of more pictures, each one's own hash
decides, so that a new file does not move others to another split.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path, PurePosixPath

from clipmask.data.split_names import read_json_lists
from clipmask.errors import UserError
from clipmask.paths import refuse_special

LISTS = (".txt", ".csv", ".tsv", ".lst")  # suffixes of files that list pictures
JSON = ".json"  # suffix of files that may list the pictures of several splits
TABLES = (".csv", ".tsv")  # suffixes of lists whose first line may name the columns
FEW = 500  # up to this number of pictures, shares are exact
Source = float | Path  # a share, or a text file or folder


def split_paths(
    splits: Mapping[str, Source],
    pictures: Sequence[Path],
    labelled: Sequence[Path],
    descriptor: Path,
    images: Path,
    seed: int = 0,
) -> dict[str, list[Path]]:
    """Assigns pictures to splits.

    Args:
        splits: for each split its share (all sum to 1); or a text file that lists its pictures (see
            ``named_pictures``); or a JSON file (see ``clipmask.data.split_names``); or a folder
            below ``images``.
        pictures: the paths of all pictures, relative to ``images``.
        labelled: those that have a label map, sorted; the others are in no split.
        descriptor: the YAML file, for messages.
        images: the folder of the pictures.
        seed: the seed of the shares.

    Returns:
        For each split its pictures, in the order of ``labelled`` or of the text file.

    Raises:
        UserError: a text file is empty, or a line of it fits no picture or several.
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
            listed = _listed(source, split, pictures, descriptor, images)
            found[split] = [image for image in listed if image in known]
    return found


def by_share(
    shares: Mapping[str, float], images: Sequence[Path], seed: int = 0
) -> dict[str, list[Path]]:
    """Assigns pictures to splits at random, by shares; see the docstring of the module.

    Args:
        shares: the share of each split; they sum to 1.
        images: relative paths without duplicates.
        seed: the seed; another one gives other splits.

    Returns:
        For each split its images, in the order of ``images``. If there are at least as many images
        as splits, no split with a share above 0 is empty.
    """
    shares_above_0 = {split: share for split, share in shares.items() if share > 0}
    wanted = list(shares_above_0)
    draws = {image: _draw(image, seed) for image in images}
    if len(images) > FEW:
        ends = list(accumulate(shares_above_0.values()))
        chosen = {}
        for image, draw in draws.items():
            chosen[image] = wanted[min(bisect_right(ends, draw), len(wanted) - 1)]
    else:
        counts = _counts(list(shares_above_0.values()), len(images))
        order: list[str] = []
        for split, count in zip(wanted, counts, strict=True):
            order.extend([split] * count)
        chosen = dict(zip(sorted(images, key=draws.__getitem__), order, strict=True))
    found: dict[str, list[Path]] = {split: [] for split in shares}
    for image in images:
        found[chosen[image]].append(image)
    return found


def _counts(shares: Sequence[float], total: int) -> list[int]:
    """Divides ``total`` into whole numbers in the ratio of ``shares``.

    Each number is 1 or more, if ``total`` is large enough.
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
    """Returns a number in [0, 1) that depends on the path and the seed only."""
    text = image.as_posix()
    if seed:
        text += f"#{seed}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def _listed(
    file: Path, split: str, pictures: Sequence[Path], descriptor: Path, images: Path
) -> list[Path]:
    """Returns the pictures that a file lists for a split, without duplicates."""
    refuse_special(file, f"descriptor {descriptor}:")
    index = picture_index(pictures)
    chosen: dict[Path, None] = {}
    is_json = file.suffix.lower() == JSON
    try:
        lines = _json_lines(file, split) if is_json else _text_lines(file)
    except UserError as error:
        raise UserError(f"descriptor {descriptor}: {error}") from error
    for where, line in lines:
        exact = named_pictures(line, index)
        if not exact and where == "line 1" and file.suffix.lower() in TABLES:
            continue  # this line names the columns
        if len(exact) != 1:
            fault = f"no such picture in {images}"
            if exact:
                fault = f"could be {' or '.join(sorted(map(str, exact))[:3])}"
            raise UserError(
                f"descriptor {descriptor}: {file}, {where}: {line.strip()!r}: {fault}; write"
                " paths relative to images"
            )
        chosen[exact.pop()] = None
    if not chosen:
        raise UserError(
            f"descriptor {descriptor}: {file}: lists no pictures; write one path per line"
        )
    return list(chosen)


def _text_lines(file: Path) -> list[tuple[str, str]]:
    """Returns the place (for messages) and the text of each line of a list.

    Empty lines and lines that begin with # are skipped.
    """
    lines = file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    found = []
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.lstrip().startswith("#"):
            found.append((f"line {number}", line))
    return found


def _json_lines(file: Path, split: str) -> list[tuple[str, str]]:
    """Returns the place (for messages) and the name of each picture of a split in a JSON file.

    If the file has only one list, it is taken for any split.
    """
    lists = read_json_lists(file)
    names = lists.get(split, lists.get(None))
    if names is None:
        raise UserError(
            f"{file}: has no list for {split!r}; there are {', '.join(map(str, lists))}"
        )
    return [(f"{split}[{place}]", name) for place, name in enumerate(names)]


Index = Mapping[str, set[Path]]


def picture_index(pictures: Sequence[Path]) -> Index:
    """Returns an index from the names that a list may use to the pictures.

    Such a name is the path of a picture or its last parts, with or without the suffix.
    """
    index: defaultdict[str, set[Path]] = defaultdict(set)
    for picture in pictures:
        for start in range(len(picture.parts)):
            end = Path(*picture.parts[start:])
            index[end.as_posix()].add(picture)
            index[end.with_suffix("").as_posix()].add(picture)
    return index


def named_pictures(line: str, index: Index) -> set[Path]:
    """Returns the pictures that a line of a list may name.

    The whole line is tried first, then its first column (a comma, semicolon, tab or blank ends a
    column; a label map may stand in the second). The file's suffix may be missing. A path may begin
    on another machine or above the folder of images, if its last parts are the whole path of a
    picture below that folder.

    Args:
        line: one line.
        index: the result of ``picture_index``.

    Returns:
        The pictures: none if no picture fits, several if the line is ambiguous.
    """
    columns = (line, re.split(r"[,;\t]", line)[0], (line.split() or [""])[0])
    ways = [PurePosixPath(text.strip().strip("\"'").replace("\\", "/")).parts for text in columns]
    for parts in ways:
        name = "/".join(parts).removeprefix("./")
        found = index.get(name, set())
        if found:
            return {picture for picture in found if picture.as_posix() == name} or found
    # The first column comes first here, because the end of the whole line is its last column.
    for parts in ways[::-1]:
        for start in range(1, len(parts)):
            found = _whole_paths("/".join(parts[start:]), index)
            if found:
                return found
    return set()


def _whole_paths(name: str, index: Index) -> set[Path]:
    """Returns the pictures whose whole path, with or without suffix, is ``name``."""
    found = index.get(name, set())
    return {path for path in found if name in (path.as_posix(), path.with_suffix("").as_posix())}
