"""Image and class names in, masks and class logits out."""

from clipmask.modeling.backbone import TimmBackbone
from clipmask.modeling.clipmask import ClipMask, build_model

__all__ = ["ClipMask", "TimmBackbone", "build_model"]
