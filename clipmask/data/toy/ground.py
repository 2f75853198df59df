"""The plan of a drawn street, and its ground: road, markings, kerbs, pavements and shadows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipmask.data.toy.buildings import Building
from clipmask.data.toy.canvas import Camera, Canvas, Floats, Light, colour, noise_tile, sample
from clipmask.data.toy.objects import ROAD, SIDEWALK, UP, pick

PARKING = 2.1  # width of a parking lane, metres


@dataclass(frozen=True)
class Street:
    """The plan of the street, metres."""

    half_road: float  # from the middle to either kerb
    pavement: float  # width of either pavement
    parking: tuple[bool, bool]  # a lane of parked cars on the left, on the right
    left: list[Building]
    right: list[Building]

    @property
    def wall(self) -> float:
        """Distance of the facades from the middle of the road."""
        return self.half_road + self.pavement

    def lane(self, right: bool) -> float:
        """Returns the middle of a driving lane, in metres right of the middle of the road."""
        room = self.half_road - (PARKING if self.parking[right] else 0.0)
        if right:
            return room / 2
        return -room / 2


def draw_ground(canvas: Canvas, camera: Camera, street: Street, rng: np.random.Generator) -> None:
    """Paints road, kerbs and pavements with textures, markings and the buildings' shadows."""
    light = canvas.light
    top = int(np.ceil(camera.v0 + 2))
    v, u = np.ogrid[top : canvas.height, 0 : canvas.width]
    z = (camera.focal * camera.height / (v + 0.5 - camera.v0)).astype(np.float32)  # (h, 1)
    x = ((u + 0.5 - camera.u0) * z / camera.focal + camera.x).astype(np.float32)  # (h, w)
    near = 1 / (1 + z / 9)  # texture fades with the distance, where it is finer than a pixel
    grain = sample(noise_tile(0.5), z * 38, x * 38) - 0.5
    blotches = sample(noise_tile(1.6), z * 9 + rng.integers(256), x * 14 + rng.integers(256)) - 0.5

    asphalt = pick(
        rng, [(0.36, 0.36, 0.38), (0.27, 0.27, 0.29), (0.46, 0.45, 0.43), (0.4, 0.37, 0.35)], 0.06
    )
    road = asphalt * (1 + 0.45 * grain * near + 0.28 * blotches)[..., None]
    paint = 0.85 * _road_markings(x, z, street, rng) * np.clip(0.9 + blotches + 0.4 * grain, 0.2, 1)
    road += (colour(0.85, 0.84, 0.8) - road) * paint[..., None]

    stone = pick(
        rng, [(0.55, 0.54, 0.52), (0.62, 0.57, 0.52), (0.46, 0.46, 0.47), (0.56, 0.48, 0.43)], 0.06
    )
    slab_x, slab_z = rng.uniform(0.4, 0.9), rng.uniform(0.5, 1.2)
    joint = ((x / slab_x) % 1 < 0.05) | ((z / slab_z + np.floor(x / slab_x) * 0.5) % 1 < 0.05)
    tint = sample(noise_tile(0.0), np.floor(z / slab_z), np.floor(x / slab_x)) - 0.5
    walk = (
        stone
        * (1 + 0.2 * grain * near + 0.2 * blotches + 0.2 * tint * near - 0.3 * joint * near)[
            ..., None
        ]
    )

    from_kerb = np.abs(x) - street.half_road
    on_road = from_kerb < 0
    ground = np.where(on_road[..., None], road, walk)
    kerb = (from_kerb >= 0) & (from_kerb < 0.2)
    ground[kerb] = ground[kerb] * 0.4 + 0.4
    ground[(from_kerb < 0) & (from_kerb > -0.25)] *= 0.72  # the gutter

    sunlit = light.sun.any() & ~_in_building_shadow(x, z, street, light)
    shade = np.where(sunlit[..., None], light.on(UP), light.ambient)
    canvas.rgb[top:] = canvas.in_haze(ground * shade, z)
    canvas.labels[top:] = np.where(on_road, ROAD, SIDEWALK)
    canvas.sunlit[top:] = sunlit


def _road_markings(
    x: Floats, z: Floats, street: Street, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Returns a mask, 0 or 1 at each ground point, of the lines and crossings on the road."""
    paint = np.zeros(x.shape, bool)
    if rng.random() < 0.8:
        whole = rng.random() < 0.3
        middle = (street.lane(right=True) + street.lane(right=False)) / 2
        paint |= (np.abs(x - middle) < 0.09) & (whole | ((z + rng.uniform(0, 6)) % 6 < 3))
    for side, parked in ((-1, street.parking[0]), (1, street.parking[1])):
        if rng.random() < 0.6:
            paint |= np.abs(side * x - street.half_road + (PARKING if parked else 0.35)) < 0.06
    if rng.random() < 0.4:
        start = rng.uniform(7, 22)
        paint = np.where((z > start - 1.0) & (z < start + 4.0), False, paint)
        paint |= (
            (z > start) & (z < start + 3.0) & (x % 1.0 < 0.5) & (np.abs(x) < street.half_road - 0.3)
        )
    return paint.astype(np.float32)


def _in_building_shadow(x: Floats, z: Floats, street: Street, light: Light) -> NDArray[np.bool_]:
    """Returns which points of the ground are in the shadow of the buildings on the sun's side."""
    sx, sy, sz = map(float, light.towards_sun)
    row = street.left if sx < 0 else street.right
    # along the ray, to the plane of the facades
    way = np.maximum(street.wall - np.sign(sx) * x, 0) / abs(sx)
    starts = np.array([building.start for building in row], np.float32)
    heights = np.array([0.0, *(building.height for building in row)], np.float32)
    ends = np.array([-np.inf, *(building.end for building in row)], np.float32)
    at = z + way * sz
    which = np.searchsorted(starts, at, side="right")
    return (at < ends[which]) & (way * sy < heights[which])
