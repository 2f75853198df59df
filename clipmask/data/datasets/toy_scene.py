"""Draws one street scene: picture and label map, a pure function of the split's name and the scene's index.

A straight street with kerbs, pavements and two rows of buildings under a sky; cars park and drive, people walk, trees,
lamps and signs line the kerb. Weather, time of day, camera, widths, styles and contents vary from scene to scene, and
colours overlap between classes (grey cars on grey roads before grey houses), so that shape and place have to be learnt.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from clipmask.data.datasets.toy_buildings import Building, draw_buildings, lay_out_row
from clipmask.data.datasets.toy_canvas import OVERSAMPLING, Camera, Canvas, Floats, Light, Region, colour, noise_tile, sample
from clipmask.data.datasets.toy_objects import (
    ROAD,
    SIDEWALK,
    SKY,
    UP,
    draw_car,
    draw_lamp,
    draw_pedestrian,
    draw_sign,
    draw_tree,
    pick,
)

SEED = 20240229
SPLIT_STREAMS = {"train": 1, "val": 2}  # each split has its own stream of random numbers
VISIBLE = 60.0  # metres; further objects would be a few pixels


@dataclass(frozen=True)
class Street:
    """The plan of the street, metres."""

    half_road: float  # from the middle to either kerb
    pavement: float  # width of either pavement
    parking: tuple[bool, bool]  # a lane of parked cars on the left, on the right
    left: list[Building] = field(default_factory=list)
    right: list[Building] = field(default_factory=list)

    @property
    def wall(self) -> float:
        """Distance of the facades from the middle of the road."""
        return self.half_road + self.pavement


def draw_scene(split: str, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draws scene ``index`` of a split.

    Args:
        split: train or val.
        index: 0, 1, ...; the same arguments give the same scene.

    Returns:
        The picture, uint8 (192, 256, 3) RGB, and its labels, uint8 (192, 256): ids of ``CLASSES``, 255 for void.
    """
    rng = np.random.default_rng((SEED, SPLIT_STREAMS[split], index))
    light = _weather(rng)
    street = _plan(rng)
    camera = _camera(street, rng)
    canvas = Canvas(light)
    _draw_sky(canvas, camera, rng)
    _draw_ground(canvas, camera, street, rng)
    draw_buildings(canvas, camera, street.left, street.right, street.wall, rng)
    for _, draw in sorted(_furnish(canvas, camera, street, rng), key=lambda item: -item[0]):
        draw()
    return canvas.finish(rng.uniform(0.88, 1.08), rng)


def _weather(rng: np.random.Generator) -> Light:
    """Draws a time of day and a weather: sun, overcast, haze or dusk."""
    side, height, depth = rng.choice([-1, 1]) * rng.uniform(0.3, 1.0), rng.uniform(0.45, 1.1), rng.uniform(-0.6, 0.6)
    towards_sun = np.array([side, height, depth], np.float32)
    towards_sun /= np.linalg.norm(towards_sun)
    none = colour(0, 0, 0)
    kind = rng.choice(["sun", "overcast", "haze", "dusk"], p=[0.42, 0.25, 0.13, 0.2])
    if kind == "sun":
        return Light(
            zenith=pick(rng, [(0.28, 0.5, 0.85), (0.35, 0.58, 0.9)]),
            horizon=pick(rng, [(0.78, 0.86, 0.95)], 0.04),
            ambient=colour(0.52, 0.56, 0.64),
            sun=colour(0.85, 0.78, 0.66) * rng.uniform(0.8, 1.15),
            towards_sun=towards_sun,
            haze=rng.uniform(0.002, 0.006),
            clouds=rng.uniform(0.0, 0.6),
            lamps=False,
        )
    if kind == "overcast":
        grey = rng.uniform(0.68, 0.88)
        return Light(
            colour(0.9, 0.95, 1.0) * grey * 0.9, colour(1, 1, 1) * grey, colour(0.8, 0.82, 0.85) * rng.uniform(0.8, 1.05),
            none, towards_sun, rng.uniform(0.004, 0.009), 1.0, False,
        )  # fmt: skip
    if kind == "haze":
        fog = pick(rng, [(0.82, 0.82, 0.8), (0.74, 0.78, 0.82)], 0.05)
        return Light(0.97 * fog, fog, 0.85 * fog, none, towards_sun, rng.uniform(0.015, 0.028), 0.3, False)
    glow = pick(rng, [(0.95, 0.62, 0.42), (0.85, 0.55, 0.55), (0.6, 0.5, 0.62)], 0.08)
    return Light(
        pick(rng, [(0.16, 0.2, 0.4), (0.24, 0.26, 0.45)]), glow, colour(0.36, 0.36, 0.46) * rng.uniform(0.85, 1.2),
        none, towards_sun, rng.uniform(0.004, 0.01), rng.uniform(0.2, 0.7), True,
    )  # fmt: skip


def _plan(rng: np.random.Generator) -> Street:
    """Draws the widths of the street and its two rows of buildings."""
    parking = (bool(rng.random() < 0.65), bool(rng.random() < 0.65))
    half_road = rng.uniform(3.4, 4.2) + 1.1 * sum(parking)
    pavement = rng.uniform(2.6, 4.8)
    return Street(half_road, pavement, parking, lay_out_row(rng), lay_out_row(rng))


def _camera(street: Street, rng: np.random.Generator) -> Camera:
    """Places the camera in the right lane, or now and then on the right pavement, with some yaw and pitch."""
    x = street.half_road + 1.0 if rng.random() < 0.15 else _lane(street, right=True) + rng.uniform(-0.4, 0.4)
    return Camera(
        focal=rng.uniform(190, 240) * OVERSAMPLING,
        u0=(128 + rng.uniform(-34, 34)) * OVERSAMPLING,
        v0=rng.uniform(82, 104) * OVERSAMPLING,
        x=x,
        height=rng.uniform(1.45, 2.0),
    )


def _lane(street: Street, right: bool) -> float:
    """Returns the middle of a driving lane, metres from the middle of the road."""
    room = street.half_road - (2.1 if street.parking[right] else 0.0)
    return room / 2 if right else -room / 2


def _draw_sky(canvas: Canvas, camera: Camera, rng: np.random.Generator) -> None:
    """Paints the sky: a gradient, with clouds that shrink towards the horizon."""
    light = canvas.light
    bottom = int(camera.v0) + 4  # the ground starts there
    v, u = np.ogrid[0:bottom, 0 : canvas.width]
    up = np.clip((camera.v0 - v) / camera.v0, 0, 1).astype(np.float32)  # (H, 1): 0 at the horizon, 1 at the top
    sky = light.horizon + (light.zenith - light.horizon) * (up**0.7)[..., None]
    distance = 1 / (0.12 + up)
    shift = rng.integers(0, 256, 2)
    across = (u - camera.u0) / camera.focal
    clouds = sample(noise_tile(1.9), 60 * distance + shift[0], 90 * across * distance**0.6 + shift[1])
    if light.clouds == 1.0:
        sky = sky * (0.9 + 0.14 * clouds[..., None])
    else:
        cover = np.clip((clouds - (1 - light.clouds)) * 4, 0, 1) * np.clip(up * 5, 0, 1)
        white = 0.4 * light.horizon + 0.6 * (colour(0.96, 0.96, 0.97) if not light.lamps else light.ambient * 1.3)
        sky = sky + (white - sky) * (0.85 * cover)[..., None]
    canvas.rgb[:bottom], canvas.labels[:bottom] = sky, SKY


def _draw_ground(canvas: Canvas, camera: Camera, street: Street, rng: np.random.Generator) -> None:
    """Paints road, kerbs and pavements with their textures, markings and the shadows of the buildings."""
    light = canvas.light
    top = int(np.ceil(camera.v0 + 2))
    v, u = np.ogrid[top : canvas.height, 0 : canvas.width]
    z = (camera.focal * camera.height / (v + 0.5 - camera.v0)).astype(np.float32)  # (h, 1)
    x = ((u + 0.5 - camera.u0) * z / camera.focal + camera.x).astype(np.float32)  # (h, w)
    near = 1 / (1 + z / 9)  # texture finer than a pixel is left out
    grain = sample(noise_tile(0.5), z * 38, x * 38) - 0.5
    blotches = sample(noise_tile(1.6), z * 9 + rng.integers(256), x * 14 + rng.integers(256)) - 0.5

    asphalt = pick(rng, [(0.36, 0.36, 0.38), (0.27, 0.27, 0.29), (0.46, 0.45, 0.43), (0.4, 0.37, 0.35)], 0.06)
    road = asphalt * (1 + 0.45 * grain * near + 0.28 * blotches)[..., None]
    paint = 0.85 * _road_markings(x, z, street, rng) * np.clip(0.9 + blotches + 0.4 * grain, 0.2, 1)
    road += (colour(0.85, 0.84, 0.8) - road) * paint[..., None]

    stone = pick(rng, [(0.55, 0.54, 0.52), (0.62, 0.57, 0.52), (0.46, 0.46, 0.47), (0.56, 0.48, 0.43)], 0.06)
    slab_x, slab_z = rng.uniform(0.4, 0.9), rng.uniform(0.5, 1.2)
    joint = ((x / slab_x) % 1 < 0.05) | ((z / slab_z + np.floor(x / slab_x) * 0.5) % 1 < 0.05)
    tint = sample(noise_tile(0.0), np.floor(z / slab_z), np.floor(x / slab_x)) - 0.5
    walk = stone * (1 + 0.2 * grain * near + 0.2 * blotches + 0.2 * tint * near - 0.3 * joint * near)[..., None]

    from_kerb = np.abs(x) - street.half_road
    on_road = from_kerb < 0
    ground = np.where(on_road[..., None], road, walk)
    kerb = (from_kerb >= 0) & (from_kerb < 0.2)
    ground[kerb] = ground[kerb] * 0.4 + 0.4
    ground[(from_kerb < 0) & (from_kerb > -0.25)] *= 0.72  # the gutter

    sunlit = light.sun.any() & ~_in_building_shadow(x, z, street, light)
    shade = np.where(sunlit[..., None], light.on(UP), light.ambient)
    everywhere = Region(slice(top, canvas.height), slice(0, canvas.width), np.ones(x.shape, bool))
    canvas.paint(everywhere, ground * shade, z, ROAD)
    canvas.labels[top:][~on_road] = SIDEWALK
    canvas.sunlit[top:] = sunlit


def _road_markings(x: Floats, z: Floats, street: Street, rng: np.random.Generator) -> NDArray[np.float32]:
    """Returns where the road is painted, 0 or 1 at each ground point: lines and now and then a zebra crossing."""
    paint = np.zeros(x.shape, bool)
    if rng.random() < 0.8:
        whole = rng.random() < 0.3
        middle = (_lane(street, right=True) + _lane(street, right=False)) / 2
        paint |= (np.abs(x - middle) < 0.09) & (whole | ((z + rng.uniform(0, 6)) % 6 < 3))
    for side, parked in ((-1, street.parking[0]), (1, street.parking[1])):
        if rng.random() < 0.6:
            paint |= np.abs(side * x - street.half_road + (2.1 if parked else 0.35)) < 0.06
    if rng.random() < 0.4:
        start = rng.uniform(7, 22)
        paint = np.where((z > start - 1.0) & (z < start + 4.0), False, paint)
        paint |= (z > start) & (z < start + 3.0) & (x % 1.0 < 0.5) & (np.abs(x) < street.half_road - 0.3)
    return paint.astype(np.float32)


def _in_building_shadow(x: Floats, z: Floats, street: Street, light: Light) -> NDArray[np.bool_]:
    """Tells which ground points the row of buildings on the sun's side keeps the sun from."""
    sx, sy, sz = (float(part) for part in light.towards_sun)
    row = street.left if sx < 0 else street.right
    way = np.maximum(street.wall - np.sign(sx) * x, 0) / abs(sx)  # along the ray, to the plane of the facades
    starts = np.array([building.start for building in row], np.float32)
    heights = np.array([0.0, *(building.height for building in row)], np.float32)
    ends = np.array([-np.inf, *(building.end for building in row)], np.float32)
    at = z + way * sz
    which = np.searchsorted(starts, at, side="right")
    return (at < ends[which]) & (way * sy < heights[which])


def _furnish(
    canvas: Canvas, camera: Camera, street: Street, rng: np.random.Generator
) -> list[tuple[float, Callable[[], None]]]:
    """Chooses what stands in the street; returns (distance, function that draws it) for each thing."""
    things: list[tuple[float, Callable[[], None]]] = []

    def add(z: float, draw: Callable[..., None], *args: object) -> None:
        own = np.random.default_rng(rng.integers(2**63))  # so that the order of drawing changes nothing
        things.append((z, lambda: draw(canvas, camera, *args, own)))

    def spaced(start: float, step: tuple[float, float]) -> list[float]:
        places, z = [], start
        while z < VISIBLE:
            places.append(z)
            z += rng.uniform(*step)
        return places

    on_pavement = camera.x > street.half_road
    for side, parked in ((-1, street.parking[0]), (1, street.parking[1])):
        kerb = side * (street.half_road + 0.55)
        first = 9.0 if side > 0 and on_pavement else 5.0
        if parked:
            for z in spaced(rng.uniform(6, 12), (5.4, 9)):
                if rng.random() < 0.75:
                    add(z, draw_car, side * (street.half_road - 1.05) + rng.uniform(-0.1, 0.1), z, side < 0)
        ahead = 9.0 if side > 0 and not on_pavement else 7.0
        for z in spaced(rng.uniform(ahead, 26), (9, 40)):
            add(z, draw_car, _lane(street, side > 0) + rng.uniform(-0.25, 0.25), z, side < 0)
        treed, step = rng.random() < 0.5, rng.uniform(7, 13)
        for z in spaced(rng.uniform(first + 4, 20), (step, step + 2)):
            if treed and rng.random() < 0.85:
                add(z, draw_tree, kerb + side * rng.uniform(0, 0.3), z)
        for z in spaced(rng.uniform(first + 3, 16), (12, 20)):
            add(z, draw_lamp, kerb - side * 0.1, z)
        for z in spaced(rng.uniform(first + 2, 17), (9, 24)):
            add(z, draw_sign, kerb + rng.uniform(-0.15, 0.3), z)
        for z in spaced(rng.uniform(first, 11), (2.0, 12)):
            place = side * (street.half_road + rng.uniform(0.9, street.pavement - 0.4))
            add(z, draw_pedestrian, place, z, 0.0)
            if rng.random() < 0.3:
                add(z + 0.1, draw_pedestrian, place + 0.6, z + 0.1, 0.0)
    if rng.random() < 0.3:
        z = rng.uniform(8, 20)
        add(z, draw_pedestrian, rng.uniform(-street.half_road, street.half_road) * 0.8, z, 0.0)
    return things
