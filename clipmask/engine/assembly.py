"""Datasets and model of a run, put together from the config and checked before anything long begins."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from fvcore.common.config import CfgNode
from lightning_fabric import Fabric

from clipmask.data.catalog import load_dataset, load_training_set
from clipmask.engine.checkpoint import load_checkpoint, load_weights
from clipmask.errors import UserError
from clipmask.modeling import ClipMask, build_model

logger = logging.getLogger(__name__)


def evaluated_classes(cfg: CfgNode, fabric: Fabric) -> dict[str, tuple[str, ...]]:
    """Loads the lists of DATASETS.TEST and returns the class names of each.

    One process of each machine goes first: a dataset may write its files at first use.

    Raises:
        UserError: a dataset is not registered, is empty or lacks something.
    """
    with fabric.rank_zero_first(local=True):
        return {name: load_dataset(name, labelled=True).classes for name in cfg.DATASETS.TEST}


def check_datasets(cfg: CfgNode, fabric: Fabric) -> tuple[str, ...]:
    """Returns the class names that a run trains, after a look at all of its datasets.

    Raises:
        UserError: nothing to train on, or the datasets do not share their classes; and see ``evaluated_classes``.
    """
    with fabric.rank_zero_first(local=True):
        classes = load_training_set(cfg.DATASETS.TRAIN).classes
    for name, others in evaluated_classes(cfg, fabric).items():
        if others != classes:
            raise UserError(
                f"the classes of {name!r} ({', '.join(others)}) are not those of {cfg.DATASETS.TRAIN[0]!r} "
                f"({', '.join(classes)}): datasets of one run share their classes, in the same order"
            )
    return classes


def assemble(
    cfg: CfgNode, fabric: Fabric, class_names: Sequence[str], weights: str, checkpoint: dict[str, Any] | None = None
) -> ClipMask:
    """Builds the model for this run's device.

    Args:
        cfg: the config.
        fabric: knows the device.
        class_names: the vocabulary.
        weights: path of the checkpoint that will be loaded, for which no pretrained parts are fetched; empty: none.
        checkpoint: its content where all of it will be loaded, T included: no source of text is opened then.
    """
    own = cfg.clone()
    own.defrost()
    own.MODEL.WEIGHTS, own.MODEL.DEVICE = weights, str(fabric.device)
    own.freeze()
    T = None if checkpoint is None else checkpoint["model"].get("text.embedding")
    return build_model(own, class_names, None if T is None else T.shape[1])


def load_same_model(model: ClipMask, checkpoint: dict[str, Any], weights: dict[str, Any], source: str) -> None:
    """Loads a checkpoint of the very model, for resuming and evaluation.

    Raises:
        UserError: any weight is missing, left over or of another shape; or the classes are others.
    """
    trained, names = checkpoint.get("class_names"), model.class_names
    if trained is not None and tuple(trained) != names:
        raise UserError(
            f"{source} was trained on the classes {', '.join(trained)}; the dataset has {', '.join(names)}: "
            "name its dataset, or start a new run from its weights with MODEL.WEIGHTS"
        )
    load_weights(model, weights, source)


def start_from(model: ClipMask, source: str) -> None:
    """Loads what fits of another run's weights; the text embedding stays behind if the classes are others.

    Raises:
        UserError: the file can't be read, or nothing in it fits.
    """
    checkpoint = load_checkpoint(source)
    weights = checkpoint["model"]
    trained = checkpoint.get("class_names")
    if trained is not None and tuple(trained) != model.class_names:
        weights = {name: value for name, value in weights.items() if not name.startswith("text.")}
        logger.info("%s knows other classes: the text embedding of this run's is made anew", source)
    left_out = load_weights(model, weights, source, strict=False)
    logger.info("started from the weights of %s", source)
    for line in left_out:
        logger.info("left out: %s", line)
