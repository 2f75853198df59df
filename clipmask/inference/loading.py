"""A trained model from a checkpoint, with or without a config beside it.

The trained vocabulary's text embedding lies in the weights: neither CLIP nor a file of embeddings
has to be there.
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
from clipmask.vocabulary import Vocabulary, union
from clipmask.weights.checkpoint import load_weights, trained_vocabularies


def load_model(cfg: CfgNode, checkpoint: Mapping[str, Any]) -> tuple[ClipMask, ImageFormat]:
    """Builds the model of a config, on the CPU, with the weights of a checkpoint.

    Args:
        cfg: MODEL.WEIGHTS names the checkpoint.
        checkpoint: its content. Its class names count; where it has none, those of the config's
            first dataset.

    Returns:
        The model, whose vocabularies are those of the training, with what is known of colours and
        server ids; and how the training's picture files were read.

    Raises:
        UserError: the weights don't fit, or there are no class names.
    """
    source, weights = cfg.MODEL.WEIGHTS, checkpoint["model"]
    vocabularies = trained_vocabularies(checkpoint) or _configured(cfg, source)
    embedding, terms = weights.get("text.embedding"), union(vocabularies)
    if embedding is not None and len(embedding) != len(terms):
        raise UserError(
            f"{source} was trained on {len(embedding)} classes, but the config's dataset has"
            f" {len(terms)} ({', '.join(term.text for term in terms)}): set DATASETS.TRAIN to the"
            " dataset that it was trained on"
        )
    vocabularies = tuple(_with_server_ids(cfg, vocabulary) for vocabulary in vocabularies)
    model = build_model(
        cfg, vocabularies, text_width=None if embedding is None else embedding.shape[1]
    )
    load_weights(model, weights, source)
    return model, ImageFormat.from_metadata(_metadata(cfg, checkpoint))


def _metadata(cfg: CfgNode, checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is known of the training's dataset: from the checkpoint, else from the config's first
    dataset.
    """
    own = checkpoint.get("metadata")
    if isinstance(own, dict):
        return own
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        return dict(MetadataCatalog.get(name).as_dict())
    return {}


def _configured(cfg: CfgNode, source: str) -> tuple[Vocabulary, ...]:
    """The vocabularies of the config's datasets, for weights that do not have their own."""
    try:
        return configured_vocabularies(cfg)
    except UserError as error:
        raise UserError(
            f"{source} holds no class names, and the config's datasets "
            f"({', '.join([*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST]) or 'none'}) have none either: "
            "set DATASETS.TRAIN to the dataset that the model was trained on"
        ) from error


def _with_server_ids(cfg: CfgNode, vocabulary: Vocabulary) -> Vocabulary:
    """The classes with a benchmark server's ids: their own, or those of a dataset of the config
    with these classes.
    """
    if any(item.server_id is not None for item in vocabulary.classes):
        return vocabulary
    for dataset in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        if _names(dataset) == vocabulary.names:
            ids = server_ids(dataset)
            return vocabulary if ids is None else vocabulary.with_server_ids(ids)
    return vocabulary


def _names(dataset: str) -> tuple[str, ...]:
    """The names of a dataset's classes as a vocabulary has them; empty where it has none."""
    metadata = MetadataCatalog.get(dataset).as_dict()
    given = metadata.get("stuff_classes")
    known = given is not None and len(given) > 0
    return Vocabulary.from_metadata(metadata).names if known else ()
