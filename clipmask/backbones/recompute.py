"""Activation checkpointing: parts of the network that the backward pass computes again."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from clipmask.errors import UserError


class Recomputable(nn.Module):
    """A part of the network that can trade time for memory in training.

    If ``recompute`` is set, only the part's inputs are kept for the backward pass, which runs the
    part a second time (activation checkpointing, "Training Deep Nets with Sublinear Memory Cost").
    Losses and gradients are the same, dropout included.
    """

    recompute = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the part as every module is called."""
        if not (self.recompute and self.training and torch.is_grad_enabled()):
            return super().__call__(*args, **kwargs)
        return checkpoint(super().__call__, *args, use_reentrant=False, **kwargs)


def recompute_activations(model: nn.Module, what: str) -> None:
    """Chooses the parts of a model that the backward pass computes again.

    Args:
        model: with its backbone in ``backbone``.
        what: ``none``, ``head`` (everything that is ``Recomputable``), or ``all`` (also the
            backbone's stages).

    Raises:
        UserError: the backbone can't compute its stages again.
    """
    for module in model.modules():
        if isinstance(module, Recomputable):
            module.recompute = what != "none"
    if what == "all":
        _recompute_stages(model.get_submodule("backbone"))


def _recompute_stages(backbone: nn.Module) -> None:
    """Makes a backbone of timm compute its stages again in the backward pass, to save memory.

    Raises:
        UserError: the backbone is not one of timm's that can, it has batch normalisations whose
            statistics would be updated by both passes, or timm would use reentrant checkpointing.
    """
    key = "SOLVER.ACTIVATION_CHECKPOINT"
    head = f"{key} head saves memory without the backbone"
    body = getattr(backbone, "body", None)
    able = body if hasattr(body, "set_grad_checkpointing") else getattr(body, "model", None)
    if not isinstance(able, nn.Module) or not hasattr(able, "set_grad_checkpointing"):
        raise UserError(f"{key} all: this backbone can't recompute its stages; {head}", key=key)
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in able.modules()):
        raise UserError(
            f"{key} all: the backbone's batch normalisations would count each image twice. Set"
            f" MODEL.BACKBONE.NORM FrozenBN; or {head}",
            key=key,
        )
    if _is_reentrant():
        raise UserError(
            f"{key} all needs timm 1.0.13 or later (pip install -U timm), without"
            " TIMM_REENTRANT_CKPT in the environment: reentrant checkpointing gives no gradients to"
            f" the stage after frozen ones; or {head}",
            key=key,
        )
    able.set_grad_checkpointing(True)  # type: ignore[operator]


def _is_reentrant() -> bool:
    """Returns whether timm's checkpoints are reentrant: if set so, and always before 1.0.13."""
    from timm import layers

    return not hasattr(layers, "use_reentrant_ckpt") or layers.use_reentrant_ckpt()
