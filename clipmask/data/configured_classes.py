"""The classes of a config: those of the datasets that it names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fvcore.common.config import CfgNode

from clipmask.d2 import MetadataCatalog
from clipmask.data.datasets.registering import claim
from clipmask.errors import UserError
from clipmask.vocabulary import Vocabulary, different


def configured_vocabularies(cfg: CfgNode) -> tuple[Vocabulary, ...]:
    """Returns the vocabularies of DATASETS.TRAIN without duplicates.

    If DATASETS.TRAIN is empty, it returns the vocabulary of the first dataset of DATASETS.TEST.

    Raises:
        UserError: no dataset is named, or one has no class names.
    """
    found = []
    for name in cfg.DATASETS.TRAIN or cfg.DATASETS.TEST[:1]:
        claim(name)
        metadata = MetadataCatalog.get(name).as_dict()
        given = metadata.get("stuff_classes")
        if given is not None and len(given):
            found.append(Vocabulary.from_metadata(metadata))
    if not found:
        raise UserError(
            f"no class names: DATASETS.TRAIN {tuple(cfg.DATASETS.TRAIN)} and DATASETS.TEST"
            f" {tuple(cfg.DATASETS.TEST)} name no dataset whose metadata has stuff_classes; set one"
            " of them"
        )
    return different(found)


def named_vocabulary(cfg: CfgNode, names: Sequence[str]) -> Vocabulary:
    """Returns a vocabulary of given class names.

    Aliases, prompts and members of a name come from the metadata of the config's first dataset.
    """
    metadata = _metadata(cfg)
    known: dict[str, Any] = {
        key: metadata[key]
        for key in ("class_aliases", "class_prompts", "class_members")
        if key in metadata
    }
    return Vocabulary.from_metadata({**known, "stuff_classes": names})


def configured_ignore_label(cfg: CfgNode) -> int:
    """Returns the void id of the config's first dataset; 255 if it states none."""
    label = _metadata(cfg).get("ignore_label")
    if label is None:
        return 255
    return label


def _metadata(cfg: CfgNode) -> dict[str, Any]:
    """Returns the metadata of the config's first dataset; empty if the config names none."""
    names = (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)
    if not names:
        return {}
    return dict(MetadataCatalog.get(names[0]).as_dict())
