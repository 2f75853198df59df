"""Statistics of a dataset: class frequencies, picture sizes, and example pictures."""

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
    """The frequencies of the classes in a split.

    Attributes:
        images_read: the number of label maps that are counted.
        images: the number of label maps with each class.
        pixels: the number of pixels of each class.
        void: the number of void pixels.
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
    """Counts the classes in each split, over all label maps that can be read."""
    result = {}
    for split in subject.splits:
        readings = [reading for _, reading in _of_split(split, checked) if reading.counts]
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
    sizes: dict[str, Counter[tuple[int, int]]] = {}
    for split in subject.splits:
        sizes[split] = Counter()
        for _, reading in _of_split(split, checked):
            if reading.image_size:
                sizes[split][reading.image_size] += 1
    return sizes


def _of_split(split: str, checked: Checked) -> list[tuple[Pair, Reading]]:
    """Returns the pairs of a split that could be read, with their readings."""
    return [(pair, reading) for pair, reading in checked if reading and split in pair.splits]


def samples_of_all_classes(
    subject: Subject, checked: Checked, least: int = 3
) -> dict[str, list[Pair]]:
    """Chooses pictures without faults in each split that together show all classes of the split.

    They are chosen one by one: always the picture with the largest share of a class that no chosen
    picture shows; when all classes are shown, the picture with the most classes. Of equal pictures,
    the first is chosen.

    Args:
        subject: the dataset that was checked.
        checked: its pairs with their readings.
        least: the least number of pictures of a split, if it has as many.
    """
    chosen: dict[str, list[Pair]] = {}
    for split in subject.splits:
        sound = [(pair, reading) for pair, reading in _of_split(split, checked) if reading.sound]
        counts = np.array([reading.counts for _, reading in sound], np.float64).reshape(
            -1, len(subject.classes)
        )
        shares = counts / np.maximum(counts.sum(0), 1)
        missing, left = counts.any(0), np.full(len(sound), True)
        order: list[int] = []
        while left.any() and (missing.any() or len(order) < least):
            worth = (counts > 0).sum(1)
            if missing.any():
                worth = shares[:, missing].sum(1)
            order.append(int(((worth + 1e-9) * left).argmax()))
            left[order[-1]] = False
            missing &= counts[order[-1]] == 0
        chosen[split] = [sound[position][0] for position in order]
    return chosen
