"""Controls of the text: files of embeddings without CLIP's meaning, so that a gain by CLIP can be
told from others.

    random      row k becomes  mu + |T_k - mu| u(name_k),  u a direction that name and draw alone
                determine: what the model sees, T - mu, has about CLIP's norms (rows are brought
                back to unit length), not its directions
    shuffled    every name gets the row of another name: CLIP's own vectors, all of them, under
                wrong names

What one draw brings may be its luck, so every seed of a grid has a draw of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from fvcore.common.config import CfgNode
from torch import Tensor

from clipmask.data.catalog import dataset_vocabulary
from clipmask.errors import UserError
from clipmask.text.sources import text_source
from clipmask.vocabulary import Term, union

CONTROLS = ("random", "shuffled")


def write_control(
    path: Path, cfg: CfgNode, datasets: Sequence[str], control: str, draw: int
) -> None:
    """Writes an .npz for MODEL.CLIP.EMBEDDINGS.

    Args:
        path: the file; its folder is made.
        cfg: of the run; MODEL.CLIP says where T comes from.
        datasets: whose names get rows.
        control: one of ``CONTROLS``.
        draw: from 0.

    Raises:
        UserError: T can't be had, or there is one name alone.
    """
    terms = union(dataset_vocabulary(name) for name in datasets)
    clip = cfg.MODEL.CLIP
    T = text_source(clip.NAME, clip.PRETRAINED, clip.EMBEDDINGS, clip.PROMPTS).encode(terms)
    rows = random_rows(T, terms, draw) if control == "random" else shuffled_rows(T, terms, draw)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, names=np.array([term.text for term in terms]), embeddings=rows.numpy())


def random_rows(T: Tensor, terms: Sequence[Term], draw: int) -> Tensor:
    """Returns random directions about the mean of T (R, D), as far from it as the rows of T; (R, D)
    of unit length.
    """
    mean = T.mean(0)
    directions = torch.stack([_direction(term.text, T.shape[1], draw) for term in terms])
    return F.normalize(mean + (T - mean).norm(dim=1, keepdim=True) * directions, dim=1)


def shuffled_rows(T: Tensor, terms: Sequence[Term], draw: int) -> Tensor:
    """Returns the rows of T (R, D) so that no name keeps its own: one circle through all, by names
    and draw alone.

    Raises:
        UserError: there is one name alone.
    """
    if len(terms) < 2:
        raise UserError(f"shuffled text needs two names or more; there is {terms[0].text} alone")
    circle = sorted(range(len(terms)), key=lambda row: _digest(terms[row].text, draw))
    shuffled = torch.empty_like(T)
    for row, other in zip(circle, circle[1:] + circle[:1], strict=True):
        shuffled[row] = T[other]
    return shuffled


def _direction(text: str, width: int, draw: int) -> Tensor:
    generator = torch.Generator().manual_seed(int.from_bytes(_digest(text, draw)[:7], "big"))
    return F.normalize(torch.randn(width, generator=generator), dim=0)


def _digest(text: str, draw: int) -> bytes:
    return hashlib.sha256(f"control {draw}: {text.strip().lower()}".encode()).digest()
