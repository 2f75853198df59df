"""Where T comes from: CLIP's text tower, a file of embeddings, or random vectors for an ablation.

Every source knows its ``width`` D when it is made; it loads weights or a file when they are first
needed. The embeddings of a name's synonyms are averaged. The text of an image is used as written.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from clipmask.errors import MissingText, UserError, listed
from clipmask.paths import refuse_bomb
from clipmask.text.clip_encoder import (
    ClipTextEncoder,
    check_pretrained,
    load_tower,
    model_config,
    uses_quick_gelu,
)
from clipmask.text.prompts import templates
from clipmask.vocabulary import Term, texts_of


class TextSource(Protocol):
    """Turns names and texts into embeddings.

    Attributes:
        width: D.
    """

    width: int

    def encode(self, terms: Sequence[Term]) -> Tensor:
        """Returns (R, D) float32, one row of unit length for each name."""
        ...

    def encode_texts(self, texts: Sequence[Term], device: torch.device) -> Tensor:
        """Returns (N, D) float32, one row of unit length for each text.

        The row of a text does not depend on the other texts, not even in its last bit. Otherwise a
        resumed training, in which the texts are grouped differently, would not be exact.

        Args:
            texts: each is a ``Term`` with one synonym, the text as written. If the text is the name
                of a class, it has the aliases of that class.
            device: where the rows are computed, if they are not read from a file.
        """
        ...


def text_source(
    clip_name: str, pretrained: str, embeddings: str, prompts: Sequence[str]
) -> TextSource:
    """Chooses the source that the config names.

    Args:
        clip_name: open_clip's model name or ``hf-hub:owner/name``.
        pretrained: open_clip's tag or a local file.
        embeddings: path of an .npz, ``random``, or empty for CLIP itself.
        prompts: see ``clipmask.text.prompts.templates``.

    Raises:
        UserError: an error of the source.
    """
    if embeddings:
        return stored_source(embeddings)
    return ClipSource(clip_name, pretrained, prompts)


def stored_source(embeddings: str) -> TextSource:
    """Returns the source of a file of embeddings, or of ``random`` vectors, without CLIP.

    Raises:
        UserError: the file can't be read.
    """
    if embeddings == "random":
        return RandomSource()
    return FileSource(embeddings)


class OpenedOnce:
    """Opens a source of embeddings at the first call and returns the same one at later calls.

    When it is pickled, the open source is left out; the copy opens it again.

    Args:
        open_source: opens the source.
    """

    def __init__(self, open_source: Callable[[], TextSource]) -> None:
        self._open_source = open_source
        self._source: TextSource | None = None

    def __call__(self) -> TextSource:
        if self._source is None:
            self._source = self._open_source()
        return self._source

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_source": None}


def cache_folder() -> Path:
    """Returns the cache folder, below ``CLIPMASK_CACHE`` or by default ``~/.cache/clipmask``."""
    return Path(os.environ.get("CLIPMASK_CACHE") or Path.home() / ".cache" / "clipmask") / "text"


def average(rows: Tensor) -> Tensor:
    """Returns the mean (D,) of vectors (N, D); all are scaled to unit length, as is the result."""
    return F.normalize(F.normalize(rows, dim=-1).mean(0), dim=-1)


def averages(groups: Iterable[Tensor]) -> Tensor:
    """Returns the ``average`` of each group of vectors (N_i, D), one row for each: (groups, D)."""
    return torch.stack([average(group) for group in groups])


def prompted(tower: ClipTextEncoder, terms: Sequence[Term], prompts: Sequence[str]) -> Tensor:
    """Encodes names in prompts: the mean over the prompts of a word, then over its name's synonyms.

    Args:
        tower: CLIP's text tower.
        terms: R names.
        prompts: templates with ``{}``, for names without prompts of their own.

    Returns:
        (R, D) of unit length.
    """
    sentences: list[str] = []
    counts: list[int] = []  # the number of sentences of each word
    for term in terms:
        own = term.prompts or prompts
        for word in term.synonyms:
            sentences += [prompt.replace("{}", word) for prompt in own]
            counts.append(len(own))
    features = tower(tower.tokenize(sentences))
    words = averages(features.split(counts))  # (words, D)
    return averages(words.split([len(term.synonyms) for term in terms]))


class RandomSource:
    """A fixed random direction for each name, for tests and as an ablation of CLIP's knowledge.

    A name has the same vector in every vocabulary.
    """

    width = 512

    def encode(self, terms: Sequence[Term]) -> Tensor:
        """See ``TextSource``; aliases and prompts are ignored."""
        return averages(self._directions(term.synonyms) for term in terms)

    def encode_texts(self, texts: Sequence[Term], device: torch.device) -> Tensor:
        """See ``TextSource``."""
        return self._directions(texts_of(texts))

    def _directions(self, names: Sequence[str]) -> Tensor:
        return torch.stack(list(map(self._direction, names)))

    def _direction(self, name: str) -> Tensor:
        generator = torch.Generator().manual_seed(zlib.crc32(name.lower().encode()))
        return F.normalize(torch.randn(self.width, generator=generator), dim=0)


class FileSource:
    """Rows of an .npz with ``names`` (N,) and ``embeddings`` (N, D), looked up by name.

    Args:
        path: the file. Other arrays in it are ignored.

    Raises:
        UserError: the file is missing or damaged, lacks an array, or the shapes of the two arrays
            do not fit.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise MissingText(
                f"MODEL.CLIP.EMBEDDINGS {path}: no such file (an .npz of names and embeddings, or"
                " random)",
                key="MODEL.CLIP.EMBEDDINGS",
            )
        refuse_bomb(self.path, "embeddings file")
        try:
            with np.load(self.path, allow_pickle=False) as arrays:
                names, embeddings = arrays["names"], arrays["embeddings"]
        except Exception as error:  # numpy and zipfile fail in many ways
            raise UserError(
                f"embeddings file {path}: not an .npz with the arrays names and embeddings "
                f"({type(error).__name__}: {error})"
            ) from error
        if (
            embeddings.ndim != 2
            or names.shape != embeddings.shape[:1]
            or not np.isfinite(embeddings).all()
        ):
            raise UserError(
                f"embeddings file {path}: names {names.shape} and embeddings {embeddings.shape}"
                " must be (N,) and (N, D), and finite"
            )
        self.names = list(map(str, names))
        self._row = {name.lower().strip(): index for index, name in enumerate(self.names)}
        self._embeddings = torch.from_numpy(np.asarray(embeddings, dtype=np.float32))
        self.width = embeddings.shape[1]

    def encode(self, terms: Sequence[Term]) -> Tensor:
        """See ``TextSource``.

        Raises:
            UserError: the file has neither a name nor any of its synonyms and aliases.
        """
        return self._average(terms, list(map(self._find, terms)))

    def encode_texts(self, texts: Sequence[Term], device: torch.device) -> Tensor:
        """See ``TextSource``; the whole text is looked up, then the aliases of its class.

        Raises:
            UserError: a text is not in the file.
        """
        rows = [self._rows([text.text]) or self._rows(text.aliases)[:1] for text in texts]
        return self._average(texts, rows)

    def has(self, term: Term) -> bool:
        """Returns whether the file has a row for a name, its synonyms or its aliases."""
        return bool(self._find(term))

    def _find(self, term: Term) -> list[int]:
        """Returns the rows of a name, else of its synonyms, else the first row of its aliases."""
        return self._rows([term.text]) or self._rows(term.synonyms) or self._rows(term.aliases)[:1]

    def _rows(self, names: Sequence[str]) -> list[int]:
        keys = [name.lower().strip() for name in names]
        return [self._row[key] for key in keys if key in self._row]

    def _average(self, terms: Sequence[Term], rows: Sequence[list[int]]) -> Tensor:
        missing = [term.text for term, found in zip(terms, rows, strict=True) if not found]
        if missing:
            raise MissingText(
                f"embeddings file {self.path} has no row for {', '.join(map(repr, missing))}; it"
                f" holds {listed(self.names, 20)}."
                " Write a file for these names, or give a synonym that it has: 'name;synonym'"
            )
        return averages(self._embeddings[found] for found in rows)


class ClipSource:
    """CLIP's text tower through open_clip, with prompt ensembling and a disk cache.

    For a vocabulary that is not in the cache, the tower is loaded and freed afterwards. For texts
    of images, the tower is loaded at the first text and kept. The cache is in ``cache_folder()``.

    Args:
        name: open_clip's model name or ``hf-hub:owner/name``.
        pretrained: open_clip's tag for it, or a local file.
        prompts: see ``clipmask.text.prompts.templates``; for names without prompts of their own.

    Raises:
        UserError: open_clip does not know the name or the tag, or the model's description can't be
            downloaded.
    """

    def __init__(self, name: str, pretrained: str, prompts: Sequence[str]) -> None:
        self.name, self.pretrained, self.templates = name, pretrained, templates(prompts)
        self.width = int(model_config(name)["embed_dim"])
        check_pretrained(name, pretrained)
        self._kept: ClipTextEncoder | None = None

    def encode(self, terms: Sequence[Term]) -> Tensor:
        """See ``TextSource``; aliases are ignored, because CLIP can encode any name.

        Raises:
            UserError: the weights can't be loaded or downloaded.
        """
        cached = self._cache_file(terms)
        stored = self._read_cache(cached)
        if stored is not None:
            return stored
        embedding = torch.stack(list(self.rows(terms)))
        self._write_cache(cached, terms, embedding)
        return embedding

    def rows(self, terms: Sequence[Term]) -> Iterator[Tensor]:
        """Yields the rows of ``encode`` one by one, without using the cache."""
        tower = self._kept or load_tower(self.name, self.pretrained)
        for term in terms:
            with torch.no_grad():
                row = prompted(tower, [term], self.templates)[0].cpu()
            yield row

    def encode_texts(self, texts: Sequence[Term], device: torch.device) -> Tensor:
        """See ``TextSource``; texts are cut to CLIP's context length.

        Raises:
            UserError: the weights can't be loaded or downloaded.
        """
        tower = self.tower(device)
        rows = []
        with torch.no_grad():
            for text in texts:  # one by one, because the rounding of a batch depends on its size
                rows.append(F.normalize(tower(tower.tokenize([text.text])), dim=-1))
        return torch.cat(rows)

    def tower(self, device: torch.device) -> ClipTextEncoder:
        """Returns CLIP's text tower on ``device``, with frozen weights; loaded at the first call.

        Raises:
            UserError: the weights can't be loaded or downloaded.
        """
        if self._kept is None:
            self._kept = load_tower(self.name, self.pretrained).requires_grad_(False)
        if self._kept.device != device:
            with torch.inference_mode(False):
                self._kept.to(device)
        return self._kept

    def _cache_file(self, terms: Sequence[Term]) -> Path:
        """Returns the cache file of a list of names.

        Its name is a hash of all that the rows depend on; a local weight file is identified by its
        path, size and time.
        """
        file = Path(self.pretrained)
        weights: list[Any] = [self.pretrained]
        if file.is_file():
            weights = [str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns]
        quick_gelu = uses_quick_gelu(self.name, self.pretrained)
        own = {term.text: list(term.prompts) for term in terms if term.prompts}
        names = texts_of(terms)
        parts = [self.name, weights, quick_gelu, self.templates, names]
        if own:
            parts.append(own)
        key = json.dumps(parts)
        return cache_folder() / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npz"

    @staticmethod
    def _read_cache(file: Path) -> Tensor | None:
        """Returns the rows that an earlier run stored; None if the file is missing or damaged."""
        try:
            with np.load(file, allow_pickle=False) as arrays:
                return torch.from_numpy(arrays["embeddings"])
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            return None

    def _write_cache(self, file: Path, terms: Sequence[Term], embedding: Tensor) -> None:
        """Writes a temporary file and renames it, so that no reader sees an incomplete file."""
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            partial = file.with_suffix(f".{os.getpid()}.tmp")
            with partial.open("wb") as stream:
                np.savez(
                    stream,
                    names=np.array(texts_of(terms)),
                    embeddings=embedding.numpy(),
                )
            partial.replace(file)
        except OSError:
            return  # such as in a read-only home folder: the next run encodes the names again
