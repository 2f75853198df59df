"""Pasting of classes from one training sample into another (Olsson et al., ClassMix, 2021).

A rare class is seen among few others: a bicyclist only in the few streets where one was filmed.
Pasted into the samples of other streets, its pixels have to be recognised by themselves. ClassMix
pastes half of the classes of the other sample; here they are drawn among its small ones, because a
road or a sky would cover most of what it is pasted into.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import Tensor

from clipmask.data.records import Record
from clipmask.errors import UserError

SMALL = 0.1  # a class is small if it covers at most this share of its crop


class ClassMix:
    """A mapper that pastes small classes of a second sample into the sample of another mapper.

    The second sample is drawn from the same dataset and mapped in the same way, so a sample with
    pasted classes takes twice the time to load. The random numbers come from torch's default CPU
    generator.

    Args:
        mapper: gives samples with ``image``, uint8 (C, h, w), and ``sem_seg``, (h, w).
        records: the dataset dicts from which the second sample is drawn.
        probability: INPUT.CLASS_MIX, the share of the samples that get pasted classes, in [0, 1].
        ignore_label: the void id, which is never pasted.
    """

    def __init__(
        self,
        mapper: Callable[[Record], Record],
        records: Sequence[Record],
        probability: float,
        ignore_label: int,
    ) -> None:
        self.mapper, self.records = mapper, records
        self.probability, self.ignore_label = probability, ignore_label

    def __call__(self, record: Record) -> Record:
        """Returns the mapped sample of ``record``, with pasted classes if the draw says so.

        Raises:
            UserError: the two samples differ in size; or an error of the mapper.
        """
        sample = self.mapper(record)
        if torch.rand(()).item() >= self.probability:
            return sample
        other = self.mapper(self.records[int(torch.randint(len(self.records), ()))])
        _check_sizes(sample, other)
        pasted = self._pasted(other["sem_seg"])
        sample["image"] = torch.where(pasted, other["image"], sample["image"])
        sample["sem_seg"] = torch.where(pasted, other["sem_seg"], sample["sem_seg"])
        return sample

    def _pasted(self, labels: Tensor) -> Tensor:
        """Returns the pixels to paste, bool (h, w): half of the small classes of ``labels``."""
        classes, counts = labels.unique(return_counts=True)
        small = classes[(classes != self.ignore_label) & (counts <= SMALL * labels.numel())]
        half = (len(small) + 1) // 2
        return torch.isin(labels, small[torch.randperm(len(small))[:half]])


def check_class_mix(cfg: CfgNode) -> None:
    """Checks that INPUT.CLASS_MIX can work with the rest of a config.

    Raises:
        UserError: the probability is not in [0, 1]; samples can differ in size; or each image has
            its own text, which does not name what is pasted.
    """
    probability = cfg.INPUT.CLASS_MIX
    if not 0 <= probability <= 1:
        raise UserError(
            f"INPUT.CLASS_MIX is {probability}; it must be a probability, 0 to 1",
            key="INPUT.CLASS_MIX",
        )
    if not probability:
        return
    if not cfg.INPUT.CROP.ENABLED or cfg.INPUT.CROP.TYPE != "absolute":
        raise UserError(
            f"INPUT.CLASS_MIX {probability} pastes one sample into another, so all must have the"
            " same size: set INPUT.CROP.ENABLED True and INPUT.CROP.TYPE absolute, or"
            " INPUT.CLASS_MIX 0",
            key="INPUT.CLASS_MIX",
        )
    if cfg.MODEL.CLIP.TEXT == "annotation":
        raise UserError(
            f"INPUT.CLASS_MIX {probability} pastes classes that an image's own text does not name:"
            " set MODEL.CLIP.TEXT vocabulary or INPUT.CLASS_MIX 0",
            key="INPUT.CLASS_MIX",
        )


def _check_sizes(sample: dict[str, Any], other: dict[str, Any]) -> None:
    if sample["image"].shape != other["image"].shape:
        raise UserError(
            f"INPUT.CLASS_MIX: the samples of {sample.get('file_name')} and"
            f" {other.get('file_name')} are {tuple(sample['image'].shape)} and"
            f" {tuple(other['image'].shape)} (channels, height, width); one can be pasted into the"
            " other only if they have the same size",
            key="INPUT.CLASS_MIX",
        )
