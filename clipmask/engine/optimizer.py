"""Parameter groups, AdamW and the learning-rate schedule.

    lr(i) = BASE_LR * multiplier * warmup(i) * (1 - i / MAX_ITER) ** POLY_LR_POWER

with ``warmup`` rising linearly from WARMUP_FACTOR to 1 over WARMUP_ITERS steps, and ``multiplier`` BACKBONE_MULTIPLIER
for the backbone, TEXT_MULTIPLIER for CLIP's text tower where that is trained, 1 elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from clipmask.errors import UserError

# How the backbones of timm name position embeddings, class tokens and relative-position biases of two and more
# dimensions, which their own recipes leave without decay; then open_clip's position embedding and our learned context.
UNDECAYED_NAMES = ("pos_embed", "cls_token", "relative_position_bias_table", "positional_embedding", "context")
BACKBONE, TEXT_TOWER = "backbone.", "text.learner.tower."  # how the names of their parameters begin


def _is_undecayed(module: nn.Module, name: str, parameter: nn.Parameter) -> bool:
    """Whether weight decay leaves ``module``'s own parameter ``name`` alone: norm, bias, embedding or scale."""
    is_norm = any("Norm" in kind.__name__ for kind in type(module).__mro__)
    return is_norm or isinstance(module, nn.Embedding) or parameter.ndim < 2 or name in UNDECAYED_NAMES


def parameter_groups(
    model: nn.Module, base_lr: float, multipliers: Mapping[str, float], weight_decay: float
) -> list[dict[str, Any]]:
    """Sorts the trainable parameters into groups, each parameter into exactly one.

    Args:
        model: its parameters are told apart by their names.
        base_lr: peak learning rate.
        multipliers: what a parameter's name begins with to its learning rate relative to ``base_lr``; 1 for the rest.
        weight_decay: of everything but norms, biases and embeddings.

    Returns:
        Groups for a torch optimiser, without the empty ones: (rest, each of ``multipliers``) x (decayed, not decayed),
        parameters in the model's own order.
    """
    buckets: dict[tuple[str, bool], list[nn.Parameter]] = {
        (part, undecayed): [] for part in ("", *multipliers) for undecayed in (False, True)
    }
    seen: set[nn.Parameter] = set()
    for module_name, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad or parameter in seen:
                continue
            seen.add(parameter)
            part = next((start for start in multipliers if f"{module_name}.".startswith(start)), "")
            buckets[part, _is_undecayed(module, name, parameter)].append(parameter)
    return [
        {
            "params": parameters,
            "lr": base_lr * multipliers.get(part, 1.0),
            "weight_decay": 0.0 if undecayed else weight_decay,
        }
        for (part, undecayed), parameters in buckets.items()
        if parameters
    ]


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.AdamW:
    """Builds AdamW over ``model``'s trainable parameters, as one fused kernel where torch has one for their device.

    Raises:
        UserError: no parameter is trainable.
    """
    solver = cfg.SOLVER
    multipliers = {BACKBONE: solver.BACKBONE_MULTIPLIER, TEXT_TOWER: solver.TEXT_MULTIPLIER}
    groups = parameter_groups(model, solver.BASE_LR, multipliers, solver.WEIGHT_DECAY)
    if not groups:
        raise UserError("no parameter of the model is trainable; MODEL.BACKBONE.FREEZE_AT freezes at most the backbone")
    fused = all(parameter.device.type in ("cuda", "cpu") for group in groups for parameter in group["params"])
    if solver.AMP.ENABLED and solver.AMP.DTYPE == "fp16":
        fused = False  # it unscales gradients itself, and they could not be clipped before
    return torch.optim.AdamW(groups, fused=fused or None)


def schedule(max_iter: int, warmup_iters: int, warmup_factor: float, power: float) -> Callable[[int], float]:
    """Returns the factor of the learning rate at step ``i`` (0-based), the formula at the top of this file."""

    def factor(i: int) -> float:
        progress = min(i / max_iter, 1.0) if max_iter else 1.0
        rise = min(i / warmup_iters, 1.0) if warmup_iters else 1.0
        return (warmup_factor + (1.0 - warmup_factor) * rise) * (1.0 - progress) ** power

    return factor


def build_scheduler(cfg: CfgNode, optimizer: torch.optim.Optimizer) -> LambdaLR:
    """Builds warm-up and polynomial decay; ``step()`` it once per training step."""
    solver = cfg.SOLVER
    return LambdaLR(
        optimizer, schedule(solver.MAX_ITER, solver.WARMUP_ITERS, solver.WARMUP_FACTOR, solver.POLY_LR_POWER)
    )


def restore_optimizer(
    optimizer: torch.optim.Optimizer,
    scheduler: LambdaLR,
    optimizer_state: dict[str, Any],
    scheduler_state: dict[str, Any],
) -> None:
    """Puts a checkpoint's moments and position in the schedule back; rates and decay stay those of the config.

    So a run can be resumed with a lower BASE_LR, and with an unchanged config continues exactly.

    Raises:
        UserError: the checkpoint's optimiser has other parameters than this model.
    """
    configured = [(group["initial_lr"], group["weight_decay"]) for group in optimizer.param_groups]
    try:
        optimizer.load_state_dict(optimizer_state)
        scheduler.load_state_dict(scheduler_state)
    except (ValueError, KeyError) as error:
        raise UserError(
            f"the checkpoint's optimiser does not fit this model ({error}); resume with the config of the run, or "
            "start a new one from its weights with MODEL.WEIGHTS"
        ) from error
    scheduler.base_lrs = [lr for lr, _ in configured]
    for group, factor, (lr, decay) in zip(optimizer.param_groups, scheduler.lr_lambdas, configured, strict=True):
        group["initial_lr"], group["weight_decay"] = lr, decay
        group["lr"] = lr * factor(scheduler.last_epoch)
