"""Ablation controls: text embeddings without meaning, to separate CLIP's effect from others.

    random      row k becomes  mu + |T_k - mu| u(name_k),  normalised to unit length. u is a random
                direction that depends only on the name and the draw. So T - mu, the model's input,
                has about the norms of CLIP's rows but not their directions.
    shuffled    every name gets the row of another name, so that all of CLIP's rows are used, with
                wrong names

Every seed of a grid has its own draw, because a single draw may be good or bad by chance.
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
    """Writes a control as an .npz file for MODEL.CLIP.EMBEDDINGS.

    Args:
        path: the file; its folder is created.
        cfg: the config of the run; MODEL.CLIP is the source of T.
        datasets: the datasets whose class names get rows.
        control: one of ``CONTROLS``.
        draw: the number of the draw, from 0.

    Raises:
        UserError: T is not available, or there is only one name.
    """
    terms = union(dataset_vocabulary(name) for name in datasets)
    clip = cfg.MODEL.CLIP
    T = text_source(clip.NAME, clip.PRETRAINED, clip.EMBEDDINGS, clip.PROMPTS).encode(terms)
    rows = random_rows(T, terms, draw) if control == "random" else shuffled_rows(T, terms, draw)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, names=np.array([term.text for term in terms]), embeddings=rows.numpy())


def random_rows(T: Tensor, terms: Sequence[Term], draw: int) -> Tensor:
    """Returns the rows of the control ``random``, (R, D) of unit length.

    Args:
        T: (R, D), CLIP's rows.
        terms: the names of the rows.
        draw: the number of the draw.
    """
    mean = T.mean(0)
    directions = torch.stack([_direction(term.text, T.shape[1], draw) for term in terms])
    return F.normalize(mean + (T - mean).norm(dim=1, keepdim=True) * directions, dim=1)


def shuffled_rows(T: Tensor, terms: Sequence[Term], draw: int) -> Tensor:
    """Returns the rows of the control ``shuffled``, (R, D): no name keeps its own row.

    The rows move along one circle through all names, which depends on the names and the draw only.

    Args:
        T: (R, D), CLIP's rows.
        terms: the names of the rows.
        draw: the number of the draw.

    Raises:
        UserError: there is only one name.
    """
    if len(terms) < 2:
        raise UserError(f"shuffled text needs two names or more; there is only {terms[0].text}")
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
