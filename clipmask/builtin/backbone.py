"""The registries that a config chooses models and backbones from, and the base class of a
backbone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from fvcore.common.registry import Registry
from torch import nn

META_ARCH_REGISTRY = Registry("META_ARCH")  # MODEL.META_ARCHITECTURE -> class(cfg), an nn.Module
# MODEL.BACKBONE.NAME -> function(cfg, ShapeSpec of the input), a Backbone
BACKBONE_REGISTRY = Registry("BACKBONE")


@dataclass
class ShapeSpec:
    """What is known of a feature map's shape before there is one; None where unknown.

    ``stride`` is in input pixels per feature pixel, the others count channels and pixels.
    """

    channels: int | None = None
    height: int | None = None
    width: int | None = None
    stride: int | None = None


class Backbone(nn.Module, ABC):
    """A network from an image batch to named feature maps.

    A subclass sets ``_out_features`` (names), ``_out_feature_channels`` and
    ``_out_feature_strides`` (name -> int), or overrides ``output_shape``.
    """

    _out_features: list[str]
    _out_feature_channels: dict[str, int]
    _out_feature_strides: dict[str, int]

    @abstractmethod
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Maps images (B, 3, H, W) to a dict of features, name -> (B, C, H / stride, W /
        stride).
        """

    @property
    def size_divisibility(self) -> int:
        """What height and width of the input must be multiples of; 0 if they need not."""
        return 0

    @property
    def padding_constraints(self) -> dict[str, int]:
        """Padding that the input needs: ``size_divisibility`` and ``square_size`` (pixels), each
        only if it does.
        """
        return {}

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Returns channels and stride of each feature map that ``forward`` returns, by name."""
        return {
            name: ShapeSpec(
                channels=self._out_feature_channels[name], stride=self._out_feature_strides[name]
            )
            for name in self._out_features
        }
