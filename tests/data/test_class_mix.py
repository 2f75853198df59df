"""Pasted classes: small ones, of another sample of the same dataset, reproducibly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from fvcore.common.config import CfgNode
from PIL import Image

from clipmask.d2 import DatasetCatalog
from clipmask.data.class_mix import SMALL, ClassMix, check_class_mix
from clipmask.data.loader import build_train_loader
from clipmask.data.records import Record
from clipmask.errors import UserError

VOID = 255
SIZE = 40


def drawn(record: Record) -> Record:
    """Maps the number of a record to a sample: its value everywhere, four small classes, void."""
    number = record["number"]
    image = torch.full((3, SIZE, SIZE), 10 * number, dtype=torch.uint8)
    labels = torch.zeros(SIZE, SIZE, dtype=torch.uint8)
    for small in range(1, 5):
        labels[4 * small : 4 * small + 4, :20] = small + 10 * number
    labels[30:, :4] = VOID
    return {"file_name": str(number), "image": image, "sem_seg": labels}


def mixed(probability: float, seed: int, records: list[Record]) -> Record:
    torch.manual_seed(seed)
    return ClassMix(drawn, records, probability, VOID)({"number": 1})


def test_half_of_the_small_classes_are_pasted_with_their_pixels() -> None:
    sample = mixed(1.0, 0, [{"number": 2}])
    pasted = (sample["image"] == 20).all(0)
    kinds = sample["sem_seg"][pasted].unique()
    assert len(kinds) == 2
    assert set(kinds.tolist()) <= {21, 22, 23, 24}  # neither the large class 0 nor void
    assert pasted.sum() == 2 * 4 * 20
    before = drawn({"number": 1})
    assert torch.equal(sample["sem_seg"][~pasted], before["sem_seg"][~pasted])
    assert torch.equal(sample["image"][:, ~pasted], before["image"][:, ~pasted])


def test_a_class_of_more_than_a_tenth_is_not_pasted() -> None:
    def halves(record: Record) -> Record:
        labels = torch.full((SIZE, SIZE), record["number"])
        rows = round(SMALL * SIZE) + record["extra"]
        labels[:rows] = 7
        return {"image": torch.zeros(3, SIZE, SIZE), "sem_seg": labels}

    for extra, found in ((0, True), (1, False)):
        torch.manual_seed(0)
        other = {"number": 2, "extra": extra}
        sample = ClassMix(halves, [other], 1.0, VOID)({"number": 1, "extra": -4})
        assert bool((sample["sem_seg"] == 7).any()) is found


def test_probability_is_the_share_of_samples_with_pasted_classes() -> None:
    counts = [bool((mixed(0.3, seed, [{"number": 2}])["image"] == 20).any()) for seed in range(300)]
    assert 60 <= sum(counts) <= 120


def test_the_same_seed_gives_the_same_sample() -> None:
    records = [{"number": number} for number in range(2, 9)]
    first, again, other = (mixed(1.0, seed, records) for seed in (5, 5, 6))
    assert torch.equal(first["sem_seg"], again["sem_seg"])
    assert torch.equal(first["image"], again["image"])
    assert not torch.equal(first["sem_seg"], other["sem_seg"])


def test_samples_of_other_sizes_are_refused() -> None:
    def grown(record: Record) -> Record:
        side = SIZE + record["number"]
        return {
            "file_name": "a.png",
            "image": torch.zeros(3, side, side),
            "sem_seg": torch.zeros(side, side),
        }

    with pytest.raises(UserError, match=r"a\.png.*same size"):
        ClassMix(grown, [{"number": 2}], 1.0, VOID)({"number": 1})


def contents(cfg: CfgNode) -> list[tuple[bytes, bytes]]:
    loader: Any = build_train_loader(cfg, seed=3)
    return [
        (sample["image"].numpy().tobytes(), sample["sem_seg"].numpy().tobytes())
        for step in loader
        for sample in step
    ]


def test_worker_processes_change_nothing(cfg: CfgNode) -> None:
    cfg.INPUT.CROP.TYPE = "absolute"
    cfg.INPUT.CROP.SIZE = [16, 16]
    for record in DatasetCatalog.get(cfg.DATASETS.TRAIN[0]):
        labels = np.zeros((24, 32), np.uint8)
        labels[::6, ::4] = 1  # a twenty-fourth of any crop
        Image.fromarray(labels).save(record["sem_seg_file_name"])
    plain = contents(cfg)
    cfg.INPUT.CLASS_MIX = 0.5
    alone = contents(cfg)
    cfg.DATALOADER.NUM_WORKERS = 2
    assert contents(cfg) == alone
    assert 0 < sum(one != other for one, other in zip(alone, plain, strict=True)) < len(plain)


@pytest.mark.parametrize(
    "opts",
    [
        ["INPUT.CLASS_MIX", 1.5],
        ["INPUT.CLASS_MIX", 0.5, "INPUT.CROP.TYPE", "relative"],
        ["INPUT.CLASS_MIX", 0.5, "INPUT.CROP.ENABLED", False],
        ["INPUT.CLASS_MIX", 0.5, "INPUT.CROP.TYPE", "absolute", "MODEL.CLIP.TEXT", "annotation"],
    ],
)
def test_what_cannot_work_is_said_before_training(cfg: CfgNode, opts: list[Any]) -> None:
    cfg.merge_from_list(opts)
    with pytest.raises(UserError, match=r"INPUT\.CLASS_MIX"):
        check_class_mix(cfg)
