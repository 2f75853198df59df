"""Findings about a whole dataset: its class names, its classes and the sizes of its splits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from clipmask.curation.checking.counts import Checked, Frequencies, frequencies
from clipmask.curation.checking.finding import Finding, one_column
from clipmask.curation.checking.subject import Subject
from clipmask.data.placeholders import placeholders

LEAST_VALIDATION = 10  # pictures; with fewer, chance decides which checkpoint scores best


def names_and_labels(subject: Subject, checked: Checked) -> Iterator[Finding]:
    """Yields findings about class names, the number of classes, and shared label maps."""
    yield Finding(
        "placeholder_name",
        "class names without meaning",
        "CLIP embeds the names, so these tell it nothing; name what the pictures show",
        False,
        ("class",),
        one_column(placeholders(subject.classes)),
    )
    yield _shared_labels(checked)
    table = frequencies(subject, checked)[subject.training]
    if table.images_read:
        yield from _too_few_classes(subject, table)


def _shared_labels(checked: Checked) -> Finding:
    users: defaultdict[str, list[str]] = defaultdict(list)
    for pair, _ in checked:
        users[pair.labels].append(pair.image)
    rows: list[tuple[Any, ...]] = [
        (labels, ", ".join(images)) for labels, images in users.items() if len(images) > 1
    ]
    advice = (
        "it can be right for one of them only; rename the others, or use image_suffix to leave them"
        " out"
    )
    columns = ("label map", "images")
    return Finding(
        "shared_label", "label maps that several images use", advice, False, columns, rows
    )


def _too_few_classes(subject: Subject, table: Frequencies) -> Iterator[Finding]:
    present = [
        name for name, pixels in zip(subject.class_names, table.pixels, strict=True) if pixels
    ]
    if not present:
        yield Finding(
            "nothing_labelled",
            "no labelled pixel to train on",
            "all pixels of all label maps are void: is the void id or colour that of a class?",
            True,
            ("split", "label maps"),
            [(subject.training, table.images_read)],
        )
    elif len(present) == 1:
        yield Finding(
            "one_class",
            "a single class to train on",
            "a model that predicts this class everywhere scores 100; label the rest too, for"
            " example as a class background",
            False,
            ("split", "class"),
            [(subject.training, present[0])],
        )


def small_splits(subject: Subject, checked: Checked) -> Iterator[Finding]:
    """Yields findings that make the scores on the other splits unreliable."""
    tables = frequencies(subject, checked)
    others = {split: tables[split] for split in subject.splits if split != subject.training}
    yield Finding(
        "small_split",
        "splits too small to choose a checkpoint",
        f"with fewer than {LEAST_VALIDATION} pictures, chance decides which checkpoint scores best;"
        " add more pictures",
        False,
        ("split", "pictures"),
        [
            (split, table.images_read)
            for split, table in others.items()
            if 0 < table.images_read < LEAST_VALIDATION
        ],
    )
    training = zip(subject.class_names, tables[subject.training].images, strict=True)
    learned = [name for name, images in training if images]
    rows: list[tuple[Any, ...]] = []
    for split, table in others.items():
        present = dict(zip(subject.class_names, table.images, strict=True))
        missing = [name for name in learned if not present[name]]
        if table.images_read and missing:
            rows.append((split, ", ".join(missing)))
    advice = (
        "they get no score there; another seed of the shares (splits: {..., seed: 1}) may put them"
        " into both splits"
    )
    yield Finding(
        "unscored_class",
        "classes that do not occur in a split",
        advice,
        False,
        ("split", "classes"),
        rows,
    )
