"""SOLVER.ACTIVATION_CHECKPOINT: the same training in less memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from fvcore.common.config import CfgNode
from torch import Tensor

from clipmask import ClipMask, build_model
from clipmask.errors import UserError
from tests.closeness import assert_same
from tests.conftest import NAMES
from tests.kept import saved_bytes

Inputs = list[dict[str, Any]]


def trained(model: ClipMask, inputs: Inputs) -> tuple[dict[str, Tensor], int]:
    """Returns the losses of one step, whose gradients are in the model then, and the kept bytes."""
    torch.manual_seed(0)  # for dropout
    with saved_bytes() as total:
        losses = model.train()(inputs)
        assert isinstance(losses, dict)
        whole = torch.stack(list(losses.values())).sum()
    whole.backward()
    return losses, total[0]


@pytest.mark.parametrize(
    ("what", "freeze_at", "share"), [("head", 0, 0.92), ("all", 0, 0.65), ("all", 2, 0.75)]
)
def test_losses_and_gradients_stay_and_memory_shrinks(
    what: str,
    freeze_at: int,
    share: float,
    small_cfg: CfgNode,
    make_inputs: Callable[..., Inputs],
) -> None:
    small_cfg.MODEL.BACKBONE.FREEZE_AT = freeze_at
    small_cfg.MODEL.BACKBONE.NORM = "FrozenBN"
    small_cfg.MODEL.BACKBONE.TIMM_NAME = "resnet26"  # whose stages have several blocks
    small_cfg.MODEL.CLIPMASK.DROPOUT = 0.2
    plain = build_model(small_cfg, NAMES)
    small_cfg.SOLVER.ACTIVATION_CHECKPOINT = what
    thrifty = build_model(small_cfg, NAMES)
    thrifty.load_state_dict(plain.state_dict())
    inputs = make_inputs((64, 96), (61, 47))
    expected, kept = trained(plain, inputs)
    losses, less = trained(thrifty, inputs)
    assert less < share * kept
    for name, value in expected.items():
        assert_same(losses[name], value)
    for (name, one), other in zip(thrifty.named_parameters(), plain.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None), name
        if one.grad is not None and other.grad is not None:
            assert_same(one.grad, other.grad)


def test_predictions_are_computed_once(
    small_cfg: CfgNode, make_inputs: Callable[..., Inputs]
) -> None:
    small_cfg.SOLVER.ACTIVATION_CHECKPOINT = "head"
    model = build_model(small_cfg, NAMES).eval()
    calls: list[str] = []
    model.pixel_decoder.fuse.register_forward_hook(lambda *_: calls.append("fuse"))
    model.predict_labels(make_inputs((64, 96)))
    assert calls == ["fuse"]


def test_batch_statistics_are_not_counted_twice(small_cfg: CfgNode) -> None:
    small_cfg.MODEL.BACKBONE.NORM = "BN"
    small_cfg.SOLVER.ACTIVATION_CHECKPOINT = "all"
    with pytest.raises(UserError) as caught:
        build_model(small_cfg, NAMES)
    assert caught.value.key == "SOLVER.ACTIVATION_CHECKPOINT"


@pytest.mark.parametrize("age", ["old", "set so"])
def test_stages_after_frozen_ones_keep_their_gradients(
    age: str, small_cfg: CfgNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reentrant checkpoints would lose them: without timm's switch, or with it turned on."""
    if age == "old":
        monkeypatch.delattr("timm.layers.use_reentrant_ckpt")
    else:
        monkeypatch.setattr("timm.layers.use_reentrant_ckpt", lambda: True)
    small_cfg.MODEL.BACKBONE.NORM = "FrozenBN"
    small_cfg.SOLVER.ACTIVATION_CHECKPOINT = "all"
    with pytest.raises(UserError, match="timm") as caught:
        build_model(small_cfg, NAMES)
    assert caught.value.key == "SOLVER.ACTIVATION_CHECKPOINT"
