"""The contract of registries, ``Backbone`` and ``ShapeSpec``."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import clipmask
from tests.contract import both


@both
def test_registry(d2: Any) -> None:
    registry = d2.Registry("contract")

    @registry.register()
    class Thing:
        pass

    assert registry.get("Thing") is Thing
    assert "Thing" in registry
    with pytest.raises(AssertionError):
        registry.register(Thing)
    with pytest.raises(KeyError, match="Other"):
        registry.get("Other")


@both
def test_shape_spec(d2: Any) -> None:
    assert d2.ShapeSpec(channels=3) == d2.ShapeSpec(3, None, None, None)
    assert d2.ShapeSpec(stride=4).stride == 4
    assert d2.ShapeSpec().channels is None


@both
def test_backbone(d2: Any) -> None:
    class Net(d2.Backbone):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self._out_features = ["res2"]
            self._out_feature_channels = {"res2": 8}
            self._out_feature_strides = {"res2": 4}

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"res2": x}

    net = Net()
    assert net.size_divisibility == 0
    assert net.padding_constraints == {}
    assert net.output_shape() == {"res2": d2.ShapeSpec(channels=8, stride=4)}
    assert torch.equal(net(torch.ones(2))["res2"], torch.ones(2))
    with pytest.raises(TypeError):
        d2.Backbone()


@both
def test_the_registries_hold_ours_under_their_names(
    d2: Any, request: pytest.FixtureRequest
) -> None:
    """In the implementation that is in use; the other one's stay as they are."""
    import clipmask.d2 as seam

    ours = request.node.callspec.params["d2"] == seam.IMPLEMENTATION
    assert ("ClipMask" in d2.META_ARCH_REGISTRY) == ours
    assert ("build_timm_backbone" in d2.BACKBONE_REGISTRY) == ours
    assert dict(iter(d2.META_ARCH_REGISTRY)).get("ClipMask") is (
        clipmask.ClipMask if ours else None
    )


@both
def test_a_registered_object_may_have_another_name(d2: Any) -> None:
    registry = d2.Registry("named")
    registry.register(obj=int)
    assert registry.get("int") is int
    assert "named" in repr(registry)
