"""One optimiser step over this process's share of the effective batch.

The losses of a step are sums over its images divided by counts over its images. The counts are
taken over all micro-batches and processes before the first backward pass, so neither accumulation
nor the number of devices changes the gradient, given frozen BatchNorm (its statistics are otherwise
those of a micro-batch; synchronised over processes, but not over accumulation steps) and samples of
one size, which absolute crops make (samples of different sizes are padded to the largest beside
them, and the convolutions see that border).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from clipmask.engine.launch import reduce_sum
from clipmask.engine.optimizer import clip_gradients
from clipmask.engine.sharding import whole
from clipmask.engine.state import TrainingState
from clipmask.engine.stop import Wishes
from clipmask.errors import UserError


@dataclass(frozen=True)
class StepResult:
    """The outcome of a step.

    Attributes:
        losses: name to scalar, on the device; summed over the micro-batches of this process.
        applied: False if the loss or the gradient was not finite; the weights are unchanged then.
        failed: the step was not applied, and fp16's search for its loss scale does not explain it.
        wishes: requests of any process to stop or save; the same in all processes.
    """

    losses: dict[str, Tensor]
    applied: bool
    failed: bool
    wishes: Wishes


def micro_batches(batch: list[Any], limit: int) -> list[list[Any]]:
    """Splits a batch into as few parts of at most ``limit`` as possible, of nearly equal size; 0:
    no limit.
    """
    parts = math.ceil(len(batch) / limit) if limit else 1
    bounds = [len(batch) * part // parts for part in range(parts + 1)]
    return [batch[start:end] for start, end in itertools.pairwise(bounds)]


def on_device(batch: list[dict[str, Any]], device: torch.device) -> list[dict[str, Any]]:
    """Returns the samples with their tensors on ``device``; the host does not wait for copies from
    pinned memory.
    """
    moved = []
    for sample in batch:
        moved.append(dict(sample))
        for key, value in sample.items():
            if isinstance(value, Tensor):
                moved[-1][key] = value.to(device, non_blocking=True)
    return moved


def training_step(state: TrainingState, batch: list[dict[str, Any]], solver: CfgNode) -> StepResult:
    """Runs forward, backward, clipping and the optimiser; steps the schedule; updates the average.

    Args:
        state: changed in place.
        batch: mapped samples, this process's share of the effective batch.
        solver: cfg.SOLVER; MAX_IMS_PER_DEVICE and CLIP_GRADIENTS are read.
    """
    fabric, statistics = state.fabric, BatchStatistics(state.model)
    state.optimizer.zero_grad(set_to_none=True)
    # here once: the targets are counted before the model sees them
    batch = on_device(batch, fabric.device)
    losses = _accumulate_gradients(state, micro_batches(batch, solver.MAX_IMS_PER_DEVICE))
    clip = solver.CLIP_GRADIENTS
    together = clip.ENABLED and clip.CLIP_TYPE == "full_model"
    norm = fabric.clip_gradients(  # first: it takes the loss scale of fp16 out of the gradients
        state.module,
        state.optimizer,
        max_norm=clip.CLIP_VALUE if together else math.inf,
        norm_type=clip.NORM_TYPE,
        error_if_nonfinite=False,
    )
    if not together:
        clip_gradients(state.module.parameters(), clip)
    total = torch.stack(list(losses.values())).sum()
    loss_finite, all_finite, wishes = _agree(state, total, norm)
    scaler = getattr(fabric.strategy.precision, "scaler", None)
    if all_finite or scaler is not None:
        state.optimizer.step()  # a scaler skips the step by itself and lowers its scale
    if all_finite:
        state.update_average()
    else:
        statistics.put_back()
    state.scheduler.step()
    failed = not (all_finite or (loss_finite and _can_lower(scaler)))
    return StepResult(losses, applied=all_finite, failed=failed, wishes=wishes)


def _accumulate_gradients(state: TrainingState, parts: list[list[Any]]) -> dict[str, Tensor]:
    """Forward and backward over all parts; returns each loss summed over them."""
    fabric = state.fabric
    counts = torch.stack([state.model.count_targets(part) for part in parts]).sum(0)
    normalizer = reduce_sum(fabric, counts) / fabric.world_size  # DDP averages gradients
    sums: dict[str, Tensor] = {}
    for index, part in enumerate(parts):
        with fabric.no_backward_sync(state.module, enabled=index < len(parts) - 1):
            with _explained_single_values(len(part)):
                losses: dict[str, Tensor] = state.module(part, normalizer=normalizer)
            fabric.backward(torch.stack(list(losses.values())).sum())
        for name, value in losses.items():
            sums[name] = sums.get(name, 0) + value.detach()
    return sums


@contextmanager
def _explained_single_values(images: int) -> Iterator[None]:
    """Turns PyTorch's error about a normalisation of one value a channel into a ``UserError``.

    A model whose coarsest map is one pixel meets it in its first step, with one image.
    """
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise UserError(
            f"a normalisation of the backbone got one value of each channel ({images} image(s) a"
            " process and a map of one pixel), and one value has no variance: set"
            " MODEL.BACKBONE.NORM FrozenBN; or let each process have two images or more, with a"
            " larger SOLVER.IMS_PER_BATCH or SOLVER.MAX_IMS_PER_DEVICE; or make INPUT.CROP.SIZE"
            " larger than 32 pixels",
            key="INPUT.CROP.SIZE",
        ) from error


def _agree(state: TrainingState, total: Tensor, norm: Tensor | None) -> tuple[bool, bool, Wishes]:
    """Whether the loss, and both loss and gradient norm, are finite in every process, and what any
    of them wishes.

    This is the step's one wait.
    """
    assert norm is not None
    norm_finite = whole(norm).to(total.device).isfinite()
    finite = torch.stack([total.isfinite(), total.isfinite() & norm_finite]).float()
    wishes = torch.tensor([state.wishes.stop, state.wishes.save], dtype=finite.dtype).to(
        total.device
    )
    loss_finite, all_finite, stop, save = reduce_sum(
        state.fabric, torch.cat([finite, wishes])
    ).tolist()
    size = state.fabric.world_size
    return loss_finite == size, all_finite == size, Wishes(stop > 0, save > 0)


def _can_lower(scaler: torch.amp.GradScaler | None) -> bool:
    """Whether fp16's loss scale explains a gradient that is not finite: it is still above 1."""
    return scaler is not None and scaler.get_scale() >= 1.0


class BatchStatistics:
    """The running statistics of BatchNorm before a step, for a step that must leave no trace.

    Args:
        model: the statistics of its layers in training are copied.
    """

    def __init__(self, model: nn.Module) -> None:
        self._buffers: list[Tensor] = []
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training:
                self._buffers += module.buffers(recurse=False)
        self._copies = [buffer.clone() for buffer in self._buffers]

    @torch.no_grad()
    def put_back(self) -> None:
        """Undoes what forward passes have done to the statistics."""
        for buffer, copy in zip(self._buffers, self._copies, strict=True):
            buffer.copy_(copy)
