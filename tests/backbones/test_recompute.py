"""SOLVER.ACTIVATION_CHECKPOINT: the same training in less memory."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from clipmask import ClipMask, build_model
from clipmask.backbones.recompute import recompute_activations
from clipmask.backbones.timm_backbone import TimmBackbone
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


@pytest.mark.parametrize("norm", ["BN", "FrozenBN"])
@pytest.mark.parametrize(
    ("what", "freeze_at", "share"),
    [("fine", 0, 0.75), ("head", 0, 0.96), ("all", 0, 0.65), ("all", 2, 0.75)],
)
def test_losses_gradients_and_statistics_stay_and_memory_shrinks(
    what: str,
    freeze_at: int,
    share: float,
    norm: str,
    small_cfg: CfgNode,
    make_inputs: Callable[..., Inputs],
) -> None:
    small_cfg.MODEL.BACKBONE.FREEZE_AT = freeze_at
    small_cfg.MODEL.BACKBONE.NORM = norm
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
    for buffer, own in zip(plain.buffers(), thrifty.buffers(), strict=True):
        assert_same(own, buffer)  # statistics of batch normalisations count each image once


@pytest.mark.parametrize(
    "backbone", ["mobilenetv2_035", "convnext_atto", "swin_tiny_patch4_window7_224"]
)
def test_every_kind_of_backbone_has_fine_stages(backbone: str) -> None:
    body = TimmBackbone(backbone, "random")
    fine, every = (body.recomputable_stages(what) for what in ("fine", "all"))
    assert fine == every[: len(fine)]
    assert 0 < len(fine) < len(every)


def test_a_plain_transformer_recomputes_its_blocks() -> None:
    body = TimmBackbone("vit_tiny_patch16_224", "random")
    assert len(body.recomputable_stages("all")) == 12
    assert body.recomputable_stages("fine") == []


@pytest.mark.parametrize("what", ["fine", "all"])
def test_a_copy_computes_with_its_own_weights(what: str, small_cfg: CfgNode) -> None:
    small_cfg.SOLVER.ACTIVATION_CHECKPOINT = what
    backbone = build_model(small_cfg, NAMES).backbone.train()
    twin = copy.deepcopy(backbone)
    stored = pickle.loads(pickle.dumps(backbone))
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.zero_()
    picture = torch.rand(2, 3, 64, 64)
    for other in (twin, stored):
        assert sum(float(map_.detach().abs().sum()) for map_ in other(picture).values()) > 0


def test_predictions_are_computed_once(
    small_cfg: CfgNode, make_inputs: Callable[..., Inputs]
) -> None:
    small_cfg.SOLVER.ACTIVATION_CHECKPOINT = "head"
    model = build_model(small_cfg, NAMES).eval()
    calls: list[str] = []
    model.pixel_decoder.fuse.register_forward_hook(lambda *_: calls.append("fuse"))
    model.predict_labels(make_inputs((64, 96)))
    assert calls == ["fuse"]


@pytest.mark.parametrize("what", ["fine", "all"])
def test_a_backbone_of_unknown_stages_is_refused(what: str) -> None:
    model = nn.ModuleDict({"backbone": nn.Conv2d(3, 8, 3)})
    with pytest.raises(UserError) as caught:
        recompute_activations(model, what)
    assert caught.value.key == "SOLVER.ACTIVATION_CHECKPOINT"
    recompute_activations(model, "head")
