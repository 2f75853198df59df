"""Batches go through the model in parts on a CPU, whole elsewhere; results stay in order."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from clipmask.inference.batches import CPU_PIXELS, in_parts


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
