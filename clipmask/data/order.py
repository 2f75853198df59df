"""The order of the training samples: position p -> sample number.

    EpochOrder      all samples once per epoch:  p -> sample p mod n of epoch p div n
    WeightedOrder   several datasets with shares w_d:  p -> the dataset, then its next sample

The result depends on the seed and the position only. Both orders accept any position, so a resumed
run continues where it stopped, with any number of processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

ORDER, AUGMENTATION = 0, 1  # the two streams of random numbers of a run
_GOLDEN = (5**0.5 - 1) / 2


class Order(Protocol):
    """Maps a position (0, 1, ...) to a sample number, which runs through all datasets."""

    def __call__(self, position: int) -> int: ...


class EpochOrder:
    """Visits every sample once per epoch, in a new random order each epoch.

    Args:
        count: n, the number of samples.
        seed: the seed of the order.
        dataset: the number of the dataset, if each dataset has its own order; None: there is one
            order for all.
    """

    def __init__(self, count: int, seed: int, dataset: int | None = None) -> None:
        self.count, self.seed = count, seed
        self._dataset = () if dataset is None else (dataset,)
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

    def __call__(self, position: int) -> int:
        """See ``Order``."""
        epoch = position // self.count
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._permutation(epoch)
        return int(self._order[position % self.count])

    def _permutation(self, epoch: int) -> Tensor:
        """Returns the order of an epoch, a permutation of 0 .. n - 1."""
        generator = torch.Generator().manual_seed(stream(self.seed, ORDER, epoch, *self._dataset))
        return torch.randperm(self.count, generator=generator)


class WeightedOrder:
    """Mixes datasets by weight; each dataset goes through its own samples epoch by epoch.

    The interval [0, 1) is divided into one part per dataset, whose length is the dataset's share.
    Position p belongs to the dataset in whose part frac((p + 1) g) lies; g is the golden ratio.
    Therefore any sequence of positions, such as a batch, has nearly the right share of each
    dataset.

    Args:
        sizes: the number of samples of each dataset.
        weights: how often each dataset is visited, relative to the others; above 0.
        seed: the seed of the orders.
    """

    def __init__(self, sizes: Sequence[int], weights: Sequence[float], seed: int) -> None:
        self._bounds = np.cumsum(weights) / np.sum(weights)
        self._first = np.cumsum([0, *sizes])
        self._orders = [EpochOrder(size, seed, dataset) for dataset, size in enumerate(sizes)]
        self._position = 0
        # number of samples of each dataset before ``_position``
        self._counts = np.zeros(len(sizes), dtype=np.int64)

    def __call__(self, position: int) -> int:
        """See ``Order``. It is fast if the positions of successive calls rise."""
        self._count_to(position)
        dataset = int(self._dataset(np.array([position]))[0])
        return int(self._first[dataset]) + self._orders[dataset](int(self._counts[dataset]))

    def _dataset(self, positions: np.ndarray) -> np.ndarray:
        places = np.modf((positions + 1) * _GOLDEN)[0]
        return np.minimum(
            np.searchsorted(self._bounds, places, side="right"), len(self._orders) - 1
        )

    def _count_to(self, position: int) -> None:
        if position < self._position:
            self._position = 0
            self._counts[:] = 0
        passed = self._dataset(np.arange(self._position, position))
        self._counts += np.bincount(passed, minlength=len(self._orders))
        self._position = position


def stream(seed: int, purpose: int, *numbers: int) -> int:
    """Returns a 64-bit seed; different arguments give independent seeds."""
    return int(np.random.SeedSequence((seed, purpose, *numbers)).generate_state(1, np.uint64)[0])
