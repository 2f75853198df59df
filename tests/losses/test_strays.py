"""Ids that are neither a class nor void are found in training labels, wherever these lie."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch

from clipmask.errors import UserError
from clipmask.losses import strays
from clipmask.losses.strays import StrayIds
from clipmask.losses.targets import LabelSpace

SPACE = LabelSpace(num_classes=5, ignore_label=255)


def inputs(*ids: int, dtype: torch.dtype = torch.uint8) -> list[dict[str, Any]]:
    return [{"sem_seg": torch.tensor([ids], dtype=dtype), "file_name": "a.png"}]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_classes_and_void_pass(dtype: torch.dtype) -> None:
    StrayIds().check(inputs(0, 4, 255, dtype=dtype), [SPACE])


@pytest.mark.parametrize("stray", [5, 17, 254])
def test_other_ids_are_told_with_their_file(stray: int) -> None:
    with pytest.raises(UserError, match=rf"a\.png.* {stray} .*0\.\.4.*255.*ignore_label"):
        StrayIds().check(inputs(0, stray), [SPACE])


def test_negative_ids_are_strays_unless_they_are_void() -> None:
    with pytest.raises(UserError, match="-1"):
        StrayIds().check(inputs(-1, dtype=torch.int64), [SPACE])
    StrayIds().check(inputs(-1, dtype=torch.int64), [LabelSpace(5, -1)])


def test_each_image_has_its_own_classes() -> None:
    batch, spaces = inputs(5) + inputs(1), [LabelSpace(6, 255), SPACE]
    StrayIds().check(batch, spaces)
    with pytest.raises(UserError):
        StrayIds().check(batch, spaces[::-1])


def test_a_device_is_asked_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its label maps look to the check as if they lay elsewhere."""
    monkeypatch.setattr(strays, "HOST", "none")
    checked = StrayIds()
    for _ in range(strays.INTERVAL - 1):
        checked.check(inputs(5), [SPACE])  # kept in mind, and not asked for
    with pytest.raises(UserError, match="an earlier one"):
        checked.check(inputs(0), [SPACE])
    assert isinstance(pickle.loads(pickle.dumps(checked)), StrayIds)
