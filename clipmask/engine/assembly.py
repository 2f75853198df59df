"""Datasets and model of a run, put together from the config and checked before anything long begins."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
import yaml
from fvcore.common.config import CfgNode
from lightning_fabric import Fabric

from clipmask.d2 import MetadataCatalog
from clipmask.data.catalog import load_dataset, load_training_set
from clipmask.data.names import shown_names
from clipmask.data.texts import read_texts
from clipmask.errors import UserError
from clipmask.evaluation import labels_withheld
from clipmask.modeling import ClipMask, build_model
from clipmask.text.sources import FileSource
from clipmask.weights.checkpoint import LeftOut, load_checkpoint, load_weights

logger = logging.getLogger(__name__)

# Keys of MODEL.CLIP that came later, with what a config without them means.
_LATER_CLIP_KEYS = {"CONTROL": "", "CONTROL_DRAW": 0}


def evaluated_classes(cfg: CfgNode, fabric: Fabric, *, withheld: bool = False) -> dict[str, tuple[str, ...]]:
    """Loads the lists of DATASETS.TEST and returns the class names of each.

    One process of each machine goes first: a dataset may write its files at first use.

    Args:
        cfg: the config.
        fabric: launched.
        withheld: datasets that a server scores, see ``labels_withheld``, need no labels.

    Raises:
        UserError: a dataset is not registered, is empty or lacks something.
    """
    with fabric.rank_zero_first(local=True):
        return {
            name: load_dataset(name, labelled=not (withheld and labels_withheld(name))).classes
            for name in cfg.DATASETS.TEST
        }


def check_datasets(cfg: CfgNode, fabric: Fabric) -> tuple[str, ...]:
    """Returns the class names that a run trains, after a look at all of its datasets.

    Raises:
        UserError: nothing to train on; the datasets do not share their classes; MODEL.CLIP.TEXT is annotation and a
            text is no string or not in the file of embeddings, or there is none; and see ``evaluated_classes``.
    """
    with fabric.rank_zero_first(local=True):
        dataset = load_training_set(cfg.DATASETS.TRAIN)
    classes = dataset.classes
    if cfg.MODEL.CLIP.TEXT == "annotation":
        _check_texts(cfg, dataset.records)
        for name in cfg.DATASETS.TEST:
            _look_up_texts(cfg, name, load_dataset(name, labelled=False).records)
    for name, others in evaluated_classes(cfg, fabric).items():
        if others != classes:
            raise UserError(
                f"the classes of {name!r} ({', '.join(others)}) are not those of {cfg.DATASETS.TRAIN[0]!r} "
                f"({', '.join(classes)}): datasets of one run share their classes, in the same order"
            )
    return classes


def _check_texts(cfg: CfgNode, records: Sequence[dict[str, Any]]) -> None:
    """Refuses a training without any text, and looks the texts up."""
    if not any(read_texts(record) for record in records):
        raise UserError(
            f"MODEL.CLIP.TEXT annotation: no sample of DATASETS.TRAIN {tuple(cfg.DATASETS.TRAIN)} has a 'text' in its "
            "dict; give the images their text where the dataset is registered, or use vocabulary"
        )
    _look_up_texts(cfg, cfg.DATASETS.TRAIN[0], records)


def _look_up_texts(cfg: CfgNode, name: str, records: Sequence[dict[str, Any]]) -> None:
    """Looks at the texts of all images, and for them in a file of embeddings, before the model meets them."""
    texts = list(dict.fromkeys(text for record in records for text in read_texts(record)))
    if texts and cfg.MODEL.CLIP.EMBEDDINGS not in ("", "random"):
        aliases = MetadataCatalog.get(name).get("class_aliases", None) or {}
        FileSource(cfg.MODEL.CLIP.EMBEDDINGS).encode_texts(texts, aliases, torch.device("cpu"))


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


def start_from(model: ClipMask, source: str, clip: CfgNode, prompts: Mapping[str, Sequence[str]] | None = None) -> None:
    """Loads what fits of another run's weights; T stays behind if its names are others or it came from elsewhere.

    Args:
        model: changed in place.
        source: path of the checkpoint.
        clip: this run's MODEL.CLIP.
        prompts: the classes' own, of this run's dataset.

    Raises:
        UserError: the file can't be read, or nothing in it fits.
    """
    checkpoint = load_checkpoint(source)
    weights = checkpoint["model"]
    trained = checkpoint.get("class_names")
    why, stays = "", {"text.embedding", "text.mean", "text.vocabulary"}
    if trained is not None and tuple(trained) != model.class_names:
        why = f"those of the file are of other classes ({_few(trained)})"
        context = weights.get("text.learner.context")
        if context is not None and context.ndim > 2:  # (K, M, W), each class its own
            stays.add("text.learner.context")
    elif not _same_text(checkpoint, clip, prompts):
        why = "those of the file come from another source or other prompts"
    stays = stays & weights.keys() if why else set()
    left_out = load_weights(
        model, {name: value for name, value in weights.items() if name not in stays}, source, strict=False
    )
    own = model.state_dict()
    taken = (own.keys() & weights.keys()) - {item.name for item in left_out} - stays
    logger.info("started from %s: %d of the model's %d tensors come from it", source, len(taken), len(own))
    if why:
        logger.info("  text embeddings: made anew for %s; %s", _few(model.class_names), why)
    for line in _grouped(item for item in left_out if item.name not in stays):
        logger.info("  %s", line)


def _few(names: Sequence[str]) -> str:
    shown = shown_names(names)
    return ", ".join(shown[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _grouped(left_out: Iterable[LeftOut]) -> list[str]:
    """Says what was left out in one line for each part of the model and reason."""
    groups: dict[tuple[str, str], list[LeftOut]] = {}
    for item in left_out:
        groups.setdefault((item.name.split(".")[0], item.reason), []).append(item)
    return [
        f"{part}: {len(items)} {reason}, {'which is' if len(items) == 1 else 'first'} {items[0].name}"
        + (f" {items[0].detail}" if items[0].detail else "")
        for (part, reason), items in groups.items()
    ]


def _same_text(checkpoint: Mapping[str, Any], clip: CfgNode, prompts: Mapping[str, Sequence[str]] | None) -> bool:
    """Whether a checkpoint's T came from where ``clip`` and ``prompts`` say; what does not tell is taken to."""
    config, metadata = checkpoint.get("config"), checkpoint.get("metadata")
    told = yaml.safe_load(config) if isinstance(config, str) else None
    other = told.get("MODEL", {}).get("CLIP", {}) if isinstance(told, dict) else {}
    own = metadata.get("class_prompts", {}) if isinstance(metadata, dict) else {}
    given = {name: list(texts) for name, texts in (prompts or {}).items()}
    keys = ("NAME", "PRETRAINED", "EMBEDDINGS", "PROMPTS")
    known = all(other.get(key, clip[key]) == clip[key] for key in keys)
    later = all(other.get(key, before if other else clip[key]) == clip[key] for key, before in _LATER_CLIP_KEYS.items())
    return known and later and own == given
