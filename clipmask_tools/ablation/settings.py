"""The settings of a run, independent of its machine: paths become file names with a hash."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Any

from fvcore.common.config import CfgNode

from clipmask.config import get_cfg, leaf_keys

# Keys that do not affect the result: output folder, device, logging and pictures.
_LEFT_OUT = {
    *("OUTPUT_DIR", "SEED", "MODEL.DEVICE", "CUDNN_BENCHMARK", "DATALOADER.NUM_WORKERS"),
    *("SOLVER.LOG_PERIOD", "SOLVER.CHECKPOINT_PERIOD", "TEST.NUM_PICTURES"),
}
# Sections that must be equal in all rows of a table, because an ablation changes the model only.
_BUDGET = (
    *(
        "SOLVER.",
        "INPUT.",
        "TEST.",
        "DATASETS.TEST",
        "MODEL.BACKBONE.",
        "MODEL.PIXEL_",
        "MODEL.WEIGHTS",
    ),
    *("MODEL.CLIP.EMBEDDINGS", "MODEL.CLIP.NAME", "MODEL.CLIP.PRETRAINED", "MODEL.CLIP.PROMPTS"),
)


def settings(cfg: CfgNode) -> dict[str, Any]:
    """Returns the keys of a config that affect the result and differ from ClipMask's defaults.

    Args:
        cfg: the config of a run.

    Returns:
        Dotted key -> plain value; the path of a file becomes ``name (sha256 0123456789ab)``.
    """
    defaults = leaf_keys(get_cfg())
    found = {}
    for key, value in sorted(leaf_keys(cfg).items()):
        # as plain values, because a config that was saved and loaded has lists instead of tuples
        if key not in _LEFT_OUT and _plain(value) != _plain(defaults.get(key)):
            found[key] = _plain(value)
    return found


def differences(
    first: dict[str, Any], second: dict[str, Any], *, budget: bool = False
) -> list[str]:
    """Returns the differences between two settings, as texts ``KEY first, second``.

    Args:
        first, second: results of ``settings``.
        budget: True: compare only data, schedule, tests, backbone and weights, which must be equal
            in all rows of a table.
    """
    keys = sorted(first.keys() | second.keys())
    return [
        f"{key} {first.get(key, 'default')}, {second.get(key, 'default')}"
        for key in keys
        if first.get(key) != second.get(key) and (not budget or key.startswith(_BUDGET))
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, str) and value and Path(value).is_file():
        return f"{Path(value).name} (sha256 {_digest(Path(value).resolve())})"
    if isinstance(value, CfgNode):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


@functools.cache
def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
