"""T: the text embedding of the vocabulary, held by the model (Sec. 3.1).

Raw CLIP embeddings of class names are crowded (cosines of 0.7 to 0.9 between any two), so T enters everywhere as
T - mu, with mu the mean of the vocabulary the model was trained with. Both are saved with the weights: a checkpoint
segments its own vocabulary without CLIP, and another vocabulary is seen from the same centre.

Where text is learned (text_learners.py), T and mu follow from weights. In training they are computed at every forward
pass, with gradients; else once, and again when the weights have changed: a checkpoint holds the T of its weights.

Shapes: K classes, N texts, D text width.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from clipmask.errors import UserError
from clipmask.text.clip_encoder import CHUNK, ClipTextEncoder, load_tower, token_width, uses_quick_gelu
from clipmask.text.control import dealt_names, random_rows
from clipmask.text.learned import LearnedContext, LearnedTower, TextLearner
from clipmask.text.prompts import templates
from clipmask.text.sources import TextSource, synonyms, text_source

logger = logging.getLogger(__name__)


class TextEmbedding(nn.Module):
    """Holds T and computes it on first use, never when it came with the weights.

    Args:
        open_source: opens the source of embeddings; called once, when something is first asked of it.
        names: the vocabulary.
        aliases: other names that a class of the vocabulary is known by in files of embeddings.
        width: D, for a model whose T comes with its weights: the source then stays closed until the vocabulary
            changes, and neither CLIP nor a file has to be there. None asks the source at once.
        learner: computes T where text is learned, a module; None: T is fixed.
        own_prompts: prompts of some classes in place of everyone's; the very dict that source and learner look at, so
            that those of another vocabulary can be added.
        control: ``random`` or ``shuffled`` takes the meaning out of a fixed T, see text_control.py; empty: T as it is.
        draw: of the control, from 0.

    Raises:
        UserError: ``width`` is None and the source can't be opened, or there is one class alone to be shuffled.
    """

    embedding: Tensor  # (K, D), rows of unit length (without a control)
    mean: Tensor  # (D,)
    vocabulary: Tensor  # (32,) uint8: whose T it is, a hash of the names, of one size so that every loader takes it

    def __init__(
        self,
        open_source: Callable[[], TextSource],
        names: Sequence[str],
        aliases: Mapping[str, Sequence[str]] | None = None,
        width: int | None = None,
        learner: TextLearner | None = None,
        own_prompts: dict[str, Sequence[str]] | None = None,
        control: str = "",
        draw: int = 0,
    ) -> None:
        super().__init__()
        self.names, self.aliases = tuple(names), dict(aliases or {})
        self._random, self._draw = control == "random", draw
        self._dealt = dealt_names(names, draw) if control == "shuffled" else {}
        self.own_prompts: dict[str, Sequence[str]] = {} if own_prompts is None else own_prompts
        self._open_source = functools.cache(open_source)
        self.width = self._open_source().width if width is None else width
        self.learner = learner
        self.register_buffer("embedding", torch.zeros(len(self.names), self.width))
        self.register_buffer("mean", torch.zeros(self.width))
        self.register_buffer("vocabulary", _hash(self.names))
        self._trained_names = self.names
        self._ready = False  # T and mu were computed or loaded
        self._outdated = False  # and the learner has changed since
        self._kept: dict[str, Tensor] | None = None  # the rows of a fixed T, once the vocabulary has changed
        self._texts: dict[str, Tensor] = {}  # rows (D,) of all texts of images met so far: 2 KiB each

    @classmethod
    def from_config(
        cls,
        cfg: CfgNode,
        names: Sequence[str],
        aliases: Mapping[str, Sequence[str]] | None = None,
        width: int | None = None,
        own_prompts: Mapping[str, Sequence[str]] | None = None,
    ) -> TextEmbedding:
        """Builds it from the section MODEL.CLIP; arguments as for the class.

        Raises:
            UserError: CLIP's model is unknown or does not fit the tower's mode, or ``width`` is None and CLIP or the
                file can't be had.
        """
        clip, own = cfg.MODEL.CLIP, dict(own_prompts or {})
        open_source: Callable[[], Any] = functools.cache(
            functools.partial(text_source, clip.NAME, clip.PRETRAINED, clip.EMBEDDINGS, clip.PROMPTS, own)
        )
        learner: TextLearner | None = None
        if clip.TOWER == "context":
            tokens = token_width(clip.NAME, clip.CONTEXT_LENGTH)
            learner = LearnedContext(
                open_source, clip.CONTEXT_LENGTH, tokens, names if clip.CONTEXT_PER_CLASS else None
            )
        elif clip.TOWER == "full" and width is None:
            prompts = templates(clip.PROMPTS)
            _warn_of_cost(sum(len(synonyms(name)) for name in names), len(prompts))
            learner = LearnedTower(load_tower(clip.NAME, clip.PRETRAINED), prompts, own)
        elif clip.TOWER == "full":  # its weights come with T
            tower = ClipTextEncoder(clip.NAME, uses_quick_gelu(clip.NAME, clip.PRETRAINED))
            learner = LearnedTower(tower, templates(clip.PROMPTS), own)
        return cls(open_source, names, aliases, width, learner, own, clip.CONTROL, clip.CONTROL_DRAW)

    def forward(self) -> Tensor:
        """Returns T - mu, (K, D); in training with gradients to what is learned of it."""
        if self.learner is None or not self.training:
            self.prepare()
            return self.embedding - self.mean
        self.outdate()  # by the step that follows
        T = self.learner.encode(self.names, self.aliases)
        mean = self._centre(T)
        self.mean.copy_(mean.detach())  # the images' texts are seen from the same centre
        return T - mean

    def prepare(self) -> None:
        """Computes T, and with it mu, unless both were computed or loaded and still belong to the weights.

        Raises:
            UserError: from the source, e.g. CLIP can't be downloaded or a file lacks a name.
        """
        if self._ready and not self._outdated:
            return
        with self._plainly():
            T = self._encode(self.names)
            self.mean.copy_(self._centre(T))
            self.embedding.copy_(self._controlled(T, self.names))
        self._ready, self._outdated = True, False

    def outdate(self) -> None:
        """Says that the weights have changed or are about to: a learned T is computed anew when next asked for."""
        if self.learner is None:
            return
        self._outdated = True
        if self.learner.changes_texts:
            self._texts.clear()

    def set_vocabulary(self, names: Sequence[str], source: TextSource | None = None, *, anew: bool = False) -> None:
        """Replaces T by the embeddings of other names; mu stays that of the training vocabulary.

        Args:
            names: the new vocabulary.
            source: where to take it from; None for the model's own, which is not asked for names of the training alone
                if T is fixed.
            anew: it is: they have other prompts now.

        Raises:
            UserError: from the source, or its embeddings have another width than the model's; text is learned, and a
                source is given, or each class has learned a context of its own.
        """
        if source is not None and self.learner is not None:
            raise UserError(
                "this model learned its own text embeddings (MODEL.CLIP.TOWER context or full): those of a file do not "
                "belong to them. Give the names alone"
            )
        self.prepare()
        if self._kept is None and self.learner is None:
            self._kept = dict(zip(self.names, self.embedding.cpu(), strict=True))
        if anew:
            self._kept = {}
        with self._plainly():
            if source is None and self._kept and all(name in self._kept for name in names):
                encoded = torch.stack([self._kept[name] for name in names])
            else:
                encoded = self._controlled(self._encode(tuple(names), source), names)
        self.names, self.embedding = tuple(names), encoded.to(self.mean)
        self.vocabulary.copy_(_hash(self.names))

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Embeds texts as they are written, each of them once for as long as its row stays the same.

        Args:
            texts: N different strings, N > 0.

        Returns:
            (N, D), centred as T is, on the model's device.

        Raises:
            UserError: from the source.
        """
        source, device = self._open_source() if self.learner is None else self.learner, self.mean.device
        if self.learner is not None and self.learner.changes_texts and self.training:
            return source.encode_texts(texts, self.aliases, device) - self.mean
        if any(row.device != device for row in itertools.islice(self._texts.values(), 1)):
            self._texts.clear()  # the model was moved
        new = [text for text in texts if text not in self._texts]
        if new:
            with self._plainly():
                rows = source.encode_texts([self._dealt.get(text, text) for text in new], self.aliases, device)
                self._check_width(rows.shape[1])
                rows = self._controlled(rows.to(device), new)
            self._texts.update(zip(new, rows, strict=True))
        return torch.stack([self._texts[text] for text in texts]) - self.mean

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        """Without gradients, and in float32 also where training is not: what is kept must not depend on who asked."""
        with torch.no_grad(), torch.autocast(self.mean.device.type, enabled=False):
            yield

    def _centre(self, T: Tensor) -> Tensor:
        """mu (D,) where ``T`` is that of the training vocabulary."""
        # The mean of a single class is the class itself: nothing would be left.
        return T.mean(0) if self.names == self._trained_names and len(self.names) > 1 else self.mean

    def _encode(self, names: tuple[str, ...], source: TextSource | None = None) -> Tensor:
        if self.learner is not None:
            return self.learner.encode(names, self.aliases)
        source = source or self._open_source()
        self._check_width(source.width)
        return source.encode([self._dealt.get(name, name) for name in names], self.aliases)

    def _controlled(self, T: Tensor, texts: Sequence[str]) -> Tensor:
        """T (N, D) of ``texts`` as the control ``random`` has it; mu must be known."""
        return random_rows(T.to(self.mean), texts, self.mean, self._draw) if self._random else T

    def _check_width(self, width: int) -> None:
        if width != self.width:
            raise UserError(
                f"the text embeddings have width {width}, the model was trained with {self.width}: use the CLIP "
                "model of the training (MODEL.CLIP.NAME), or embeddings made with it (MODEL.CLIP.EMBEDDINGS)"
            )

    def _save_to_state_dict(self, *args: Any, **kwargs: Any) -> None:
        """Saves the T that belongs to the weights."""
        if self._outdated:
            self.prepare()
        super()._save_to_state_dict(*args, **kwargs)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Notes whether T and mu came with the weights, and all that they follow from, so that CLIP is not asked.

        T of other class names is not taken over: loaders such as Detectron2's know of tensors and shapes alone.
        """
        told = state_dict.setdefault(f"{prefix}vocabulary", self.vocabulary)  # older weights don't say
        if not torch.equal(told.cpu(), self.vocabulary.cpu()):
            logger.warning(
                "the weights' text embeddings are of other class names than %s: they are made anew for these",
                ", ".join(self.names[:4]) + (" ..." if len(self.names) > 4 else ""),
            )
            state_dict |= {f"{prefix}{name}": getattr(self, name) for name in ("embedding", "mean", "vocabulary")}
        own = {"embedding": self.embedding, "mean": self.mean}
        if isinstance(self.learner, nn.Module):
            own |= {f"learner.{name}": value for name, value in self.learner.named_parameters()}
        given = {name: state_dict.get(f"{prefix}{name}") for name in own}
        self.outdate()
        known = all(value is not None and value.shape == own[name].shape for name, value in given.items())
        embedding = given["embedding"]
        # Zeros are those of a model that was saved before T was asked for.
        if known and embedding is not None and bool(embedding.any()):
            self._ready, self._outdated = True, False
        super()._load_from_state_dict(state_dict, prefix, *args)


def _hash(names: Sequence[str]) -> Tensor:
    """Returns 32 bytes (32,) that are equal for equal names."""
    return torch.tensor(list(hashlib.sha256(json.dumps(list(names)).encode()).digest()), dtype=torch.uint8)


def _warn_of_cost(words: int, prompts: int) -> None:
    """Says what training the tower costs where many prompts make it dear."""
    if words * prompts > CHUNK:
        logger.warning(
            "MODEL.CLIP.TOWER full: %d sentences (%d names in %d prompts) go through CLIP's text tower at every step; "
            "MODEL.CLIP.PROMPTS \"['single']\" makes it %d",
            words * prompts,
            words,
            prompts,
            words,
        )
