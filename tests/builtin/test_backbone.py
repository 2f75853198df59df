"""The contract of registries, ``Backbone`` and ``ShapeSpec``."""

from __future__ import annotations

from typing import Any

import pytest
import torch

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
