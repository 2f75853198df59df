"""Smoothing of a film: class scores are averaged over time along the motion in the picture.

It reduces flicker, and moving things are not smeared:

    m_t(p) = s_t(p) + a_t(p) (m_{t-1}(p + v_t(p)) - s_t(p))
    a_t(p) = strength * colour_t(p) * return_t(p)

s_t are the scores of frame t, m_t the smoothed scores. v_t leads from each pixel to its place in
the frame before; it is dense optical flow (DIS, Kroeger et al., ECCV 2016, from OpenCV). The memory
m_{t-1} counts only where this motion explains the picture. There both factors are 1, elsewhere they
fall to 0:

    colour_t    falls with the difference between the colour at p and the colour at p + v_t(p) in
                the frame before; differences as usual in the frame, such as noise, do not count
    return_t    falls with the distance by which the flow back from the frame before misses p

So whatever appears, is uncovered, changes its look or enters the picture has its own scores at
once. An average without motion was measured too: on films of a moving camera it costs more than it
gains (docs/results.md).

The memory of frames of more than ``MAX_PIXELS`` is smaller than the frame. The difference m_t - s_t
is enlarged and added to the full scores. Where nothing is remembered, the scores keep every bit.

Shapes: K classes, H and W rows and columns of a frame, h and w those of the memory.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from clipmask.errors import UserError
from clipmask.film.opencv import load_cv2

STRENGTH = 0.6  # by default
MAX_PIXELS = 2**19  # of the memory, and with K x h x w bounded too its time and bytes: 64 MiB
MAX_ELEMENTS = 2**24
LEAST_SIDE = 16  # pixels: below, there is no flow to be had
BLUR = 1.5  # standard deviation in pixels by which colours are blurred before they are compared
# of 255 levels: a difference in colour that is none, in a picture without noise
LEAST_TOLERANCE = 10.0
USUAL = 3.0  # and in one with noise, so many times the median difference
RETURN = (1.0, 0.05)  # pixels, and pixels per pixel of motion, by which the way back may miss
CUT = 0.25  # of the memory: where less is left on average, the scene was cut


class _Frame(NamedTuple):
    """What is kept of a frame: grey uint8 (h, w), and blurred colours float32 (h, w, 3)."""

    grey: NDArray[np.uint8]
    colors: NDArray[np.float32]


class Smoothing:
    """Smooths the class scores of a film's frames, which are given one after the other.

    It holds one map of scores and one frame, however long the film. It starts afresh by itself at a
    scene's cut, and when the size of the frames or the number of classes changes. The same frames
    give the same result (with another number of OpenCV's threads, up to a few pixels: it parts the
    picture between them).

    ``predictor.stream(frames, smoothing=Smoothing())`` uses it; alone, it goes with the scores of
    any model:

        smoothing = Smoothing(0.7)
        for frame, scores in ...:
            labels = smoothing(frame, scores).argmax(0)

    Args:
        strength: the share of the memory in the average where the picture continues, 0 (no
            smoothing) to below 1. What a frame says counts half after ``log(0.5) / log(strength)``
            further ones: 1.4 frames for 0.6, 6.6 for 0.9.

    Raises:
        UserError: the strength is none, or OpenCV can't be loaded.
    """

    def __init__(self, strength: float = STRENGTH) -> None:
        if not 0 <= strength < 1:
            raise UserError(
                f"smoothing {strength:g}: its strength must be at least 0 (none) and below 1, such"
                " as 0.7"
            )
        self.strength = strength
        self._cv2 = load_cv2()
        self._flow = self._cv2.DISOpticalFlow.create(self._cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self.reset()

    def reset(self) -> None:
        """Forgets all frames: the next one is the first."""
        self._memory: Tensor | None = None
        self._frame: _Frame | None = None
        self._size = (0, 0)

    @torch.inference_mode()
    def __call__(self, frame: NDArray[np.uint8], scores: Tensor) -> Tensor:
        """Smooths the scores of the next frame.

        Args:
            frame: uint8 (H, W, 3), RGB.
            scores: (K, H, W) float, on any device; they are changed in place, as a second map of
                that size would be dear.

        Returns:
            ``scores``, smoothed.

        Raises:
            UserError: the frame is not uint8 (H, W, 3), or the scores have another size.
        """
        if frame.dtype != np.uint8 or frame.shape != (*scores.shape[1:], 3):
            raise UserError(
                f"can't smooth scores {tuple(scores.shape)} by a frame {frame.shape} of"
                f" {frame.dtype}: the scores are (K, H, W), the frame is (H, W, 3) of uint8"
            )
        full = (frame.shape[0], frame.shape[1])
        size = memory_size(len(scores), full)
        if min(size) < LEAST_SIDE:
            return scores
        if self._size != full or self._memory is None or len(self._memory) != len(scores):
            self.reset()
        now = self._look(frame, size)
        low = scores if size == full else _resized(scores, size)  # (K, h, w)
        before = None if self._frame is None else self._continued(self._frame, now)
        if before is None or self._memory is None:
            memory = low.clone()
        else:
            # (h, w, 2), (h, w)
            grid, kept = (torch.from_numpy(part).to(scores.device) for part in before)
            past = F.grid_sample(
                self._memory[None], grid[None], padding_mode="border", align_corners=True
            )[0]
            memory = torch.lerp(low, past.to(low.dtype), kept.to(low.dtype))
            if low is scores:
                scores.copy_(memory)
            else:
                for k in range(len(scores)):  # one class at a time, for the memory's sake
                    scores[k] += _resized((memory[k] - low[k])[None], full)[0]
        self._memory, self._frame, self._size = memory, now, full
        return scores

    def _look(self, frame: NDArray[np.uint8], size: tuple[int, int]) -> _Frame:
        cv2 = self._cv2
        small = frame
        if frame.shape[:2] != size:
            small = cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA)
        colors = cv2.GaussianBlur(small, (0, 0), BLUR).astype(np.float32)
        return _Frame(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), colors)

    def _continued(
        self, before: _Frame, now: _Frame
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """Returns where each pixel was, (h, w, 2) in -1..1 as ``grid_sample`` has it, and the
        memory's share (h, w).

        None: the scene was cut.
        """
        rows, columns = now.grey.shape
        x, y = np.meshgrid(np.arange(columns, dtype=np.float32), np.arange(rows, dtype=np.float32))
        there = self._flow.calc(now.grey, before.grey, None)  # (h, w, 2), x first
        back = self._flow.calc(before.grey, now.grey, None)
        x, y = x + there[..., 0], y + there[..., 1]
        missed = there + self._at(back, x, y)
        tolerance = RETURN[0] + RETURN[1] * np.hypot(there[..., 0], there[..., 1])
        returned = _falling(np.hypot(missed[..., 0], missed[..., 1]) / tolerance)
        difference = np.abs(now.colors - self._at(before.colors, x, y)).max(-1)
        alike = _falling(difference / max(LEAST_TOLERANCE, USUAL * float(np.median(difference))))
        inside = (x >= 0) & (x <= columns - 1) & (y >= 0) & (y <= rows - 1)
        kept = alike * returned * inside
        if kept.mean() < CUT:
            return None
        grid = np.stack([2 * x / (columns - 1) - 1, 2 * y / (rows - 1) - 1], axis=-1)
        return grid, (self.strength * kept).astype(np.float32)

    def _at(
        self, values: NDArray[np.float32], x: NDArray[np.float32], y: NDArray[np.float32]
    ) -> Any:
        """Reads (h, w, channels) at places in between."""
        return self._cv2.remap(
            values, x, y, self._cv2.INTER_LINEAR, borderMode=self._cv2.BORDER_REPLICATE
        )


def memory_size(classes: int, size: tuple[int, int]) -> tuple[int, int]:
    """Returns h and w of the score maps that are remembered from frame to frame.

    They are smaller than large frames, so that K maps stay affordable.

    Args:
        classes: K.
        size: height and width of the frames.
    """
    pixels = min(MAX_PIXELS, MAX_ELEMENTS // classes)
    scale = math.sqrt(pixels / (size[0] * size[1]))
    if scale >= 1:
        return size
    return max(1, int(size[0] * scale)), max(1, int(size[1] * scale))


def _falling(ratio: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 up to a ratio of 1, 0 from 2 on, linear between."""
    return np.clip(2 - ratio, 0, 1)


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """(K, any, any) at another size, bilinearly."""
    return F.interpolate(maps[None], size=size, mode="bilinear", align_corners=False)[0]
