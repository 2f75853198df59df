"""The registries of models and backbones, and the base class of a backbone."""

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
    """The shape of a feature map, as far as it is known in advance; None: unknown.

    ``stride`` is in input pixels per feature pixel; height and width are in feature pixels.
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
        """Maps images (B, 3, H, W) to features: name -> (B, C, H / stride, W / stride)."""

    @property
    def size_divisibility(self) -> int:
        """The number of which height and width of the input must be multiples; 0: no such rule."""
        return 0

    @property
    def padding_constraints(self) -> dict[str, int]:
        """The padding that the input needs.

        The keys are ``size_divisibility`` and ``square_size``, in pixels; a key is absent if the
        backbone has no such rule.
        """
        return {}

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Returns the channels and stride of each feature map of ``forward``, by name."""
        return {
            name: ShapeSpec(
                channels=self._out_feature_channels[name], stride=self._out_feature_strides[name]
            )
            for name in self._out_features
        }
