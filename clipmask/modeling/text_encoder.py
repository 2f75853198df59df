"""T: the text embedding of the vocabulary, held by the model (Sec. 3.1).

Raw CLIP embeddings of class names are crowded (cosines of 0.7 to 0.9 between any two), so T enters everywhere as
T - mu, with mu the mean of the vocabulary the model was trained with. Both are saved with the weights: a checkpoint
segments its own vocabulary without CLIP, and another vocabulary is seen from the same centre.

Shapes: K classes, D text width.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from clipmask.errors import UserError
from clipmask.modeling.text_sources import TextSource


class TextEncoder(nn.Module):
    """Holds T and computes it on first use, never when it came with the weights.

    Args:
        open_source: opens the source of embeddings; called once, when something is first asked of it.
        names: the vocabulary.
        aliases: other names that a class of the vocabulary is known by in files of embeddings.
        width: D, for a model whose T comes with its weights: the source then stays closed until the vocabulary
            changes, and neither CLIP nor a file has to be there. None asks the source at once.

    Raises:
        UserError: ``width`` is None and the source can't be opened.
    """

    embedding: Tensor  # (K, D), rows of unit length
    mean: Tensor  # (D,)

    def __init__(
        self,
        open_source: Callable[[], TextSource],
        names: Sequence[str],
        aliases: Mapping[str, Sequence[str]] | None = None,
        width: int | None = None,
    ) -> None:
        super().__init__()
        self.names, self.aliases = tuple(names), dict(aliases or {})
        self._open_source = functools.cache(open_source)
        self.width = self._open_source().width if width is None else width
        self.register_buffer("embedding", torch.zeros(len(self.names), self.width))
        self.register_buffer("mean", torch.zeros(self.width))
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
        self.embedding.copy_(self._encode(self.names))
        if len(self.names) > 1:  # the mean of a single class is the class itself: nothing would be left
            self.mean.copy_(self.embedding.mean(0))
        self._ready = True

    def set_vocabulary(self, names: Sequence[str], source: TextSource | None = None) -> None:
        """Replaces T by the embeddings of other names; mu stays that of the training vocabulary.

        Args:
            names: the new vocabulary.
            source: where to take it from; None for the model's own.

        Raises:
            UserError: from the source, or its embeddings have another width than the model's.
        """
        if not self._ready:
            self.prepare()
        encoded = self._encode(tuple(names), source)
        self.names, self.embedding = tuple(names), encoded.to(self.mean)

    def _encode(self, names: tuple[str, ...], source: TextSource | None = None) -> Tensor:
        source = source or self._open_source()
        if source.width != self.width:
            raise UserError(
                f"the text embeddings have width {source.width}, the model was trained with {self.width}: use the CLIP "
                "model of the training (MODEL.CLIP.NAME), or embeddings made with it (MODEL.CLIP.EMBEDDINGS)"
            )
        return source.encode(names, self.aliases)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Notes that T and mu came with the weights, so that CLIP is never asked for them."""
        loaded = [state_dict.get(f"{prefix}{name}") for name in ("embedding", "mean")]
        if [None if value is None else value.shape for value in loaded] == [self.embedding.shape, self.mean.shape]:
            self._ready = True
        super()._load_from_state_dict(state_dict, prefix, *args)
