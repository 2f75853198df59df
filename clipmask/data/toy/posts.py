"""Poles and signs of the drawn street scenes: lamps, traffic signs and traffic lights."""

from __future__ import annotations

import numpy as np

from clipmask.data.toy.canvas import Camera, Canvas, Floats, colour, ellipse
from clipmask.data.toy.objects import FACING, POLE, SIGN, ground_shadow, pick


def draw_post(
    canvas: Canvas, camera: Camera, x: float, z: float, width: float, height: float, metal: Floats
) -> None:
    """Draws an upright post, bright on one side and dark on the other."""
    light = canvas.light.on(FACING)
    ground_shadow(canvas, camera, [(x - width / 2, z), (x + width / 2, z)], height)
    for start, end, tone in ((-0.5, 0.0, 1.15), (0.0, 0.5, 0.75)):
        a, b = x + start * width, x + end * width
        strip = [(a, 0.0, z), (b, 0.0, z), (b, height, z), (a, height, z)]
        canvas.fill(camera.project(strip), metal * tone * light, z, POLE)


def draw_lamp(canvas: Canvas, camera: Camera, x: float, z: float, rng: np.random.Generator) -> None:
    """Draws a street lamp whose arm reaches over the road."""
    metal = pick(
        rng, [(0.4, 0.42, 0.44), (0.2, 0.24, 0.22), (0.55, 0.55, 0.52), (0.35, 0.28, 0.22)]
    )
    height, reach = rng.uniform(5.0, 7.5), -np.sign(x) * rng.uniform(1.0, 1.8)
    draw_post(canvas, camera, x, z, rng.uniform(0.26, 0.4), height, metal)
    arm = [
        (x, height - 0.2, z),
        (x + reach, height + 0.15, z),
        (x + reach, height + 0.3, z),
        (x, height, z),
    ]
    canvas.fill(camera.project(arm), metal * canvas.light.on(FACING), z, POLE)
    tip = x + reach
    head = [
        (tip - 0.3, height + 0.1, z),
        (tip + 0.3, height + 0.1, z),
        (tip + 0.22, height + 0.36, z),
        (tip - 0.22, height + 0.36, z),
    ]
    shine = (
        colour(1.5, 1.3, 0.9)
        if canvas.light.lamps
        else colour(0.5, 0.5, 0.48) * canvas.light.on(FACING)
    )
    canvas.fill(camera.project(head), shine, z, POLE)


def draw_sign(canvas: Canvas, camera: Camera, x: float, z: float, rng: np.random.Generator) -> None:
    """Draws a traffic sign or a traffic light (both are the class sign) on its pole."""
    light = canvas.light.on(FACING)
    height = rng.uniform(2.1, 2.7)
    draw_post(canvas, camera, x, z, 0.2, height, colour(0.5, 0.5, 0.5))

    def plate(
        corners: int, turn: float, size: float, shade: Floats, at: tuple[float, float] = (0.0, 0.0)
    ) -> None:
        angles = np.linspace(0, 2 * np.pi, corners, endpoint=False) + turn
        outline = ellipse((x + at[0], height + at[1]), (size, size), angles)
        shape = [(u, v, z) for u, v in outline]
        canvas.fill(camera.project(shape), shade, z, SIGN, grain=0.02)

    size = rng.uniform(0.45, 0.62)
    red, white, blue = (
        colour(0.75, 0.08, 0.1) * light,
        colour(0.92, 0.92, 0.9) * light,
        colour(0.1, 0.25, 0.65) * light,
    )
    dark = colour(0.08, 0.08, 0.08) * light
    kind = rng.choice(["limit", "warning", "board", "stop", "no entry", "signal"])
    if kind == "limit":
        plate(20, 0.0, size, red)
        plate(20, 0.0, size * 0.72, white)
        plate(4, np.pi / 4, size * 0.28, dark)
    elif kind == "warning":
        plate(3, np.pi / 2, size * 1.25, red)
        plate(3, np.pi / 2, size * 0.8, white)
        plate(4, 0.0, size * 0.2, dark)
    elif kind == "stop":
        plate(8, np.pi / 8, size, red)
        canvas.fill(_bar(camera, x, height, z, size * 0.65, size * 0.18), white, z, SIGN)
    elif kind == "no entry":
        plate(20, 0.0, size, red)
        canvas.fill(_bar(camera, x, height, z, size * 0.7, size * 0.2), white, z, SIGN)
    elif kind == "board":
        ground = blue if rng.random() < 0.6 else colour(0.08, 0.4, 0.2) * light
        canvas.fill(_bar(camera, x, height, z, size * 1.5, size * 0.95), white, z, SIGN)
        canvas.fill(_bar(camera, x, height, z, size * 1.4, size * 0.85), ground, z, SIGN)
        for line in (0.35, -0.3):
            canvas.fill(
                _bar(camera, x, height + line * size, z, size * 1.0, size * 0.12), white, z, SIGN
            )
    else:
        canvas.fill(_bar(camera, x, height + 0.1, z, 0.26, 0.65), dark, z, SIGN)
        on = int(rng.integers(3))
        for i, lamp in enumerate(
            (colour(0.95, 0.1, 0.08), colour(0.95, 0.7, 0.1), colour(0.15, 0.85, 0.35))
        ):
            plate(12, 0.0, 0.15, lamp * (1.2 if i == on else 0.2), (0.0, 0.5 - 0.4 * i))


def _bar(
    camera: Camera, x: float, y: float, z: float, half_width: float, half_height: float
) -> list[tuple[float, float]]:
    """Returns an upright rectangle that faces the camera, in pixels."""
    left, right, low, high = x - half_width, x + half_width, y - half_height, y + half_height
    return camera.project([(left, low, z), (right, low, z), (right, high, z), (left, high, z)])
