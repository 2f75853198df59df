"""The data loaders of training and evaluation.

Training counts sample positions p = iteration * IMS_PER_BATCH + i, i = 0 .. IMS_PER_BATCH - 1. A
run that is resumed with another IMS_PER_BATCH continues from the position that it has reached.
``data/order.py`` chooses the sample of position p, and its augmentation uses a generator seeded
from (seed, p). Nothing else has an effect. So the data of a run are the same bytes for any number
of workers or processes, and after a resume.

If the training datasets differ in their classes or in their void ids, every sample carries its own
``vocabulary`` and ``ignore_label``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch.utils.data import DataLoader, Dataset, Sampler

from clipmask.data.catalog import Dataset as RegisteredDataset
from clipmask.data.catalog import load_dataset, load_training_sets
from clipmask.data.class_mix import ClassMix, check_class_mix
from clipmask.data.cores import usable_cores
from clipmask.data.mapper import TestMapper, TrainMapper
from clipmask.data.order import AUGMENTATION, EpochOrder, Order, WeightedOrder, stream
from clipmask.data.records import PackedRecords, Record
from clipmask.data.workers import GIVE_UP_S, worker_setup
from clipmask.errors import UserError

Mapper = Callable[[Record], Record]


def build_train_loader(
    cfg: CfgNode,
    mapper: Mapper | None = None,
    *,
    seed: int,
    start_iteration: int = 0,
    start_sample: int | None = None,
    rank: int = 0,
    world_size: int = 1,
    pin_memory: bool = False,
) -> DataLoader[Record]:
    """Builds the loader of a training run.

    Args:
        cfg: the config; DATASETS.TRAIN and TRAIN_WEIGHTS, INPUT, SOLVER.IMS_PER_BATCH,
            SOLVER.MAX_ITER and DATALOADER.NUM_WORKERS are read.
        mapper: reads and augments one dataset dict, as in Detectron2. It gets ``file_name`` and
            ``sem_seg_file_name`` and returns a new dict with ``image``, uint8 (3, H, W) in the
            order of INPUT.FORMAT, and ``sem_seg``, (H, W) class ids and void. Its random numbers
            should come from torch's default CPU generator, which is seeded for each sample. None:
            ``TrainMapper``, with the augmentation of the section INPUT.
        seed: the seed of the order and of the augmentation, 0 or more.
        start_iteration: the first optimiser step to yield; for a resumed run, the number of steps
            that are done.
        start_sample: the position of the first sample; None: ``start_iteration`` * IMS_PER_BATCH.
        rank: the rank of this process, 0 .. world_size - 1.
        world_size: the number of processes that share each batch.
        pin_memory: True: return tensors in page-locked memory, which a CUDA device copies
            asynchronously.

    Returns:
        A loader that yields one list of mapped samples per optimiser step, until MAX_ITER. The list
        is this process's share of the effective batch.

    Raises:
        UserError: IMS_PER_BATCH is not a multiple of ``world_size``; a config value is out of
            range; a dataset is unknown or incomplete. For a bad file, it is raised when the file is
            read.
    """
    batch, steps = cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.MAX_ITER
    if batch < 1 or batch % world_size:
        raise UserError(
            f"SOLVER.IMS_PER_BATCH is {batch}, the images of one step over all processes; with"
            f" {world_size} process(es) it must be a positive multiple of {world_size}",
            key="SOLVER.IMS_PER_BATCH",
        )
    if seed < 0:
        raise UserError(
            f"the training loader needs a seed of 0 or more, not {seed}: set SEED in the config"
        )
    if steps < 1:
        raise UserError(f"SOLVER.MAX_ITER is {steps}; it must be 1 or more", key="SOLVER.MAX_ITER")
    samples, sizes = _train_samples(cfg, mapper, seed)
    order = _order(cfg, sizes, seed)
    return _Loader(
        samples,
        batch_sampler=StepSampler(
            order,
            batch,
            range(start_iteration, steps),
            first=start_sample,
            rank=rank,
            world_size=world_size,
        ),
        collate_fn=_as_list,
        num_workers=_num_workers(cfg),
        pin_memory=pin_memory,
        worker_init_fn=worker_setup(),
        timeout=_patience(cfg),
        # starting workers draws from this generator; torch's own generator must not advance
        generator=torch.Generator(),
    )


def build_test_loader(
    cfg: CfgNode,
    dataset_name: str,
    mapper: Mapper | None = None,
    *,
    rank: int = 0,
    world_size: int = 1,
    pin_memory: bool = False,
) -> DataLoader[Record]:
    """Builds the loader of an evaluation, which yields lists of one sample.

    The process ``rank`` gets every ``world_size``-th sample. Each sample has the dataset's
    ``vocabulary``, so it is segmented into the dataset's classes.

    Args:
        cfg: the config; INPUT and DATALOADER.NUM_WORKERS are read.
        dataset_name: the name of a registered dataset.
        mapper: reads one dataset dict, see ``build_train_loader``. None: ``TestMapper``.
        rank: the rank of this process, 0 .. world_size - 1.
        world_size: the number of processes that share the dataset.
        pin_memory: as for ``build_train_loader``.

    Raises:
        UserError: a config value is out of range; the dataset is unknown or incomplete. For a bad
            file, it is raised when the file is read.
    """
    dataset = load_dataset(dataset_name, labelled=False)
    own = {"vocabulary": dataset.vocabulary}
    records = PackedRecords(dataset.records[rank::world_size])
    return _Loader(
        TestSamples(records, mapper or TestMapper.from_config(cfg), own),
        batch_size=1,
        collate_fn=_as_list,
        num_workers=_num_workers(cfg),
        pin_memory=pin_memory,
        worker_init_fn=worker_setup(),
        timeout=_patience(cfg),
        generator=torch.Generator(),
    )


class _Loader(DataLoader[Record]):
    """A loader whose workers end as soon as reading a sample fails.

    Otherwise the error's traceback keeps the iterator until garbage is collected. Its queues are
    collected before it, so no worker hears that it is over, and torch waits 5 s or 10 s for each.
    """

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        samples = super().__iter__()
        try:
            yield from samples
        finally:
            end = getattr(samples, "_shutdown_workers", None)
            if end is not None:  # there are workers
                end()


def _order(cfg: CfgNode, sizes: Sequence[int], seed: int) -> Order:
    weights = tuple(cfg.DATASETS.TRAIN_WEIGHTS)
    if not weights:
        return EpochOrder(sum(sizes), seed)
    if len(weights) != len(sizes) or not all(
        isinstance(weight, int | float) and weight > 0 for weight in weights
    ):
        raise UserError(
            f"DATASETS.TRAIN_WEIGHTS is {weights}; it must be one number above 0 for each of the"
            f" {len(sizes)} datasets of DATASETS.TRAIN {tuple(cfg.DATASETS.TRAIN)}, or () to show"
            " every sample equally often",
            key="DATASETS.TRAIN_WEIGHTS",
        )
    return WeightedOrder(sizes, weights, seed)


def _train_samples(
    cfg: CfgNode, mapper: Mapper | None, seed: int
) -> tuple[TrainSamples, list[int]]:
    """Returns the samples of DATASETS.TRAIN, and the size of each dataset.

    The lists of dataset dicts are freed when it returns.
    """
    parts = _parts(cfg, load_training_sets(cfg.DATASETS.TRAIN, present=False), mapper)
    return TrainSamples(parts, seed), [len(records) for records, _ in parts]


def _parts(
    cfg: CfgNode, datasets: Sequence[RegisteredDataset], given: Mapper | None
) -> list[tuple[Sequence[Record], Mapper]]:
    """Returns the samples of each dataset and their mapper.

    Args:
        cfg: the config.
        datasets: the datasets.
        given: the mapper of all datasets; None: a ``TrainMapper`` for each.
    """
    check_class_mix(cfg)
    spaces = {(dataset.vocabulary.label_space, dataset.ignore_label) for dataset in datasets}
    parts: list[tuple[Sequence[Record], Mapper]] = []
    for dataset in datasets:
        mapper: Mapper = given or TrainMapper.from_config(cfg, dataset.label_format)
        records = PackedRecords(dataset.records)
        if cfg.INPUT.CLASS_MIX:
            mapper = ClassMix(mapper, records, cfg.INPUT.CLASS_MIX, dataset.ignore_label)
        if len(spaces) == 1:
            parts.append((records, mapper))
        else:
            own = {"vocabulary": dataset.vocabulary, "ignore_label": dataset.ignore_label}
            parts.append((records, _WithLabelSpace(mapper, own)))
    return parts


class _WithLabelSpace:
    """A mapper that adds the vocabulary and void id of its dataset to each sample."""

    def __init__(self, mapper: Mapper, own: dict[str, Any]) -> None:
        self.mapper, self.own = mapper, own

    def __call__(self, record: Record) -> Record:
        return {**self.mapper(record), **self.own}


class StepSampler(Sampler[list[tuple[int, int]]]):
    """Yields one list of (position, sample number) pairs per optimiser step, for one process.

    Args:
        order: the function that gives the sample number at a position.
        batch_size: the batch of all processes together; a multiple of ``world_size``.
        iterations: the optimiser steps to yield.
        first: the position of the first sample of ``iterations``; None: the position if all steps
            before had this batch size.
        rank: the rank of this process.
        world_size: the number of processes.
    """

    def __init__(
        self,
        order: Order,
        batch_size: int,
        iterations: range,
        *,
        first: int | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        assert batch_size % world_size == 0
        self.order = order
        self.batch_size = batch_size
        self.iterations = iterations
        self.first = iterations.start * batch_size if first is None else first
        self.rank = rank
        self.world_size = world_size

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        share = self.batch_size // self.world_size
        for iteration in self.iterations:
            start = (
                self.first
                + (iteration - self.iterations.start) * self.batch_size
                + self.rank * share
            )
            yield [(position, self.order(position)) for position in range(start, start + share)]

    def __len__(self) -> int:
        return len(self.iterations)


class TrainSamples(Dataset[Record]):
    """Mapped training samples, indexed by (position, sample number).

    Args:
        parts: for each dataset, its dicts and its mapper, whose random numbers come from torch's
            default CPU generator. Sample numbers run through all datasets.
        seed: the seed of the augmentation.
    """

    def __init__(self, parts: Sequence[tuple[Sequence[Record], Mapper]], seed: int) -> None:
        self.parts = list(parts)
        self.seed = seed

    def __getitem__(self, key: tuple[int, int]) -> Record:
        position, number = key
        state, threads = torch.get_rng_state(), torch.get_num_threads()
        # A worker process has one thread. Several threads, as in the main process, add numbers in
        # another order, so the picture could differ in its last bit.
        torch.set_num_threads(1)
        # Only the CPU's generator is seeded: torch.manual_seed would also reset the GPU's, from
        # which dropout draws.
        torch.default_generator.manual_seed(stream(self.seed, AUGMENTATION, position))
        try:
            return self._mapped(number)
        finally:
            torch.set_rng_state(state)
            torch.set_num_threads(threads)

    def _mapped(self, number: int) -> Record:
        for records, mapper in self.parts:
            if number < len(records):
                return mapper(records[number])
            number -= len(records)
        raise IndexError(number)

    def __len__(self) -> int:
        return sum(len(records) for records, _ in self.parts)


class TestSamples(Dataset[Record]):
    """Mapped test samples in the order of the dataset.

    Args:
        records: the dataset dicts.
        mapper: reads one dataset dict.
        own: keys and values that are added to each sample that lacks them.
    """

    __test__ = False  # not a test case, although its name begins with Test

    def __init__(
        self, records: Sequence[Record], mapper: Mapper, own: Mapping[str, Any] | None = None
    ) -> None:
        self.records = records
        self.mapper = mapper
        self.own = own or {}

    def __getitem__(self, number: int) -> Record:
        return {**self.own, **self.mapper(self.records[number])}

    def __len__(self) -> int:
        return len(self.records)


def _num_workers(cfg: CfgNode) -> int:
    """Returns DATALOADER.NUM_WORKERS, but at most the number of usable cores."""
    wanted = cfg.DATALOADER.NUM_WORKERS
    if wanted < 0:
        raise UserError(
            f"DATALOADER.NUM_WORKERS is {wanted}; it must be 0 (load in the main process) or more",
            key="DATALOADER.NUM_WORKERS",
        )
    return min(wanted, usable_cores())


def _patience(cfg: CfgNode) -> int:
    """Returns the seconds after which a silent worker counts as hung; 0 without workers."""
    if _num_workers(cfg):
        return GIVE_UP_S
    return 0


def _as_list(samples: list[Record]) -> list[Record]:
    """Collates a batch for a model that takes lists: returns it unchanged."""
    return samples
