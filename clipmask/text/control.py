"""Controls of the experiment: T without its meaning, so that a gain by CLIP can be told from one by more weights.

    random      the k-th row becomes  mu + |T_k - mu| u(name_k),  u a direction that the name alone determines: what the
                model sees, T - mu, has CLIP's norms and none of its directions
    shuffled    each class gets the row of another class: CLIP's vectors, all of them, under wrong names

Both follow from the class names and the number of the draw, nothing else: the order of the classes, the seed of a run
and the process play no part, and a name keeps its random direction in every vocabulary. What one draw brings may be its
luck; several tell.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from clipmask.errors import UserError


def random_rows(T: Tensor, texts: Sequence[str], mean: Tensor, draw: int = 0) -> Tensor:
    """Turns the rows of T into random directions about their centre.

    Args:
        T: (N, D), one row a text.
        texts: N names or texts; case does not count.
        mean: mu (D,), from which the model sees T.
        draw: which of the directions that a text can have, from 0.

    Returns:
        (N, D), as far from ``mean`` as the rows of ``T``.
    """
    directions = torch.stack([_direction(text, T.shape[1], draw) for text in texts]).to(T)
    return mean + (T - mean).norm(dim=1, keepdim=True) * directions


def dealt_names(names: Sequence[str], draw: int = 0) -> dict[str, str]:
    """Deals the classes' embeddings out so that none keeps its own.

    Args:
        names: of the classes, in any order.
        draw: which of the ways to deal, from 0.

    Returns:
        Name to the name whose embedding it gets: one circle through all, in an order that names and draw determine.

    Raises:
        UserError: there is one class alone.
    """
    if len(names) < 2:
        raise UserError(f"MODEL.CLIP.CONTROL shuffled: {', '.join(names)} is the only class; it needs two or more")
    circle = sorted(names, key=lambda name: _digest(name, draw))
    return dict(zip(circle, circle[1:] + circle[:1], strict=True))


def _direction(text: str, width: int, draw: int) -> Tensor:
    generator = torch.Generator().manual_seed(int.from_bytes(_digest(text, draw)[:7], "big"))
    return F.normalize(torch.randn(width, generator=generator), dim=0)


def _digest(text: str, draw: int) -> bytes:
    which = f"control {draw}:" if draw else "control"  # results made before there were draws are those of draw 0
    return hashlib.sha256(f"{which} {text.strip().lower()}".encode()).digest()
