"""A folder of labelled pictures -> what its descriptor has to say, and why."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clipmask.curation.guessing.depth import Depth, guess_depth
from clipmask.curation.guessing.known import known_names
from clipmask.curation.guessing.naming import NameFile, find_names
from clipmask.curation.guessing.pairing import Pairing, find_pairing
from clipmask.curation.guessing.pixels import read_sample
from clipmask.curation.guessing.values import Guess, guess_values, rename
from clipmask.data.split_names import read_json_lists, split_name
from clipmask.data.splits import JSON, LISTS, Index, named_pictures, picture_index
from clipmask.errors import UserError

_MOST_PICTURES = 20  # that are read to see how deep their values are
# folders that lists of the splits lie in
_LISTS = ("", "ImageSets/Segmentation", "ImageSets", "splits", "lists")


@dataclass(frozen=True)
class Splits:
    """Where the splits come from.

    Attributes:
        sources: split -> share, subfolder of the images, or text file (Path, relative to the
            folder).
        why: what this was concluded from.
        seed: of shares.
    """

    sources: dict[str, float | str | Path]
    why: str
    seed: int = 0


SHOWN: tuple[str, ...] = ("train", "val", "test")  # splits in the order in which they are written
SHARES = Splits(
    {"train": 0.8, "val": 0.2}, "shares: no folders or lists of train and val were found"
)


@dataclass(frozen=True)
class FolderGuess:
    """All that was concluded of a folder.

    Attributes:
        folder: that was looked at.
        pairing: which files belong together.
        values: what label maps hold.
        splits: which pictures train.
        depth: how pictures become 8-bit pictures.
        names_from: where class names come from, for reading; None: they are placeholders.
        num_sampled: how many label maps were read.
    """

    folder: Path
    pairing: Pairing
    values: Guess
    splits: Splits
    depth: Depth
    names_from: str | None
    num_sampled: int


def guess_folder(
    folder: Path,
    names: Sequence[str] | None = None,
    sample: int = 200,
    labels: str | None = None,
) -> FolderGuess:
    """Looks at a folder.

    Args:
        folder: with pictures and label maps somewhere in it.
        names: of the classes, in the order of what is found; None: from a file of names, or
            placeholders.
        sample: label maps that are read, spread over all.
        labels: what the folders of the label maps are called; None: finds out.

    Raises:
        UserError: nothing is found; no label map can be read; ``names`` are too many or too few.
    """
    pairing = find_pairing(folder, labels)
    count = len(pairing.pairs)
    chosen = [pairing.pairs[place][1] for place in spread_places(count, sample)]
    file = find_names(_places(folder, pairing))
    try:
        pixels = read_sample(folder / path for path in chosen)
        file = file or known_names(pixels, pairing)
        values = guess_values(pixels, file)
        values = values if names is None else rename(values, names)
    except UserError as error:
        raise UserError(f"{folder}: {error}") from error
    names_from = "--names" if names is not None else _names_from(values, file)
    pictures = [folder / pairing.pairs[place][0] for place in spread_places(count, _MOST_PICTURES)]
    depth = guess_depth(pictures)
    return FolderGuess(
        folder, pairing, values, find_splits(folder, pairing), depth, names_from, len(chosen)
    )


def spread_places(count: int, wanted: int) -> list[int]:
    """Returns ``wanted`` of the numbers below ``count``, evenly spread; all where there are
    fewer.
    """
    wanted = min(wanted, count)
    return [place * count // wanted for place in range(wanted)]


def _places(folder: Path, pairing: Pairing) -> list[Path]:
    """Returns where a file of names may lie: beside pictures and label maps, or on the way to
    them.
    """
    places = [folder]
    for inside in (
        pairing.labels,
        pairing.images,
        pairing.pairs[0][1].parent,
        pairing.pairs[0][0].parent,
    ):
        places += [folder / inside, *(folder / parent for parent in inside.parents)]
    return list(dict.fromkeys(places))


def _names_from(values: Guess, file: NameFile | None) -> str | None:
    """Says where the names of the classes come from; None: from nowhere."""
    names = {item.name for item in values.classes}
    if file and names & {item.name for item in file.names}:
        return str(file.path)
    return (
        None if all(re.fullmatch(r"class_\d+", name) for name in names) else "the colours of CamVid"
    )


def find_splits(folder: Path, pairing: Pairing) -> Splits:
    """Finds folders called train, val or test, else lists of that name, else takes shares."""
    passed: list[str] = []
    found = _split_folders(pairing) or _split_lists(folder, pairing, passed)
    if found is None and passed:
        why = (
            f"shares: {', '.join(passed)} were found, but not understood as lists of these"
            " pictures for train and another split; name files of a picture a line under splits, if"
            " they are meant"
        )
        return Splits(dict(SHARES.sources), why)
    return found or SHARES


def _split_folders(pairing: Pairing) -> Splits | None:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for image, _ in pairing.pairs:
        parts = image.parent.relative_to(pairing.images).parts
        place = next((place for place, part in enumerate(parts) if split_name(part)), None)
        if place is None:
            return None
        found[split_name(parts[place]) or ""].add("/".join(parts[: place + 1]))
    if (
        "train" not in found
        or len(found) < 2
        or any(len(folders) > 1 for folders in found.values())
    ):
        return None
    sources = {split: min(found[split]) for split in SHOWN if split in found}
    return Splits(dict(sources), f"folders: {', '.join(sources.values())}")


def _split_lists(folder: Path, pairing: Pairing, passed: list[str]) -> Splits | None:
    """Returns lists of the pictures; those that name none of them are added to ``passed``."""
    index = picture_index([image.relative_to(pairing.images) for image, _ in pairing.pairs])
    tops = dict.fromkeys((Path(), pairing.images, *pairing.images.parents))
    for inside in (top / place for top in tops for place in _LISTS):
        paths = sorted((folder / inside).glob("*.*"))
        for endings in (LISTS, (JSON,)):  # lists of both kinds are not mixed
            found: dict[str, Path] = {}
            for path in paths:
                split, says_split = split_name(path.stem), "split" in path.stem.lower()
                if path.suffix.lower() not in endings or not (split or says_split):
                    continue
                own = inside / path.name
                listed = _listed_splits(path, split, index)
                found |= {each: own for each in listed if each not in found}
                if not listed and (says_split or JSON not in endings):  # train.json may be anything
                    passed.append(str(own))
            if "train" in found and len(found) > 1:
                lists = {each: found[each] for each in SHOWN if each in found}
                files = ", ".join(dict.fromkeys(map(str, lists.values())))
                return Splits(dict(lists), f"lists: {files}")
            passed += [str(own) for own in dict.fromkeys(found.values())]
    return None


def _listed_splits(path: Path, split: str | None, index: Index) -> list[str]:
    """Returns the splits whose pictures a file lists; ``split`` is the one that its name tells."""
    if path.suffix.lower() != JSON:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        return [split] if split and _names_some(lines, index) else []
    try:
        lists = read_json_lists(path)
    except UserError:
        return []
    named = {own or split: names for own, names in lists.items()}
    return [own for own, names in named.items() if own in SHOWN and _names_some(names, index)]


def _names_some(lines: Sequence[str], index: Index) -> bool:
    """Whether a list names pictures that are there."""
    return any(len(named_pictures(line, index)) == 1 for line in lines if line.strip())
