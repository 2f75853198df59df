"""How often classes occur in the splits, how large the pictures are, and which of them show all
classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clipmask.curation.checking.pair import Pair, Reading
from clipmask.curation.checking.subject import Subject

Checked = Sequence[tuple[Pair, Reading | None]]  # None: the process that read the pair died


@dataclass(frozen=True)
class Frequencies:
    """How often the classes occur in a split.

    Attributes:
        images_read: how many label maps are counted.
        images: with each class.
        pixels: of each class.
        void: pixels.
    """

    images_read: int
    images: tuple[int, ...]
    pixels: tuple[int, ...]
    void: int

    @property
    def shares(self) -> tuple[float, ...]:
        """The percentage of each class among the pixels that are not void."""
        total = sum(self.pixels)
        return tuple(100 * count / total if total else 0.0 for count in self.pixels)


def frequencies(subject: Subject, checked: Checked) -> dict[str, Frequencies]:
    """Counts the classes in each split, in all label maps that can be read."""
    result = {}
    for split in subject.splits:
        readings = [
            reading
            for pair, reading in checked
            if reading and reading.counts and split in pair.splits
        ]
        counts = np.array([reading.counts for reading in readings], np.int64).reshape(
            -1, len(subject.classes)
        )
        result[split] = Frequencies(
            len(readings),
            tuple((counts > 0).sum(0).tolist()),
            tuple(counts.sum(0).tolist()),
            sum(reading.void for reading in readings),
        )
    return result


def picture_sizes(subject: Subject, checked: Checked) -> dict[str, Counter[tuple[int, int]]]:
    """Counts the sizes (width, height) of the pictures in each split."""
    return {
        split: Counter(reading.image_size for pair, reading in checked
                       if reading and reading.image_size and split in pair.splits)
        for split in subject.splits
    }  # fmt: skip


def samples_of_all_classes(
    subject: Subject, checked: Checked, least: int = 3
) -> dict[str, list[Pair]]:
    """Chooses sound pictures of each split in which every class that occurs there is seen.

    Each next one is the picture that shows most of a class not seen yet; after all have been seen,
    the one with most classes. Equal choices go by order.

    Args:
        subject: what was checked.
        checked: its pairs with their readings.
        least: pictures a split, as far as there are as many.
    """
    chosen: dict[str, list[Pair]] = {}
    for split in subject.splits:
        sound = [
            (pair, reading)
            for pair, reading in checked
            if reading and reading.sound and split in pair.splits
        ]
        counts = np.array([reading.counts for _, reading in sound], np.float64).reshape(
            -1, len(subject.classes)
        )
        shares = counts / np.maximum(counts.sum(0), 1)
        missing, left = counts.any(0), np.full(len(sound), True)
        order: list[int] = []
        while left.any() and (missing.any() or len(order) < least):
            worth = (shares[:, missing].sum(1) if missing.any() else (counts > 0).sum(1)) + 1e-9
            order.append(int((worth * left).argmax()))
            left[order[-1]] = False
            missing &= counts[order[-1]] == 0
        chosen[split] = [sound[position][0] for position in order]
    return chosen
