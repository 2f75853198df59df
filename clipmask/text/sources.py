"""Where T comes from: CLIP's text tower, a file of embeddings, or random vectors on purpose.

Each source has a ``width`` D, known when it is made, and does its work when that is first needed.
The embeddings of a name's synonyms are averaged. The text of an image is taken as it is written.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from clipmask.errors import MissingText, UserError
from clipmask.text.clip_encoder import (
    ClipTextEncoder,
    check_pretrained,
    load_tower,
    model_config,
    uses_quick_gelu,
)
from clipmask.text.prompts import templates
from clipmask.vocabulary import Term


class TextSource(Protocol):
    """Turns names and texts into embeddings.

    Attributes:
        width: D.
    """

    width: int

    def encode(self, terms: Sequence[Term]) -> Tensor:
        """Returns (R, D) float32 of unit length, one row a name."""
        ...

    def encode_texts(self, texts: Sequence[Term], device: torch.device) -> Tensor:
        """Returns (N, D) float32 of unit length, one row a text as it is written, computed on
        ``device`` if at all.

        A text is a ``Term`` of one synonym, with the aliases of the class that it names, if it
        names one.

        A text's row does not depend on the texts beside it, not even in its last bit: a resumed
        training, which meets them in other company, would not be exact.
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
        UserError: from the source's own checks.
    """
    if embeddings == "random":
        return RandomSource()
    if embeddings:
        return FileSource(embeddings)
    return ClipSource(clip_name, pretrained, prompts)


def cache_folder() -> Path:
    """Returns where embeddings of vocabularies are kept, below ``CLIPMASK_CACHE``, else below
    ``~/.cache/clipmask``.
    """
    return Path(os.environ.get("CLIPMASK_CACHE") or Path.home() / ".cache" / "clipmask") / "text"


def average(rows: Tensor) -> Tensor:
    """Mean of unit vectors (N, D), brought back to unit length (D,)."""
    return F.normalize(F.normalize(rows, dim=-1).mean(0), dim=-1)


def prompted(tower: ClipTextEncoder, terms: Sequence[Term], prompts: Sequence[str]) -> Tensor:
    """Encodes names in every prompt: the mean over the prompts of a word, then over the synonyms of
    a name.

    Args:
        tower: CLIP's.
        terms: R names.
        prompts: templates with ``{}``, for names that have none of their own.

    Returns:
        (R, D) of unit length.
    """
    sentences: list[str] = []
    counts: list[int] = []  # sentences of each word
    for term in terms:
        own = term.prompts or prompts
        for word in term.synonyms:
            sentences += [prompt.replace("{}", word) for prompt in own]
            counts.append(len(own))
    words = iter(tower(tower.tokenize(sentences)).split(counts))  # each (prompts, D)
    return torch.stack(
        [average(torch.stack([average(next(words)) for _ in term.synonyms])) for term in terms]
    )


class RandomSource:
    """A fixed random direction for each name: no knowledge, no download; for tests and as an
    ablation.

    The same name has the same vector everywhere, whatever else is in the vocabulary.
    """

    width = 512

    def encode(self, terms: Sequence[Term]) -> Tensor:
        """See ``TextSource``; aliases and prompts play no part."""
        rows = []
        for term in terms:
            rows.append(average(torch.stack([self._direction(word) for word in term.synonyms])))
        return torch.stack(rows)

    def encode_texts(self, texts: Sequence[Term], device: torch.device) -> Tensor:
        """See ``TextSource``."""
        return torch.stack([self._direction(text.text) for text in texts])

    def _direction(self, name: str) -> Tensor:
        generator = torch.Generator().manual_seed(zlib.crc32(name.lower().encode()))
        return F.normalize(torch.randn(self.width, generator=generator), dim=0)


class FileSource:
    """Rows of an .npz with ``names`` (N,) and ``embeddings`` (N, D), found by name and never by
    position.

    Args:
        path: the file; other arrays in it are notes and not read.

    Raises:
        UserError: the file is missing, damaged, lacks an array, or the two do not belong together.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise MissingText(
                f"MODEL.CLIP.EMBEDDINGS {path}: no such file (an .npz of names and embeddings, or"
                " random)"
            )
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
        self.names = [str(name) for name in names]
        self._row = {name.lower().strip(): index for index, name in enumerate(self.names)}
        self._embeddings = torch.from_numpy(np.asarray(embeddings, dtype=np.float32))
        self.width = embeddings.shape[1]

    def encode(self, terms: Sequence[Term]) -> Tensor:
        """See ``TextSource``.

        Raises:
            UserError: a name is in the file under no spelling, synonym or alias.
        """
        return self._average(terms, [self._find(term) for term in terms])

    def encode_texts(self, texts: Sequence[Term], device: torch.device) -> Tensor:
        """See ``TextSource``; a text is looked up whole, or by an alias of the class that it names.

        Raises:
            UserError: a text is not in the file.
        """
        return self._average(
            texts, [self._rows([text.text]) or self._rows(text.aliases)[:1] for text in texts]
        )

    def has(self, term: Term) -> bool:
        """Whether ``encode`` finds a name."""
        return bool(self._find(term))

    def _find(self, term: Term) -> list[int]:
        """The row of this very name, else those of all synonyms that the file has, else that of the
        first alias.
        """
        return self._rows([term.text]) or self._rows(term.synonyms) or self._rows(term.aliases)[:1]

    def _rows(self, names: Sequence[str]) -> list[int]:
        keys = [name.lower().strip() for name in names]
        return [self._row[key] for key in keys if key in self._row]

    def _average(self, terms: Sequence[Term], rows: Sequence[list[int]]) -> Tensor:
        missing = [term.text for term, found in zip(terms, rows, strict=True) if not found]
        if missing:
            raise MissingText(
                f"embeddings file {self.path} has no row for {', '.join(map(repr, missing))}; it"
                f" holds {', '.join(self.names[:20])}{' ...' if len(self.names) > 20 else ''}."
                " Write a file for these names, or give a synonym that it has: 'name;synonym'"
            )
        return torch.stack([average(self._embeddings[found]) for found in rows])


class ClipSource:
    """CLIP's text tower through open_clip, with prompt ensembling and a disk cache.

    For a vocabulary the tower is loaded when it is not in the cache, and let go right after; for
    texts of images it is loaded at the first and kept. The cache lies in ``cache_folder()``.

    Args:
        name: open_clip's model name or ``hf-hub:owner/name``.
        pretrained: open_clip's tag for it, or a local file.
        prompts: see ``clipmask.text.prompts.templates``; for names that have none of their own.

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
        """See ``TextSource``; CLIP reads any name, so aliases play no part.

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
        """Yields the rows of ``encode`` one after the other, without the cache."""
        tower = self._kept or load_tower(self.name, self.pretrained)
        for term in terms:
            with torch.no_grad():
                row = prompted(tower, [term], self.templates)[0].cpu()
            yield row

    def encode_texts(self, texts: Sequence[Term], device: torch.device) -> Tensor:
        """See ``TextSource``; a text that is longer than CLIP's context length is cut.

        Raises:
            UserError: the weights can't be loaded or downloaded.
        """
        tower = self.tower(device)
        with torch.no_grad():  # one by one, for the rounding of a batch depends on its size
            return torch.cat(
                [F.normalize(tower(tower.tokenize([text.text])), dim=-1) for text in texts]
            )

    def tower(self, device: torch.device) -> ClipTextEncoder:
        """CLIP's text tower, its weights frozen; loaded at the first call and kept, on ``device``.

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
        """One file a list of names; a local weight file counts with its size and time, not only its
        name.
        """
        file = Path(self.pretrained)
        weights: list[Any] = [self.pretrained]
        if file.is_file():
            weights = [str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns]
        quick_gelu = uses_quick_gelu(self.name, self.pretrained)
        own = {term.text: list(term.prompts) for term in terms if term.prompts}
        names = [term.text for term in terms]
        key = json.dumps(
            [self.name, weights, quick_gelu, self.templates, names, *([own] if own else [])]
        )
        return cache_folder() / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npz"

    @staticmethod
    def _read_cache(file: Path) -> Tensor | None:
        """What an earlier run stored, or None; a damaged file (a full disk, say) is as good as
        none.
        """
        try:
            with np.load(file, allow_pickle=False) as arrays:
                return torch.from_numpy(arrays["embeddings"])
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            return None

    def _write_cache(self, file: Path, terms: Sequence[Term], embedding: Tensor) -> None:
        """Writes beside the place and renames, so that a reader never meets half a file."""
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            partial = file.with_suffix(f".{os.getpid()}.tmp")
            with partial.open("wb") as stream:
                np.savez(
                    stream,
                    names=np.array([term.text for term in terms]),
                    embeddings=embedding.numpy(),
                )
            partial.replace(file)
        except OSError:
            return  # a read-only home costs a second encoding and nothing else
