"""SOLVER.STRATEGY fsdp: each process keeps a share of the weights, gradients and moments.

PyTorch's ``fully_shard`` gathers the weights of a block before the block runs and drops them after
it (Zhao et al., PyTorch FSDP, 2023; Rajbhandari et al., ZeRO, 2020, stage 3). Gradients are
averaged over the processes as with DDP, so that the losses are the same but for rounding.

What is evaluated and saved is a whole copy of the model: scores, and files that any number of
processes load, come from the same code as without shares.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import torch
from fvcore.common.config import CfgNode
from lightning_fabric.strategies import ModelParallelStrategy
from torch import Tensor, nn

from clipmask.config import leaf_keys
from clipmask.errors import UserError
from clipmask.modeling.text_embedding import TextEmbedding

LEAST_WEIGHTS = 1_000_000  # of a block that is gathered by itself; fewer go with what contains them
_LISTS = (nn.Sequential, nn.ModuleList)


def sharding_strategy(cfg: CfgNode, processes: int, timeout: timedelta) -> ModelParallelStrategy:
    """Returns Fabric's strategy that lets processes share a model.

    Args:
        cfg: the config.
        processes: how many share it.
        timeout: of a collective.

    Raises:
        UserError: this version of PyTorch lacks ``fully_shard``, or the config asks for something
            that shares do not go with.
    """
    refused = {
        "SOLVER.EMA_DECAY": cfg.SOLVER.EMA_DECAY > 0,
        "SOLVER.AMP.DTYPE": cfg.SOLVER.AMP.ENABLED and cfg.SOLVER.AMP.DTYPE == "fp16",
        "MODEL.COMPILE": cfg.MODEL.COMPILE,
    }
    if key := next((key for key, present in refused.items() if present), None):
        value = leaf_keys(cfg)[key]
        raise UserError(
            f"{key} {value} does not go with SOLVER.STRATEGY fsdp: change one of them", key=key
        )
    try:
        from torch.distributed.fsdp import fully_shard  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"SOLVER.STRATEGY fsdp needs PyTorch 2.7 or later, not {torch.__version__}",
            key="SOLVER.STRATEGY",
        ) from error
    return ModelParallelStrategy(
        lambda model, mesh: _shard(model, mesh["data_parallel"]),
        data_parallel_size=processes,
        tensor_parallel_size=1,
        timeout=timeout,
    )


def is_shared(value: Any) -> bool:
    """Tells whether a value is a tensor of which processes hold shares, PyTorch's ``DTensor``."""
    return hasattr(value, "full_tensor")


def whole(value: Any) -> Tensor:
    """Returns a tensor of which processes hold shares as one on each; all processes must call it.

    Other tensors are returned as they are.
    """
    if is_shared(value):
        return value.full_tensor()
    return value


def _shard(model: nn.Module, mesh: Any) -> nn.Module:
    """Shares the weights of a model out, in place."""
    from torch.distributed.fsdp import fully_shard

    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.ndim == 0:  # fully_shard takes no scalars
                line = nn.Parameter(parameter.detach().view(1), parameter.requires_grad)
                setattr(module, name, line)
    for block in _blocks(model):
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def _blocks(model: nn.Module) -> Iterator[nn.Module]:
    """Yields the parts of a backbone that are gathered by themselves, inner ones first.

    These are items of its lists that are no lists themselves: the blocks of a transformer, the
    units of a ResNet. All are called as modules, which is when their weights are gathered.
    """
    backbone = getattr(model, "backbone", None)
    if not isinstance(backbone, nn.Module):
        return
    lists = [module for module in backbone.modules() if isinstance(module, _LISTS)]
    items = {item for module in lists for item in module.children()}
    for module in reversed(list(backbone.modules())):  # what contains comes before what it contains
        size = sum(parameter.numel() for parameter in module.parameters())
        if (
            module in items
            and not isinstance(module, (*_LISTS, nn.ModuleDict))
            and size >= LEAST_WEIGHTS
        ):
            yield module


class WholeCopy:
    """A whole copy of a model whose weights are shared out, in the host's memory.

    Args:
        model: before its weights are shared out.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False).cpu().eval()
        self._iteration: int | None = None

    @torch.no_grad()
    def refresh(self, model: nn.Module, iteration: int) -> None:
        """Takes the weights of ``model`` after a step over; all processes must call it.

        Args:
            model: whose weights are shared out.
            iteration: the step; a second call after the same one does nothing.
        """
        if iteration == self._iteration:
            return
        own = self.model.state_dict()
        for name, value in model.state_dict().items():
            own[name].copy_(whole(value).view_as(own[name]))
        for module in self.model.modules():
            if isinstance(module, TextEmbedding):
                module.outdate()
        self._iteration = iteration


def whole_optimizer(
    optimizer: torch.optim.Optimizer, shapes: Sequence[torch.Size], keep: bool
) -> dict[str, Any]:
    """Returns the state of an optimiser as one process has it, in the host's memory.

    Args:
        optimizer: over weights that are shared out; all processes must call this.
        shapes: of the whole weights, in the optimiser's order.
        keep: whether this process needs the result; the others only give their shares.
    """
    content: dict[str, Any] = optimizer.state_dict()  # it holds the optimiser's own dicts
    gathered: dict[int, dict[str, Any]] = {}
    for index, values in content["state"].items():
        gathered[index] = dict(values)
        for name, value in values.items():
            if is_shared(value):
                gathered[index][name] = _gathered(value, shapes[index], keep)
    return {**content, "state": gathered}


def _gathered(value: Tensor, shape: torch.Size, keep: bool) -> Tensor | None:
    full = whole(value)
    if not keep:
        return None
    return full.reshape(shape).cpu()


def shared_optimizer_state(
    optimizer: torch.optim.Optimizer, state: dict[str, Any]
) -> dict[str, Any]:
    """Returns the state of one process's optimiser, each value shared out as its weight is.

    Args:
        optimizer: over weights that are shared out.
        state: see ``whole_optimizer``.
    """
    weights = _weights(optimizer)
    shared: dict[int, dict[str, Any]] = {}
    for index, values in state["state"].items():
        shared[index] = dict(values)
        for name, value in values.items():
            if name != "step":  # the step is one number, the same in all processes
                shared[index][name] = _shared(value, weights[index])
    return {**state, "state": shared}


def whole_shapes(
    optimizer: torch.optim.Optimizer, model: nn.Module, copy_of_it: nn.Module
) -> list[torch.Size]:
    """Returns the shapes that an optimiser's weights have in the whole copy of their model."""
    names = {id(weight): name for name, weight in model.named_parameters()}
    return [copy_of_it.get_parameter(names[id(one)]).shape for one in _weights(optimizer)]


def _weights(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [weight for group in optimizer.param_groups for weight in group["params"]]


def _shared(value: Tensor, weight: Any) -> Tensor:
    """Shares a value out as a weight is."""
    from torch.distributed.tensor import distribute_tensor

    if not is_shared(weight):
        return value
    value = value.to(weight.device).reshape(weight.shape)
    return distribute_tensor(value, weight.device_mesh, weight.placements, src_data_rank=None)
