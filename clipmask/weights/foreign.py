"""Weights of backbones from local files.

Files of torch, ``.safetensors``, and the ``.pkl`` files of Detectron2's model zoo are read; names
may be Detectron2's or Caffe2's. No file can run code.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from clipmask.errors import UserError, listed
from clipmask.weights.array_pickles import PickledArray, RefusedError, read_pickle
from clipmask.weights.mistaken import told_apart

logger = logging.getLogger(__name__)

# endings by which a path is distinguished from a tag
WEIGHT_ENDINGS = (".pth", ".pt", ".bin", ".safetensors", ".npz", ".pkl")
_WRAPPERS = ("state_dict", "model", "blobs")  # keys under which a file may hold its weights
# before a backbone's names in the weights of a whole segmenter
_TRUNKS = ("", "backbone.bottom_up.", "backbone.")

# A ResNet in Caffe2's names. A bias of a convolution (conv1_b) is not among them: a norm follows
# each convolution.
_CAFFE2 = re.compile(
    r"(?:(?:res_)?conv1|res(?P<stage>\d)_(?P<block>\d+)_branch(?P<branch>1|2a|2b|2c))"
    r"_(?P<leaf>w|bn_s|bn_b|bn_rm|bn_riv|gn_s|gn_b)"
)
_BRANCHES = {"1": "shortcut", "2a": "conv1", "2b": "conv2", "2c": "conv3"}
_LEAVES = {
    "w": "weight",
    "bn_s": "norm.weight",
    "bn_b": "norm.bias",
    "bn_rm": "norm.running_mean",
    "bn_riv": "norm.running_var",
    "gn_s": "norm.weight",
    "gn_b": "norm.bias",
}


def load_weight_file(
    model: nn.Module,
    path: Path,
    strict: bool,
    *,
    aside: tuple[str, ...] = (),
    drawn: tuple[str, ...] = (),
    made_for: str = "",
) -> None:
    """Loads a local file into a model.

    The weights of a whole segmenter or detector serve too, if its backbone has every weight of the
    model.

    Args:
        model: whose weights are replaced.
        path: the file, see ``read_weight_file``.
        strict: whether the file must hold every weight and nothing else; otherwise each difference
            is logged.
        aside: prefixes of names that the model may lack, such as those of a classifier.
        drawn: prefixes of names that the file may lack; these weights stay as they are.
        made_for: the beginning of the advice for a file that does not fit: how to configure the
            model that the file was made for.

    Raises:
        UserError: the file can't be read, or ``strict`` and it does not fit.
    """
    own = model.state_dict()
    state = _trunk(read_weight_file(path), own)
    fitting: dict[str, Tensor] = {}
    shapes, unexpected = [], []
    for key, value in state.items():
        if key not in own:
            if not _is_spare(key, aside):
                unexpected.append(key)
        elif own[key].shape != value.shape:
            shapes.append(key)
        else:
            fitting[key] = value
    missing = [key for key in own if key not in state and not _is_spare(key, drawn)]
    found = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    faults = {word: keys for word, keys in found.items() if keys}
    if strict and faults:
        parts = [f"{len(keys)} {word}: {listed(keys, 5)}" for word, keys in faults.items()]
        raise UserError(
            f"backbone weights {path} do not fit the model: {'; '.join(parts)}. {made_for}, or set "
            "MODEL.BACKBONE.WEIGHTS_STRICT False to load what fits"
        )
    for word, keys in faults.items():
        for key in keys:
            logger.warning("backbone weights %s: %s is %s", path, key, word)
    model.load_state_dict(fitting, strict=False)


def read_weight_file(path: Path) -> dict[str, Tensor]:
    """Reads a state dict without running anything that a file may hold.

    Args:
        path: a file of torch's, ``.safetensors``, or ``.pkl`` with numpy arrays. In a ``.pkl``
            plain notes beside the arrays are ignored, objects that could run code are refused, and
            a ResNet in Caffe2's names gets Detectron2's.

    Returns:
        Weights by name.

    Raises:
        UserError: the file is damaged, holds other objects than tensors or arrays, or no weights at
            all.
    """
    try:
        state = _load(path)
    except RefusedError as error:
        raise UserError(
            f"backbone weights {path}: holds {error}. It is not loaded, because it could run code;"
            " take a file of numpy arrays, or of tensors as torch.save writes them (.pth) or"
            " safetensors"
        ) from error
    # pickle, zip and safetensors fail in many ways; none of them is the user's to debug
    except Exception as error:
        if what := told_apart(path, error):
            raise UserError(f"backbone weights {path}: {what}") from error
        raise UserError(
            f"backbone weights {path}: can't be read as tensors ({type(error).__name__}). The file"
            " is damaged, or holds objects other than tensors, which are not loaded because they"
            " could run code"
        ) from error
    for wrapper in _WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if isinstance(state, dict) and path.suffix == ".pkl":
        state = _from_caffe2(_tensors(state))
    if not (
        isinstance(state, dict)
        and state
        and all(isinstance(value, Tensor) for value in state.values())
    ):
        raise UserError(
            f"backbone weights {path}: not a state dict (a mapping of names to tensors)"
        )
    return without_wrapper(state)


def without_wrapper(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns the weights under the names that the model itself has for them.

    DistributedDataParallel puts ``module.`` before them, torch.compile ``_orig_mod.``.
    """
    return {
        key.removeprefix("module.").removeprefix("_orig_mod."): value
        for key, value in state.items()
    }


def _load(path: Path) -> Any:
    """Returns the content of a file, by its ending."""
    if path.suffix == ".pkl":
        return read_pickle(path)
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _tensors(state: Mapping[Any, Any]) -> dict[str, Tensor]:
    """The arrays of a pickle; notes such as ``__author__`` and counters stay behind."""
    tensors: dict[str, Tensor] = {}
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, PickledArray):
            continue
        array = getattr(value, "array", None)
        if array is not None:
            tensors[key] = torch.from_numpy(array)
    return tensors


def _from_caffe2(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Gives a ResNet in Caffe2's names Detectron2's, and leaves all but its trunk aside; other
    names stay.
    """
    matches = {blob: match for blob in state if (match := _CAFFE2.fullmatch(blob))}
    if not matches:
        return state
    renamed = {_detectron2_name(match): state[blob] for blob, match in matches.items()}
    for blob, match in matches.items():
        if match["leaf"] != "bn_s":
            continue
        norm = _detectron2_name(match).removesuffix("weight")
        # Without statistics they were folded into weight and bias; Detectron2 reads such a file as
        # mean 0, variance 1.
        renamed.setdefault(f"{norm}running_mean", torch.zeros_like(state[blob]))
        renamed.setdefault(f"{norm}running_var", torch.ones_like(state[blob]))
    return renamed


def _detectron2_name(match: re.Match[str]) -> str:
    stage, block, branch, leaf = match.group("stage", "block", "branch", "leaf")
    layer = "stem.conv1"
    if stage:
        layer = f"res{stage}.{block}.{_BRANCHES[branch]}"
    return f"{layer}.{_LEAVES[leaf]}"


def _trunk(state: dict[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The part of a whole segmenter's weights that holds all of ``own``; ``state`` as it is, where
    none does.
    """
    needed = {key for key in own if not _is_spare(key)}
    for prefix in _TRUNKS:
        inner = {
            key.removeprefix(prefix): value
            for key, value in state.items()
            if key.startswith(prefix)
        }
        if needed <= inner.keys():
            return inner
    return state


def _is_spare(key: str, aside: tuple[str, ...] = ()) -> bool:
    """Whether a model and a file may differ in ``key``: batches counted, Swin's masks, and what
    ``aside`` says.
    """
    return key.endswith(("num_batches_tracked", "attn_mask")) or key.startswith(aside)
