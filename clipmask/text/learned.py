"""Text embeddings that are trained with the rest: MODEL.CLIP.TOWER ``context`` and ``full``.

    context:  T_k = |E([v_1 .. v_M; name_k])|               v is learned, CLIP's text tower E is not
    full:     T_k = |mean_p |E(prompt_p(name_k))||          E is learned

with |x| = x / ||x||. Learned context is that of "Learning to Prompt for Vision-Language Models"
(CoOp, Sec. 3.2): vectors before the name, the same for all classes or for each its own, in place of
the words of a prompt.

Shapes: K classes, N texts, M learned vectors, W the tower's token width, D text width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clipmask.errors import UserError
from clipmask.text.clip_encoder import ClipTextEncoder
from clipmask.text.sources import ClipSource, average, prompted
from clipmask.vocabulary import Term


class TextLearner(Protocol):
    """What ``LearnedContext`` and ``LearnedTower`` have in common: a source whose rows carry
    gradients.

    Attributes:
        changes_texts: whether training changes the rows of ``encode_texts`` too.
    """

    changes_texts: bool

    def encode(self, terms: Sequence[Term]) -> Tensor:
        """See ``TextSource``; the result is where the learner is."""
        ...

    def encode_texts(self, texts: Sequence[Term], device: torch.device) -> Tensor:
        """See ``TextSource``."""
        ...


class LearnedContext(nn.Module):
    """M learned vectors before each class name; gradients reach them through CLIP's frozen tower.

    Only the vectors are weights of this module: the tower stays with its source, which loads it
    when a row is first computed, and not for a vocabulary whose T came with the weights.

    Args:
        open_source: opens CLIP, once.
        length: M.
        width: W.
        terms: the names of the training, each of which learns vectors of its own; None: all learn
            the same.
    """

    changes_texts = False
    # The standard deviation of the first vectors, CoOp's; CLIP's own token embeddings start from it
    # too.
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
        self._names = None if terms is None else [term.text for term in terms]
        shape = (length, width) if terms is None else (len(terms), length, width)
        self.context = nn.Parameter(torch.randn(shape) * self.first_deviation)

    def encode(self, terms: Sequence[Term]) -> Tensor:
        """See ``TextSource``; CLIP reads any name, so aliases play no part, and no name has
        prompts.

        Raises:
            UserError: each class has vectors of its own and these are other classes, or CLIP can't
                be had.
        """
        if self._names is not None and [term.text for term in terms] != self._names:
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
        ids = tower.tokenize([word for words in parts for word in words], room=context.shape[-2])
        features = tower(ids, context)
        return torch.stack(
            [average(group) for group in features.split([len(words) for words in parts])]
        )

    def encode_texts(self, texts: Sequence[Term], device: torch.device) -> Tensor:
        """See ``TextSource``: as frozen CLIP has it, for the texts of images have words around
        their nouns.
        """
        return self._open_source().encode_texts(texts, device)


class LearnedTower(nn.Module):
    """CLIP's whole text tower, trained; all of its weights belong to this module.

    Args:
        tower: CLIP's.
        prompts: templates with ``{}``, for names that have none of their own; each name in each of
            its prompts goes through the tower at every step.
    """

    changes_texts = True

    def __init__(self, tower: ClipTextEncoder, prompts: Sequence[str]) -> None:
        super().__init__()
        self.tower, self._prompts = tower, tuple(prompts)

    def encode(self, terms: Sequence[Term]) -> Tensor:
        """See ``TextSource``; aliases play no part."""
        return prompted(self.tower, terms, self._prompts)

    def encode_texts(self, texts: Sequence[Term], device: torch.device) -> Tensor:
        """See ``TextSource``; together, for in training they are computed at every step."""
        return F.normalize(self.tower(self.tower.tokenize([text.text for text in texts])), dim=-1)
