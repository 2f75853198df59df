"""Guessing the content of a descriptor from a folder of labelled pictures, with reasons."""

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
from clipmask.data.split_names import is_train_and_val, read_json_lists, split_name
from clipmask.data.splits import JSON, LISTS, Index, named_pictures, picture_index
from clipmask.errors import UserError

_MOST_PICTURES = 20  # number of pictures that are read to guess the range of values
# folders in which lists of the splits are searched
_LISTS = ("", "ImageSets/Segmentation", "ImageSets", "splits", "lists")


@dataclass(frozen=True)
class Splits:
    """The guessed splits.

    Attributes:
        sources: split -> its share, subfolder of the images (str), or list (Path, relative to the
            folder).
        why: the reason for this guess.
        seed: the seed of the shares.
    """

    sources: dict[str, float | str | Path]
    why: str
    seed: int = 0


SHOWN: tuple[str, ...] = ("train", "val", "test")  # splits in the order in which they are written
_BOTH = "trainval"  # lists of train and val together
SHARES = Splits(
    {"train": 0.8, "val": 0.2}, "shares: no folders or lists of train and val were found"
)


@dataclass(frozen=True)
class FolderGuess:
    """The complete guess about a folder.

    Attributes:
        folder: the folder.
        pairing: which pictures and label maps belong together.
        values: the guessed classes and void values.
        splits: the guessed splits.
        depth: the guessed range of the pictures' values.
        names_from: the source of the class names, for messages; None: they are placeholders.
        num_sampled: the number of label maps that were read.
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
    """Guesses the content of a descriptor for a folder.

    Args:
        folder: a folder that contains pictures and label maps at any depth.
        names: the class names, in the order of the classes that are found; None: the names come
            from a file, or are placeholders.
        sample: the number of label maps that are read, spread evenly over all.
        labels: the name of the folders of label maps; None: it is guessed.

    Raises:
        UserError: no pairs are found; no label map can be read; ``names`` has too many or too few
            names.
    """
    pairing = find_pairing(folder, labels)
    count = len(pairing.pairs)
    chosen = [pairing.pairs[place][1] for place in spread_places(count, sample)]
    file = find_names(_places(folder, pairing))
    try:
        pixels = read_sample(folder / path for path in chosen)
        file = file or known_names(pixels, pairing)
        values = guess_values(pixels, file)
        names_from: str | None = "--names"
        if names is not None:
            values = rename(values, names)
        else:
            names_from = _names_from(values, file)
    except UserError as error:
        raise UserError(f"{folder}: {error}") from error
    pictures = [folder / pairing.pairs[place][0] for place in spread_places(count, _MOST_PICTURES)]
    depth = guess_depth(pictures)
    return FolderGuess(
        folder, pairing, values, find_splits(folder, pairing), depth, names_from, len(chosen)
    )


def spread_places(count: int, wanted: int) -> list[int]:
    """Returns ``wanted`` (at most ``count``) of the numbers 0 .. ``count`` - 1, evenly spread."""
    wanted = min(wanted, count)
    return [place * count // wanted for place in range(wanted)]


def _places(folder: Path, pairing: Pairing) -> list[Path]:
    """Returns the folders that may hold a file of names: those of the files, and all above."""
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
    """Returns the source of the class names for messages, or None for placeholders."""
    names = {item.name for item in values.classes}
    if file and names & {item.name for item in file.names}:
        return str(file.path)
    if all(re.fullmatch(r"class_\d+", name) for name in names):
        return None
    return "the colours of CamVid"


def find_splits(folder: Path, pairing: Pairing) -> Splits:
    """Guesses the splits: folders or else lists named train, val or test, else shares."""
    passed: list[str] = []
    found = _split_folders(pairing) or _split_lists(folder, pairing, passed)
    if found is None and passed:
        why = (
            f"shares: in {', '.join(passed)}, no lists of these pictures for train and another"
            " split were found; write lists in this form: one picture per line, one file per split"
        )
        return Splits(dict(SHARES.sources), why)
    return found or SHARES


def _split_folders(pairing: Pairing) -> Splits | None:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for image, _ in pairing.pairs:
        parts = image.parent.relative_to(pairing.images).parts
        place = next((place for place, part in enumerate(parts) if _split_of_folder(part)), None)
        if place is None:
            return None
        found[_split_of_folder(parts[place]) or ""].add("/".join(parts[: place + 1]))
    if (
        "train" not in found
        or len(found) < 2
        or any(len(folders) > 1 for folders in found.values())
    ):
        return None
    sources = {split: min(found[split]) for split in SHOWN if split in found}
    return Splits(dict(sources), f"folders: {', '.join(sources.values())}")


def _split_of_folder(name: str) -> str | None:
    """Returns the split in the name of a folder; train_val counts as train."""
    if is_train_and_val(name):
        return "train"
    return split_name(name)


def _split_lists(folder: Path, pairing: Pairing, passed: list[str]) -> Splits | None:
    """Finds lists of the pictures of each split.

    Args:
        folder, pairing: the folder, and its pairs.
        passed: lists without any known picture are added to it.
    """
    index = picture_index([image.relative_to(pairing.images) for image, _ in pairing.pairs])
    ways = (pairing.images, *pairing.images.parents, pairing.labels, *pairing.labels.parents)
    for inside in (top / place for top in dict.fromkeys((Path(), *ways)) for place in _LISTS):
        paths = sorted((folder / inside).glob("*.*"))
        for endings in (LISTS, (JSON,)):  # lists of both kinds are not mixed
            found: dict[str, Path] = {}
            for path in paths:
                if path.suffix.lower() in endings:
                    _add_lists(path, inside / path.name, index, found, passed)
            if _BOTH in found and "train" not in found:
                found["train"] = found[_BOTH]
            found.pop(_BOTH, None)
            if "train" in found and len(found) > 1:
                lists = {each: found[each] for each in SHOWN if each in found}
                files = ", ".join(dict.fromkeys(map(str, lists.values())))
                return Splits(dict(lists), f"lists: {files}")
            passed += [str(own) for own in dict.fromkeys(found.values())]
    return None


def _add_lists(
    path: Path, own: Path, index: Index, found: dict[str, Path], passed: list[str]
) -> None:
    """Adds the splits whose pictures a file lists to ``found``.

    A file that has the name of a list but contains no known picture is added to ``passed``.

    Args:
        path: the file.
        own: its path in the folder.
        index: the pictures.
        found: the file of each split; trainval has the key ``_BOTH``.
        passed: files that are not understood.
    """
    is_json, says_split = path.suffix.lower() == JSON, "split" in path.stem.lower()
    split = _BOTH if is_train_and_val(path.stem) else split_name(path.stem)
    if not (split or says_split):
        return
    listed = _listed_splits(path, split, index)
    for each in listed:
        found.setdefault(each, own)
    # train.json may be anything, and trainval.txt of pictures without labels is of no use
    if not listed and split != _BOTH and (says_split or not is_json):
        passed.append(str(own))


def _listed_splits(path: Path, split: str | None, index: Index) -> list[str]:
    """Returns the splits whose pictures a file lists.

    Args:
        path: the file.
        split: the split that its name contains, or None.
        index: the pictures.
    """
    if path.suffix.lower() != JSON:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        if split and _names_some(lines, index):
            return [split]
        return []
    try:
        lists = read_json_lists(path)
    except UserError:
        return []
    named = {own or split: names for own, names in lists.items()}
    known = (*SHOWN, _BOTH)
    return [own for own, names in named.items() if own in known and _names_some(names, index)]


def _names_some(lines: Sequence[str], index: Index) -> bool:
    """Returns whether a list names at least one of the pictures."""
    return any(len(named_pictures(line, index)) == 1 for line in lines if line.strip())
