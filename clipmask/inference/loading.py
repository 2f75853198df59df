"""Loading of a trained model from a checkpoint, with its own config or another one.

The text embedding of the trained vocabulary is part of the weights, so neither CLIP nor a file of
embeddings is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fvcore.common.config import CfgNode

from clipmask.d2 import MetadataCatalog
from clipmask.data.configured_classes import configured_vocabularies
from clipmask.data.image_format import ImageFormat
from clipmask.errors import UserError
from clipmask.evaluation.server_ids import server_ids
from clipmask.modeling import ClipMask, build_model
from clipmask.vocabulary import Vocabulary, texts_of, union
from clipmask.weights.checkpoint import load_weights, trained_vocabularies


def load_model(cfg: CfgNode, checkpoint: Mapping[str, Any]) -> tuple[ClipMask, ImageFormat]:
    """Builds the model of a config, on the CPU, with the weights of a checkpoint.

    Args:
        cfg: the config; its MODEL.WEIGHTS is the path of the checkpoint.
        checkpoint: the content of the checkpoint. If it has no class names, those of the config's
            datasets are used.

    Returns:
        The model, with the vocabularies of the training and their colours and server ids, if there
        are some; and how the picture files of the training were read.

    Raises:
        UserError: the weights don't fit, or there are no class names.
    """
    source, weights = cfg.MODEL.WEIGHTS, checkpoint["model"]
    vocabularies = trained_vocabularies(checkpoint) or _configured(cfg, source)
    embedding, terms = weights.get("text.embedding"), union(vocabularies)
    if embedding is not None and len(embedding) != len(terms):
        raise UserError(
            f"{source} was trained on {len(embedding)} classes, but the config's dataset has"
            f" {len(terms)} ({', '.join(texts_of(terms))}): set DATASETS.TRAIN to the"
            " dataset of the training"
        )
    vocabularies = tuple(_with_server_ids(cfg, vocabulary) for vocabulary in vocabularies)
    model = build_model(
        cfg, vocabularies, text_width=None if embedding is None else embedding.shape[1]
    )
    load_weights(model, weights, source)
    return model, ImageFormat.from_metadata(_metadata(cfg, checkpoint))


def _metadata(cfg: CfgNode, checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the metadata in the checkpoint, else those of the config's first dataset."""
    stored = checkpoint.get("metadata")
    if isinstance(stored, dict):
        return stored
    names = (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)
    if not names:
        return {}
    return dict(MetadataCatalog.get(names[0]).as_dict())


def _configured(cfg: CfgNode, source: str) -> tuple[Vocabulary, ...]:
    """Returns the vocabularies of the config's datasets, for weights without class names."""
    try:
        return configured_vocabularies(cfg)
    except UserError as error:
        raise UserError(
            f"{source} holds no class names, and the config's datasets "
            f"({', '.join([*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST]) or 'none'}) have none either: "
            "set DATASETS.TRAIN to the dataset that the model was trained on"
        ) from error


def _with_server_ids(cfg: CfgNode, vocabulary: Vocabulary) -> Vocabulary:
    """Returns a vocabulary with the class ids of a benchmark's server.

    If the vocabulary has no such ids, they come from a dataset of the config with the same classes.
    """
    if any(item.server_id is not None for item in vocabulary.classes):
        return vocabulary
    for dataset in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        if _names(dataset) == vocabulary.names:
            ids = server_ids(dataset)
            if ids is None:
                return vocabulary
            return vocabulary.with_server_ids(ids)
    return vocabulary


def _names(dataset: str) -> tuple[str, ...]:
    """Returns the class names of a dataset as in a vocabulary; empty if it has none."""
    metadata = MetadataCatalog.get(dataset).as_dict()
    classes = metadata.get("stuff_classes")
    known = classes is not None and len(classes) > 0
    if not known:
        return ()
    return Vocabulary.from_metadata(metadata).names
