"""The model: from images and class names to masks and class logits."""

from clipmask.backbones.timm_backbone import TimmBackbone
from clipmask.modeling.build import build_model
from clipmask.modeling.clipmask import ClipMask

__all__ = ["ClipMask", "TimmBackbone", "build_model"]
