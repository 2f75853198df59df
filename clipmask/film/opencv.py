"""The one place that loads OpenCV: for films, the webcam and the optical flow of smoothing."""

from __future__ import annotations

import os
from typing import Any

from clipmask.errors import UserError


def load_cv2() -> Any:
    """Imports OpenCV, with its own messages off: what matters of them becomes an error of ours.

    Raises:
        UserError: it can't be imported.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    try:
        import cv2
    except ImportError as error:
        raise UserError(
            f"films and the webcam need OpenCV, which can't be imported here ({error}); pip install"
            " opencv-python, or opencv-python-headless on a machine without a display. Pictures"
            " (--input) work without it"
        ) from error
    return cv2
