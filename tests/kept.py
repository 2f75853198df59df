"""How much memory the backward pass keeps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def saved_bytes() -> Iterator[list[int]]:
    """Collects the bytes of all memory that is kept for the backward pass, each storage once,
    weights left out.
    """
    seen: dict[int, Tensor] = {}
    total = [0]

    def pack(value: Tensor) -> Tensor:
        place = value.untyped_storage().data_ptr()
        if place not in seen and not value.is_leaf:
            seen[place] = value.detach()  # held, so that no other storage comes to lie there
            total[0] += value.untyped_storage().nbytes()
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        yield total
