"""A trained model from a checkpoint, with or without a config beside it, and what is known of its classes.

The trained vocabulary's text embedding lies in the weights: neither CLIP nor a file of embeddings has to be there.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from fvcore.common.config import CfgNode
from torch import Tensor

from clipmask.config import get_cfg
from clipmask.d2 import MetadataCatalog
from clipmask.engine.checkpoint import load_weights
from clipmask.errors import UserError
from clipmask.modeling import ClipMask, build_model
from clipmask.modeling.text_sources import text_source


def load_model(cfg: CfgNode, checkpoint: Mapping[str, Any]) -> tuple[ClipMask, list[list[int]] | None]:
    """Builds the model of a config, on the CPU, with the weights of a checkpoint.

    Args:
        cfg: MODEL.WEIGHTS names the checkpoint.
        checkpoint: its content. Its class names count; where it has none, those of the config's first dataset.

    Returns:
        The model, and [r, g, b] of each class where the checkpoint or the dataset knows it.

    Raises:
        UserError: the weights don't fit, or there are no class names.
    """
    source, weights = cfg.MODEL.WEIGHTS, checkpoint["model"]
    metadata = _metadata(cfg, checkpoint)
    names = [str(name) for name in metadata.get("stuff_classes") or ()]
    if not names:
        raise UserError(
            f"{source} holds no class names, and the config's datasets "
            f"({', '.join([*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST]) or 'none'}) have none either: "
            "set DATASETS.TRAIN to the dataset that the model was trained on"
        )
    model = _build(cfg, names, weights.get("text.embedding"), metadata.get("class_aliases") or {})
    load_weights(model, weights, source)
    return model, _colors(metadata.get("stuff_colors"), len(names))


def stored_config(text: str, path: str | os.PathLike[str], opts: Sequence[str]) -> CfgNode:
    """Returns the config in a checkpoint.

    Args:
        text: YAML.
        path: of the checkpoint, for messages.
        opts: keys and values in turn, over the text's.

    Raises:
        UserError: the text is no config of this version, or an override is wrong.
    """
    cfg = get_cfg()
    try:
        cfg.merge_from_other_cfg(CfgNode(yaml.safe_load(text)))
    except (yaml.YAMLError, KeyError, ValueError, AssertionError, TypeError, AttributeError) as error:
        raise UserError(
            f"checkpoint {path}: its config can't be read ({error}); give one with --config-file"
        ) from error
    try:
        cfg.merge_from_list(list(opts))
    except (KeyError, ValueError, AssertionError) as error:
        raise UserError(
            f"config overrides {' '.join(opts)}: {error.args[0] if error.args else error}; they come as KEY VALUE "
            "pairs, and clipmask/config.py lists all keys"
        ) from error
    return cfg


def _metadata(cfg: CfgNode, checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is known of the classes: from the checkpoint, else from the config's first dataset."""
    if isinstance(checkpoint.get("class_names"), list):
        told = checkpoint.get("metadata")
        return {**(told if isinstance(told, dict) else {}), "stuff_classes": checkpoint["class_names"]}
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        return MetadataCatalog.get(name).as_dict()
    return {}


def _colors(value: Any, count: int) -> list[list[int]] | None:
    """Returns [r, g, b] of ``count`` classes; None where ``value`` is no such list."""
    try:
        table = np.asarray(value, dtype=np.uint8)
    except (TypeError, ValueError, OverflowError):
        return None
    return table.tolist() if table.shape == (count, 3) else None


def _build(
    cfg: CfgNode, names: Sequence[str], embedding: Tensor | None, aliases: Mapping[str, Sequence[str]]
) -> ClipMask:
    """Builds the model without what comes with its weights.

    Args:
        cfg: the config.
        names: of the K classes.
        embedding: T (K, D) as the weights have it; None where they don't.
        aliases: other names of the classes.
    """
    if embedding is None:
        return build_model(cfg, names)
    own = cfg.clone()
    own.defrost()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "vocabulary.npz"
        rows = embedding.float().numpy()
        np.savez(file, names=np.array([str(index) for index in range(len(rows))]), embeddings=rows)
        own.MODEL.CLIP.EMBEDDINGS = str(file)  # only its width is read: T itself is loaded with the weights
        model = build_model(own, names)
    model.text.source = _LateSource(cfg, embedding.shape[1], aliases)
    return model


class _LateSource:
    """The config's source of text embeddings, opened when a vocabulary is first asked for.

    The trained vocabulary lies in the weights, so neither CLIP nor a file of embeddings needs to be there before.
    """

    def __init__(self, cfg: CfgNode, width: int, aliases: Mapping[str, Sequence[str]]) -> None:
        self.width = width
        self._clip, self._aliases = cfg.MODEL.CLIP, aliases

    def encode(self, names: Sequence[str], aliases: Mapping[str, Sequence[str]]) -> Tensor:
        """See ``clipmask.modeling.text_sources.TextSource``."""
        clip = self._clip
        try:
            source = text_source(clip.NAME, clip.PRETRAINED, clip.EMBEDDINGS, clip.PROMPTS)
            encoded = source.encode(names, {**self._aliases, **aliases})
        except UserError as error:
            raise UserError(f"{error}. Or name a file for this vocabulary alone: --embeddings FILE.npz") from error
        if encoded.shape[1] != self.width:
            raise UserError(
                f"MODEL.CLIP gives text embeddings of width {encoded.shape[1]}, the model was trained with "
                f"{self.width}: use the CLIP model of the training"
            )
        return encoded
