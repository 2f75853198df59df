"""Learned text embeddings: MODEL.CLIP.TOWER ``context`` and ``full``.

    context:  T_k = |E([v_1 .. v_M; name_k])|               v is learned, E is frozen
    full:     T_k = |mean_p |E(prompt_p(name_k))||          E is learned

with CLIP's text tower E and |x| = x / ||x||. Learned context is that of "Learning to Prompt for
Vision-Language Models" (CoOp, Sec. 3.2): vectors before the name replace the words of a prompt.
They are the same for all classes, or each class has its own.

Shapes: K classes, N texts, M learned vectors, W the tower's token width, D text width.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from clipmask.errors import UserError
from clipmask.text.clip_encoder import (
    CHUNK,
    ClipTextEncoder,
    load_tower,
    token_width,
    uses_quick_gelu,
)
from clipmask.text.prompts import templates
from clipmask.text.sources import ClipSource, averages, prompted
from clipmask.vocabulary import Term, texts_of

logger = logging.getLogger(__name__)


class TextLearner(Protocol):
    """A source of embeddings with gradients: ``LearnedContext`` or ``LearnedTower``.

    Attributes:
        changes_texts: whether training also changes the rows of ``encode_texts``.
    """

    changes_texts: bool

    def encode(self, terms: Sequence[Term]) -> Tensor:
        """See ``TextSource``; the result is on the learner's device."""
        ...

    def encode_texts(self, texts: Sequence[Term], device: torch.device) -> Tensor:
        """See ``TextSource``."""
        ...


class LearnedContext(nn.Module):
    """M learned vectors before each class name; gradients reach them through CLIP's frozen tower.

    Only the vectors are weights of this module. The tower belongs to its source, which loads it
    when a row is first computed. It is not loaded for a vocabulary whose T is in the weights.

    Args:
        open_source: opens CLIP; later calls return the same source.
        length: M.
        width: W.
        terms: the names of the training, if each has vectors of its own. None: all names share the
            same vectors.
    """

    changes_texts = False
    # The standard deviation of the initial vectors, in CoOp and for CLIP's own token embeddings.
    first_deviation = 0.02

    def __init__(
        self,
        open_source: Callable[[], ClipSource],
        length: int,
        width: int,
        terms: Sequence[Term] | None = None,
    ) -> None:
        super().__init__()
        self._open_source = open_source
        self._names: list[str] | None = None
        shape: tuple[int, ...] = (length, width)
        if terms is not None:
            self._names = texts_of(terms)
            shape = (len(terms), length, width)
        self.context = nn.Parameter(torch.randn(shape) * self.first_deviation)

    def encode(self, terms: Sequence[Term]) -> Tensor:
        """See ``TextSource``; aliases and prompts are ignored.

        Raises:
            UserError: each class has its own vectors and these are other classes, or CLIP can't be
                loaded.
        """
        if self._names is not None and texts_of(terms) != self._names:
            raise UserError(
                "this model was trained with MODEL.CLIP.CONTEXT_PER_CLASS: only its own classes"
                f" have a learned context, {', '.join(self._names)}. Train with CONTEXT_PER_CLASS"
                " False to change them later"
            )
        tower = self._open_source().tower(self.context.device)
        parts = [term.synonyms for term in terms]
        context: Tensor = self.context  # (M, W)
        if self._names is not None:
            owners = zip(self.context, parts, strict=True)
            # (words, M, W)
            context = torch.cat([own.expand(len(words), -1, -1) for own, words in owners])
        ids = tower.tokenize(list(chain.from_iterable(parts)), room=context.shape[-2])
        features = tower(ids, context)
        return averages(features.split(list(map(len, parts))))

    def encode_texts(self, texts: Sequence[Term], device: torch.device) -> Tensor:
        """See ``TextSource``; the learned vectors are not used, because the texts are sentences."""
        return self._open_source().encode_texts(texts, device)


class LearnedTower(nn.Module):
    """CLIP's whole text tower, trained; all of its weights belong to this module.

    Args:
        tower: CLIP's text tower.
        prompts: templates with ``{}``, for names without prompts of their own. At every step each
            name is encoded in each of its prompts.
    """

    changes_texts = True

    def __init__(self, tower: ClipTextEncoder, prompts: Sequence[str]) -> None:
        super().__init__()
        self.tower, self._prompts = tower, tuple(prompts)

    def encode(self, terms: Sequence[Term]) -> Tensor:
        """See ``TextSource``; aliases are ignored."""
        return prompted(self.tower, terms, self._prompts)

    def encode_texts(self, texts: Sequence[Term], device: torch.device) -> Tensor:
        """Returns (N, D) unit rows, encoded in one batch, because training does it at every step.

        Unlike in ``TextSource``, the last bits of a row may depend on the other texts.
        """
        return F.normalize(self.tower(self.tower.tokenize(texts_of(texts))), dim=-1)


def configured_learner(
    clip: CfgNode, open_source: Callable[[], Any], terms: Sequence[Term], *, loads_weights: bool
) -> TextLearner | None:
    """Builds the learner of MODEL.CLIP.TOWER; returns None for ``frozen``.

    Args:
        clip: the node MODEL.CLIP of the config.
        open_source: opens CLIP; later calls return the same source.
        terms: the names of the training.
        loads_weights: whether a checkpoint with the tower's weights will be loaded.
    """
    if clip.TOWER == "context":
        width = token_width(clip.NAME, clip.CONTEXT_LENGTH)
        return LearnedContext(
            open_source, clip.CONTEXT_LENGTH, width, terms if clip.CONTEXT_PER_CLASS else None
        )
    if clip.TOWER != "full":
        return None
    prompts = templates(clip.PROMPTS)
    if loads_weights:
        return LearnedTower(
            ClipTextEncoder(clip.NAME, uses_quick_gelu(clip.NAME, clip.PRETRAINED)), prompts
        )
    _warn_of_cost(sum(len(term.synonyms) for term in terms), len(prompts))
    return LearnedTower(load_tower(clip.NAME, clip.PRETRAINED), prompts)


def _warn_of_cost(words: int, prompts: int) -> None:
    """Warns if many prompts make the training of the tower slow."""
    if words * prompts > CHUNK:
        logger.warning(
            "MODEL.CLIP.TOWER full: %d sentences (%d names in %d prompts) go through CLIP's text"
            " tower at every step; MODEL.CLIP.PROMPTS \"['single']\" makes it %d",
            words * prompts,
            words,
            prompts,
            words,
        )
