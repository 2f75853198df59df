"""T: the text embedding of the vocabulary, held by the model (Sec. 3.1).

Raw CLIP embeddings of class names are crowded (cosines of 0.7 to 0.9 between any two), so T enters everywhere as
T - mu, with mu the mean of the vocabulary the model was trained with. Both are saved with the weights: a checkpoint
segments its own vocabulary without CLIP, and another vocabulary is seen from the same centre.

Shapes: K classes, D text width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from clipmask.modeling.text_sources import TextSource


class TextEncoder(nn.Module):
    """Holds T and computes it on first use, never when it came with the weights.

    Args:
        source: where embeddings come from.
        names: the vocabulary.
        aliases: other names that a class of the vocabulary is known by in files of embeddings.
    """

    embedding: Tensor  # (K, D), rows of unit length
    mean: Tensor  # (D,)

    def __init__(
        self, source: TextSource, names: Sequence[str], aliases: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        super().__init__()
        self.source, self.names, self.aliases = source, tuple(names), dict(aliases or {})
        self.register_buffer("embedding", torch.zeros(len(self.names), source.width))
        self.register_buffer("mean", torch.zeros(source.width))
        self._ready = False

    def forward(self) -> Tensor:
        """Returns T - mu, (K, D)."""
        self.prepare()
        return self.embedding - self.mean

    def prepare(self) -> None:
        """Computes T, and with it mu, unless that was done or both came with the weights.

        Raises:
            UserError: from the source, e.g. CLIP can't be downloaded or a file lacks a name.
        """
        if self._ready:
            return
        self.embedding.copy_(self.source.encode(self.names, self.aliases))
        if len(self.names) > 1:  # the mean of a single class is the class itself: nothing would be left
            self.mean.copy_(self.embedding.mean(0))
        self._ready = True

    def set_vocabulary(self, names: Sequence[str], source: TextSource | None = None) -> None:
        """Replaces T by the embeddings of other names; mu stays that of the training vocabulary.

        Args:
            names: the new vocabulary.
            source: where to take it from; None for the model's own.

        Raises:
            UserError: from the source.
        """
        if not self._ready:
            self.prepare()
        encoded = (source or self.source).encode(tuple(names), self.aliases)
        self.names, self.embedding = tuple(names), encoded.to(self.mean)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Notes that T and mu came with the weights, so that CLIP is never asked for them."""
        loaded = [state_dict.get(f"{prefix}{name}") for name in ("embedding", "mean")]
        if [None if value is None else value.shape for value in loaded] == [self.embedding.shape, self.mean.shape]:
            self._ready = True
        super()._load_from_state_dict(state_dict, prefix, *args)
