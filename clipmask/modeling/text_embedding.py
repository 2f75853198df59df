"""T: the text embeddings of all names that a model was trained with (Sec. 3.1).

Raw CLIP embeddings of class names are close to each other (cosines of 0.7 to 0.9 between any two).
Therefore T is used everywhere as T - mu, where mu is the mean over the names of the training. Both
are saved with the weights. So a checkpoint segments its own vocabularies without CLIP, and the same
mu is subtracted from every other vocabulary.

With learned text (text/learned.py), T and mu are functions of weights. In training they are
computed at every forward pass, with gradients. In evaluation they are computed once, and again
after the weights have changed. A checkpoint holds the T of its weights.

Shapes: R names of the training, S names of a vocabulary, N texts, D text width.
"""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from clipmask.errors import UserError, listed
from clipmask.recent import Recent
from clipmask.text.learned import TextLearner, configured_learner
from clipmask.text.sources import OpenedOnce, TextSource, stored_source, text_source
from clipmask.vocabulary import Term, Vocabulary, hash_of

logger = logging.getLogger(__name__)

KEPT_VOCABULARIES = 256  # number whose rows are cached; a joint training has fewer


class TextEmbedding(nn.Module):
    """Holds T. It is computed at its first use, unless it was loaded with the weights.

    Args:
        open_source: opens the source of embeddings; called once, when the source is first needed.
        terms: the names of the training, ``union`` of its vocabularies; texts are read by
            ``Term.parse``.
        width: D, for a model whose T is loaded with its weights. The source is then opened only for
            other names, so neither CLIP nor a file has to be present. None opens the source at once
            to read its width.
        learner: a module that computes T, if text is learned. None: T is fixed.

    Raises:
        UserError: ``width`` is None and the source can't be opened.
    """

    embedding: Tensor  # (R, D), rows of unit length
    mean: Tensor  # (D,)
    # (32,) uint8: a hash of the names of T. Its size is fixed, so that every loader accepts it.
    vocabulary: Tensor

    def __init__(
        self,
        open_source: Callable[[], TextSource],
        terms: Sequence[Term | str],
        width: int | None = None,
        learner: TextLearner | None = None,
    ) -> None:
        super().__init__()
        self.terms = tuple(Term.parse(term) if isinstance(term, str) else term for term in terms)
        self._row = {term.text: row for row, term in enumerate(self.terms)}
        self._source = OpenedOnce(open_source)
        self.width = self._source().width if width is None else width
        self.learner = learner
        self.register_buffer("embedding", torch.zeros(len(self.terms), self.width))
        self.register_buffer("mean", torch.zeros(self.width))
        names = torch.tensor(list(hash_of(self.terms)), dtype=torch.uint8)
        self.register_buffer("vocabulary", names)
        self._ready = False  # whether T and mu were computed or loaded
        self._outdated = False  # whether the learner has changed since then
        # by names and device: the rows of known names in T; None: all rows in order
        self._places: Recent[Any, Tensor | None] = Recent(KEPT_VOCABULARIES)
        # by source, names and device: the embeddings (S, D) of names that were not trained
        self._others: Recent[Any, Tensor] = Recent(KEPT_VOCABULARIES)
        # the embeddings (D,) of all texts of images so far, 2 KiB each
        self._texts: dict[str, Tensor] = {}

    @classmethod
    def from_config(
        cls, cfg: CfgNode, terms: Sequence[Term], width: int | None = None
    ) -> TextEmbedding:
        """Builds it from MODEL.CLIP; arguments as for the class.

        Raises:
            UserError: CLIP's model is unknown or does not fit MODEL.CLIP.TOWER, or ``width`` is
                None and CLIP or the file can't be loaded.
        """
        clip = cfg.MODEL.CLIP
        chosen = (clip.NAME, clip.PRETRAINED, clip.EMBEDDINGS, clip.PROMPTS)
        open_source = OpenedOnce(functools.partial(text_source, *chosen))
        learner = configured_learner(clip, open_source, terms, loads_weights=width is not None)
        return cls(open_source, terms, width, learner)

    def forward(self) -> Tensor:
        """Returns T - mu, (R, D), in training with gradients to the learned weights."""
        if self.learner is None or not self.training:
            self.prepare()
            return self.embedding - self.mean
        self.outdate()  # because an optimiser's step follows
        T = self.learner.encode(self.terms)
        mean = self._centre(T)
        self.mean.copy_(mean.detach())  # it is also subtracted from the texts of images
        return T - mean

    def select(self, T: Tensor, vocabulary: Vocabulary) -> Tensor:
        """Returns the rows of a vocabulary's S names, (S, D), centred.

        Args:
            T: (R, D), from ``forward``.
            vocabulary: the names. If all of them were trained with the same prompts, and the
                vocabulary has no embeddings, the result is made of rows of ``T``. Otherwise all
                names are embedded again: from the vocabulary's embeddings, or else by the source.

        Raises:
            UserError: a name was not trained and can't be embedded, or its embedding has another
                width than the model's; or text is learned, and the vocabulary comes with
                embeddings, or each name of the training has a context of its own.
        """
        if vocabulary.embeddings or not self._knows(vocabulary.terms):
            name = (vocabulary.embeddings, vocabulary.terms, self.mean.device)
            own = self._others.get(name, lambda: self._embed(vocabulary))
            return own.to(self.mean) - self.mean
        key = (vocabulary.terms, T.device)
        places = self._places.get(key, lambda: self._find(vocabulary.terms, T.device))
        return T if places is None else T[places]

    def _find(self, terms: Sequence[Term], device: torch.device) -> Tensor | None:
        """The rows of known names in T, (S,); None: all of them in order."""
        rows = [self._row[term.text] for term in terms]
        if rows == [*range(len(self.terms))]:
            return None
        return torch.tensor(rows, device=device)

    def prepare(self) -> None:
        """Computes T and mu, unless they are known and belong to the current weights.

        Raises:
            UserError: an error of the source: CLIP can't be downloaded, or a file lacks a name.
        """
        if self._ready and not self._outdated:
            return
        with self._plainly():
            T = self._encode(self.terms)
            self.mean.copy_(self._centre(T))
            self.embedding.copy_(T)
        self._ready, self._outdated = True, False

    def outdate(self) -> None:
        """Marks a learned T, whose weights change, to be computed again at its next use."""
        if self.learner is None:
            return
        self._outdated = True
        self._others.clear()
        if self.learner.changes_texts:
            self._texts.clear()

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Embeds texts as they are written. Embeddings that can't change are cached.

        Args:
            texts: N different strings, N > 0.

        Returns:
            (N, D), with mu subtracted, on the model's device.

        Raises:
            UserError: an error of the source.
        """
        source = self._source() if self.learner is None else self.learner
        device = self.mean.device
        if self.learner is not None and self.learner.changes_texts and self.training:
            return source.encode_texts(self._as_terms(texts), device) - self.mean
        if any(row.device != device for row in itertools.islice(self._texts.values(), 1)):
            self._texts.clear()  # the model was moved
        new = [text for text in texts if text not in self._texts]
        if new:
            with self._plainly():
                rows = source.encode_texts(self._as_terms(new), device)
            self._check_width(rows.shape[1])
            self._texts.update(zip(new, rows.to(device), strict=True))
        return torch.stack([self._texts[text] for text in texts]) - self.mean

    def _as_terms(self, texts: Sequence[str]) -> list[Term]:
        """Each text as one name, with the aliases of the equal name of the training, if any."""
        return [self._completed(Term((text,))) for text in texts]

    def _knows(self, terms: Sequence[Term]) -> bool:
        """Whether all names were trained, with the same prompts if they have prompts."""
        for term in terms:
            row = self._row.get(term.text)
            if row is None or (term.prompts and term.prompts != self.terms[row].prompts):
                return False
        return True

    def _embed(self, vocabulary: Vocabulary) -> Tensor:
        """The embeddings (S, D) of a vocabulary with names that were not trained."""
        with self._plainly():
            terms = [self._completed(term) for term in vocabulary.terms]
            return self._encode(terms, self._other_source(vocabulary.embeddings)).to(self.mean)

    def _completed(self, term: Term) -> Term:
        """Adds the aliases and prompts that the name had in the training, if it was there."""
        if term.text not in self._row:
            return term
        own = self.terms[self._row[term.text]]
        aliases = tuple(dict.fromkeys((*term.aliases, *own.aliases)))
        return Term(term.synonyms, aliases, term.prompts or own.prompts)

    def _other_source(self, embeddings: str) -> TextSource | None:
        if not embeddings:
            return None
        if self.learner is not None:
            raise UserError(
                "this model learned its own text embeddings (MODEL.CLIP.TOWER context or full):"
                " those of a file do not belong to them. Give the names alone"
            )
        return stored_source(embeddings)

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        """Computes without gradients and autocast: cached rows must not depend on the caller."""
        with torch.no_grad(), torch.autocast(self.mean.device.type, enabled=False):
            yield

    def _centre(self, T: Tensor) -> Tensor:
        """Returns mu (D,) of T (R, D)."""
        if len(self.terms) > 1:
            return T.mean(0)
        return self.mean  # 0: for a single name T - mu would be 0

    def _encode(self, terms: Sequence[Term], source: TextSource | None = None) -> Tensor:
        """The embeddings (R, D) of names by the learner; else by ``source`` or the model's own."""
        if self.learner is not None:
            return self.learner.encode(terms)
        source = source or self._source()
        self._check_width(source.width)
        return source.encode(terms)

    def _check_width(self, width: int) -> None:
        if width != self.width:
            raise UserError(
                f"the text embeddings have width {width}, the model was trained with {self.width}:"
                " use the CLIP model of the training (MODEL.CLIP.NAME), or embeddings made with it"
                " (MODEL.CLIP.EMBEDDINGS)"
            )

    def _save_to_state_dict(self, *args: Any, **kwargs: Any) -> None:
        """Saves the T of the current weights."""
        if self._outdated:
            self.prepare()
        super()._save_to_state_dict(*args, **kwargs)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Loads T and mu if they are in the weights, so that CLIP is not needed.

        T of other names is not loaded: loaders such as Detectron2's compare shapes and not names.
        """
        # Older weights do not have the hash.
        saved = state_dict.setdefault(f"{prefix}vocabulary", self.vocabulary)
        if not torch.equal(saved.cpu(), self.vocabulary.cpu()):
            logger.warning(
                "the text embeddings of the weights belong to other class names than %s; the"
                " embeddings of these names are computed",
                listed(self.terms),
            )
            for name in ("embedding", "mean", "vocabulary"):
                state_dict[f"{prefix}{name}"] = getattr(self, name)
        self.outdate()
        own = {**dict(self.named_parameters()), "embedding": self.embedding, "mean": self.mean}
        fits = [
            getattr(state_dict.get(f"{prefix}{name}"), "shape", None) == value.shape
            for name, value in own.items()
        ]
        # T is all zeros in the weights of a model that was saved before T was computed.
        if all(fits) and bool(state_dict[f"{prefix}embedding"].any()):
            self._ready, self._outdated = True, False
        super()._load_from_state_dict(state_dict, prefix, *args)
