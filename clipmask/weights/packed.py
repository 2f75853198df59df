"""A packed model: weights, config, class names and T in one ``.safetensors`` file without code.

The tensors are stored as in a state dict. The header holds one more text, ``clipmask``: JSON with
the other values of the checkpoint (``config``, ``class_names``, ``metadata``, ``versions``,
``iteration``, ``seed``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clipmask.config import dump_cfg, get_cfg, stored_cfg
from clipmask.errors import UserError
from clipmask.weights.mistaken import told_apart

HEADER = "clipmask"  # the key of our text in the file's header
# what goes along
KNOWN = ("config", "class_names", "metadata", "licenses", "versions", "iteration", "seed")
# matrices that keep their precision: T and what is learned of it
EXACT = ("text.embedding", "text.learner.context")
FILE_ENDINGS = (".pth", ".pt", ".bin", ".safetensors", ".npz", ".pkl")


def pack(
    checkpoint: dict[str, Any], source: str | Path, *, half: bool, opts: Sequence[str] = ()
) -> bytes:
    """Returns the bytes of a ``.safetensors`` file with all that inference needs of a checkpoint.

    Args:
        checkpoint: of a training run; its optimiser and random states stay behind, and the weights
            that count go along (the averaged ones, where there are any).
        source: where it comes from, for messages.
        half: store matrices and kernels as float16. Vectors (biases, norms and their statistics)
            and T keep their precision: they are small, and variances may leave float16's range.
        opts: config keys and values in turn, over the checkpoint's config.

    Raises:
        UserError: the checkpoint holds weights alone, or a weight is not finite or too large for
            float16.
    """
    from safetensors.torch import save

    if not isinstance(checkpoint.get("config"), str) or not isinstance(
        checkpoint.get("class_names"), list
    ):
        raise UserError(
            f"checkpoint {source}: holds weights but neither their config nor class names; take one"
            " that train_net.py wrote"
        )
    header_values = known_entries(checkpoint)
    header_values["config"] = _without_local_paths(header_values["config"], source, opts)
    weights: dict[str, Tensor] = {}
    for name, value in checkpoint["model"].items():
        stored = value
        small = half and value.is_floating_point() and value.ndim >= 2 and name not in EXACT
        if small:
            stored = value.to(torch.float16)
        if stored.is_floating_point() and not stored.isfinite().all():
            raise UserError(
                f"checkpoint {source}: {name} is not"
                f" finite{' as float16; leave --half away' * small}"
            )
        weights[name] = stored.contiguous().clone()  # safetensors refuses tensors that share memory
    # One entry alone: safetensors writes several in an order of chance, and equal models shall make
    # equal files.
    return save(weights, {HEADER: json.dumps(header_values, sort_keys=True)})


def unpack(path: Path) -> dict[str, Any]:
    """Reads a ``.safetensors`` file: a checkpoint's dict where ``pack`` made it, bare weights where
    another did.

    Raises:
        UserError: the file is damaged, or its header is.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            # safe_open gives no dict: it has keys(), and can't be iterated.
            names = file.keys()
            weights = {name: file.get_tensor(name) for name in names}
        header_values = None
        if HEADER in header:
            header_values = json.loads(header[HEADER])
    except (SafetensorError, OSError, ValueError) as error:
        if what := told_apart(path, error):
            raise UserError(f"checkpoint {path}: {what}") from error
        raise UserError(
            f"checkpoint {path}: damaged, or not a safetensors file ({error})"
        ) from error
    if header_values is None:
        return weights
    if not isinstance(header_values, dict):
        raise UserError(f"checkpoint {path}: damaged (its header's {HEADER!r} is no mapping)")
    return {**known_entries(header_values), "model": weights}


def known_entries(content: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the entries of a checkpoint, beside its weights, that are plain values."""
    return {key: content[key] for key in KNOWN if key in content}


def _without_local_paths(text: str, source: str | Path, opts: Sequence[str]) -> str:
    """Takes out of a config what means something on the training machine alone.

    The backbone's weights and T come with the file. Of local files that a new vocabulary would be
    taken from, CLIP's weights or embeddings, the name stays without its folder: another CLIP never
    takes their place unnoticed.
    """
    cfg, defaults = stored_cfg(text, source, opts), get_cfg()
    cfg.OUTPUT_DIR, cfg.MODEL.WEIGHTS = defaults.OUTPUT_DIR, defaults.MODEL.WEIGHTS
    if _is_file(cfg.MODEL.BACKBONE.WEIGHTS):
        cfg.MODEL.BACKBONE.WEIGHTS = defaults.MODEL.BACKBONE.WEIGHTS
    for key in ("EMBEDDINGS", "PRETRAINED"):
        if _is_file(cfg.MODEL.CLIP[key]):
            cfg.MODEL.CLIP[key] = Path(cfg.MODEL.CLIP[key]).name
    return dump_cfg(cfg)


def _is_file(value: str) -> bool:
    """Whether a key that takes a tag or a file names a file, here or elsewhere."""
    return Path(value).suffix in FILE_ENDINGS or Path(value).is_file()
