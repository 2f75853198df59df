"""Features are found by name, by stride or as they are listed; norms become what the config
says.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from clipmask.backbones.features import choose_features, set_norms
from clipmask.d2 import ShapeSpec
from clipmask.errors import UserError

ALL = ["res2", "res3", "res4", "res5"]


def shapes(**strides: int) -> dict[str, ShapeSpec]:
    return {name: ShapeSpec(channels=8, stride=stride) for name, stride in strides.items()}


@pytest.mark.parametrize(
    ("given", "named", "expected"),
    [
        (shapes(res2=4, res3=8, res4=16, res5=32), [], ALL),
        (shapes(res2=4, res3=8, res4=16, res5=16), [], ALL),  # a dilated ResNet
        (shapes(p0=4, p1=8, p2=16, p3=32), [], ["p0", "p1", "p2", "p3"]),  # Detectron2's Swin
        # its MViT
        (
            shapes(scale2=4, scale3=8, scale4=16, scale5=32),
            [],
            ["scale2", "scale3", "scale4", "scale5"],
        ),
        (shapes(p2=4, p3=8, p4=16, p5=32, p6=64), [], ["p2", "p3", "p4", "p5"]),  # its FPNs
        (shapes(a=4, b=4, c=8, d=16, e=32), ["b", "c", "d", "e"], ["b", "c", "d", "e"]),
    ],
)
def test_features_of_the_family(
    given: dict[str, ShapeSpec], named: list[str], expected: list[str]
) -> None:
    assert choose_features("build", given, ALL, named) == dict(zip(ALL, expected, strict=True))


def test_fewer_scales_need_fewer_strides() -> None:
    assert choose_features("build", shapes(p0=4, p1=8), ["res2", "res3"]) == {
        "res2": "p0",
        "res3": "p1",
    }


@pytest.mark.parametrize(
    ("given", "named", "message"),
    [
        (shapes(p1=8, p2=16, p3=32), [], "nothing at stride 4"),
        (shapes(last=16), [], "nothing at stride 4, 8, 32"),
        (shapes(a=4, b=4, c=8, d=16, e=32), [], "a and b at the same stride.*IN_FEATURES"),
        (shapes(a=4, b=8, c=16, d=32), ["a", "b", "c"], r"IN_FEATURES .*name 4 features"),
        (shapes(a=4, b=8, c=16, d=32), ["a", "b", "c", "c"], "each once"),
        (shapes(a=4, b=8, c=16, d=32), ["a", "b", "c", "e"], r"gives a \(stride 4\)"),
        (shapes(a=4, b=8, c=16, d=32), ["d", "c", "b", "a"], "at strides 32, 16, 8, 4"),
        (shapes(res2=2, res3=4, res4=8, res5=16), [], "at strides 2, 4, 8, 16"),
        (shapes(res2=4, res3=6, res4=12, res5=24), [], "at strides 4, 6, 12, 24"),
    ],
)
def test_features_that_do_not_serve(
    given: dict[str, ShapeSpec], named: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        choose_features("build", given, ALL, named)


def network() -> nn.Sequential:
    """A frozen stage and one that trains, each a convolution whose norm is its child, as in
    Detectron2.
    """
    stages = []
    for _ in range(2):
        conv = nn.Conv2d(3, 3, 1)
        conv.norm = FrozenBatchNorm2d(3, eps=1e-4)
        conv.norm.running_mean.uniform_()
        conv.norm.weight.uniform_()
        stages.append(conv)
    stages[0].requires_grad_(False)
    return nn.Sequential(*stages)


def test_fixed_norms_train_where_their_layer_does() -> None:
    model = network()
    before = model.state_dict()
    model = set_norms(model, "BN")
    first, second = (stage.norm for stage in model)
    assert isinstance(first, FrozenBatchNorm2d), "FREEZE_AT has fixed it"
    assert isinstance(second, nn.BatchNorm2d)
    assert second.eps == 1e-4
    assert second.weight.requires_grad
    after = model.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_norms_are_fixed_and_synchronised() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    model[1].running_mean.uniform_()
    model.eval()
    x = torch.randn(2, 3, 5, 5)
    expected = model(x)
    assert isinstance(set_norms(model, "SyncBN")[1], nn.SyncBatchNorm)
    fixed = set_norms(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), "FrozenBN")
    assert not list(fixed[1].parameters())
    fixed.load_state_dict(
        {key: value for key, value in model.state_dict().items() if "tracked" not in key}
    )
    torch.testing.assert_close(fixed.train()(x), expected)


def test_norms_as_built_and_unknown_ones() -> None:
    model = network()
    assert set_norms(model, "") is model
    assert all(isinstance(stage.norm, FrozenBatchNorm2d) for stage in model)
    with pytest.raises(UserError) as caught:
        set_norms(model, "GN")
    assert caught.value.key == "MODEL.BACKBONE.NORM"
