"""Folding of batch normalisations into the convolutions before them, for faster inference.

    BN(W * x) = (g / s) W * x + (b - g m / s)      s = sqrt(var + eps)

In inference, a convolution and the normalisation after it are one linear map. The network is run
once to find which normalisation takes the result of which convolution. So the names of the modules
do not matter, and any normalisation that has torch's attributes is folded.
"""

from __future__ import annotations

import copy
import functools
import logging
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from clipmask.modeling import ClipMask

logger = logging.getLogger(__name__)

# attributes of torch's BatchNorm, which the frozen or activated ones of timm and torchvision share
_ATTRIBUTES = ("running_mean", "running_var", "weight", "bias", "eps")


def prepare_for_inference(model: ClipMask) -> ClipMask:
    """Makes a model faster for predictions; its scores stay equal up to rounding.

    Batch normalisations are folded into the convolutions before them, and gradients are switched
    off. Afterwards the model can't be trained, and its old checkpoints no longer fit.

    Args:
        model: the model, which is changed in place and stays on its device.

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
    # It is folded on the CPU, because TF32 convolutions on GPUs are too inexact for the comparison
    # of the results.
    device = model.device
    model.backbone = fold_batch_norms(model.backbone.cpu(), example).to(device)
    if device.type == "cpu":
        use_onednn(model)
    return model


def use_onednn(network: nn.Module) -> None:
    """Makes torch compute 1x1 convolutions with oneDNN on a single thread of a CPU too.

    On one thread torch takes another kernel for them, which is a third slower on AMD's processors.
    It takes oneDNN for dilated convolutions, and the dilation of a 1x1 kernel changes nothing.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and _is_pointwise(module):
            module.forward = functools.partial(  # type: ignore[method-assign]
                _pointwise, module
            )


def _is_pointwise(conv: nn.Conv2d) -> bool:
    ones = conv.kernel_size == conv.stride == conv.dilation == (1, 1) and conv.groups == 1
    return ones and conv.padding == (0, 0) and type(conv) is nn.Conv2d


def _pointwise(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """The ``forward`` of a 1x1 convolution; compiled and exported networks get the plain one."""
    dilation = 1 if torch.compiler.is_compiling() else 2
    return F.conv2d(x, conv.weight, conv.bias, dilation=dilation)


@torch.no_grad()
def fold_batch_norms(network: nn.Module, example: Tensor) -> nn.Module:
    """Folds batch normalisations into the convolutions before them.

    A normalisation is folded if it is the only module that takes the result of its convolution.

    Args:
        network: a network in evaluation mode, from a batch of pictures to a tensor, a list or a
            dict of tensors. It is not changed.
        example: a batch of pictures with typical values.

    Returns:
        A copy with fewer modules and the same results up to rounding. If nothing can be folded, or
        if the copy fails or has other results (because the network also uses a convolution's result
        outside of its modules), ``network`` itself.
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
    except Exception as error:  # a network of other code may raise anything; folding is optional
        logger.info("batch normalisations are not folded: the folded network fails (%s)", error)
        return network
    if not same:
        logger.info("batch normalisations are not folded: the folded network has other results")
        return network
    if pairs:
        return copy_
    return network


def _fold(network: nn.Module, pairs: list[tuple[nn.Conv2d, Any]]) -> None:
    """Moves scale and shift of the normalisations into the convolutions and removes the former."""
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
                # timm's normalisations may contain the dropout and the activation that follow
                parts = (getattr(child, "drop", None), getattr(child, "act", None))
                rest = [part for part in parts if part is not None]
                setattr(parent, name, nn.Sequential(*rest))


def _pairs(network: nn.Module, example: Tensor) -> list[tuple[nn.Conv2d, Any]]:
    """Runs a network once to find the convolutions whose result only a normalisation takes.

    Returns:
        Each such convolution with its normalisation.
    """
    from timm.layers import Conv2dSame

    # The key is the id of the result; the result is kept, so that its id is not used again.
    made: dict[int, tuple[nn.Conv2d, Tensor]] = {}
    takers: dict[int, list[nn.Module]] = {}
    # number of calls; a module that is called twice in a run is not folded
    runs: dict[int, int] = {}

    def watch(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        for value in inputs:
            if id(value) in made:
                takers.setdefault(id(value), []).append(module)
        runs[id(module)] = runs.get(id(module), 0) + 1
        if isinstance(module, nn.Conv2d) and type(module) in (nn.Conv2d, Conv2dSame):
            made[id(output)] = (module, output)

    hooks = []
    for module in network.modules():
        if _is_norm(module) or not list(module.children()):
            hooks.append(module.register_forward_hook(watch))
    try:
        outputs = network(example)
    finally:
        for hook in hooks:
            hook.remove()
    returned = set(map(id, _results(outputs)))
    pairs = []
    for key, (conv, _) in made.items():
        modules = takers.get(key, [])
        if len(modules) != 1 or not _is_norm(modules[0]) or key in returned:
            continue
        if runs[id(conv)] == runs[id(modules[0])] == 1:
            pairs.append((conv, modules[0]))
    return pairs


def _results(outputs: Any) -> list[Tensor]:
    """Returns the tensors in the output of a network."""
    if isinstance(outputs, Mapping):
        return list(outputs.values())
    if isinstance(outputs, list | tuple):
        return list(outputs)
    return [outputs]


def _is_norm(module: nn.Module) -> bool:
    return "BatchNorm" in type(module).__name__ and all(
        isinstance(getattr(module, name, None), Tensor | float) for name in _ATTRIBUTES
    )
