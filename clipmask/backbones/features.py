"""Which features of a backbone are res2 .. res5, and which kind of normalisation it has."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import nn

from clipmask.d2 import ShapeSpec
from clipmask.errors import UserError

STRIDES = {"res2": 4, "res3": 8, "res4": 16, "res5": 32}
NORMS = ("", "BN", "FrozenBN", "SyncBN")


def choose_features(
    backbone: str, shapes: Mapping[str, ShapeSpec], wanted: Sequence[str], named: Sequence[str] = ()
) -> dict[str, str]:
    """Finds the features of a backbone that ClipMask uses.

    Args:
        backbone: its name, for errors.
        shapes: channels and strides of its features.
        wanted: our names, res2 first.
        named: MODEL.CLIPMASK.IN_FEATURES, the backbone's names of the wanted features in the same
            order. If it is empty, features of the same names are taken, or else those at strides 4,
            8, 16 and 32.

    Returns:
        Our names to the backbone's names.

    Raises:
        UserError: a feature is missing, there are several at its stride, or a stride does not suit
            ClipMask.
    """
    given = ", ".join(f"{name} (stride {shape.stride})" for name, shape in shapes.items())
    if named:
        complete = len(named) == len(set(named)) == len(wanted)
        if not complete or not set(named) <= shapes.keys():
            raise UserError(
                f"MODEL.CLIPMASK.IN_FEATURES {list(named)}: name {len(wanted)} features of"
                f" {backbone}, finest first and each once; it gives {given}",
                key="MODEL.CLIPMASK.IN_FEATURES",
            )
        chosen = dict(zip(wanted, named, strict=True))
    elif set(wanted) <= shapes.keys():
        chosen = {name: name for name in wanted}
    else:
        chosen = _by_stride(backbone, shapes, wanted, given)
    strides = [shapes[chosen[name]].stride or 0 for name in wanted]
    if strides[0] != STRIDES["res2"] or any(
        not coarse or coarse % fine for fine, coarse in pairwise(strides)
    ):
        raise UserError(
            f"MODEL.BACKBONE.NAME {backbone} gives {', '.join(chosen.values())} at strides"
            f" {', '.join(map(str, strides))}; ClipMask takes res2 at stride 4 and each other at a"
            " multiple of the stride before it",
            key="MODEL.BACKBONE.NAME",
        )
    return chosen


def _by_stride(
    backbone: str, shapes: Mapping[str, ShapeSpec], wanted: Sequence[str], given: str
) -> dict[str, str]:
    at: dict[int, list[str]] = defaultdict(list)
    for name, shape in shapes.items():
        at[shape.stride or 0].append(name)
    missing = [str(STRIDES[name]) for name in wanted if not at[STRIDES[name]]]
    if missing:
        raise UserError(
            f"MODEL.BACKBONE.NAME {backbone} gives {given}, but nothing at stride"
            f" {', '.join(missing)}: ClipMask takes strides"
            f" {', '.join(str(STRIDES[name]) for name in wanted)} (res2 and MODEL.CLIPMASK.SCALES)."
            " For Detectron2's build_resnet_backbone set MODEL.RESNETS.OUT_FEATURES"
            f" {list(STRIDES)}",
            key="MODEL.BACKBONE.NAME",
        )
    chosen = {}
    for name in wanted:
        names = at[STRIDES[name]]
        if len(names) > 1:
            raise UserError(
                f"MODEL.BACKBONE.NAME {backbone} gives {' and '.join(names)} at the same stride;"
                " say which to take with MODEL.CLIPMASK.IN_FEATURES",
                key="MODEL.BACKBONE.NAME",
            )
        chosen[name] = names[0]
    return chosen


def set_norms(model: nn.Module, norm: str) -> nn.Module:
    """Converts a backbone's batch normalisations to the kind of MODEL.BACKBONE.NORM.

    Weights and statistics are kept.

    Args:
        model: changed in place. Fixed normalisations in frozen layers, which FREEZE_AT makes in
            Detectron2's backbones, stay fixed.
        norm: BN, FrozenBN or SyncBN; if empty, nothing is changed.

    Returns:
        The model, or another module in its place.

    Raises:
        UserError: ``norm`` is unknown.
    """
    from timm.layers import convert_sync_batchnorm, freeze_batch_norm_2d

    if norm not in NORMS:
        raise UserError(
            f"MODEL.BACKBONE.NORM {norm!r}: use one of {', '.join(NORMS[1:])}, or nothing: as it is"
            " built",
            key="MODEL.BACKBONE.NORM",
        )
    if norm == "FrozenBN":
        return freeze_batch_norm_2d(model)
    if norm:
        _release(model)
    if norm == "SyncBN":
        return convert_sync_batchnorm(model)
    return model


def _release(model: nn.Module) -> None:
    """Replaces fixed batch normalisations by trainable ones in layers that are trained."""
    for parent in list(model.modules()):
        if not any(parameter.requires_grad for parameter in parent.parameters()):
            continue
        for name, child in parent.named_children():
            # Detectron2, torchvision and timm use this name for theirs.
            if type(child).__name__ == "FrozenBatchNorm2d":
                setattr(parent, name, _trainable(child))


def _trainable(fixed: nn.Module) -> nn.BatchNorm2d:
    """Returns a trainable batch normalisation with the weights and statistics of ``fixed``."""
    state: dict[str, torch.Tensor] = fixed.state_dict()
    new = nn.BatchNorm2d(len(state["running_mean"]), eps=float(fixed.eps))  # type: ignore[arg-type]
    new.load_state_dict({"num_batches_tracked": torch.zeros((), dtype=torch.long), **state})
    return new
