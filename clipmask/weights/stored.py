"""What a checkpoint says of the training that wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

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
