"""Drawing of label maps: overlays with class names and a legend, and truth beside prediction.

Pixels whose label is no class, or an ``ignore_label``, are left unpainted and count in no share.
"""

from clipmask.visualizer.colors import Colors, colorize, palette
from clipmask.visualizer.compare import comparison, error_map
from clipmask.visualizer.drawing import Drawing
from clipmask.visualizer.overlay import class_pixels, class_shares, overlay, overlay_strips

__all__ = [
    "Colors",
    "Drawing",
    "class_pixels",
    "class_shares",
    "colorize",
    "comparison",
    "error_map",
    "overlay",
    "overlay_strips",
    "palette",
]
