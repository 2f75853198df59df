"""What "the same" means between two computations that promise no equal bits: the same up to
rounding.

A matrix product's last bits depend on how many rows it has, on their place among them and on where
its operands lie in memory, and each of that on the processor and the library. Of two batches,
windows or strips no bits can be compared.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

ROUNDING = 1e-5  # of scores, features and logits around one


def assert_same(one: Any, other: Any, tolerance: float = ROUNDING) -> None:
    """Fails where two tensors or arrays differ by more than rounding."""
    torch.testing.assert_close(
        torch.as_tensor(one), torch.as_tensor(other), rtol=tolerance, atol=tolerance
    )


def assert_best(labels: Any, scores: Any, tolerance: float = ROUNDING) -> None:
    """Fails where a label is not of the highest score, or of one that rounding alone parts from it.

    Args:
        labels: (H, W) class ids.
        scores: (K, H, W).
        tolerance: relative to the highest score.
    """
    chosen = torch.as_tensor(np.asarray(labels)).long()
    found = torch.as_tensor(np.asarray(scores))
    assert chosen.shape == found.shape[1:]
    highest = found.amax(0)
    missed = highest - found.gather(0, chosen[None])[0]
    assert (missed <= tolerance * highest.abs().clamp_min(1)).all(), (
        f"{(missed > tolerance).sum()} labels are not best"
    )
