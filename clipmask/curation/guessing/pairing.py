"""Guessing which files of a folder are pictures and which are their label maps.

Two files belong together if their names are equal except for the end (``a.jpg`` and
``a_mask.png``), and their folders are equal except for one part (``train/images`` and
``train/masks``). For every such rule, the matching files are counted. The pixels of the files
decide which side of a rule is the label maps.
"""

from __future__ import annotations

import itertools
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from clipmask.curation.guessing.mask_per_class import refuse_masks_per_class
from clipmask.curation.guessing.other_files import other_files
from clipmask.curation.guessing.padding import refuse_padding
from clipmask.curation.guessing.pixels import Look, look
from clipmask.data.files import files_below
from clipmask.data.reading import PICTURE_SUFFIXES
from clipmask.data.split_names import SPLIT_NAMES
from clipmask.errors import UserError

# the first line of the descriptors that clipmask-data convert writes
CONVERTED = "# Written by clipmask-data convert."
LOOKED_FOR = (
    "images/ beside labels/ (or masks/, annotations/, gt/, ...), JPEGImages/ beside"
    " SegmentationClass/, train/ beside trainannot/, leftImg8bit/ beside gtFine/, a.jpg beside"
    " a_mask.png"
)
_LABEL_WORDS = re.compile(r"label|mask|annot|gt|truth|seg|class|target", re.IGNORECASE)
_IMAGE_WORDS = re.compile(r"image|img|photo|picture|jpeg|rgb|frame|input", re.IGNORECASE)
_OTHER_WORDS = re.compile(
    r"instance|object|panoptic|depth|dispar|edge|bound|vis|overlay|pred|color", re.IGNORECASE
)
# limits of the search: name endings, folders with the same stem, rules whose files are read
_MOST_ENDINGS, _MOST_FOLDERS, _MOST_RULES = 24, 6, 40
_WORDS_IN_ENDING = 4
_SAMPLES = 4  # number of files of each side whose pixels are read


@dataclass(frozen=True)
class Pairing:
    """The guessed keys of a descriptor that find label maps; paths are relative to the folder.

    Attributes:
        images, labels: the folders.
        image_suffix: the end of pictures' names; None: any picture.
        label_suffix: replaces the suffix of a picture's name.
        label_folders, image_prefix, label_prefix, flat: see ``clipmask.data.file_rule.FileRule``.
        pairs: (image, label map), sorted.
    """

    images: Path
    labels: Path
    image_suffix: str | None
    label_suffix: str
    label_folders: dict[str, str] = field(default_factory=dict)
    pairs: tuple[tuple[Path, Path], ...] = ()
    image_prefix: str = ""
    label_prefix: str = ""
    flat: bool = False


@dataclass(frozen=True)
class _Rule:
    """The difference between the names and folders of a picture and its label map.

    Attributes:
        ends: the ends of the two names; ``ends[0]`` is None for the suffix of any picture.
        parts: the folders that differ; ("", "") if they are equal. {split} means the name of a
            split, and * at the end means all subfolders.
        starts: the beginnings of the two names.
    """

    ends: tuple[str | None, str]
    parts: tuple[str, str]
    starts: tuple[str, str] = ("", "")

    @property
    def length(self) -> int:
        """The number of letters in the ends and starts."""
        return len(self.ends[0] or "") + len(self.ends[1]) + len("".join(self.starts))

    @property
    def flat(self) -> bool:
        """Whether pictures lie in several folders and label maps in one."""
        return self.parts[0].endswith("*")


def find_pairing(folder: Path, inside: str | None = None) -> Pairing:
    """Finds the pictures and label maps of a folder.

    Args:
        folder: the folder.
        inside: the name of the folders of label maps, such as 1st_manual or gt/fine; None: it is
            guessed.

    Raises:
        UserError: there is no such folder, no picture in it, or no files that could be label maps.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    files = list(_pictures(folder))
    if not files:
        raise UserError(
            f"{folder}: no picture in it or its subfolders (looked for"
            f" {', '.join(sorted(PICTURE_SUFFIXES))}){other_files(folder)}"
        )
    votes = _votes(files)
    if inside is not None:
        votes = _votes_inside(votes, inside)
        if not votes:
            raise UserError(f"{folder}: --labels {inside}: no file there has the name of a picture")
    tried: list[tuple[float, int, Pairing]] = []
    # folder and name ending of binary label maps -> pictures with these label maps
    masks: dict[str, set[tuple[PurePosixPath, PurePosixPath]]] = {}
    looks: dict[Path, Look | None] = {}
    # Both directions of a rule match equally many files; the pixels of the files decide.
    rules = sorted(votes.items(), key=lambda item: (-len(item[1]), item[0].length, str(item[0])))
    for rule, members in rules[:_MOST_RULES]:
        weight = _weight(rule, members, folder, looks)
        if weight > 0:
            # Of two rules with the same pairs, the shorter one is better: _leftImg8bit.png, not
            # _000019_leftImg8bit.png.
            tried.append((weight * len(members), -rule.length, _pairing(rule, members, files)))
            sample = [_look(folder / label, looks) for _, label in members[:9]]
            if all(found and found.values <= 2 for found in sample):
                kind = f"{rule.parts[1]}/*{rule.ends[1]}".strip("/")
                masks.setdefault(kind, set()).update(members)
    best = max(tried, key=lambda item: item[:2])[2] if tried else None
    refuse_padding(folder, files, len(best.pairs) if best else 0)
    if best is None:
        raise UserError(
            f"{folder}: {len(files)} pictures, but no label maps were found (files of the same"
            f" names with few different values); looked for {LOOKED_FOR}."
            " Rename the files or folders, or write the YAML file by hand"
        )
    refuse_masks_per_class(folder, best.pairs, masks)
    return best


def _votes_inside(votes: _Votes, inside: str) -> _Votes:
    """Returns the rules whose label maps, but not pictures, lie in folders of a given name."""
    middle = f"/{inside.strip('/')}/"
    chosen: _Votes = defaultdict(list)
    for rule, members in votes.items():
        for image, labels in members:
            if middle in f"/{labels.parent}/" and middle not in f"/{image.parent}/":
                chosen[rule].append((image, labels))
    return chosen


def find_pictures(folder: Path) -> list[Path]:
    """Returns all pictures below a folder, relative to it; hidden files and folders are skipped."""
    return [Path(path) for path in _pictures(folder)]


def _pictures(folder: Path) -> Iterator[PurePosixPath]:
    """Yields all pictures below a folder, as ``find_pictures``."""
    for file in files_below(folder, skip=_is_own_output):
        if file.suffix.lower() in PICTURE_SUFFIXES:
            yield PurePosixPath(file.as_posix())


def _is_own_output(folder: Path, names: Sequence[str]) -> bool:
    """Returns whether a folder is the output of ``clipmask-data check`` or ``convert``."""
    if {"report.json", "classes.png"} <= {*names}:
        return True
    file = folder / f"{folder.resolve().name}.yaml"
    return file.name in names and file.read_text(errors="replace").startswith(CONVERTED)


def _endings(name: str) -> list[str]:
    """Returns the possible ends of a file's name: .png, _mask.png, ..., the shortest first."""
    stem = PurePosixPath(name).stem
    places = [place for place, letter in enumerate(stem) if letter in "_-." and place > 0]
    return [name[place:] for place in [len(stem), *reversed(places)][:_WORDS_IN_ENDING]]


def _votes(files: Sequence[PurePosixPath]) -> _Votes:
    """Returns the pairs of files that match each rule."""
    counts: Counter[str] = Counter()
    for file in files:
        counts.update(_endings(file.name))
    often = [end for end, count in counts.most_common(_MOST_ENDINGS) if count >= len(files) // 100]
    usual = {*often, *(file.suffix for file in files)}
    stems: defaultdict[str | None, defaultdict[str, list[PurePosixPath]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for file in files:
        stems[None][file.stem].append(file)
        for end in usual.intersection(_endings(file.name)):
            stems[end][file.name[: -len(end)]].append(file)
    votes: defaultdict[_Rule, list[tuple[PurePosixPath, PurePosixPath]]] = defaultdict(list)
    # Pictures may have several formats, so their end is None instead of a plain suffix.
    firsts = [None, *sorted(end for end in usual if PurePosixPath("a" + end).stem != "a")]
    for first, second in itertools.product(firsts, sorted(usual)):
        for stem in stems[second]:
            images = stems[first].get(stem, [])[:_MOST_FOLDERS]
            for image, labels in itertools.product(images, stems[second][stem][:_MOST_FOLDERS]):
                if (image != labels and first != second) or image.parent != labels.parent:
                    rule = _Rule((first, second), _difference(image.parent, labels.parent))
                    votes[rule].append((image, labels))
    _drop_numbers(votes, len(files))
    _add_prefixes(files, votes)
    _add_flat(votes)
    return votes


_Votes = defaultdict[_Rule, list[tuple[PurePosixPath, PurePosixPath]]]


def _drop_numbers(votes: _Votes, count: int) -> None:
    """Removes rules such as a_07.png with a_08.png, which only lead from one frame to another."""
    for rule, members in list(votes.items()):
        first, second = rule.ends
        differ = first is not None and first != second and _unnumbered(first) == _unnumbered(second)
        if differ and 4 * len(members) < count:
            del votes[rule]


def _unnumbered(end: str) -> str:
    return re.sub(r"\d+", "#", end)


def _add_prefixes(files: Sequence[PurePosixPath], votes: _Votes) -> None:
    """Adds rules for names with different beginnings, such as img_000.jpg with mask_000.png."""
    begun: defaultdict[str, list[PurePosixPath]] = defaultdict(list)
    for file in files:
        match = re.match(r"[A-Za-z]+[_.-]*(?=\d)|[A-Za-z]+[_.-]+(?=.)", file.name)
        begun[match[0] if match else ""].append(file)
    often = sorted(begun, key=lambda start: -len(begun[start]))[:_MOST_FOLDERS]
    starts = [start for start in often if len(begun[start]) > 1]
    for first, second in itertools.permutations(starts, 2):
        stems: defaultdict[str, list[PurePosixPath]] = defaultdict(list)
        for image in begun[first]:
            stems[image.stem[len(first) :]].append(image)
        for labels in begun[second]:
            for image in stems.get(labels.stem[len(second) :], [])[:_MOST_FOLDERS]:
                parts = _difference(image.parent, labels.parent)
                votes[_Rule((None, labels.suffix), parts, (first, second))].append((image, labels))


def _add_flat(votes: _Votes) -> None:
    """Adds rules from several folders of pictures to one folder of label maps.

    Each combines the rules of the single folders.
    """
    tops: defaultdict[_Rule, list[_Rule]] = defaultdict(list)
    for rule in votes:
        images, labels = rule.parts
        if "/" in images and "{split}" not in images and labels:
            top = images.rsplit("/", 1)[0] + "/*"
            tops[_Rule(rule.ends, (top, labels), rule.starts)].append(rule)
    for flat, rules in tops.items():
        if len(rules) > 1:
            members = list(itertools.chain.from_iterable(votes[rule] for rule in rules))
            if len({labels for _, labels in members}) == len(members):
                votes[flat] = members


def _difference(one: PurePosixPath, other: PurePosixPath) -> tuple[str, str]:
    """Returns the parts that differ in two folders, without their common beginning and end."""
    first, second = list(one.parts), list(other.parts)
    while first and second and first[-1] == second[-1]:
        first.pop(), second.pop()
    while first and second and first[0] == second[0]:
        first.pop(0), second.pop(0)
    for split in sorted(SPLIT_NAMES, key=len, reverse=True):
        if (
            len(first) == len(second) == 1
            and split in first[0].lower()
            and split in second[0].lower()
        ):
            place, where = first[0].lower().index(split), second[0].lower().index(split)
            return (
                f"{first[0][:place]}{{split}}{first[0][place + len(split) :]}",
                f"{second[0][:where]}{{split}}{second[0][where + len(split) :]}",
            )
    return "/".join(first), "/".join(second)


def _weight(
    rule: _Rule,
    members: Sequence[tuple[PurePosixPath, PurePosixPath]],
    folder: Path,
    looks: dict[Path, Look | None],
) -> float:
    """Returns a weight of a rule that rates whether it leads from pictures to label maps.

    The weight is 0 if it does not.
    """
    step = max(1, len(members) // _SAMPLES)
    seen: list[tuple[Look, Look]] = []
    for picture, labels in members[::step][:_SAMPLES]:
        image, label = _look(folder / picture, looks), _look(folder / labels, looks)
        if image and label:
            seen.append((image, label))
    if not seen or not all(label.could_be_labels for _, label in seen):
        return 0.0
    weight = 1.0
    richer = sum(image.values > label.values for image, label in seen)
    images_text, labels_text = (f"{rule.parts[side]}/{rule.ends[side] or ''}" for side in (0, 1))
    if richer * 2 < len(seen):
        hints = bool(_LABEL_WORDS.search(labels_text)) + bool(_IMAGE_WORDS.search(images_text))
        hints -= bool(_LABEL_WORDS.search(images_text)) + bool(_IMAGE_WORDS.search(labels_text))
        if hints <= 0:  # the pixels don't decide, so the names must
            return 0.0
        weight *= 0.3
    factors = (
        (0.2, any(label.lossy for _, label in seen)),
        (1.1, _LABEL_WORDS.search(labels_text)),
        (1.1, re.search("trainids|semantic", labels_text.lower())),
        (0.5, _OTHER_WORDS.search(labels_text)),
        (0.9, _LABEL_WORDS.search(images_text)),
        (0.8, _OTHER_WORDS.search(images_text)),
    )
    for factor, applies in factors:
        if applies:
            weight *= factor
    return weight


def _look(path: Path, looks: dict[Path, Look | None]) -> Look | None:
    if path not in looks:
        looks[path] = look(path)
    return looks[path]


def _pairing(
    rule: _Rule,
    members: Sequence[tuple[PurePosixPath, PurePosixPath]],
    files: Sequence[PurePosixPath],
) -> Pairing:
    """Converts a rule to the keys of a descriptor."""
    pairs = tuple((Path(image), Path(labels)) for image, labels in members)
    suffix, label_suffix = rule.ends
    first, second = rule.starts
    if rule.flat:
        images, labels = (
            Path(os.path.commonpath([str(pair[side].parent) for pair in pairs])) for side in (0, 1)
        )
        return Pairing(
            images, labels, suffix, label_suffix, {}, tuple(sorted(pairs)), first, second, flat=True
        )
    images, labels = _common(pairs, 0), _common(pairs, 1)
    names: dict[str, str] = {}
    if not _mirrored(pairs, images, labels):
        if images != labels:
            images = labels = Path(os.path.commonpath([str(images), str(labels)]))
        for image, label in pairs:
            names.update(_branch(image.parent, label.parent))
    if suffix is None and len({image.suffix for image, _ in pairs}) == 1 and images == labels:
        # Pictures of other kinds may lie among the label maps; they are not part of the dataset.
        known = set(map(str, itertools.chain.from_iterable(pairs)))
        if any(str(file) not in known and Path(file).is_relative_to(images) for file in files):
            suffix = pairs[0][0].suffix
    return Pairing(images, labels, suffix, label_suffix, names, tuple(sorted(pairs)), first, second)


def _common(pairs: Sequence[tuple[Path, Path]], side: int) -> Path:
    """Returns the common folder of one side, above the parts that are equal on both sides."""
    tops = set()
    for pair in pairs:
        own, other = list(pair[side].parent.parts), list(pair[1 - side].parent.parts)
        while own and other and own[-1] == other[-1] and own != other:
            own.pop(), other.pop()
        tops.add(Path(*own))
    if len(tops) == 1:
        return tops.pop()
    if Path() in tops:
        return Path()
    return Path(os.path.commonpath(tops))


def _mirrored(pairs: Sequence[tuple[Path, Path]], images: Path, labels: Path) -> bool:
    """Returns whether the tree below ``labels`` is the same as the tree below ``images``."""
    return all(
        image.is_relative_to(images)
        and label.is_relative_to(labels)
        and image.parent.relative_to(images) == label.parent.relative_to(labels)
        for image, label in pairs
    )


def _branch(one: Path, other: Path) -> dict[str, str]:
    """Returns a mapping of the folders that differ; one folder may become several."""
    if len(one.parts) == len(other.parts):
        return {a: b for a, b in zip(one.parts, other.parts, strict=True) if a != b}
    first, second = _difference(PurePosixPath(one), PurePosixPath(other))
    if first and "/" not in first and second:
        return {first: second}
    return {}
