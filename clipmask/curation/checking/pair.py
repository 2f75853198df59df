"""One pair of image and label map, read once: all that the checks need to know of it, in a few kilobytes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipmask.curation.checking.likeness import Likeness, likeness
from clipmask.data.label_values import MAX_RAW_ID, LabelValues, packed
from clipmask.data.reading import read_image, read_label_pixels, read_labels
from clipmask.errors import UserError

MOST_UNKNOWN = 1000  # values of one file that are kept; a smoothed colour picture has tens of thousands


class Pair(NamedTuple):
    """Image, label map and the splits that they are in; a split that lists them twice is there twice."""

    image: str
    labels: str
    splits: tuple[str, ...]


@dataclass(frozen=True)
class LabelFormat:
    """How label files are read, see ``clipmask.data.reading.read_labels``.

    Attributes:
        num_classes: K.
        ignore_label: id of void.
        mapping: what stands in the files -> class id or void; None: class ids.
    """

    num_classes: int
    ignore_label: int
    mapping: Mapping[Any, int] | None = None

    @property
    def colored(self) -> bool:
        """Whether files hold colours."""
        return isinstance(self.mapping, LabelValues) and self.mapping.colored

    def place(self, value: int) -> int | None:
        """Returns the class id or void that a value in a file stands for; None: it must not occur."""
        listed = self.mapping is None or isinstance(self.mapping, LabelValues)  # else all others are void
        return self.known.get(value, None if listed or not 0 <= value <= MAX_RAW_ID else self.ignore_label)

    @cached_property
    def known(self) -> dict[int, int]:
        """What may stand in a file (colours as from ``packed``) -> class id or void."""
        if self.mapping is None:
            return {value: value for value in (*range(self.num_classes), self.ignore_label)}
        return {packed(key) if isinstance(key, tuple) else key: item for key, item in self.mapping.items()}


class Reading(NamedTuple):
    """What a pair holds.

    Attributes:
        image_fault, label_fault: why the file can't be read, or None.
        image_size, label_size: (width, height) in pixels; None where the file can't be read.
        digest: equal for pictures with equal pixels and sizes.
        likeness: near for pictures that look alike.
        counts: pixels of each of the K classes.
        void: pixels that count nowhere.
        unknown: pixels of each value (colours as from ``packed``) that is neither class nor void, at most
            ``MOST_UNKNOWN`` of them, the most frequent first.
    """

    image_fault: str | None = None
    label_fault: str | None = None
    image_size: tuple[int, int] | None = None
    label_size: tuple[int, int] | None = None
    digest: bytes = b""
    likeness: Likeness | None = None
    counts: tuple[int, ...] = ()
    void: int = 0
    unknown: tuple[tuple[int, int], ...] = ()

    @property
    def sound(self) -> bool:
        """Whether training can read the pair."""
        return self.image_size is not None and self.image_size == self.label_size and not self.unknown


def read_pair(pair: Pair, format: LabelFormat) -> Reading:
    """Reads image and label map in the way that training does; what is wrong with them is in the result."""
    reading = Reading()
    try:
        image = read_image(pair.image)
        size = image.shape[1], image.shape[0]
        digest = hashlib.blake2b(image.tobytes(), digest_size=16, salt=str(size).encode()[:16]).digest()
        reading = reading._replace(image_size=size, digest=digest, likeness=likeness(image))
    except UserError as error:
        reading = reading._replace(image_fault=_reason(error, pair.image))
    try:
        labels = read_labels(pair.labels, format.num_classes, format.ignore_label, mapping=format.mapping)
        bins = np.bincount(labels.ravel(), minlength=format.num_classes)
        counts = tuple(int(count) for count in bins[: format.num_classes])
        return reading._replace(
            label_size=(labels.shape[1], labels.shape[0]), counts=counts, void=labels.size - sum(counts)
        )
    except UserError as error:
        return _with_unknown(reading, pair, format, error)


def _with_unknown(reading: Reading, pair: Pair, format: LabelFormat, error: UserError) -> Reading:
    """Counts the values of a label map that training refuses with ``error``."""
    try:
        raw = read_label_pixels(pair.labels, format.num_classes, format.ignore_label, format.mapping)
    except UserError as unreadable:
        return reading._replace(label_fault=_reason(unreadable, pair.labels))
    values, pixels = np.unique(raw, return_counts=True)
    counts, void, unknown = [0] * format.num_classes, 0, []
    for value, count in zip(values.tolist(), pixels.tolist(), strict=True):
        place = format.place(value)
        if place is None:
            unknown.append((value, count))
        elif place < format.num_classes:
            counts[place] += count
        else:
            void += count
    if not unknown:
        return reading._replace(label_fault=_reason(error, pair.labels))
    unknown.sort(key=lambda item: -item[1])
    return reading._replace(
        label_size=_size(raw), counts=tuple(counts), void=void, unknown=tuple(unknown[:MOST_UNKNOWN])
    )


def _size(pixels: NDArray[Any]) -> tuple[int, int]:
    return pixels.shape[1], pixels.shape[0]


def _reason(error: UserError, path: str) -> str:
    """The error without the file's name, which stands beside it."""
    return str(error).split(f"{path}: ", 1)[-1]
