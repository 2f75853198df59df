"""Activation checkpointing: parts of the network that the backward pass computes again."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, ClassVar

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from clipmask.errors import UserError

KEY = "SOLVER.ACTIVATION_CHECKPOINT"


class Recomputable(nn.Module):
    """A part of the network that can trade time for memory in training.

    If ``recompute`` is set, only the part's inputs are kept for the backward pass, which runs the
    part a second time (activation checkpointing, "Training Deep Nets with Sublinear Memory Cost").
    Losses and gradients are the same, dropout included.

    Attributes:
        fine: whether the part's maps are at stride 4, where they are largest.
        recompute: whether it is computed again.
    """

    fine: ClassVar[bool] = False
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
        what: ``none``; ``fine`` (everything at stride 4, that of the backbone too); ``head``
            (everything that is ``Recomputable``); or ``all`` (also the backbone's stages).

    Raises:
        UserError: the backbone does not name its stages.
    """
    for module in model.modules():
        if isinstance(module, Recomputable):
            module.recompute = what in ("head", "all") or (what == "fine" and module.fine)
    if what in ("fine", "all"):
        _recompute_stages(model.get_submodule("backbone"), what)


def _recompute_stages(backbone: nn.Module, what: str) -> None:
    """Makes a backbone compute its ``fine`` stages or ``all`` of them again."""
    name_stages = getattr(backbone, "recomputable_stages", None)
    stages: list[nn.Module] = name_stages(what) if callable(name_stages) else []
    if not stages:
        raise UserError(
            f"{KEY} {what}: it is not known which modules of this backbone are its stages; {KEY}"
            " head saves memory without the backbone",
            key=KEY,
        )
    for stage in stages:
        # A module's own ``forward`` goes before that of its class; its weights keep their names.
        stage.forward = functools.partial(_recomputed, stage)


def _recomputed(stage: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """The ``forward`` of a stage that is computed again."""
    forward = type(stage).forward
    if not (stage.training and torch.is_grad_enabled()):
        return forward(stage, *args, **kwargs)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _same_statistics(stage)

    return checkpoint(forward, stage, *args, use_reentrant=False, context_fn=contexts, **kwargs)


@contextmanager
def _same_statistics(module: nn.Module) -> Iterator[None]:
    """Restores the running statistics of batch normalisations, so that no image counts twice."""
    norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    before = [(buffer, buffer.clone()) for norm in norms for buffer in norm.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in before:
                buffer.copy_(value)
