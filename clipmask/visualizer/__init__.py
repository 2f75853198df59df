"""Label map -> picture: colours over the image, class names in their regions, a legend with each
class' share; and truth, prediction and errors side by side.

Pixels whose label is no class, or an ``ignore_label``, are left unpainted and count in no share.
"""

from clipmask.visualizer.colors import Colors, colorize, palette
from clipmask.visualizer.compare import comparison, error_map
from clipmask.visualizer.drawing import Drawing
from clipmask.visualizer.overlay import class_pixels, class_shares, overlay

__all__ = [
    "Colors",
    "Drawing",
    "class_pixels",
    "class_shares",
    "colorize",
    "comparison",
    "error_map",
    "overlay",
    "palette",
]
