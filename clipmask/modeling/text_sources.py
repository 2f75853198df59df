"""Where T comes from: CLIP's text tower, a file of embeddings, or random vectors on purpose.

Each source has a ``width`` D, known when it is made, and ``encode``, which does the work when it is first needed.
A class name may hold synonyms, ``car;automobile``; their embeddings are averaged.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from clipmask.errors import UserError
from clipmask.modeling.prompts import templates


class TextSource(Protocol):
    """Turns class names into embeddings.

    Attributes:
        width: D.
    """

    width: int

    def encode(self, names: Sequence[str], aliases: Mapping[str, Sequence[str]]) -> Tensor:
        """Returns (K, D) float32 of unit length, one row a name; ``aliases`` are other names to look a class up by."""
        ...


def text_source(clip_name: str, pretrained: str, embeddings: str, prompts: Sequence[str]) -> TextSource:
    """Chooses the source that the config names.

    Args:
        clip_name: open_clip's model name or ``hf-hub:owner/name``.
        pretrained: open_clip's tag or a local file.
        embeddings: path of an .npz, ``random``, or empty for CLIP itself.
        prompts: see ``clipmask.modeling.prompts.templates``.

    Raises:
        UserError: from the source's own checks.
    """
    if embeddings == "random":
        return RandomSource()
    if embeddings:
        return FileSource(embeddings)
    return ClipSource(clip_name, pretrained, prompts)


def synonyms(name: str) -> list[str]:
    """Splits ``car;automobile`` into its names."""
    return [part.strip() for part in name.split(";") if part.strip()]


def average(rows: Tensor) -> Tensor:
    """Mean of unit vectors (N, D), brought back to unit length (D,)."""
    return F.normalize(F.normalize(rows, dim=-1).mean(0), dim=-1)


class RandomSource:
    """A fixed random direction for each name: no knowledge, no download; for tests and as an ablation.

    The same name has the same vector everywhere, whatever else is in the vocabulary.
    """

    width = 512

    def encode(self, names: Sequence[str], aliases: Mapping[str, Sequence[str]]) -> Tensor:
        """See ``TextSource``; aliases play no part."""
        return torch.stack([average(torch.stack([self._direction(part) for part in synonyms(name)])) for name in names])

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
            raise UserError(f"MODEL.CLIP.EMBEDDINGS {path}: no such file (an .npz of names and embeddings, or random)")
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
        missing = [name for name, found in zip(names, rows, strict=True) if not found]
        if missing:
            raise UserError(
                f"embeddings file {self.path} has no row for {', '.join(map(repr, missing))}; it holds "
                f"{', '.join(self.names[:20])}{' ...' if len(self.names) > 20 else ''}. Write a file for these names, "
                "or give a synonym that it has: 'name;synonym'"
            )
        return torch.stack([average(self._embeddings[found]) for found in rows])

    def _rows(self, name: str, aliases: Mapping[str, Sequence[str]]) -> list[int]:
        """All synonyms that the file has, else the first alias."""
        found = [self._row[part.lower()] for part in synonyms(name) if part.lower() in self._row]
        if found:
            return found
        return [self._row[alias.lower()] for alias in aliases.get(name, ()) if alias.lower() in self._row][:1]


class ClipSource:
    """CLIP's text tower through open_clip, with prompt ensembling and a disk cache.

    The tower is loaded when a vocabulary is not in the cache, and let go right after; the image tower is dropped as
    soon as open_clip has built it. The cache lies in ``CLIPMASK_CACHE``, else in ``~/.cache/clipmask``.

    Args:
        name: open_clip's model name or ``hf-hub:owner/name``.
        pretrained: open_clip's tag for it, or a local file.
        prompts: see ``clipmask.modeling.prompts.templates``.

    Raises:
        UserError: open_clip does not know the name or the tag, or the model's description can't be downloaded.
    """

    def __init__(self, name: str, pretrained: str, prompts: Sequence[str]) -> None:
        self.name, self.pretrained, self.templates = name, pretrained, templates(prompts)
        self.width = self._text_width()

    def encode(self, names: Sequence[str], aliases: Mapping[str, Sequence[str]]) -> Tensor:
        """See ``TextSource``; CLIP reads any name, so aliases play no part.

        Raises:
            UserError: the weights can't be loaded or downloaded.
        """
        cached = self._cache_file(names)
        stored = self._read_cache(cached)
        if stored is not None:
            return stored
        model, tokenizer = self._load()
        rows = []
        with torch.inference_mode():
            for name in names:
                texts = [template.format(part) for part in synonyms(name) for template in self.templates]
                features = model.encode_text(tokenizer(texts)).float()
                parts = features.view(len(synonyms(name)), len(self.templates), -1)
                rows.append(average(torch.stack([average(part) for part in parts])))
        embedding = torch.stack(rows).clone()
        self._write_cache(cached, names, embedding)
        return embedding

    def _text_width(self) -> int:
        import open_clip

        if self.name.startswith("hf-hub:"):
            try:
                from open_clip.factory import _get_hf_config

                return int(_get_hf_config(self.name.removeprefix("hf-hub:"))["model_cfg"]["embed_dim"])
            except Exception as error:  # every hub and network library has exceptions of its own
                raise self._unavailable(error) from error
        config = open_clip.get_model_config(self.name)
        if config is None:
            import difflib

            near = difflib.get_close_matches(self.name, open_clip.list_models(), n=4, cutoff=0.3)
            raise UserError(f"MODEL.CLIP.NAME {self.name!r}: open_clip has no such model; near: {', '.join(near)}")
        tags = open_clip.list_pretrained_tags_by_model(self.name)
        if not Path(self.pretrained).is_file() and self.pretrained.lower() not in tags:
            raise UserError(
                f"MODEL.CLIP.PRETRAINED {self.pretrained!r} is neither a file nor a tag of {self.name}; its tags: "
                f"{', '.join(tags) or 'none'}"
            )
        return int(config["embed_dim"])

    def _load(self) -> tuple[Any, Any]:
        """The model without its image tower, and its tokenizer."""
        import open_clip

        hub = self.name.startswith("hf-hub:")
        try:
            model = open_clip.create_model(
                self.name, pretrained=None if hub else self.pretrained, require_pretrained=not hub
            )
            tokenizer = open_clip.get_tokenizer(self.name)
        except Exception as error:  # every hub and network library has exceptions of its own
            raise self._unavailable(error) from error
        del model.visual
        return model.eval(), tokenizer

    def _unavailable(self, error: Exception) -> UserError:
        reason = str(error).splitlines()[0] if str(error) else "no message"
        return UserError(
            f"CLIP weights {self.name} ({self.pretrained}) could not be had through open_clip ({type(error).__name__}: "
            f"{reason}). Set MODEL.CLIP.PRETRAINED to a local file of them, MODEL.CLIP.EMBEDDINGS to an .npz with the "
            "embeddings of your class names, or MODEL.CLIP.EMBEDDINGS to random to go without CLIP on purpose"
        )

    def _cache_file(self, names: Sequence[str]) -> Path:
        """One file a vocabulary; a local weight file counts with its size and time, not only its name."""
        file = Path(self.pretrained)
        weights: list[Any] = [self.pretrained]
        if file.is_file():
            weights = [str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns]
        key = json.dumps([self.name, weights, self.templates, list(names)])
        root = Path(os.environ.get("CLIPMASK_CACHE") or Path.home() / ".cache" / "clipmask")
        return root / "text" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npz"

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
