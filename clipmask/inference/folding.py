"""Batch normalisations folded into the convolutions before them: at inference both are one linear
map.

    BN(W * x) = (g / s) W * x + (b - g m / s)      s = sqrt(var + eps)

The pairs are found by running the network once and watching which convolution's result a
normalisation takes, so any network will do, whatever its modules are called and whichever
normalisation it uses that has torch's attributes.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from clipmask.modeling import ClipMask

logger = logging.getLogger(__name__)

# Attributes of torch's BatchNorm, and of timm's and torchvision's frozen ones and those with an
# activation.
_ATTRIBUTES = ("running_mean", "running_var", "weight", "bias", "eps")


def prepare_for_inference(model: ClipMask) -> ClipMask:
    """Makes a model as fast as it can be for predictions alone: same scores up to rounding.

    Batch normalisations go into the convolutions before them, and no parameter has gradients any
    more. The model can't be trained afterwards, and weights of its former layers no longer fit.

    Args:
        model: changed in place; its device stays.

    Returns:
        The model itself, in evaluation mode.
    """
    model.eval().requires_grad_(False)
    side = model.divisor * ((64 + model.divisor - 1) // model.divisor)
    example = (
        torch.linspace(-2, 2, side * side)
        .view(1, 1, side, side)
        .expand(1, len(model.pixel_mean), -1, -1)
    )
    # On the CPU: on GPUs convolutions round to TF32, more coarsely than the comparison of results
    # allows.
    device = model.device
    model.backbone = fold_batch_norms(model.backbone.cpu(), example).to(device)
    return model


@torch.no_grad()
def fold_batch_norms(network: nn.Module, example: Tensor) -> nn.Module:
    """Folds every batch normalisation that alone takes the result of a convolution into that
    convolution.

    Args:
        network: in evaluation mode; maps a batch of pictures to a tensor, a list of them or a dict.
            Left as it is.
        example: a batch that it can take, of values as they will be.

    Returns:
        A copy with fewer modules and the same results up to rounding; ``network`` itself where
        nothing can be folded, or where it does more with a convolution's result than its modules
        show and the copy fails or has other results.
    """
    assert not network.training, "in training a batch normalisation depends on the batch"
    copy_ = copy.deepcopy(network)
    try:
        pairs = _pairs(copy_, example)
        _fold(copy_, pairs)
        same = all(
            torch.allclose(new, old, rtol=1e-3, atol=1e-3 * float(old.abs().max()))
            for new, old in zip(_results(copy_(example)), _results(network(example)), strict=True)
        )
    except Exception as error:  # anybody's network, and it runs as well without
        logger.info(
            "batch normalisations stay as they are: the network without them fails (%s)", error
        )
        return network
    if not same:
        logger.info(
            "batch normalisations stay as they are: without them the network has other results"
        )
    return copy_ if pairs and same else network


def _fold(network: nn.Module, pairs: list[tuple[nn.Conv2d, Any]]) -> None:
    """Gives the convolutions their normalisations' scale and shift, and takes these out."""
    for conv, norm in pairs:
        weight, bias = fuse_conv_bn_weights(
            conv.weight,
            conv.bias,
            norm.running_mean,
            norm.running_var,
            norm.eps,
            norm.weight,
            norm.bias,
        )
        conv.weight, conv.bias = nn.Parameter(weight, False), nn.Parameter(bias, False)
    folded = {id(norm) for _, norm in pairs}
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if id(child) in folded:
                # timm's normalisations may hold the dropout and the activation that follow.
                rest = [
                    part
                    for part in (getattr(child, "drop", None), getattr(child, "act", None))
                    if part is not None
                ]
                setattr(parent, name, nn.Sequential(*rest))


def _pairs(network: nn.Module, example: Tensor) -> list[tuple[nn.Conv2d, Any]]:
    """Convolutions and the normalisations that alone take their results, by watching one run."""
    from timm.layers import Conv2dSame

    # By the result's identity; the result is held, so that no other has it.
    made: dict[int, tuple[nn.Conv2d, Tensor]] = {}
    takers: dict[int, list[nn.Module]] = {}
    # a convolution that runs twice has two normalisations, or one network two meanings
    runs: dict[int, int] = {}

    def watch(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        for value in inputs:
            if id(value) in made:
                takers.setdefault(id(value), []).append(module)
        runs[id(module)] = runs.get(id(module), 0) + 1
        if isinstance(module, nn.Conv2d) and type(module) in (nn.Conv2d, Conv2dSame):
            made[id(output)] = (module, output)

    leaves = [
        module
        for module in network.modules()
        if not any(True for _ in module.children()) or _is_norm(module)
    ]
    hooks = [module.register_forward_hook(watch) for module in leaves]
    try:
        outputs = network(example)
    finally:
        for hook in hooks:
            hook.remove()
    shown = {id(value) for value in _results(outputs)}
    return [
        (conv, takers[key][0])
        for key, (conv, _) in made.items()
        if len(takers.get(key, [])) == 1
        and _is_norm(takers[key][0])
        and key not in shown
        and runs[id(conv)] == runs[id(takers[key][0])] == 1
    ]


def _results(outputs: Any) -> list[Tensor]:
    """The tensors that a network returns."""
    if isinstance(outputs, Mapping):
        return list(outputs.values())
    return list(outputs) if isinstance(outputs, list | tuple) else [outputs]


def _is_norm(module: nn.Module) -> bool:
    return "BatchNorm" in type(module).__name__ and all(
        isinstance(getattr(module, name, None), Tensor | float) for name in _ATTRIBUTES
    )
