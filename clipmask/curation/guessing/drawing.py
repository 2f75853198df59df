"""Choice of a seed with which every class occurs in each split."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Set
from pathlib import Path

import numpy as np

from clipmask.data.descriptor import Descriptor
from clipmask.data.reading import read_labels
from clipmask.data.splits import FEW, by_share
from clipmask.errors import UserError

_TRIES = 100  # number of seeds that are tried


def seed_with_all_classes(shares: Mapping[str, float], shown: Mapping[Path, Set[int]]) -> int:
    """Returns the first seed of the shares whose splits lack the fewest classes.

    Args:
        shares: the share of each split; they sum to 1.
        shown: for each picture, relative to ``images``, the ids of the classes that it shows.
    """
    wanted = {split: share for split, share in shares.items() if share > 0}
    counts = Counter(itertools.chain.from_iterable(shown.values()))
    # a class in fewer pictures than there are splits is missing in some split with any seed
    unavoidable = sum(max(0, len(wanted) - count) for count in counts.values())
    best, least = 0, len(counts) * len(wanted) + 1
    for seed in range(_TRIES):
        missing = 0
        for pictures in by_share(wanted, list(shown), seed).values():
            here = set().union(*(shown[picture] for picture in pictures))
            missing += len(counts.keys() - here)
        if missing < least:
            best, least = seed, missing
        if least <= unavoidable:
            break
    return best


def seed_of_descriptor(descriptor: Descriptor, most: int) -> int:
    """Returns the seed that ``seed_with_all_classes`` finds for the shares of a descriptor.

    It is 0 if the splits are not shares, and if there are more pictures than ``most``: then a class
    is hardly missing by chance, and reading all label maps takes long. Label maps that can't be
    read are skipped.

    Args:
        descriptor: the descriptor; its own seed is ignored.
        most: the largest number of label maps that are read.
    """
    shares = {split: part for split, part in descriptor.splits.items() if isinstance(part, float)}
    pairs = [(image, label) for image, label in descriptor.pairs() if label.is_file()]
    if not shares or len(pairs) > min(most, FEW):
        return 0
    shown: dict[Path, set[int]] = {}
    for image, label in pairs:
        try:
            labels = read_labels(label, descriptor.label_format)
        except UserError:
            labels = np.zeros(0, np.uint8)
        shown[image.relative_to(descriptor.images)] = {
            int(value) for value in np.unique(labels) if value != descriptor.ignore_label
        }
    return seed_with_all_classes(shares, shown)
