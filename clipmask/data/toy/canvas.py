"""Camera, light and canvas of the drawn street scenes.

They convert shapes in metres to the pixels of a picture and of its label map.

World axes, in metres: x to the right of the middle of the road, y up from the road, z ahead of the
camera. A point is seen at u = u0 + f (x - camera.x) / z, v = v0 + f (camera.height - y) / z.
Everything is drawn at ``OVERSAMPLING`` times the final size, from far to near. The reduction to the
final size smooths the picture; a pixel that two classes share becomes void.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

WIDTH, HEIGHT = 256, 192  # of a finished picture, pixels
OVERSAMPLING = 2
VOID = 255
TILE = 256  # side of a noise tile, samples; a power of two

Floats = NDArray[np.float32]
Point = tuple[float, float, float]


def colour(red: float, green: float, blue: float) -> Floats:
    """Returns a colour, 0..1 each, as an array of three."""
    return np.array([red, green, blue], np.float32)


def ellipse(
    middle: tuple[float, float], half_axes: tuple[float, float], angles: NDArray[np.floating]
) -> list[tuple[float, float]]:
    """Returns the points of an ellipse, with axes along u and v, at angles in radians."""
    (u, v), (across, up) = middle, half_axes
    return [(u + across * float(np.cos(a)), v + up * float(np.sin(a))) for a in angles]


@functools.cache
def noise_tile(smoothness: float) -> Floats:
    """Returns (TILE, TILE) noise in 0..1 that repeats without a seam.

    Args:
        smoothness: the spectrum falls as 1 / frequency ** smoothness; 0 is white noise, 2 looks
            like clouds.
    """
    rng = np.random.default_rng(int(smoothness * 100))
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(TILE), np.fft.fftfreq(TILE)))
    frequency[0, 0] = 1.0
    waves = np.fft.fft2(rng.random((TILE, TILE))) / frequency**smoothness
    waves[0, 0] = 0.0
    noise = np.fft.ifft2(waves).real
    ranks = noise.ravel().argsort().argsort()  # equalised: every value is as frequent as any other
    return (ranks.reshape(TILE, TILE) / (TILE * TILE - 1)).astype(np.float32)


def sample(tile: Floats, rows: NDArray, columns: NDArray) -> Floats:
    """Returns the values of a tile at any coordinates, as if the tile were repeated endlessly.

    Args:
        tile: the result of ``noise_tile``.
        rows, columns: the coordinates in samples, which are broadcast against each other.
    """
    return tile[
        np.floor(rows).astype(np.int32) & (TILE - 1),
        np.floor(columns).astype(np.int32) & (TILE - 1),
    ]


@dataclass(frozen=True)
class Camera:
    """The position and lens of the camera, in pixels of the oversampled canvas."""

    focal: float  # pixels
    u0: float  # column of the vanishing point
    v0: float  # row of the horizon
    x: float  # metres right of the middle of the road
    height: float  # metres above it

    def project(self, points: Sequence[Point]) -> list[tuple[float, float]]:
        """Returns the (u, v) of points ahead of the camera (z > 0)."""
        f = self.focal
        return [
            (self.u0 + f * (x - self.x) / z, self.v0 + f * (self.height - y) / z)
            for x, y, z in points
        ]


@dataclass(frozen=True)
class Light:
    """The light of a scene; its colours are factors on the colours of the surfaces."""

    zenith: Floats
    horizon: Floats  # the sky near the ground, and what distant things fade to
    ambient: Floats
    sun: Floats  # zero where the sky is overcast
    towards_sun: Floats  # unit vector (x, y, z)
    haze: float  # share of the contrast that is lost per metre, about
    clouds: float  # 0 clear .. 1 overcast
    lamps: bool  # windows and lamps are lit

    def on(self, normal: Point) -> Floats:
        """Returns the factor for a surface that faces ``normal`` (a unit vector)."""
        return self.ambient + self.sun * max(0.0, float(np.dot(normal, self.towards_sun)))


class Region(NamedTuple):
    """The pixels of one shape: a window of the canvas and a mask within it."""

    rows: slice
    columns: slice
    mask: NDArray[np.bool_]


class Canvas:
    """The oversampled picture, its labels, and a mask of the ground that is in the sun."""

    def __init__(self, light: Light) -> None:
        self.light = light
        self.height, self.width = HEIGHT * OVERSAMPLING, WIDTH * OVERSAMPLING
        self.rgb: Floats = np.zeros((self.height, self.width, 3), np.float32)
        self.labels: NDArray[np.uint8] = np.full((self.height, self.width), VOID, np.uint8)
        self.sunlit: NDArray[np.bool_] = np.zeros((self.height, self.width), bool)
        self.speckle = 2 * sample(noise_tile(0.5), *np.ogrid[: self.height, : self.width]) - 1

    def window(self, points: Sequence[tuple[float, float]]) -> tuple[slice, slice] | None:
        """Returns the rows and columns of the box around points, or None if it is off the canvas.

        Args:
            points: (u, v), in pixels.
        """
        us, vs = zip(*points, strict=True)
        left, right = max(0, int(np.floor(min(us)))), min(self.width, int(np.ceil(max(us))) + 1)
        top, bottom = max(0, int(np.floor(min(vs)))), min(self.height, int(np.ceil(max(vs))) + 1)
        if left < right and top < bottom:
            return (slice(top, bottom), slice(left, right))
        return None

    def polygon(self, points: Sequence[tuple[float, float]]) -> Region | None:
        """Rasterises a polygon; the result is None if it lies outside the canvas.

        Args:
            points: the corners (u, v), in pixels.
        """
        window = self.window(points)
        if window is None:
            return None
        rows, columns = window
        mask = Image.new("L", (columns.stop - columns.start, rows.stop - rows.start))
        ImageDraw.Draw(mask).polygon(
            [(u - columns.start, v - rows.start) for u, v in points], fill=1
        )
        return Region(
            rows, columns, np.frombuffer(mask.tobytes(), bool).reshape(mask.height, mask.width)
        )

    def in_haze(self, shade: Floats, depth: float | Floats) -> Floats:
        """Returns colours (..., 3) after they fade into the haze at ``depth`` metres."""
        clear = np.exp(-self.light.haze * np.asarray(depth, np.float32))[..., None]
        return self.light.horizon + (shade - self.light.horizon) * clear

    def paint(
        self, region: Region | None, shade: Floats, depth: float | Floats, label: int
    ) -> None:
        """Colours a region.

        Args:
            region: the pixels to colour; None: nothing is done.
            shade: the colour in the light of the scene, (3,), or one colour per pixel of the
                region's window, (h, w, 3).
            depth: the distance from the camera in metres, one number or broadcastable to (h, w);
                distant regions fade into the haze.
            label: the class id of the region.
        """
        if region is None:
            return
        rows, columns, mask = region
        np.copyto(self.rgb[rows, columns], self.in_haze(shade, depth), where=mask[..., None])
        self.labels[rows, columns][mask] = label
        self.sunlit[rows, columns][mask] = False

    def fill(
        self,
        points: Sequence[tuple[float, float]],
        shade: Floats,
        depth: float,
        label: int,
        grain: float = 0.06,
    ) -> None:
        """Paints a polygon in one colour, with fine noise of the relative strength ``grain``."""
        region = self.polygon(points)
        if region is None:
            return
        rows, columns, mask = region
        texture = 1 + grain * self.speckle[rows, columns][mask]
        self.rgb[rows, columns][mask] = self.in_haze(shade, depth) * texture[:, None]
        self.labels[rows, columns][mask] = label
        self.sunlit[rows, columns][mask] = False

    def cast_shadow(self, points: Sequence[tuple[float, float]]) -> None:
        """Puts the ground inside a polygon into shadow."""
        region = self.polygon(points)
        if region is None:
            return
        rows, columns, mask = region
        shaded = mask & self.sunlit[rows, columns]
        self.rgb[rows, columns][shaded] *= self.light.ambient / self.light.on((0, 1, 0))
        self.sunlit[rows, columns][shaded] = False

    def finish(
        self, exposure: float, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Reduces the canvas to the final size and develops it: exposure, vignette, sensor noise.

        Returns:
            The picture (HEIGHT, WIDTH, 3) and the labels (HEIGHT, WIDTH), void where a pixel holds
            two classes.
        """
        n = OVERSAMPLING
        corners = [(slice(i, None, n), slice(j, None, n)) for i in range(n) for j in range(n)]
        small = sum(self.rgb[corner] for corner in corners) / len(corners)
        v, u = (
            np.linspace(-1, 1, HEIGHT, dtype=np.float32)[:, None],
            np.linspace(-1, 1, WIDTH, dtype=np.float32),
        )
        small *= (exposure * (1 - 0.12 * (u * u + v * v)))[..., None]
        small = small / (0.82 + 0.18 * small)  # compresses highlights, so that they do not clip
        noise = rng.random(small.shape, np.float32) + rng.random(small.shape, np.float32) - 1
        picture = np.clip(255 * small + 6 * noise, 0, 255).astype(np.uint8)
        labels = self.labels[corners[0]].copy()
        for corner in corners[1:]:
            labels[self.labels[corner] != self.labels[corners[0]]] = VOID
        return picture, labels
