"""Parameter groups, the optimiser, the learning-rate schedule and the clipping of gradients.

    lr(i) = BASE_LR * multiplier * factor(i)

with ``multiplier`` BACKBONE_MULTIPLIER for the backbone, TEXT_MULTIPLIER for CLIP's text tower
where that is trained, 1 elsewhere. ``factor`` is that of SOLVER.LR_SCHEDULER_NAME: with
WarmupPolyLR, the schedule of DeepLab and MaskFormer,

    factor(i) = warmup(i) * (1 - i / MAX_ITER) ** POLY_LR_POWER

in which ``warmup`` rises from WARMUP_FACTOR to 1 over WARMUP_ITERS steps; with the others what
Detectron2's scheduler of that name gives, in which the warm-up rises to the value that the schedule
has at its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from fvcore.common.config import CfgNode
from fvcore.common.param_scheduler import (
    CompositeParamScheduler,
    ConstantParamScheduler,
    CosineParamScheduler,
    LinearParamScheduler,
    MultiStepParamScheduler,
    ParamScheduler,
    StepWithFixedGammaParamScheduler,
)
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from clipmask.errors import UserError

# How the backbones of timm name position embeddings, class tokens and relative-position biases of
# two and more dimensions, which their own recipes leave without decay; then open_clip's position
# embedding and our learned context.
UNDECAYED_NAMES = (
    "pos_embed",
    "cls_token",
    "relative_position_bias_table",
    "positional_embedding",
    "context",
)
CLIP_TYPES = ("full_model", "norm", "value")
BACKBONE, TEXT_TOWER = "backbone.", "text.learner.tower."  # how the names of their parameters begin
# over a plain transformer: no weights come for it, so that it learns as the rest does
PYRAMID = "backbone.pyramid."


def _is_undecayed(module: nn.Module, name: str, parameter: nn.Parameter) -> bool:
    """Whether weight decay leaves ``module``'s own parameter ``name`` alone: norm, bias, embedding
    or scale.
    """
    is_norm = any("Norm" in kind.__name__ for kind in type(module).__mro__)
    return (
        is_norm or isinstance(module, nn.Embedding) or parameter.ndim < 2 or name in UNDECAYED_NAMES
    )


def parameter_groups(
    model: nn.Module, base_lr: float, multipliers: Mapping[str, float], weight_decay: float
) -> list[dict[str, Any]]:
    """Sorts the trainable parameters into groups, each parameter into exactly one.

    Args:
        model: its parameters are distinguished by their names.
        base_lr: peak learning rate.
        multipliers: what a parameter's name begins with to its learning rate relative to
            ``base_lr``; 1 for the rest.
        weight_decay: of everything but norms, biases and embeddings.

    Returns:
        Groups for a torch optimiser, without the empty ones: (rest, each of ``multipliers``) x
        (decayed, not decayed), parameters in the model's own order.
    """
    buckets: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for part in ("", *multipliers):
        buckets[part, False], buckets[part, True] = [], []
    seen: set[nn.Parameter] = set()
    for module_name, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad or parameter in seen:
                continue
            seen.add(parameter)
            part = next((start for start in multipliers if f"{module_name}.".startswith(start)), "")
            buckets[part, _is_undecayed(module, name, parameter)].append(parameter)
    groups = []
    for (part, undecayed), parameters in buckets.items():
        if not parameters:
            continue
        lr, decay = base_lr * multipliers.get(part, 1.0), weight_decay
        if undecayed:
            decay = 0.0
        groups.append({"params": parameters, "lr": lr, "weight_decay": decay})
    return groups


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """Builds SOLVER.OPTIMIZER over ``model``'s trainable parameters, as one fused kernel where
    torch has one for them.

    Raises:
        UserError: there is no such optimiser, or no parameter is trainable.
    """
    solver = cfg.SOLVER
    if solver.OPTIMIZER not in ("ADAMW", "SGD"):
        raise UserError(f"SOLVER.OPTIMIZER {solver.OPTIMIZER!r}: use ADAMW or SGD")
    if solver.CLIP_GRADIENTS.CLIP_TYPE not in CLIP_TYPES:
        raise UserError(
            f"SOLVER.CLIP_GRADIENTS.CLIP_TYPE {solver.CLIP_GRADIENTS.CLIP_TYPE!r}: use"
            f" {', '.join(CLIP_TYPES)}"
        )
    multipliers = {
        PYRAMID: 1.0,
        BACKBONE: solver.BACKBONE_MULTIPLIER,
        TEXT_TOWER: solver.TEXT_MULTIPLIER,
    }
    groups = parameter_groups(model, solver.BASE_LR, multipliers, solver.WEIGHT_DECAY)
    if not groups:
        raise UserError(
            "no parameter of the model is trainable; MODEL.BACKBONE.FREEZE_AT freezes at most the"
            " backbone"
        )
    fused = all(
        parameter.device.type in ("cuda", "cpu")
        for group in groups
        for parameter in group["params"]
    )
    if solver.AMP.ENABLED and solver.AMP.DTYPE == "fp16":
        fused = False  # it unscales gradients itself, and they could not be clipped before
    if solver.OPTIMIZER == "SGD":
        return torch.optim.SGD(
            groups, momentum=solver.MOMENTUM, nesterov=solver.NESTEROV, fused=fused or None
        )
    return torch.optim.AdamW(groups, fused=fused or None)


def clip_gradients(parameters: Iterable[nn.Parameter], clipping: CfgNode) -> None:
    """Limits the gradients of parameters, in place.

    Args:
        parameters: those without a gradient are left out.
        clipping: cfg.SOLVER.CLIP_GRADIENTS. CLIP_TYPE value limits each number to +-CLIP_VALUE,
            norm the norm of each parameter's gradient, full_model the norm of all gradients
            together.
    """
    if not clipping.ENABLED:
        return
    if clipping.CLIP_TYPE == "full_model":
        nn.utils.clip_grad_norm_(parameters, clipping.CLIP_VALUE, clipping.NORM_TYPE)
    elif clipping.CLIP_TYPE == "value":
        nn.utils.clip_grad_value_(parameters, clipping.CLIP_VALUE)
    else:
        for parameter in parameters:
            nn.utils.clip_grad_norm_(parameter, clipping.CLIP_VALUE, clipping.NORM_TYPE)


def schedule(
    max_iter: int, warmup_iters: int, warmup_factor: float, power: float, method: str = "linear"
) -> Callable[[int], float]:
    """Returns WarmupPolyLR's factor at step ``i`` (0-based), the formula at the top of this
    file.
    """

    def factor(i: int) -> float:
        progress = min(i / max_iter, 1.0) if max_iter else 1.0
        rise = min(i / warmup_iters, 1.0) if warmup_iters else 1.0
        if method == "constant" and rise < 1.0:
            rise = 0.0
        return (warmup_factor + (1.0 - warmup_factor) * rise) * (1.0 - progress) ** power

    return factor


def build_scheduler(cfg: CfgNode, optimizer: torch.optim.Optimizer) -> LambdaLR:
    """Builds the schedule that SOLVER.LR_SCHEDULER_NAME names; ``step()`` it once per training
    step.

    Raises:
        UserError: there is no such schedule, or one of its keys makes no sense.
    """
    solver = cfg.SOLVER
    if solver.WARMUP_METHOD not in ("linear", "constant"):
        raise UserError(f"SOLVER.WARMUP_METHOD {solver.WARMUP_METHOD!r}: use linear or constant")
    if solver.LR_SCHEDULER_NAME == "WarmupPolyLR":
        return LambdaLR(
            optimizer,
            schedule(
                solver.MAX_ITER,
                solver.WARMUP_ITERS,
                solver.WARMUP_FACTOR,
                solver.POLY_LR_POWER,
                solver.WARMUP_METHOD,
            ),
        )
    multiplier, steps = _warmed_up(_after_warmup(solver), solver), max(solver.MAX_ITER, 1)
    # After the last step the schedule is asked once more, and not all of fvcore's have a value at
    # 1.
    return LambdaLR(optimizer, lambda i: float(multiplier(min(i, steps - 0.5) / steps)))


def _after_warmup(solver: CfgNode) -> ParamScheduler:
    """The factor of the learning rate over the progress, 0 to 1, of a run without warm-up."""
    name, steps = solver.LR_SCHEDULER_NAME, max(solver.MAX_ITER, 1)
    if name == "WarmupMultiStepLR":
        # later ones are never reached
        milestones = [step for step in solver.STEPS if step <= steps]
        if milestones != sorted(set(milestones)) or any(step < 1 for step in milestones):
            raise UserError(
                f"SOLVER.STEPS {tuple(solver.STEPS)}: must be steps from 1 on, in rising order"
            )
        values = [solver.GAMMA**count for count in range(len(milestones) + 1)]
        return MultiStepParamScheduler(values, num_updates=steps, milestones=milestones)
    if name == "WarmupCosineLR":
        if not 0 <= solver.BASE_LR_END <= solver.BASE_LR:
            raise UserError(
                f"SOLVER.BASE_LR_END {solver.BASE_LR_END}: must be 0 to SOLVER.BASE_LR"
                f" {solver.BASE_LR}"
            )
        return CosineParamScheduler(1.0, solver.BASE_LR_END / solver.BASE_LR)
    if name == "WarmupStepWithFixedGammaLR":
        if solver.NUM_DECAYS < 1:
            raise UserError(f"SOLVER.NUM_DECAYS {solver.NUM_DECAYS}: must be at least 1")
        return StepWithFixedGammaParamScheduler(1.0, solver.NUM_DECAYS, solver.GAMMA, steps)
    raise UserError(
        f"SOLVER.LR_SCHEDULER_NAME {name!r}: use WarmupPolyLR, WarmupMultiStepLR, WarmupCosineLR or"
        " WarmupStepWithFixedGammaLR"
    )


def _warmed_up(later: ParamScheduler, solver: CfgNode) -> ParamScheduler:
    """``later`` after a warm-up, which rises to the value that ``later`` has then."""
    share = min(solver.WARMUP_ITERS / max(solver.MAX_ITER, 1), 1.0)
    if not share:
        return later
    start, end, scaling = solver.WARMUP_FACTOR * later(0.0), later(share), "fixed"
    if solver.RESCALE_INTERVAL:
        end, scaling = later(0.0), "rescaled"
    warmup: ParamScheduler = LinearParamScheduler(start, end)
    if solver.WARMUP_METHOD == "constant":
        warmup = ConstantParamScheduler(start)
    return CompositeParamScheduler(
        [warmup, later], interval_scaling=["rescaled", scaling], lengths=[share, 1.0 - share]
    )


def restore_optimizer(
    optimizer: torch.optim.Optimizer,
    scheduler: LambdaLR,
    optimizer_state: dict[str, Any],
    scheduler_state: dict[str, Any],
) -> None:
    """Restores a checkpoint's moments and its position in the schedule.

    Learning rates and weight decay stay those of the config: a run can be resumed with a lower
    BASE_LR, and with an unchanged config it continues exactly.

    Raises:
        UserError: the checkpoint's optimiser has other parameters than this model.
    """
    configured = [(group["initial_lr"], group["weight_decay"]) for group in optimizer.param_groups]
    try:
        optimizer.load_state_dict(optimizer_state)
        scheduler.load_state_dict(scheduler_state)
    except (ValueError, KeyError) as error:
        raise UserError(
            f"the checkpoint's optimiser does not fit this model ({error}); resume with the config"
            " of the run, or start a new one from its weights with MODEL.WEIGHTS"
        ) from error
    scheduler.base_lrs = [lr for lr, _ in configured]
    for group, factor, (lr, decay) in zip(
        optimizer.param_groups, scheduler.lr_lambdas, configured, strict=True
    ):
        group["initial_lr"], group["weight_decay"] = lr, decay
        group["lr"] = lr * factor(scheduler.last_epoch)
