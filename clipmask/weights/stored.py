"""What a checkpoint says of the training that wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml
from fvcore.common.config import CfgNode

from clipmask.config import dump_cfg
from clipmask.plain_yaml import flat, load_yaml


def stored_values(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values of the config that a checkpoint holds, by their dotted keys, as YAML gives
    them; nothing where it holds none that can be read.
    """
    text = checkpoint.get("config")
    if not isinstance(text, str):
        return {}
    try:
        return flat(load_yaml(text))
    except yaml.YAMLError:
        return {}


def differences(checkpoint: Mapping[str, Any], cfg: CfgNode) -> list[str]:
    """Returns ``KEY before -> now`` for each value of a checkpoint's config that ``cfg`` has
    otherwise.

    OUTPUT_DIR, SEED and the keys that came after the checkpoint are left out.
    """
    return [
        f"{key} {before} -> {now}"
        for key, before, now in _changed(checkpoint, cfg)
        if key not in ("OUTPUT_DIR", "SEED")
    ]


def _changed(checkpoint: Mapping[str, Any], cfg: CfgNode) -> list[tuple[str, Any, Any]]:
    """The keys of both a checkpoint's config and ``cfg`` that differ, with both values."""
    before, now = stored_values(checkpoint), stored_values({"config": dump_cfg(cfg)})
    common = [key for key in now if key in before]
    return [(key, before[key], now[key]) for key in common if before[key] != now[key]]


# What the network computes with the same weights: no tensor's shape shows these values.
_UNSEEN = (
    "INPUT.FORMAT",
    "MODEL.PIXEL_MEAN",
    "MODEL.PIXEL_STD",
    "MODEL.BACKBONE.TIMM_ARGS",
    "MODEL.CLIPMASK.NUM_HEADS",
    "MODEL.CLIPMASK.MAX_IMAGE_KEYS",
)


def unseen_differences(checkpoint: Mapping[str, Any], cfg: CfgNode) -> list[str]:
    """Returns those ``differences`` that make another network of the same weights, such as another
    PIXEL_MEAN or number of heads: the weights fit, and the results are worse.

    Lists of different lengths are left out, because the shape of a weight shows them.
    """
    found = []
    for key, before, now in _changed(checkpoint, cfg):
        lists = isinstance(before, list) and isinstance(now, list)
        if key.startswith(_UNSEEN) and not (lists and len(before) != len(now)):
            found.append(f"{key} {before} -> {now}")
    return found
