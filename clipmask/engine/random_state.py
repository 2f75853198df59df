"""The global random states: Python's, NumPy's, PyTorch's and CUDA's.

Data order and augmentation do not depend on them (they are seeded by position); initial weights,
dropout and the points at which the model samples its losses do.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def draw_seed() -> int:
    """Draws a seed in 0..2**31-1 from the system's randomness."""
    return secrets.randbelow(2**31)


def seed_everything(seed: int) -> None:
    """Seeds the global generators of Python, NumPy, PyTorch and CUDA.

    Args:
        seed: not negative.
    """
    random.seed(seed)
    # Other libraries draw from NumPy's global state.
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.manual_seed(seed)


def get_random_state() -> dict[str, Any]:
    """Returns the state of all four as tensors and plain values."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": (
            kind,
            torch.from_numpy(np.asarray(keys).astype(np.int64)),
            position,
            has_gauss,
            gauss,
        ),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Puts a state of ``get_random_state`` back; CUDA's is left out where there is no CUDA."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


@contextmanager
def preserved_random_state() -> Iterator[None]:
    """Context that restores the global random states at its end."""
    state = get_random_state()
    try:
        yield
    finally:
        set_random_state(state)
