"""Pictures in, segmentations out: what the demo runs on and what a program or a notebook imports.

    predictor = Predictor.from_checkpoint("model_final.pth")
    result = predictor("street.jpg")
    result.save("street_overlay.png")

A checkpoint of ClipMask is enough: model and class names come from it, and CLIP is not needed
before the vocabulary changes.
"""

from clipmask.inference.pixels import Picture
from clipmask.inference.predictor import Predictor
from clipmask.inference.segmentation import KINDS, Segmentation

__all__ = ["KINDS", "Picture", "Predictor", "Segmentation"]
