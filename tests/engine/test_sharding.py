"""Weights that are shared out train as whole ones, and what is saved of them is whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import torch
from fvcore.common.config import CfgNode
from torch import nn
from torch.distributed.device_mesh import init_device_mesh

from clipmask import build_model, load_cfg
from clipmask.engine import sharding
from clipmask.engine.launch import launch
from clipmask.engine.optimizer import build_optimizer, build_scheduler, restore_optimizer
from clipmask.errors import UserError
from tests.conftest import NAMES, ROOT

from . import tiny

pytest.importorskip("torch.distributed.fsdp", reason="fully_shard came with PyTorch 2.6")


@pytest.fixture
def mesh(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A group of one process: all that several do happens, and nobody is waited for."""
    monkeypatch.setattr(sharding, "LEAST_WEIGHTS", 1000)
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield {"data_parallel": init_device_mesh("cpu", (1,))}
    torch.distributed.destroy_process_group()


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, inputs: list[Any]) -> float:
    loss = torch.stack(list(model(inputs).values())).sum()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.item()


def test_steps_copies_and_moments_are_those_of_a_whole_model(
    small_cfg: CfgNode, make_inputs: Callable[..., list[dict[str, Any]]], mesh: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    plain = build_model(small_cfg, NAMES).train()
    plain.prepare()
    copied = sharding.WholeCopy(plain)
    torch.manual_seed(0)
    shared = build_model(small_cfg, NAMES).train()
    shared.prepare()
    strategy = sharding.sharding_strategy(small_cfg, 1, timedelta(seconds=60))
    shared = strategy._parallelize_fn(shared, mesh)
    assert sum(type(module).__name__.startswith("FSDP") for module in shared.modules()) > 2

    ours, theirs = build_optimizer(small_cfg, shared), build_optimizer(small_cfg, plain)
    for seed in range(2):
        inputs = make_inputs((64, 64), (64, 64), seed=seed)
        assert _step(shared, ours, inputs) == pytest.approx(_step(plain, theirs, inputs), rel=1e-4)
    copied.refresh(shared, 1)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(copied.model.state_dict()[name], value, rtol=1e-3, atol=1e-4)

    shapes = sharding.whole_shapes(ours, shared, copied.model)
    state = sharding.whole_optimizer(ours, shapes, keep=True)
    for index, moments in theirs.state_dict()["state"].items():
        for name, value in moments.items():
            assert state["state"][index][name].shape == value.shape
    theirs.load_state_dict(state)  # what one process would do
    schedule = build_scheduler(small_cfg, ours)
    again = sharding.shared_optimizer_state(ours, state)
    restore_optimizer(ours, schedule, again, schedule.state_dict())
    inputs = make_inputs((64, 64), seed=5)
    assert _step(shared, ours, inputs) == pytest.approx(_step(plain, theirs, inputs), rel=1e-3)


@pytest.mark.parametrize(
    "name", ["resnet10t", "convnext_atto", "swin_tiny_patch4_window7_224", "vit_tiny_patch16_224"]
)
def test_parts_that_are_gathered_are_called(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights of a part that its owner reads without a call would be missing there."""
    monkeypatch.setattr(sharding, "LEAST_WEIGHTS", 1)
    opts = ["MODEL.BACKBONE.TIMM_NAME", name]
    model = build_model(load_cfg(ROOT / "configs" / "toy.yaml", opts), NAMES).eval()
    called: set[nn.Module] = set()
    parts = list(sharding._blocks(model))
    for part in parts:
        part.register_forward_hook(lambda module, *_: called.add(module))
    with torch.no_grad():
        model.backbone(torch.zeros(1, 3, 224, 224))
    assert len(parts) >= 4
    assert set(parts) == called


@pytest.mark.parametrize(
    ("key", "value"),
    [("SOLVER.EMA_DECAY", 0.9), ("SOLVER.AMP.ENABLED", True), ("MODEL.COMPILE", True)],
)
def test_what_shares_do_not_go_with(tmp_path: Any, key: str, value: object) -> None:
    opts = ["SOLVER.STRATEGY", "fsdp", "SOLVER.AMP.DTYPE", "fp16", key, value]
    with pytest.raises(UserError) as caught:
        launch(tiny.tiny_cfg(tmp_path, *opts), num_gpus=2)
    assert caught.value.key == key.replace("ENABLED", "DTYPE")


def test_shares_among_one_process_are_none(tmp_path: Any) -> None:
    fabric = launch(tiny.tiny_cfg(tmp_path, "SOLVER.STRATEGY", "fsdp"))
    module = fabric.setup(nn.Linear(2, 2))
    assert not any(sharding.is_shared(parameter) for parameter in module.parameters())
