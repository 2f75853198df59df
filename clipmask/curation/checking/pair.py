"""Reading of one pair of image and label map into the few kilobytes that the checks need."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipmask.curation.checking.likeness import Likeness, likeness
from clipmask.data.image_format import PLAIN, ImageFormat, shown
from clipmask.data.label_format import LabelFormat
from clipmask.data.reading import read_image, read_label_pixels, read_labels
from clipmask.errors import UserError

# number of unknown values of one file that are kept; a smoothed picture has tens of thousands
MOST_UNKNOWN = 1000


class Pair(NamedTuple):
    """An image and its label map.

    Attributes:
        image, labels: the paths.
        splits: the splits of the pair; a split that lists the pair twice is there twice.
        stated_size: the picture's (width, height) in its dataset dict, or None.
    """

    image: str
    labels: str
    splits: tuple[str, ...]
    stated_size: tuple[int, int] | None = None


class Reading(NamedTuple):
    """The information about a pair that the checks need.

    Attributes:
        image_fault, label_fault: why the file can't be read, or None.
        image_size, label_size: (width, height) in pixels; None if the file can't be read.
        digest: a hash that is equal for pictures with equal pixels and sizes.
        likeness: a hash that is similar for similar pictures.
        span: the 0.5th and the 99.5th percentile of the picture's values, 0..255.
        counts: the number of pixels of each of the K classes.
        void: the number of void pixels.
        unknown: (value, number of pixels) for values that are neither a class nor void, the most
            frequent first, at most ``MOST_UNKNOWN``; colours are numbers as from ``packed``.
    """

    image_fault: str | None = None
    label_fault: str | None = None
    image_size: tuple[int, int] | None = None
    label_size: tuple[int, int] | None = None
    digest: bytes = b""
    likeness: Likeness | None = None
    span: tuple[int, int] = (0, 255)
    counts: tuple[int, ...] = ()
    void: int = 0
    unknown: tuple[tuple[int, int], ...] = ()

    @property
    def sound(self) -> bool:
        """Whether training can use the pair."""
        return (
            self.image_size is not None and self.image_size == self.label_size and not self.unknown
        )


def read_pair(pair: Pair, format: LabelFormat, image_format: ImageFormat = PLAIN) -> Reading:
    """Reads an image and its label map as training does; faults are part of the result."""
    reading = Reading()
    try:
        image = read_image(pair.image, image_format=image_format)
        size = image.shape[1], image.shape[0]
        digest = hashlib.blake2b(
            image.tobytes(), digest_size=16, salt=str(size).encode()[:16]
        ).digest()
        reading = reading._replace(
            image_size=size, digest=digest, likeness=likeness(shown(image)), span=_span(image)
        )
    except UserError as error:
        reading = reading._replace(image_fault=_reason(error, pair.image))
    try:
        labels = read_labels(pair.labels, format)
        inside = labels[labels != format.ignore_label]
        counts = tuple(np.bincount(inside, minlength=format.num_classes).tolist())
        return reading._replace(
            label_size=(labels.shape[1], labels.shape[0]),
            counts=counts,
            void=labels.size - sum(counts),
        )
    except UserError as error:
        return _with_unknown(reading, pair, format, error)


def _with_unknown(reading: Reading, pair: Pair, format: LabelFormat, error: UserError) -> Reading:
    """Counts the values of a label map that training refuses with an error."""
    try:
        raw = read_label_pixels(pair.labels, format)
    except UserError as unreadable:
        return reading._replace(label_fault=_reason(unreadable, pair.labels))
    values, pixels = np.unique(raw, return_counts=True)
    counts, void, unknown = [0] * format.num_classes, 0, []
    for value, count in zip(values.tolist(), pixels.tolist(), strict=True):
        place = format.place(value)
        if place is None:
            unknown.append((value, count))
        elif place != format.ignore_label:
            counts[place] += count
        else:
            void += count
    if not unknown:
        return reading._replace(label_fault=_reason(error, pair.labels))
    unknown.sort(key=lambda item: -item[1])
    return reading._replace(
        label_size=_size(raw),
        counts=tuple(counts),
        void=void,
        unknown=tuple(unknown[:MOST_UNKNOWN]),
    )


def _span(image: NDArray[np.uint8]) -> tuple[int, int]:
    ends = np.cumsum(np.bincount(image.ravel(), minlength=256))
    low, high = (int(np.searchsorted(ends, share * ends[-1])) for share in (0.005, 0.995))
    return low, high


def _size(pixels: NDArray[Any]) -> tuple[int, int]:
    return pixels.shape[1], pixels.shape[0]


def _reason(error: UserError, path: str) -> str:
    """Returns the message of an error without the file's name, which has its own column."""
    return str(error).split(f"{path}: ", 1)[-1]
