"""A trained model from a checkpoint, with or without a config beside it, and what is known of its classes.

The trained vocabulary's text embedding lies in the weights: neither CLIP nor a file of embeddings has to be there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from fvcore.common.config import CfgNode

from clipmask.d2 import MetadataCatalog
from clipmask.data.image_format import PLAIN, ImageFormat
from clipmask.errors import UserError
from clipmask.evaluation.server_ids import server_ids
from clipmask.modeling import ClipMask, build_model
from clipmask.weights.checkpoint import load_weights


class Known(NamedTuple):
    """What checkpoint or dataset tell of the classes and pictures of the training.

    Attributes:
        colors: class name to [r, g, b]; empty where they have none.
        server_ids: class name to the id of the benchmark's server; likewise.
        image_format: how the training's picture files were read.
    """

    colors: dict[str, list[int]]
    server_ids: dict[str, int]
    image_format: ImageFormat = PLAIN


def load_model(cfg: CfgNode, checkpoint: Mapping[str, Any]) -> tuple[ClipMask, Known]:
    """Builds the model of a config, on the CPU, with the weights of a checkpoint.

    Args:
        cfg: MODEL.WEIGHTS names the checkpoint.
        checkpoint: its content. Its class names count; where it has none, those of the config's first dataset.

    Returns:
        The model, and what is known of its classes.

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
    embedding = weights.get("text.embedding")
    if embedding is not None and len(embedding) != len(names):
        raise UserError(
            f"{source} was trained on {len(embedding)} classes, but the config's dataset has {len(names)} "
            f"({', '.join(names)}): set DATASETS.TRAIN to the dataset that it was trained on"
        )
    model = build_model(cfg, names, text_width=None if embedding is None else embedding.shape[1])
    model.text.aliases |= metadata.get("class_aliases") or {}
    model.text.own_prompts |= metadata.get("class_prompts") or {}
    load_weights(model, weights, source)
    colors = _colors(metadata.get("stuff_colors"), len(names))
    image_format = ImageFormat.from_metadata(metadata)
    return model, Known(dict(zip(names, colors, strict=False)), _server_ids(cfg, metadata, names), image_format)


def _metadata(cfg: CfgNode, checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is known of the classes: from the checkpoint, else from the config's first dataset."""
    if isinstance(checkpoint.get("class_names"), list):
        told = checkpoint.get("metadata")
        return {**(told if isinstance(told, dict) else {}), "stuff_classes": checkpoint["class_names"]}
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        return MetadataCatalog.get(name).as_dict()
    return {}


def _colors(value: Any, count: int) -> list[list[int]]:
    """Returns [r, g, b] of ``count`` classes; none where ``value`` is no such list."""
    try:
        table = np.asarray(value, dtype=np.uint8)
    except (TypeError, ValueError, OverflowError):
        return []
    return table.tolist() if table.shape == (count, 3) else []


def _server_ids(cfg: CfgNode, metadata: Mapping[str, Any], names: Sequence[str]) -> dict[str, int]:
    """The server's id of each class, from ``metadata`` or from a dataset of the config that has these classes."""
    ids = metadata.get("server_ids")
    if isinstance(ids, list) and len(ids) == len(names):
        return {name: int(number) for name, number in zip(names, ids, strict=True)}
    for dataset in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        if list(MetadataCatalog.get(dataset).get("stuff_classes", None) or ()) == list(names):
            return dict(zip(names, server_ids(dataset) or (), strict=False))
    return {}
