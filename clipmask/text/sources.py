"""Where T comes from: CLIP's text tower, a file of embeddings, or random vectors on purpose.

Each source has a ``width`` D, known when it is made, and does its work when that is first needed. A class name may
hold synonyms, ``car;automobile``; their embeddings are averaged. The text of an image is taken as it is written.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from clipmask.errors import MissingText, UserError
from clipmask.text.clip_encoder import ClipTextEncoder, check_pretrained, load_tower, model_config, uses_quick_gelu
from clipmask.text.prompts import templates

OwnPrompts = Mapping[str, Sequence[str]]  # class name -> its prompts in place of everyone's; {} in them is the name


class TextSource(Protocol):
    """Turns class names and texts into embeddings.

    Attributes:
        width: D.
    """

    width: int

    def encode(self, names: Sequence[str], aliases: Mapping[str, Sequence[str]]) -> Tensor:
        """Returns (K, D) float32 of unit length, one row a name; ``aliases`` are other names to look a class up by."""
        ...

    def encode_texts(self, texts: Sequence[str], aliases: Mapping[str, Sequence[str]], device: torch.device) -> Tensor:
        """Returns (N, D) float32 of unit length, one row a text as it is written, computed on ``device`` if at all.

        A text's row does not depend on the texts beside it, not even in its last bit: a resumed training, which meets
        them in other company, would not be exact.
        """
        ...


def text_source(
    clip_name: str, pretrained: str, embeddings: str, prompts: Sequence[str], own_prompts: OwnPrompts | None = None
) -> TextSource:
    """Chooses the source that the config names.

    Args:
        clip_name: open_clip's model name or ``hf-hub:owner/name``.
        pretrained: open_clip's tag or a local file.
        embeddings: path of an .npz, ``random``, or empty for CLIP itself.
        prompts: see ``clipmask.text.prompts.templates``.
        own_prompts: see ``ClipSource``; a file and random vectors have no use for them.

    Raises:
        UserError: from the source's own checks.
    """
    if embeddings == "random":
        return RandomSource()
    if embeddings:
        return FileSource(embeddings)
    return ClipSource(clip_name, pretrained, prompts, own_prompts)


def cache_folder() -> Path:
    """Returns where embeddings of vocabularies are kept, below ``CLIPMASK_CACHE``, else below ``~/.cache/clipmask``."""
    return Path(os.environ.get("CLIPMASK_CACHE") or Path.home() / ".cache" / "clipmask") / "text"


def synonyms(name: str) -> list[str]:
    """Splits ``car;automobile`` into its names.

    Raises:
        UserError: there is none.
    """
    parts = [part.strip() for part in name.split(";") if part.strip()]
    if not parts:
        raise UserError(f"the class name {name!r} holds no word: write a name, or synonyms such as 'car;automobile'")
    return parts


def average(rows: Tensor) -> Tensor:
    """Mean of unit vectors (N, D), brought back to unit length (D,)."""
    return F.normalize(F.normalize(rows, dim=-1).mean(0), dim=-1)


def prompted(
    tower: ClipTextEncoder, names: Sequence[str], prompts: Sequence[str], own_prompts: OwnPrompts | None = None
) -> Tensor:
    """Encodes class names in every prompt: the mean over a name's prompts, then over its synonyms.

    Args:
        tower: CLIP's.
        names: K names; ``a;b`` are synonyms.
        prompts: templates with ``{}``.
        own_prompts: of some of the names, in place of ``prompts``.

    Returns:
        (K, D) of unit length.
    """
    own = own_prompts or {}
    sentences = [
        [[prompt.replace("{}", word) for prompt in own.get(name, prompts)] for word in synonyms(name)] for name in names
    ]
    ids = tower.tokenize([sentence for words in sentences for word in words for sentence in word])
    features = iter(tower(ids).split([len(word) for words in sentences for word in words]))  # each (prompts, D)
    return torch.stack([average(torch.stack([average(next(features)) for _ in words])) for words in sentences])


class RandomSource:
    """A fixed random direction for each name: no knowledge, no download; for tests and as an ablation.

    The same name has the same vector everywhere, whatever else is in the vocabulary.
    """

    width = 512

    def encode(self, names: Sequence[str], aliases: Mapping[str, Sequence[str]]) -> Tensor:
        """See ``TextSource``; aliases play no part."""
        return torch.stack([average(torch.stack([self._direction(part) for part in synonyms(name)])) for name in names])

    def encode_texts(self, texts: Sequence[str], aliases: Mapping[str, Sequence[str]], device: torch.device) -> Tensor:
        """See ``TextSource``; a text is one string, whatever it says."""
        return torch.stack([self._direction(text) for text in texts])

    def _direction(self, name: str) -> Tensor:
        generator = torch.Generator().manual_seed(zlib.crc32(name.lower().encode()))
        return F.normalize(torch.randn(self.width, generator=generator), dim=0)


class FileSource:
    """Rows of an .npz with ``names`` (N,) and ``embeddings`` (N, D), found by name and never by position.

    Args:
        path: the file; other arrays in it are notes and not read.

    Raises:
        UserError: the file is missing, damaged, lacks an array, or the two do not belong together.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise MissingText(
                f"MODEL.CLIP.EMBEDDINGS {path}: no such file (an .npz of names and embeddings, or random)"
            )
        try:
            with np.load(self.path, allow_pickle=False) as arrays:
                names, embeddings = arrays["names"], arrays["embeddings"]
        except Exception as error:  # numpy and zipfile fail in many ways
            raise UserError(
                f"embeddings file {path}: not an .npz with the arrays names and embeddings "
                f"({type(error).__name__}: {error})"
            ) from error
        if embeddings.ndim != 2 or names.shape != embeddings.shape[:1] or not np.isfinite(embeddings).all():
            raise UserError(
                f"embeddings file {path}: names {names.shape} and embeddings {embeddings.shape} must be (N,) and "
                "(N, D), and finite"
            )
        self.names = [str(name) for name in names]
        self._row = {name.lower().strip(): index for index, name in enumerate(self.names)}
        self._embeddings = torch.from_numpy(np.asarray(embeddings, dtype=np.float32))
        self.width = embeddings.shape[1]

    def encode(self, names: Sequence[str], aliases: Mapping[str, Sequence[str]]) -> Tensor:
        """See ``TextSource``.

        Raises:
            UserError: a name is in the file under no spelling, synonym or alias.
        """
        rows = [self._rows(name, aliases) for name in names]
        self._refuse_missing(names, rows)
        return torch.stack([average(self._embeddings[found]) for found in rows])

    def encode_texts(self, texts: Sequence[str], aliases: Mapping[str, Sequence[str]], device: torch.device) -> Tensor:
        """See ``TextSource``; a text is looked up whole, or by an alias of the class that it names.

        Raises:
            UserError: a text is not in the file.
        """
        rows = [self._exactly(text) or self._aliased(text, aliases) for text in texts]
        self._refuse_missing(texts, rows)
        return torch.stack([average(self._embeddings[found]) for found in rows])

    def _rows(self, name: str, aliases: Mapping[str, Sequence[str]]) -> list[int]:
        """The row of this very name, else all synonyms that the file has, else the first alias."""
        return (
            self._exactly(name)
            or [self._row[part.lower()] for part in synonyms(name) if part.lower() in self._row]
            or self._aliased(name, aliases)
        )

    def _exactly(self, name: str) -> list[int]:
        row = self._row.get(name.lower().strip())
        return [] if row is None else [row]

    def _aliased(self, name: str, aliases: Mapping[str, Sequence[str]]) -> list[int]:
        return [self._row[alias.lower()] for alias in aliases.get(name, ()) if alias.lower() in self._row][:1]

    def _refuse_missing(self, names: Sequence[str], rows: Sequence[list[int]]) -> None:
        missing = [name for name, found in zip(names, rows, strict=True) if not found]
        if missing:
            raise MissingText(
                f"embeddings file {self.path} has no row for {', '.join(map(repr, missing))}; it holds "
                f"{', '.join(self.names[:20])}{' ...' if len(self.names) > 20 else ''}. Write a file for these names, "
                "or give a synonym that it has: 'name;synonym'"
            )


class ClipSource:
    """CLIP's text tower through open_clip, with prompt ensembling and a disk cache.

    For a vocabulary the tower is loaded when it is not in the cache, and let go right after; for texts of images it
    is loaded at the first and kept. The cache lies in ``cache_folder()``.

    Args:
        name: open_clip's model name or ``hf-hub:owner/name``.
        pretrained: open_clip's tag for it, or a local file.
        prompts: see ``clipmask.text.prompts.templates``.
        own_prompts: prompts of some classes, in place of ``prompts``; looked at whenever one is encoded.

    Raises:
        UserError: open_clip does not know the name or the tag, or the model's description can't be downloaded.
    """

    def __init__(
        self, name: str, pretrained: str, prompts: Sequence[str], own_prompts: OwnPrompts | None = None
    ) -> None:
        self.name, self.pretrained, self.templates = name, pretrained, templates(prompts)
        self.own_prompts: OwnPrompts = {} if own_prompts is None else own_prompts
        self.width = int(model_config(name)["embed_dim"])
        check_pretrained(name, pretrained)
        self._kept: ClipTextEncoder | None = None

    def encode(self, names: Sequence[str], aliases: Mapping[str, Sequence[str]]) -> Tensor:
        """See ``TextSource``; CLIP reads any name, so aliases play no part.

        Raises:
            UserError: the weights can't be loaded or downloaded.
        """
        cached = self._cache_file(names)
        stored = self._read_cache(cached)
        if stored is not None:
            return stored
        embedding = torch.stack(list(self.rows(names)))
        self._write_cache(cached, names, embedding)
        return embedding

    def rows(self, names: Sequence[str]) -> Iterator[Tensor]:
        """Yields the rows of ``encode`` one after the other, past the cache."""
        tower = self._kept or load_tower(self.name, self.pretrained)
        for name in names:
            with torch.no_grad():
                row = prompted(tower, [name], self.templates, self.own_prompts)[0].cpu()
            yield row

    def encode_texts(self, texts: Sequence[str], aliases: Mapping[str, Sequence[str]], device: torch.device) -> Tensor:
        """See ``TextSource``; a text that is longer than CLIP's context length is cut.

        Raises:
            UserError: the weights can't be loaded or downloaded.
        """
        tower = self.tower(device)
        with torch.no_grad():  # one by one, for the rounding of a batch depends on its size
            return torch.cat([F.normalize(tower(tower.tokenize([text])), dim=-1) for text in texts])

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

    def _cache_file(self, names: Sequence[str]) -> Path:
        """One file a vocabulary; a local weight file counts with its size and time, not only its name."""
        file = Path(self.pretrained)
        weights: list[Any] = [self.pretrained]
        if file.is_file():
            weights = [str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns]
        quick_gelu = uses_quick_gelu(self.name, self.pretrained)
        own = {name: list(self.own_prompts[name]) for name in names if name in self.own_prompts}
        key = json.dumps([self.name, weights, quick_gelu, self.templates, list(names), *([own] if own else [])])
        return cache_folder() / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npz"

    @staticmethod
    def _read_cache(file: Path) -> Tensor | None:
        """What an earlier run stored, or None; a damaged file (a full disk, say) is as good as none."""
        try:
            with np.load(file, allow_pickle=False) as arrays:
                return torch.from_numpy(arrays["embeddings"])
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            return None

    def _write_cache(self, file: Path, names: Sequence[str], embedding: Tensor) -> None:
        """Writes beside the place and renames, so that a reader never meets half a file."""
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            partial = file.with_suffix(f".{os.getpid()}.tmp")
            with partial.open("wb") as stream:
                np.savez(stream, names=np.array(list(names)), embeddings=embedding.numpy())
            partial.replace(file)
        except OSError:
            return  # a read-only home costs a second encoding and nothing else
