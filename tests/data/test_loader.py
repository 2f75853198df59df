"""Loaders: the same (seed, position) is the same bytes, whatever processes and resumes lie
between.
"""

from __future__ import annotations

import itertools
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fvcore.common.config import CfgNode
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clipmask.data.loader import StepSampler, build_test_loader, build_train_loader
from clipmask.data.order import EpochOrder
from clipmask.errors import UserError

Step = list[tuple[str, bytes, bytes]]


def contents(loader: torch.utils.data.DataLoader[Any]) -> list[Step]:
    """Everything that a training loader yields, as comparable values."""
    return [
        [
            (
                sample["file_name"],
                sample["image"].numpy().tobytes(),
                sample["sem_seg"].numpy().tobytes(),
            )
            for sample in step
        ]
        for step in loader
    ]


def test_worker_processes_change_nothing(cfg: CfgNode) -> None:
    alone = contents(build_train_loader(cfg, seed=3))
    cfg.DATALOADER.NUM_WORKERS = 2
    assert contents(build_train_loader(cfg, seed=3)) == alone
    assert len(alone) == 5
    assert all(len(step) == 4 for step in alone)


class _Grey:
    """A mapper of a user: its picture is drawn from torch's generator."""

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        image = torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8)
        label = torch.zeros(8, 8, dtype=torch.uint8)
        return {"file_name": record["file_name"], "image": image, "sem_seg": label}


def test_a_mapper_of_the_user_is_seeded_like_our_own(cfg: CfgNode) -> None:
    alone = contents(build_train_loader(cfg, _Grey(), seed=3))
    assert contents(build_train_loader(cfg, _Grey(), seed=3)) == alone
    assert contents(build_train_loader(cfg, _Grey(), seed=4)) != alone
    cfg.DATALOADER.NUM_WORKERS = 2
    assert contents(build_train_loader(cfg, mapper=_Grey(), seed=3)) == alone


def test_a_mapper_of_the_user_reads_test_samples(cfg: CfgNode) -> None:
    samples = [sample for (sample,) in build_test_loader(cfg, cfg.DATASETS.TRAIN[0], _Grey())]
    assert {tuple(sample["image"].shape) for sample in samples} == {(3, 8, 8)}


def test_threads_change_nothing(cfg: CfgNode, tmp_path: Path) -> None:
    # Large enough that torch would share the sums of a picture among its threads.
    record = build_train_loader(cfg, seed=0).dataset.parts[0][0][0]  # type: ignore[attr-defined]
    noise = np.random.default_rng(0).integers(0, 256, (1000, 1500, 3), np.uint8)
    Image.fromarray(noise).save(record["file_name"], compress_level=1)
    Image.new("L", (1500, 1000)).save(record["sem_seg_file_name"])
    cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.MAX_ITER = 7, 2
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            results.append(contents(build_train_loader(cfg, seed=1)))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert results[0] == results[1]


@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_share_the_batch(cfg: CfgNode, world_size: int) -> None:
    alone = contents(build_train_loader(cfg, seed=3))
    shares = [
        contents(build_train_loader(cfg, seed=3, rank=r, world_size=world_size))
        for r in range(world_size)
    ]
    assert [list(itertools.chain(*parts)) for parts in zip(*shares, strict=True)] == alone


def test_a_resumed_run_goes_on_where_it_stopped(cfg: CfgNode) -> None:
    whole = contents(build_train_loader(cfg, seed=3))
    for start in range(6):
        assert contents(build_train_loader(cfg, seed=3, start_iteration=start)) == whole[start:]


def test_seeds_differ_and_epochs_differ(cfg: CfgNode) -> None:
    cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.MAX_ITER = 7, 2
    first, second = contents(build_train_loader(cfg, seed=3))
    # an epoch shows every sample once
    assert {name for name, *_ in first} == {name for name, *_ in second}
    assert [name for name, *_ in first] != [name for name, *_ in second]
    assert not {image for _, image, _ in first} & {image for _, image, _ in second}
    assert contents(build_train_loader(cfg, seed=4))[0] != first


@pytest.mark.parametrize("workers", [0, 2])
def test_the_global_generators_are_left_alone(cfg: CfgNode, workers: int) -> None:
    cfg.DATALOADER.NUM_WORKERS = workers
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    contents(build_train_loader(cfg, seed=3))
    list(build_test_loader(cfg, cfg.DATASETS.TEST[0]))
    assert (torch.rand(3) == expected).all()


@given(
    num_samples=st.integers(1, 30),
    share=st.integers(1, 5),
    world_size=st.integers(1, 4),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=50)
def test_every_epoch_is_a_permutation(
    num_samples: int, share: int, world_size: int, seed: int
) -> None:
    batch, steps = share * world_size, 12
    samplers = [
        StepSampler(
            EpochOrder(num_samples, seed), batch, range(steps), rank=rank, world_size=world_size
        )
        for rank in range(world_size)
    ]
    keys = [key for parts in zip(*samplers, strict=True) for part in parts for key in part]
    assert [position for position, _ in keys] == list(range(batch * steps))
    for epoch in range(len(keys) // num_samples):
        numbers = [number for _, number in keys[epoch * num_samples : (epoch + 1) * num_samples]]
        assert sorted(numbers) == list(range(num_samples))


def test_a_fault_in_a_worker_is_still_a_user_error(cfg: CfgNode) -> None:
    loader = build_train_loader(cfg, seed=0)
    Path(loader.dataset.parts[0][0][2]["file_name"]).write_bytes(b"no picture")  # type: ignore[attr-defined]
    for workers in (0, 2):
        cfg.DATALOADER.NUM_WORKERS = workers
        with pytest.raises(UserError, match=r"2\.png: "):
            contents(build_train_loader(cfg, seed=0))
        # while pytest holds the error, whose traceback holds the loop over the loader
        assert multiprocessing.active_children() == []


@pytest.mark.parametrize(
    ("key", "value", "world_size"),
    [
        ("SOLVER.IMS_PER_BATCH", 3, 2),
        ("SOLVER.IMS_PER_BATCH", 0, 1),
        ("SOLVER.MAX_ITER", 0, 1),
        ("DATALOADER.NUM_WORKERS", -1, 1),
    ],
)
def test_senseless_values_name_their_key(
    cfg: CfgNode, key: str, value: int, world_size: int
) -> None:
    cfg.merge_from_list([key, value])
    with pytest.raises(UserError, match=key):
        build_train_loader(cfg, seed=0, world_size=world_size)


@pytest.mark.parametrize("pin", [False, True])
def test_memory_is_pinned_where_that_is_asked_for(cfg: CfgNode, pin: bool) -> None:
    """The loaders are not run: only a machine with such a device has pinned memory."""
    assert build_train_loader(cfg, seed=0, pin_memory=pin).pin_memory is pin
    assert build_test_loader(cfg, cfg.DATASETS.TEST[0], pin_memory=pin).pin_memory is pin


def test_the_test_set_is_shared_among_ranks(cfg: CfgNode) -> None:
    name = cfg.DATASETS.TEST[0]
    alone = [batch[0]["file_name"] for batch in build_test_loader(cfg, name)]
    shares = [
        [b[0]["file_name"] for b in build_test_loader(cfg, name, rank=r, world_size=3)]
        for r in range(3)
    ]
    assert sorted(itertools.chain(*shares)) == sorted(alone)
    assert len(alone) == 7


def test_a_seed_below_zero_is_refused(cfg: CfgNode) -> None:
    """Detectron2's default for SEED."""
    with pytest.raises(UserError, match="SEED"):
        build_train_loader(cfg, seed=-1)
