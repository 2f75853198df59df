"""Datasets and model of a run, put together from the config and checked before anything long
begins.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from fvcore.common.config import CfgNode
from lightning_fabric import Fabric

from clipmask.data.catalog import Dataset, load_dataset, load_training_sets
from clipmask.data.overlap import refuse_shared
from clipmask.data.texts import read_texts
from clipmask.errors import UserError, listed
from clipmask.evaluation import labels_withheld
from clipmask.modeling import ClipMask, build_model
from clipmask.modeling.build import compile_model
from clipmask.vocabulary import Vocabulary, different, shown_names, texts_of, union
from clipmask.weights.checkpoint import (
    LeftOut,
    load_checkpoint,
    load_weights,
    of_backbone,
    trained_vocabularies,
)
from clipmask.weights.licenses import START, UNKNOWN, License, checkpoint_licenses, phrase
from clipmask.weights.stored import stored_values, unseen_differences

logger = logging.getLogger(__name__)


def evaluated_vocabularies(
    cfg: CfgNode, fabric: Fabric, *, withheld: bool = False
) -> dict[str, Vocabulary]:
    """Loads the lists of DATASETS.TEST and returns the classes of each.

    One process of each machine goes first: a dataset may write its files at first use.

    Args:
        cfg: the config.
        fabric: launched.
        withheld: datasets that a server scores, see ``labels_withheld``, need no labels.

    Raises:
        UserError: a dataset is not registered, is empty or lacks something.
    """
    datasets = _evaluated_datasets(cfg, fabric, withheld)
    return {name: dataset.vocabulary for name, dataset in datasets.items()}


def _evaluated_datasets(cfg: CfgNode, fabric: Fabric, withheld: bool = False) -> dict[str, Dataset]:
    with fabric.rank_zero_first(local=True):
        return {
            name: load_dataset(
                name,
                labelled=not (withheld and labels_withheld(name)),
                present=fabric.local_rank == 0,  # one process of each machine looks for the files
            )
            for name in cfg.DATASETS.TEST
        }


def check_datasets(cfg: CfgNode, fabric: Fabric) -> tuple[Vocabulary, ...]:
    """Checks all datasets of a run and returns the vocabularies to train, each different one once.

    Raises:
        UserError: nothing to train on; a test dataset has a name that is not trained, or shares a
            picture with a training dataset of another name;
            MODEL.CLIP.TEXT is annotation and there is no text, or one is no string; and see
            ``evaluated_vocabularies``.
    """
    with fabric.rank_zero_first(local=True):
        datasets = load_training_sets(cfg.DATASETS.TRAIN, present=fabric.local_rank == 0)
    records = {}
    for name, dataset in zip(cfg.DATASETS.TRAIN, datasets, strict=True):
        records[name] = dataset.records
    if cfg.MODEL.CLIP.TEXT == "annotation":
        _check_texts(cfg, chain.from_iterable(records.values()))
    vocabularies = different(dataset.vocabulary for dataset in datasets)
    trained = set(texts_of(union(vocabularies)))
    tested = _evaluated_datasets(cfg, fabric)
    if fabric.local_rank == 0:
        refuse_shared(records, {name: dataset.records for name, dataset in tested.items()})
    for name, dataset in tested.items():
        unknown = [text for text in texts_of(dataset.vocabulary.terms) if text not in trained]
        if unknown:
            raise UserError(
                f"DATASETS.TEST {name!r}: {', '.join(unknown)} are names that no dataset of"
                f" DATASETS.TRAIN {tuple(cfg.DATASETS.TRAIN)} has ({', '.join(sorted(trained))})."
                " Rename the classes of one, or test it when the training is over, with"
                " --eval-only"
            )
    return vocabularies


def _check_texts(cfg: CfgNode, records: Iterable[dict[str, Any]]) -> None:
    """Refuses a training without any text."""
    # the texts of all records are read, because reading refuses what is not a text
    if not any(list(map(read_texts, records))):
        raise UserError(
            f"MODEL.CLIP.TEXT annotation: no sample of DATASETS.TRAIN {tuple(cfg.DATASETS.TRAIN)}"
            " has a 'text' in its dict; give the images their text where the dataset is"
            " registered, or use vocabulary"
        )


def look_up_texts(cfg: CfgNode, model: ClipMask) -> None:
    """Checks, before training, that a file of embeddings has a row for the text of every image.

    Raises:
        UserError: a text is not in the file, or is no string.
    """
    if cfg.MODEL.CLIP.TEXT != "annotation" or cfg.MODEL.CLIP.EMBEDDINGS in ("", "random"):
        return
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        records = load_dataset(name, labelled=False).records
        texts = list(dict.fromkeys(chain.from_iterable(map(read_texts, records))))
        if texts:
            model.text.encode_texts(texts)


def assemble(
    cfg: CfgNode,
    fabric: Fabric,
    vocabularies: Sequence[Vocabulary],
    weights: str,
    checkpoint: dict[str, Any] | None = None,
) -> ClipMask:
    """Builds the model for this run's device.

    Args:
        cfg: the config.
        fabric: knows the device.
        vocabularies: of the datasets of the training.
        weights: path of the checkpoint that will be loaded; pretrained parts are not fetched then.
            Empty: there is no checkpoint.
        checkpoint: the content of the checkpoint if all of it will be loaded, including T; no
            source of text is opened then.

    Raises:
        UserError: the model is to be compiled and to recompute activations; or an error of
            ``build_model``.
    """
    if cfg.MODEL.COMPILE and cfg.SOLVER.ACTIVATION_CHECKPOINT != "none":
        raise UserError(
            f"SOLVER.ACTIVATION_CHECKPOINT {cfg.SOLVER.ACTIVATION_CHECKPOINT} does not go with"
            " MODEL.COMPILE (--compile), whose compiler chooses itself what it computes again: set"
            " one of them back",
            key="SOLVER.ACTIVATION_CHECKPOINT",
        )
    own = cfg.clone()
    own.defrost()
    own.MODEL.WEIGHTS, own.MODEL.DEVICE = weights, str(fabric.device)
    own.freeze()
    width = None
    if checkpoint is not None and "text.embedding" in checkpoint["model"]:
        width = checkpoint["model"]["text.embedding"].shape[1]
    model = build_model(own, vocabularies, width)
    if cfg.MODEL.COMPILE:
        compile_model(model)
    return model


def load_same_model(
    model: ClipMask, checkpoint: dict[str, Any], weights: dict[str, Any], source: str
) -> None:
    """Loads a checkpoint of exactly this model, for resuming and evaluation.

    Raises:
        UserError: any weight is missing, left over or of another shape; or the classes are others.
    """
    trained, own = trained_vocabularies(checkpoint), model.vocabularies
    if trained and _label_spaces(trained) != _label_spaces(own):
        raise UserError(
            f"{source} was trained on the classes {_listed(trained)}; the dataset has"
            f" {_listed(own)}: name its dataset, or start a new run from its weights with"
            " MODEL.WEIGHTS"
        )
    load_weights(model, weights, source)


def warn_of_another_network(checkpoint: Mapping[str, Any], cfg: CfgNode, source: str) -> None:
    """Warns if the weights of a checkpoint fit, but the config makes another network of them."""
    if changed := unseen_differences(checkpoint, cfg):
        logger.warning(
            "%s was trained with other values of keys that change what its weights compute; scores"
            " suffer unless that is intended: %s",
            source,
            "; ".join(changed),
        )


def start_from(model: ClipMask, source: str, cfg: CfgNode) -> list[License]:
    """Loads those weights of another run that fit. T is not loaded if it has other names or came
    from another source of text.

    Args:
        model: changed in place.
        source: path of the checkpoint.
        cfg: this run's config.

    Returns:
        The licences that the checkpoint stands under, and so what starts from it too.

    Raises:
        UserError: the file can't be read, or nothing in it fits.
    """
    checkpoint = load_checkpoint(source)
    weights = checkpoint["model"]
    backbone = of_backbone(weights, model.state_dict())
    if backbone is not None:
        logger.info(
            "%s holds a backbone alone: %d of its %d weights start this one",
            source,
            len(backbone),
            len(weights),
        )
        weights = backbone
    weights = _for_bands(weights, model.state_dict())
    before = trained_vocabularies(checkpoint)
    why, stays = "", {"text.embedding", "text.mean", "text.vocabulary"}
    if before and texts_of(union(before)) != texts_of(union(model.vocabularies)):
        why = f"those of the file are of other classes ({_few(before[0].names)})"
        context = weights.get("text.learner.context")
        if context is not None and context.ndim > 2:  # (K, M, W), each class its own
            stays.add("text.learner.context")
    elif not _same_text(checkpoint, cfg.MODEL.CLIP, model.vocabularies):
        why = "those of the file come from another source or other prompts"
    stays = stays & weights.keys()
    if not why:
        stays = set()
    left_out = load_weights(
        model,
        {name: value for name, value in weights.items() if name not in stays},
        source,
        strict=False,
    )
    own = model.state_dict()
    taken = (own.keys() & weights.keys()) - {item.name for item in left_out} - stays
    licenses = checkpoint_licenses(checkpoint)
    logger.info(
        "started from %s: %d of the model's %d tensors come from it", source, len(taken), len(own)
    )
    logger.info("  licences of that start: %s", phrase(licenses))
    if why:
        logger.info(
            "  text embeddings: computed for %s; %s", _few(model.vocabularies[0].names), why
        )
    for line in _grouped(item for item in left_out if item.name not in stays):
        logger.info("  %s", line)
    warn_of_another_network(checkpoint, cfg, source)
    return [item._replace(role=START) for item in licenses] or [
        License(START, Path(source).name, UNKNOWN)
    ]


def _for_bands(weights: dict[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Makes the first convolution of a model for colours fit other bands, as timm does: weights are
    repeated over the bands, and scaled to the same sum.
    """
    from timm.models import adapt_input_conv

    fitted = dict(weights)
    for name, value in weights.items():
        shape = own[name].shape if name in own else value.shape
        if value.ndim != 4 or value.shape[1] != 3 or shape[1] == 3:
            continue
        if (shape[0], *shape[2:]) == (value.shape[0], *value.shape[2:]):
            fitted[name] = adapt_input_conv(shape[1], value)
            logger.info("%s is made to fit %d bands in place of 3", name, shape[1])
    return fitted


def _label_spaces(vocabularies: Sequence[Vocabulary]) -> list[tuple[tuple[str, ...], ...]]:
    return [vocabulary.label_space for vocabulary in vocabularies]


def _listed(vocabularies: Sequence[Vocabulary]) -> str:
    return " and ".join(", ".join(vocabulary.names) for vocabulary in vocabularies)


def _few(names: Sequence[str]) -> str:
    return listed(shown_names(names))


def _grouped(left_out: Iterable[LeftOut]) -> list[str]:
    """Says what was left out in one line for each part of the model and reason."""
    groups: dict[tuple[str, str], list[LeftOut]] = {}
    for item in left_out:
        groups.setdefault((item.name.split(".")[0], item.reason), []).append(item)
    lines = []
    for (part, reason), items in groups.items():
        which = "first"
        if len(items) == 1:
            which = "which is"
        first = f"{items[0].name} {items[0].detail}".strip()
        lines.append(f"{part}: {len(items)} {reason}, {which} {first}")
    return lines


def _same_text(
    checkpoint: Mapping[str, Any], clip: CfgNode, vocabularies: Sequence[Vocabulary]
) -> bool:
    """Whether a checkpoint's T came from where ``clip`` and the prompts say; what it does not say
    is taken to agree.
    """
    stored = stored_values(checkpoint)
    keys = ("NAME", "PRETRAINED", "EMBEDDINGS", "PROMPTS")
    if any(stored.get(f"MODEL.CLIP.{key}", clip[key]) != clip[key] for key in keys):
        return False
    before = _prompts(trained_vocabularies(checkpoint))
    return not before or before == _prompts(vocabularies)


def _prompts(vocabularies: Iterable[Vocabulary]) -> dict[str, tuple[str, ...]]:
    return {term.text: term.prompts for term in union(vocabularies)}
