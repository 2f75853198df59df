"""Inference: from pictures to segmentations, for the demo, programs and notebooks.

    predictor = Predictor.from_checkpoint("model_final.pth")
    result = predictor("street.jpg")
    result.save("street_overlay.png")

A checkpoint of ClipMask is enough, because it contains the model and the class names. CLIP is only
needed if the vocabulary changes.
"""

from clipmask.inference.pixels import Picture
from clipmask.inference.predictor import Predictor
from clipmask.inference.segmentation import KINDS, Segmentation

__all__ = ["KINDS", "Picture", "Predictor", "Segmentation"]
