"""What a run was told, without what only its machine knows: paths become file names with a hash of
the content.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Any

from fvcore.common.config import CfgNode

from clipmask.config import get_cfg, leaf_keys

# Where a run writes, on what it computes, how much it says and draws: nothing that its result
# follows from.
_LEFT_OUT = {
    *("OUTPUT_DIR", "SEED", "MODEL.DEVICE", "CUDNN_BENCHMARK", "DATALOADER.NUM_WORKERS"),
    *("SOLVER.LOG_PERIOD", "SOLVER.CHECKPOINT_PERIOD", "TEST.NUM_PICTURES"),
}
# Sections in which the rows of a table must be alike: what an ablation changes is the model.
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
    """Returns the keys of a config that are not at ClipMask's defaults and that a result depends
    on.

    Args:
        cfg: of a run.

    Returns:
        Dotted key to plain value; a value that names a file is ``name (sha256 0123456789ab)``.
    """
    defaults = leaf_keys(get_cfg())
    found = {}
    for key, value in sorted(leaf_keys(cfg).items()):
        # as plain values, because a config that was written and read has lists in place of tuples
        if key not in _LEFT_OUT and _plain(value) != _plain(defaults.get(key)):
            found[key] = _plain(value)
    return found


def differences(
    first: dict[str, Any], second: dict[str, Any], *, budget: bool = False
) -> list[str]:
    """Says where two settings differ: ``KEY first, second``.

    Args:
        first, second: from ``settings``.
        budget: look only at data, schedule, tests, backbone and weights, which the rows of a table
            share.
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
