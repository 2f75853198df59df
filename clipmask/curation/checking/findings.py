"""What the readings of all pairs say: findings, each one a table of its own."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from clipmask.curation.checking.balance import names_and_labels, small_splits
from clipmask.curation.checking.counts import Checked, frequencies
from clipmask.curation.checking.finding import Finding
from clipmask.curation.checking.likeness import Likeness, alike_groups
from clipmask.curation.checking.subject import Subject
from clipmask.data.label_format import TRANSPARENT, unpacked

FEW_IMAGES = 5  # a class that occurs in fewer training images will hardly be learned

NARROW = 24  # of 255: a picture whose values span less shows a model little


def find_all(subject: Subject, checked: Checked) -> list[Finding]:
    """Returns what is wrong, what stops training first; nothing for what is right.

    Args:
        subject: what was checked.
        checked: its pairs with their readings.
    """
    findings = [
        *_without_partner(subject),
        _unreadable(checked),
        _mismatched(checked),
        _wrongly_told(checked),
        _unknown(subject, checked),
        _empty_splits(subject),
        _void_only(checked),
        *names_and_labels(subject, checked),
        _narrow(checked),
        *_repeated(checked),
        _alike(checked),
        _rare(subject, checked),
        *small_splits(subject, checked),
    ]
    return sorted(
        (finding for finding in findings if finding.rows), key=lambda finding: not finding.stops
    )


def _without_partner(subject: Subject) -> Iterator[Finding]:
    out = "training stops there" if subject.unlabelled_stops else "training leaves them out"
    yield Finding(
        "image_without_label",
        "images without a label map",
        f"{out}; add the label maps, or correct the labels' folder or suffix",
        subject.unlabelled_stops,
        ("image", "label map that it would need"),
        list(subject.unlabelled),
    )
    yield Finding(
        "label_without_image",
        "label maps without an image",
        "nothing reads them; add the images, or correct the images' folder or suffix",
        False,
        ("label map",),
        [(path,) for path in subject.orphans],
    )
    yield Finding(
        "missing_image",
        "images that are not there",
        "the dataset's function names them; correct it",
        True,
        ("image",),
        [(path,) for path in subject.lost],
    )
    yield Finding(
        "in_no_split",
        "labelled images that are in no split",
        "nothing reads them; add them to a list of the splits if they are to count",
        False,
        ("image",),
        [(path,) for path in subject.unused],
    )


def _unreadable(checked: Checked) -> Finding:
    rows: list[tuple[Any, ...]] = []
    for pair, reading in checked:
        if reading is None:
            rows.append(
                (
                    f"{pair.image} or {pair.labels}",
                    "reading it ended the process: a decoder's crash or memory",
                )
            )
            continue
        faults = ((pair.image, reading.image_fault), (pair.labels, reading.label_fault))
        rows += [(path, fault) for path, fault in faults if fault is not None]
    advice = "save them anew or remove them"
    return Finding("unreadable", "files that can't be read", advice, True, ("file", "reason"), rows)


def _mismatched(checked: Checked) -> Finding:
    differ = [
        (pair.image, reading.image_size, reading.label_size)
        for pair, reading in checked
        if reading
        and reading.image_size
        and reading.label_size
        and reading.image_size != reading.label_size
    ]
    rows: list[tuple[Any, ...]] = [
        (image, _size(own), _size(other)) for image, own, other in differ
    ]
    advice = "resize the label maps with nearest-neighbour sampling, or find the right ones"
    if any(own == other[::-1] for _, own, other in differ):
        advice += (
            ". Where width and height are exchanged, the picture has an orientation tag of a camera"
            " (EXIF), which is followed here, and its labels were drawn without: turn the label map"
            " the same way, don't resize it"
        )
    columns = ("image", "its size", "label map's size")
    return Finding(
        "size_mismatch", "images and label maps of different sizes", advice, True, columns, rows
    )


def _wrongly_told(checked: Checked) -> Finding:
    rows: list[tuple[Any, ...]] = [
        (pair.image, _size(reading.image_size), _size(pair.told_size))
        for pair, reading in checked
        if reading
        and reading.image_size
        and pair.told_size
        and reading.image_size != pair.told_size
    ]
    advice = (
        "training stops there; correct height and width in the dataset's dicts, or leave them out"
    )
    columns = ("image", "its size", "size in its dict")
    return Finding(
        "told_size", "images of another size than their dicts say", advice, True, columns, rows
    )


def _size(size: tuple[int, int] | None) -> str:
    return "" if size is None else f"{size[0]}x{size[1]}"


def _unknown(subject: Subject, checked: Checked) -> Finding:
    pixels: Counter[int] = Counter()
    files: Counter[int] = Counter()
    example: dict[int, str] = {}
    for pair, reading in checked:
        for value, count in reading.unknown if reading else ():
            pixels[value] += count
            files[value] += 1
            example.setdefault(value, pair.labels)
    colored = subject.format.colored
    rows = [
        (
            unpacked(value) if colored else value,
            files[value],
            pixels[value],
            example[value],
            *([_nearest(subject, unpacked(value))] if colored else []),
        )
        for value in sorted(files, key=lambda value: (-files[value], -pixels[value]))
    ]
    what = "colours" if colored else "ids"
    advice = "give each to a class or make it void"
    if colored and len(rows) > 2 * len(subject.classes):
        advice += (
            "; so many mostly come from smoothing, resizing or a lossy format: save the label maps"
            " without"
        )
    columns = (
        "colour" if colored else "id",
        "files",
        "pixels",
        "example",
        *(["nearest class"] if colored else []),
    )
    return Finding(
        "unknown_value",
        f"{what} in label maps that are no class and not void",
        advice,
        True,
        columns,
        rows,
    )


def _nearest(subject: Subject, color: Sequence[int]) -> str:
    """Names the class, or void, whose colour in the files is nearest, with that colour."""
    known = {value: place for value, place in subject.format.known.items() if value != TRANSPARENT}

    def distance(number: int) -> int:
        return sum((a - b) ** 2 for a, b in zip(unpacked(number), color, strict=True))

    near = min(known, key=distance)
    place = known[near]
    name = subject.class_names[place] if 0 <= place < len(subject.classes) else "void"
    return f"{name} {unpacked(near)}"


def _empty_splits(subject: Subject) -> Finding:
    filled = {split for pair in subject.pairs for split in pair.splits}
    rows: list[tuple[Any, ...]] = [(split,) for split in subject.splits if split not in filled]
    advice = "correct the splits; a dataset needs at least one labelled image in each"
    return Finding("empty_split", "splits without a labelled image", advice, True, ("split",), rows)


def _void_only(checked: Checked) -> Finding:
    rows: list[tuple[Any, ...]] = [
        (pair.labels, ", ".join(pair.splits))
        for pair, reading in checked
        if reading and reading.label_size and not any(reading.counts) and not reading.unknown
    ]
    advice = "nothing is learned from them; label them or take them out"
    return Finding(
        "void_only", "label maps that are wholly void", advice, False, ("label map", "splits"), rows
    )


def _narrow(checked: Checked) -> Finding:
    rows: list[tuple[Any, ...]] = [
        (pair.image, f"{reading.span[0]} to {reading.span[1]}")
        for pair, reading in checked
        if reading and reading.image_size and reading.span[1] - reading.span[0] < NARROW
    ]
    advice = (
        "99 % of their values lie in a small part of 0 to 255. If the files have 16 bits of which"
        " not all are used, say image_range: [low, high], the values that are black and white, or"
        " image_range: {percentiles: [1, 99]}"
    )
    columns = ("image", "values as they are read")
    return Finding(
        "narrow_range",
        "pictures that are nearly black or of one tone",
        advice,
        False,
        columns,
        rows,
    )


def _repeated(checked: Checked) -> Iterator[Finding]:
    """Pictures with equal pixels, in several splits or more than once in one."""
    places: defaultdict[bytes, list[tuple[str, str]]] = defaultdict(list)
    for pair, reading in checked:
        if reading and reading.digest:
            places[reading.digest] += [(split, pair.image) for split in pair.splits]
    across: list[tuple[Any, ...]] = []
    within: list[tuple[Any, ...]] = []
    for members in places.values():
        if len({split for split, _ in members}) > 1:
            across.append(_copies(members))
        elif len(members) > 1:
            within.append(_copies(members))
    columns = ("splits", "images")
    advice = "scores on pictures that were trained on say nothing; keep each in one split"
    yield Finding(
        "duplicate_across_splits",
        "equal pictures in several splits",
        advice,
        False,
        columns,
        across,
    )
    advice = "they count as often as they are there; keep one of each"
    yield Finding(
        "duplicate_within_split", "equal pictures within one split", advice, False, columns, within
    )


def _copies(members: Sequence[tuple[str, str]]) -> tuple[str, str]:
    return ", ".join(dict.fromkeys(split for split, _ in members)), ", ".join(
        dict.fromkeys(path for _, path in members)
    )


def _alike(checked: Checked) -> Finding:
    """Pictures of several splits that look alike without being equal."""
    places: list[tuple[str, str, bytes]] = []
    looks: list[Likeness] = []
    seen: set[tuple[str, bytes]] = set()
    for pair, reading in checked:
        for split in pair.splits if reading else ():
            if reading and reading.likeness and (split, reading.digest) not in seen:
                seen.add((split, reading.digest))
                places.append((split, pair.image, reading.digest))
                looks.append(reading.likeness)
    rows: list[tuple[Any, ...]] = []
    for group in alike_groups(looks):
        members = [places[position] for position in group]
        if (
            len({split for split, _, _ in members}) > 1
            and len({digest for _, _, digest in members}) > 1
        ):
            rows.append(_copies([(split, path) for split, path, _ in members]))
    advice = (
        "the same picture saved again, or neighbouring frames of a film? Then scores say less than"
        " they seem to"
    )
    return Finding(
        "alike_across_splits",
        "pictures of several splits that look alike",
        advice,
        False,
        ("splits", "images"),
        rows,
    )


def _rare(subject: Subject, checked: Checked) -> Finding:
    table = frequencies(subject, checked)[subject.training]
    few = min(FEW_IMAGES, table.images_read // 2)
    rows: list[tuple[Any, ...]] = [
        (name, images, pixels)
        for name, images, pixels in zip(
            subject.class_names, table.images, table.pixels, strict=True
        )
        if images == 0 or images < few
    ]
    advice = (
        f"in fewer than {max(1, few)} of {table.images_read}; they will hardly be learned: label"
        " more, or merge them"
    )
    columns = ("class", f"images in {subject.training}", "pixels")
    return Finding(
        "rare_class", "classes with no or few training images", advice, False, columns, rows
    )
