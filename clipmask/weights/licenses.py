"""The licences of a model: those of its training data and of the weights that it started from.

A checkpoint holds them under ``licenses``, a list of dicts ``{"role", "of", "license"}``; a
checkpoint that was made from another one holds that one's too. A licence that nobody has stated is
``unknown``, never left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fvcore.common.config import CfgNode

from clipmask.d2 import MetadataCatalog
from clipmask.weights.stored import stored_values

UNKNOWN = "unknown"
DATA, START = "trained on", "started from"  # the roles


class License(NamedTuple):
    """A dataset, or weights, and its licence.

    Attributes:
        role: ``trained on`` or ``started from``.
        of: the name of a dataset, or of weights.
        license: its name, as its owner writes it; ``unknown``.
    """

    role: str
    of: str
    license: str


def data_licenses(datasets: Iterable[str]) -> list[License]:
    """Returns the licences of registered datasets: ``license`` of their metadata."""
    return [
        License(DATA, name, _text(MetadataCatalog.get(name).get("license", None)))
        for name in datasets
    ]


def backbone_licenses(cfg: CfgNode) -> list[License]:
    """Returns the licence of the weights that a backbone starts from; none where it starts from
    random ones.

    Of timm's weights it is the one that timm states; that of a local file is unknown.
    """
    node = cfg.MODEL.BACKBONE
    if node.WEIGHTS == "random":
        return []
    name = node.TIMM_NAME
    if node.WEIGHTS != "pretrained":
        name = f"{name.partition('.')[0]}.{node.WEIGHTS}"
    stated = None
    if node.NAME == "build_timm_backbone":
        stated = _timm_weights(name)
    if stated is None:
        return [License(START, Path(node.WEIGHTS).name, UNKNOWN)]
    return [License(START, f"{stated.architecture}.{stated.tag}", _text(stated.license))]


def _timm_weights(name: str) -> Any:
    """What timm knows of weights; None where it has none of that name, of a local file, say."""
    from timm.models import get_pretrained_cfg

    try:
        return get_pretrained_cfg(name)
    except RuntimeError:  # timm's answer to an unknown tag
        return None


def checkpoint_licenses(checkpoint: Mapping[str, Any]) -> list[License]:
    """Returns what a checkpoint states; one of an earlier version states nothing: then those of its
    config's datasets.

    Args:
        checkpoint: its content.
    """
    stated = checkpoint.get("licenses")
    if isinstance(stated, list):
        return joined(_license(item) for item in stated if isinstance(item, dict))
    names = stored_values(checkpoint).get("DATASETS.TRAIN")
    if not isinstance(names, list):
        return []
    return data_licenses(name for name in names if isinstance(name, str))


def _license(item: Mapping[str, Any]) -> License:
    role, of, license = item.get("role"), item.get("of"), item.get("license")
    return License(_text(role), _text(of), _text(license))


def joined(licenses: Iterable[License]) -> list[License]:
    """Returns the licences, each one once. An unknown one is left out if another entry with its
    role and name states a licence.
    """
    different = list(dict.fromkeys(licenses))
    known = {item[:2] for item in different if UNKNOWN not in (item.of, item.license)}
    return [item for item in different if item.license != UNKNOWN or item[:2] not in known]


def plain(licenses: Iterable[License]) -> list[dict[str, str]]:
    """Returns licences as a checkpoint holds them."""
    return [item._asdict() for item in licenses]


def phrase(licenses: Sequence[License]) -> str:
    """Returns licences as one phrase: ``trained on camvid_sem_seg_train (CC BY-NC 4.0), started
    from ...``.
    """
    phrases = []
    for role in (DATA, START):
        items = [f"{item.of} ({_shown(item.license)})" for item in licenses if item.role == role]
        if items:
            phrases.append(f"{role} {' and '.join(items)}")
    return ", ".join(phrases) or "licences unknown"


def short(licenses: Sequence[License]) -> str:
    """Returns the different licences without what they are of: ``CC BY-NC 4.0; apache-2.0``."""
    different = dict.fromkeys(_shown(item.license) for item in licenses)
    return "; ".join(different) or "unknown"


def _shown(license: str) -> str:
    if license == UNKNOWN:
        return "licence unknown"
    return license


def _text(value: Any) -> str:
    if isinstance(value, str) and value.strip():
        return value.strip()
    return UNKNOWN
