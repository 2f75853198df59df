"""Batches go through the model in parts on a CPU, whole elsewhere; results stay in order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from clipmask.errors import UserError
from clipmask.inference.batches import CPU_PIXELS, batches_of_one_size, in_parts


@pytest.mark.parametrize(
    ("side", "device", "sizes"),
    [
        (16, "cpu", [5]),
        (int(CPU_PIXELS**0.5), "cpu", [1, 1, 1, 1, 1]),
        (int((CPU_PIXELS / 2) ** 0.5), "cpu", [2, 2, 1]),
        (2 * int(CPU_PIXELS**0.5), "cpu", [1, 1, 1, 1, 1]),
        (int(CPU_PIXELS**0.5), "cuda", [5]),
        (int(CPU_PIXELS**0.5), "", [5]),
    ],
)
def test_parts(side: int, device: str, sizes: list[int]) -> None:
    inputs = [{"image": torch.zeros(1).expand(3, side, side), "number": n} for n in range(5)]
    seen: list[int] = []

    def model(batch: list[dict[str, Any]]) -> list[int]:
        seen.append(len(batch))
        return [item["number"] for item in batch]

    assert in_parts(model, inputs, device) == [0, 1, 2, 3, 4]
    assert seen == sizes


def test_pictures_of_one_size_go_together_and_a_full_batch_waits_for_none() -> None:
    sizes = {"a": 2, "b": 2, "c": 3, "d": 3, "e": 3}
    asked: list[str] = []

    def names() -> Iterator[str]:
        for name in ["a", "b", "broken", "c", "d", "e"]:
            asked.append(name)
            yield name

    def read(name: str) -> NDArray[np.uint8]:
        if name not in sizes:
            raise UserError(f"{name}: no picture")
        return np.zeros((sizes[name], 4, 3), np.uint8)

    left_out: list[str] = []
    batches = batches_of_one_size(names(), read, 2, lambda name, error: left_out.append(name))
    assert [name for name, _ in next(batches)] == ["a", "b"]
    assert asked == ["a", "b"]
    rest = [[name for name, _ in batch] for batch in batches]
    assert rest == [["c", "d"], ["e"]]
    assert left_out == ["broken"]
    with pytest.raises(UserError, match="broken"):
        list(batches_of_one_size(names(), read, 2, None))
