"""The loaders: which sample comes when, on which process, and with what chance.

Training counts sample positions p = iteration * IMS_PER_BATCH + i, i = 0 .. IMS_PER_BATCH - 1. Position p shows the
sample number p mod n of epoch p div n, in an order drawn from (seed, epoch), augmented by a generator seeded from
(seed, p). Nothing else enters, so that a run's data are the same bytes on any number of workers or processes, and
after a resume.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from fvcore.common.config import CfgNode
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from clipmask.data.catalog import load_dataset, load_training_set
from clipmask.data.cores import usable_cores
from clipmask.data.mapper import TestMapper, TrainMapper
from clipmask.errors import UserError

Record = dict[str, Any]
_ORDER, _AUGMENTATION = 0, 1  # the two streams of random numbers of a run


def build_train_loader(
    cfg: CfgNode,
    *,
    seed: int,
    start_iteration: int = 0,
    rank: int = 0,
    world_size: int = 1,
    pin_memory: bool = False,
) -> DataLoader[Record]:
    """Builds the loader of a training run.

    Args:
        cfg: reads DATASETS.TRAIN, INPUT, SOLVER.IMS_PER_BATCH, SOLVER.MAX_ITER and DATALOADER.NUM_WORKERS.
        seed: of the order and the augmentation, 0 or more.
        start_iteration: the first optimiser step to yield; a resumed run gives how many it has done.
        rank: of this process, 0 .. world_size - 1.
        world_size: processes that share each batch.
        pin_memory: hand tensors out in page-locked memory, from which a CUDA device copies while the host goes on.

    Returns:
        One list of mapped samples per optimiser step, this process's share of the effective batch, until MAX_ITER.

    Raises:
        UserError: IMS_PER_BATCH is not a multiple of ``world_size``; a config value makes no sense; a dataset is
            unknown or lacks something. A bad file raises it when it is read.
    """
    batch, steps = cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.MAX_ITER
    if batch < 1 or batch % world_size:
        raise UserError(
            f"SOLVER.IMS_PER_BATCH is {batch}, the images of one step over all processes; with {world_size} "
            f"process(es) it must be a positive multiple of {world_size}"
        )
    if seed < 0:
        raise UserError(f"the training loader needs a seed of 0 or more, not {seed}: set SEED in the config")
    if steps < 1:
        raise UserError(f"SOLVER.MAX_ITER is {steps}; it must be 1 or more")
    dataset = load_training_set(cfg.DATASETS.TRAIN)
    mapper = TrainMapper.from_config(cfg, dataset.label_format)
    return DataLoader(
        TrainSamples(dataset.records, mapper, seed),
        batch_sampler=StepSampler(
            len(dataset.records), batch, range(start_iteration, steps), seed=seed, rank=rank, world_size=world_size
        ),
        collate_fn=_as_list,
        num_workers=_num_workers(cfg),
        pin_memory=pin_memory,
        generator=torch.Generator(),  # its own: starting workers draws from it, and must not advance torch's
    )


def build_test_loader(
    cfg: CfgNode, dataset_name: str, *, rank: int = 0, world_size: int = 1, pin_memory: bool = False
) -> DataLoader[Record]:
    """Builds the loader of an evaluation: lists of one sample, every ``world_size``-th of the dataset.

    Args:
        cfg: reads INPUT and DATALOADER.NUM_WORKERS.
        dataset_name: a registered dataset.
        rank: of this process, 0 .. world_size - 1.
        world_size: processes that share the dataset.
        pin_memory: as for ``build_train_loader``.

    Raises:
        UserError: a config value makes no sense; the dataset is unknown or lacks something. A bad file raises it
            when it is read.
    """
    dataset = load_dataset(dataset_name, labelled=False)
    return DataLoader(
        TestSamples(dataset.records[rank::world_size], TestMapper.from_config(cfg)),
        batch_size=1,
        collate_fn=_as_list,
        num_workers=_num_workers(cfg),
        pin_memory=pin_memory,
        generator=torch.Generator(),
    )


class StepSampler(Sampler[list[tuple[int, int]]]):
    """Yields, per optimiser step, this process's (position, sample number) pairs."""

    def __init__(
        self, num_samples: int, batch_size: int, iterations: range, *, seed: int, rank: int = 0, world_size: int = 1
    ) -> None:
        """Args:
        num_samples: n, in the dataset.
        batch_size: of all processes together; a multiple of ``world_size``.
        iterations: the optimiser steps to yield.
        seed: of the order.
        rank: of this process.
        world_size: number of processes.
        """
        assert batch_size % world_size == 0
        self.num_samples = num_samples
        self.batch_size = batch_size
        self.iterations = iterations
        self.seed = seed
        self.rank = rank
        self.world_size = world_size

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        share = self.batch_size // self.world_size
        epoch, order = -1, torch.empty(0, dtype=torch.int64)
        for iteration in self.iterations:
            start = iteration * self.batch_size + self.rank * share
            step = []
            for position in range(start, start + share):
                if position // self.num_samples != epoch:
                    epoch = position // self.num_samples
                    order = self._order(epoch)
                step.append((position, int(order[position % self.num_samples])))
            yield step

    def _order(self, epoch: int) -> Tensor:
        """Returns the order of an epoch, a permutation of 0 .. n-1."""
        generator = torch.Generator().manual_seed(_stream(self.seed, _ORDER, epoch))
        return torch.randperm(self.num_samples, generator=generator)

    def __len__(self) -> int:
        return len(self.iterations)


class TrainSamples(Dataset[Record]):
    """The mapped training samples by (position, sample number)."""

    def __init__(self, records: list[Record], mapper: Callable[[Record], Record], seed: int) -> None:
        """Args:
        records: dataset dicts.
        mapper: reads and augments one, with chance from torch's default CPU generator.
        seed: of the augmentation.
        """
        self.records = records
        self.mapper = mapper
        self.seed = seed

    def __getitem__(self, key: tuple[int, int]) -> Record:
        position, number = key
        state, threads = torch.get_rng_state(), torch.get_num_threads()
        # A worker process has one thread. In the main process several would add up a mean in another order, and the
        # picture could differ in its last bit.
        torch.set_num_threads(1)
        # The CPU's generator alone: torch.manual_seed would also reset the GPU's, which dropout draws from.
        torch.default_generator.manual_seed(_stream(self.seed, _AUGMENTATION, position))
        try:
            return self.mapper(self.records[number])
        finally:
            torch.set_rng_state(state)
            torch.set_num_threads(threads)

    def __len__(self) -> int:
        return len(self.records)


class TestSamples(Dataset[Record]):
    """The mapped test samples in the dataset's order."""

    __test__ = False  # no test case, whatever its name tells pytest

    def __init__(self, records: list[Record], mapper: Callable[[Record], Record]) -> None:
        """Args:
        records: dataset dicts.
        mapper: reads one.
        """
        self.records = records
        self.mapper = mapper

    def __getitem__(self, number: int) -> Record:
        return self.mapper(self.records[number])

    def __len__(self) -> int:
        return len(self.records)


def _stream(seed: int, purpose: int, number: int) -> int:
    """Returns a 64-bit seed that is unrelated for any two different triples."""
    return int(np.random.SeedSequence((seed, purpose, number)).generate_state(1, np.uint64)[0])


def _num_workers(cfg: CfgNode) -> int:
    """Returns DATALOADER.NUM_WORKERS, no more than this process may use cores."""
    wanted = cfg.DATALOADER.NUM_WORKERS
    if wanted < 0:
        raise UserError(f"DATALOADER.NUM_WORKERS is {wanted}; it must be 0 (load in the main process) or more")
    return min(wanted, usable_cores())


def _as_list(samples: list[Record]) -> list[Record]:
    """The batch of a model that takes lists."""
    return samples
