"""Which sample stands at which position of a training, a function of the seed and the position
alone.

    EpochOrder      all samples once an epoch:  p -> sample p mod n of epoch p div n
    WeightedOrder   several datasets by shares w_d:  p -> the dataset, then its next sample

Either can be asked for any position, so a resumed run goes on where it was, on any number of
processes.
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
    """Position, from 0, to the number of a sample; samples are numbered through all datasets."""

    def __call__(self, position: int) -> int: ...


class EpochOrder:
    """Shows every sample once an epoch, each epoch in an order of its own.

    Args:
        count: n, samples.
        seed: of the order.
        dataset: numbers datasets that have an order each; None: there is one order for all.
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
        """The order of an epoch, a permutation of 0 .. n - 1."""
        generator = torch.Generator().manual_seed(stream(self.seed, ORDER, epoch, *self._dataset))
        return torch.randperm(self.count, generator=generator)


class WeightedOrder:
    """Mixes datasets by weight; each dataset goes through its own samples epoch by epoch.

    Position p belongs to the dataset in whose share of [0, 1) the number frac((p + 1) g) falls, g
    the golden ratio: any stretch of positions, such as a batch, holds each dataset's share as
    nearly as whole numbers allow.

    Args:
        sizes: samples of each dataset.
        weights: how often each is shown, relative to the others, above 0.
        seed: of the orders.
    """

    def __init__(self, sizes: Sequence[int], weights: Sequence[float], seed: int) -> None:
        self._bounds = np.cumsum(weights) / np.sum(weights)
        self._first = np.cumsum([0, *sizes])
        self._orders = [EpochOrder(size, seed, dataset) for dataset, size in enumerate(sizes)]
        self._position = 0  # of the counts
        # samples of each dataset before that position
        self._counts = np.zeros(len(sizes), dtype=np.int64)

    def __call__(self, position: int) -> int:
        """See ``Order``; quick where positions rise."""
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
    """Returns a 64-bit seed that is unrelated for any two different lists of numbers."""
    return int(np.random.SeedSequence((seed, purpose, *numbers)).generate_state(1, np.uint64)[0])
