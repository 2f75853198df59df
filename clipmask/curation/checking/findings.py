"""The findings about a dataset, computed from the readings of all its pairs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from clipmask.curation.checking.balance import names_and_labels, small_splits
from clipmask.curation.checking.counts import Checked, frequencies
from clipmask.curation.checking.finding import Finding, one_column
from clipmask.curation.checking.likeness import Likeness, alike_groups
from clipmask.curation.checking.subject import Subject
from clipmask.data.label_format import TRANSPARENT, unpacked

FEW_IMAGES = 5  # a class in fewer training images than this can hardly be learned

NARROW = 24  # of 255; pictures with a smaller range of values have little contrast


def find_all(subject: Subject, checked: Checked) -> list[Finding]:
    """Returns all findings that have occurrences; those that stop training come first.

    Args:
        subject: the dataset that was checked.
        checked: its pairs with their readings.
    """
    findings = [
        *_without_partner(subject),
        _unreadable(checked),
        _mismatched(checked),
        _wrongly_stated(checked),
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
    found = [finding for finding in findings if finding.rows]
    return sorted(found, key=lambda finding: not finding.stops)


def _without_partner(subject: Subject) -> Iterator[Finding]:
    out = "training leaves them out"
    if subject.unlabelled_stops:
        out = "training stops there"
    yield Finding(
        "image_without_label",
        "images without a label map",
        f"{out}; add the label maps, or correct the labels' folder or suffix",
        subject.unlabelled_stops,
        ("image", "expected label map"),
        list(subject.unlabelled),
    )
    yield Finding(
        "label_without_image",
        "label maps without an image",
        "nothing reads them; add the images, or correct the images' folder or suffix",
        False,
        ("label map",),
        one_column(subject.orphans),
    )
    yield Finding(
        "missing_image",
        "images that do not exist",
        "the dataset's function names them; correct it",
        True,
        ("image",),
        one_column(subject.lost),
    )
    yield Finding(
        "in_no_split",
        "labelled images that are in no split",
        "nothing reads them; to use them, add them to the list of a split",
        False,
        ("image",),
        one_column(subject.unused),
    )


def _unreadable(checked: Checked) -> Finding:
    rows: list[tuple[Any, ...]] = []
    for pair, reading in checked:
        if reading is None:
            reason = "the process that read it died: its decoder crashed, or memory ran out"
            rows.append((f"{pair.image} or {pair.labels}", reason))
            continue
        faults = ((pair.image, reading.image_fault), (pair.labels, reading.label_fault))
        rows += [(path, fault) for path, fault in faults if fault is not None]
    advice = "save them again or remove them"
    return Finding("unreadable", "files that can't be read", advice, True, ("file", "reason"), rows)


def _mismatched(checked: Checked) -> Finding:
    rows: list[tuple[Any, ...]] = []
    exchanged = False
    for pair, reading in checked:
        if reading is None or reading.image_size is None or reading.label_size is None:
            continue
        if reading.image_size != reading.label_size:
            rows.append((pair.image, _size(reading.image_size), _size(reading.label_size)))
            exchanged = exchanged or reading.image_size == reading.label_size[::-1]
    advice = "resize the label maps with nearest-neighbour sampling, or find the right ones"
    if exchanged:
        advice += (
            ". If width and height are exchanged, the picture has the orientation tag of a camera"
            " (EXIF), which is applied here, but not when its labels were drawn: turn the label map"
            " in the same way, and do not resize it"
        )
    columns = ("image", "its size", "label map's size")
    return Finding(
        "size_mismatch", "images and label maps of different sizes", advice, True, columns, rows
    )


def _wrongly_stated(checked: Checked) -> Finding:
    rows: list[tuple[Any, ...]] = []
    for pair, reading in checked:
        if reading is None or reading.image_size is None or pair.stated_size is None:
            continue
        if reading.image_size != pair.stated_size:
            rows.append((pair.image, _size(reading.image_size), _size(pair.stated_size)))
    advice = (
        "training stops there; correct height and width in the dataset's dicts, or leave them out"
    )
    columns = ("image", "its size", "size in its dict")
    return Finding(
        "told_size", "images whose size differs from their dict", advice, True, columns, rows
    )


def _size(size: tuple[int, int] | None) -> str:
    if size is None:
        return ""
    return f"{size[0]}x{size[1]}"


def _unknown(subject: Subject, checked: Checked) -> Finding:
    pixels: Counter[int] = Counter()
    files: Counter[int] = Counter()
    example: dict[int, str] = {}
    for pair, reading in checked:
        for value, count in reading.unknown if reading else ():
            pixels[value] += count
            files[value] += 1
            example.setdefault(value, pair.labels)
    what = "ids"
    columns: tuple[str, ...] = ("id", "files", "pixels", "example")
    if subject.format.colored:
        what = "colours"
        columns = ("colour", "files", "pixels", "example", "nearest class")
    rows: list[tuple[Any, ...]] = []
    for value in sorted(files, key=lambda value: (-files[value], -pixels[value])):
        counted = (files[value], pixels[value], example[value])
        if subject.format.colored:
            color = unpacked(value)
            rows.append((color, *counted, _nearest(subject, color)))
        else:
            rows.append((value, *counted))
    advice = "give each to a class or make it void"
    if subject.format.colored and len(rows) > 2 * len(subject.classes):
        advice += (
            "; so many usually come from smoothing, resizing or a lossy format: save the label maps"
            " without it"
        )
    title = f"{what} in label maps that are neither a class nor void"
    return Finding("unknown_value", title, advice, True, columns, rows)


def _nearest(subject: Subject, color: Sequence[int]) -> str:
    """Returns the name and colour of the class (or void) whose colour is nearest."""
    known = {value: place for value, place in subject.format.known.items() if value != TRANSPARENT}

    def distance(number: int) -> int:
        return sum((a - b) ** 2 for a, b in zip(unpacked(number), color, strict=True))

    near = min(known, key=distance)
    place = known[near]
    name = subject.class_names[place] if 0 <= place < len(subject.classes) else "void"
    return f"{name} {unpacked(near)}"


def _empty_splits(subject: Subject) -> Finding:
    filled = {split for pair in subject.pairs for split in pair.splits}
    rows = one_column(split for split in subject.splits if split not in filled)
    advice = "correct the splits; each split needs at least one labelled image"
    return Finding("empty_split", "splits without a labelled image", advice, True, ("split",), rows)


def _void_only(checked: Checked) -> Finding:
    rows: list[tuple[Any, ...]] = [
        (pair.labels, ", ".join(pair.splits))
        for pair, reading in checked
        if reading and reading.label_size and not any(reading.counts) and not reading.unknown
    ]
    advice = "a model learns nothing from them; label them or remove them"
    columns = ("label map", "splits")
    return Finding("void_only", "label maps with only void", advice, False, columns, rows)


def _narrow(checked: Checked) -> Finding:
    rows: list[tuple[Any, ...]] = [
        (pair.image, f"{reading.span[0]} to {reading.span[1]}")
        for pair, reading in checked
        if reading and reading.image_size and reading.span[1] - reading.span[0] < NARROW
    ]
    advice = (
        "99 % of their values lie in a small part of 0 to 255. If the files have 16 bits but do not"
        " use all of them, set image_range: [low, high], the values that become black and white, or"
        " image_range: {percentiles: [1, 99]}"
    )
    columns = ("image", "values after reading")
    return Finding(
        "narrow_range",
        "pictures that are nearly black or have one tone",
        advice,
        False,
        columns,
        rows,
    )


def _repeated(checked: Checked) -> Iterator[Finding]:
    """Yields findings about pictures with equal pixels, in several splits or within one."""
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
    advice = "scores on training pictures are meaningless; keep each picture in one split"
    yield Finding(
        "duplicate_across_splits",
        "equal pictures in several splits",
        advice,
        False,
        columns,
        across,
    )
    advice = "each copy counts in training and scores; keep one of each"
    yield Finding(
        "duplicate_within_split", "equal pictures within one split", advice, False, columns, within
    )


def _copies(members: Sequence[tuple[str, str]]) -> tuple[str, str]:
    splits = dict.fromkeys(split for split, _ in members)
    paths = dict.fromkeys(path for _, path in members)
    return ", ".join(splits), ", ".join(paths)


def _alike(checked: Checked) -> Finding:
    """Finds similar pictures in different splits that are not equal."""
    places: list[tuple[str, str, bytes]] = []
    looks: list[Likeness] = []
    seen: set[tuple[str, bytes]] = set()
    for pair, reading in checked:
        if reading is None or reading.likeness is None:
            continue
        for split in pair.splits:
            if (split, reading.digest) not in seen:
                seen.add((split, reading.digest))
                places.append((split, pair.image, reading.digest))
                looks.append(reading.likeness)
    rows: list[tuple[Any, ...]] = []
    for group in alike_groups(looks):
        members = [places[position] for position in group]
        splits = {split for split, _, _ in members}
        digests = {digest for _, _, digest in members}
        if len(splits) > 1 and len(digests) > 1:
            rows.append(_copies([(split, path) for split, path, _ in members]))
    advice = (
        "are they the same picture saved twice, or neighbouring frames of a film? Then the scores"
        " are too optimistic"
    )
    return Finding(
        "alike_across_splits",
        "similar pictures in different splits",
        advice,
        False,
        ("splits", "images"),
        rows,
    )


def _rare(subject: Subject, checked: Checked) -> Finding:
    table = frequencies(subject, checked)[subject.training]
    few = min(FEW_IMAGES, table.images_read // 2)
    counts = zip(subject.class_names, table.images, table.pixels, strict=True)
    rows: list[tuple[Any, ...]] = [row for row in counts if row[1] == 0 or row[1] < few]
    advice = (
        f"they are in fewer than {max(1, few)} of {table.images_read} images, so a model can hardly"
        " learn them: label more, or merge classes"
    )
    columns = ("class", f"images in {subject.training}", "pixels")
    return Finding(
        "rare_class", "classes with no or few training images", advice, False, columns, rows
    )
