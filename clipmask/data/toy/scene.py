"""Drawing of one street scene, its picture and its label map.

The result depends on the name of the split and the index of the scene only. A scene is a straight
street with kerbs, pavements and two rows of buildings under a sky. There are parked and driving
cars, pedestrians, trees, lamps and signs. Weather, time of day, camera, widths, styles and contents
vary between scenes. Classes have overlapping colours (grey cars on grey roads before grey houses),
so that a model must learn shape and place.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from clipmask.data.toy.buildings import draw_buildings, lay_out_row
from clipmask.data.toy.canvas import OVERSAMPLING, Camera, Canvas, Light, colour, noise_tile, sample
from clipmask.data.toy.car import draw_car
from clipmask.data.toy.ground import Street, draw_ground
from clipmask.data.toy.objects import SKY, draw_pedestrian, draw_tree, pick
from clipmask.data.toy.posts import draw_lamp, draw_sign

SEED = 20240229
SPLIT_STREAMS = {"train": 1, "val": 2}  # each split has its own stream of random numbers
VISIBLE = 60.0  # metres; cars and trees that are farther away would be a few pixels large
VISIBLE_THIN = 25.0  # metres; the same for people, poles and signs


def draw_scene(split: str, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draws scene ``index`` of a split.

    Args:
        split: train or val.
        index: 0, 1, ...; the same arguments give the same scene.

    Returns:
        The picture, uint8 (192, 256, 3) RGB, and its labels, uint8 (192, 256): ids of ``CLASSES``,
        255 for void.
    """
    rng = np.random.default_rng((SEED, SPLIT_STREAMS[split], index))
    light = _weather(rng)
    street = _plan(rng)
    camera = _camera(street, rng)
    canvas = Canvas(light)
    _draw_sky(canvas, camera, rng)
    draw_ground(canvas, camera, street, rng)
    draw_buildings(canvas, camera, street.left, street.right, street.wall, rng)
    for _, draw in sorted(_furnish(canvas, camera, street, rng), key=lambda item: -item[0]):
        draw()
    return canvas.finish(rng.uniform(0.88, 1.08), rng)


def _weather(rng: np.random.Generator) -> Light:
    """Draws a time of day and a weather: sun, overcast, haze or dusk."""
    side, height, depth = (
        rng.choice([-1, 1]) * rng.uniform(0.3, 1.0),
        rng.uniform(0.45, 1.1),
        rng.uniform(-0.6, 0.6),
    )
    towards_sun = np.array([side, height, depth], np.float32)
    kind = rng.choice(["sun", "overcast", "haze", "dusk"], p=[0.42, 0.25, 0.13, 0.2])
    sun, haze, clouds = colour(0, 0, 0), rng.uniform(0.003, 0.009), rng.uniform(0.0, 0.65)
    if kind == "sun":
        zenith, horizon = (
            pick(rng, [(0.28, 0.5, 0.85), (0.35, 0.58, 0.9)]),
            pick(rng, [(0.78, 0.86, 0.95)], 0.04),
        )
        ambient, sun = colour(0.52, 0.56, 0.64), colour(0.85, 0.78, 0.66) * rng.uniform(0.8, 1.15)
    elif kind == "overcast":
        horizon = colour(1, 1, 1) * rng.uniform(0.68, 0.88)
        zenith, clouds = colour(0.81, 0.86, 0.9) * horizon, 1.0
        ambient = colour(0.8, 0.82, 0.85) * rng.uniform(0.8, 1.05)
    elif kind == "haze":
        horizon = pick(rng, [(0.82, 0.82, 0.8), (0.74, 0.78, 0.82)], 0.05)
        zenith, ambient, haze = 0.97 * horizon, 0.85 * horizon, rng.uniform(0.015, 0.028)
    else:
        horizon = pick(rng, [(0.95, 0.62, 0.42), (0.85, 0.55, 0.55), (0.6, 0.5, 0.62)], 0.08)
        zenith = pick(rng, [(0.16, 0.2, 0.4), (0.24, 0.26, 0.45)])
        ambient = colour(0.36, 0.36, 0.46) * rng.uniform(0.85, 1.2)
    return Light(
        zenith=zenith,
        horizon=horizon,
        ambient=ambient,
        sun=sun,
        towards_sun=towards_sun / np.linalg.norm(towards_sun),
        haze=haze,
        clouds=clouds,
        lamps=bool(kind == "dusk"),
    )


def _plan(rng: np.random.Generator) -> Street:
    """Draws the widths of the street and its two rows of buildings."""
    parking = (bool(rng.random() < 0.65), bool(rng.random() < 0.65))
    half_road = rng.uniform(3.4, 4.2) + 1.1 * sum(parking)
    pavement = rng.uniform(2.6, 4.8)
    return Street(half_road, pavement, parking, lay_out_row(rng), lay_out_row(rng))


def _camera(street: Street, rng: np.random.Generator) -> Camera:
    """Draws the position of the camera, in the right lane or, at times, on the right pavement.

    Its yaw and pitch vary a little.
    """
    if rng.random() < 0.25:
        x = street.half_road + 1.0
    else:
        x = street.lane(right=True) + rng.uniform(-0.4, 0.4)
    return Camera(
        focal=rng.uniform(190, 240) * OVERSAMPLING,
        u0=(128 + rng.uniform(-34, 34)) * OVERSAMPLING,
        v0=rng.uniform(82, 104) * OVERSAMPLING,
        x=x,
        height=rng.uniform(1.45, 2.0),
    )


def _draw_sky(canvas: Canvas, camera: Camera, rng: np.random.Generator) -> None:
    """Paints the sky: a gradient, with clouds that shrink towards the horizon."""
    light = canvas.light
    bottom = int(camera.v0) + 4  # the ground starts there
    v, u = np.ogrid[0:bottom, 0 : canvas.width]
    # (H, 1): 0 at the horizon, 1 at the top
    up = np.clip((camera.v0 - v) / camera.v0, 0, 1).astype(np.float32)
    sky = light.horizon + (light.zenith - light.horizon) * (up**0.7)[..., None]
    distance = 1 / (0.12 + up)
    shift = rng.integers(0, 256, 2)
    across = (u - camera.u0) / camera.focal
    clouds = sample(
        noise_tile(1.9), 60 * distance + shift[0], 90 * across * distance**0.6 + shift[1]
    )
    if light.clouds == 1.0:
        sky = sky * (0.9 + 0.14 * clouds[..., None])
    else:
        cover = np.clip((clouds - (1 - light.clouds)) * 4, 0, 1) * np.clip(up * 5, 0, 1)
        white = 0.4 * light.horizon + 0.6 * (
            colour(0.96, 0.96, 0.97) if not light.lamps else light.ambient * 1.3
        )
        sky = sky + (white - sky) * (0.85 * cover)[..., None]
    canvas.rgb[:bottom] = sky
    canvas.labels[:bottom] = SKY


def _furnish(
    canvas: Canvas, camera: Camera, street: Street, rng: np.random.Generator
) -> list[tuple[float, Callable[[], None]]]:
    """Chooses the objects in the street.

    Returns:
        For each object, its distance in metres and the function that draws it.
    """
    things: list[tuple[float, Callable[[], None]]] = []

    def add(z: float, draw: Callable[..., None], *args: object) -> None:
        # each object has its own generator, so that the order of drawing has no effect
        own = np.random.default_rng(rng.integers(2**63))
        things.append((z, lambda: draw(canvas, camera, *args, own)))

    def spaced(start: float, step: tuple[float, float], end: float = VISIBLE) -> list[float]:
        places, z = [], start
        while z < end:
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
                    add(
                        z,
                        draw_car,
                        side * (street.half_road - 1.05) + rng.uniform(-0.1, 0.1),
                        z,
                        side < 0,
                    )
        ahead = 9.0 if side > 0 and not on_pavement else 7.0
        for z in spaced(rng.uniform(ahead, 26), (9, 40)):
            add(z, draw_car, street.lane(side > 0) + rng.uniform(-0.25, 0.25), z, side < 0)
        treed, step = rng.random() < 0.5, rng.uniform(7, 13)
        for z in spaced(rng.uniform(first + 4, 20), (step, step + 2)):
            if treed and rng.random() < 0.85:
                add(z, draw_tree, kerb + side * rng.uniform(0, 0.3), z)
        for z in spaced(rng.uniform(first + 2, 14), (9, 18), VISIBLE_THIN):
            add(z, draw_lamp, kerb - side * 0.1, z)
        for z in spaced(rng.uniform(first + 1, 15), (7, 18), VISIBLE_THIN):
            add(z, draw_sign, kerb + rng.uniform(-0.15, 0.3), z)
        for z in spaced(rng.uniform(first, 9), (1.5, 7), VISIBLE_THIN):
            place = side * (street.half_road + rng.uniform(0.9, street.pavement - 0.4))
            add(z, draw_pedestrian, place, z)
            if rng.random() < 0.3:
                add(z + 0.1, draw_pedestrian, place + 0.6, z + 0.1)
    for _ in range(rng.integers(3)):  # some cross the road
        z = rng.uniform(7, 16)
        add(z, draw_pedestrian, rng.uniform(-street.half_road, street.half_road) * 0.8, z)
    return things
