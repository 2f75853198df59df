"""The cars of the drawn street scenes: hatchbacks, saloons and vans that stand or drive along the
road.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clipmask.data.toy.canvas import Camera, Canvas, Floats, Point, colour, ellipse
from clipmask.data.toy.objects import CAR, CAR_PAINTS, DETAILED, FACING, UP, ground_shadow, pick

CABIN_INSET = 0.14  # how far the cabin narrows from its foot to the roof, at each side
RUBBER = colour(0.06, 0.06, 0.06)


@dataclass(frozen=True)
class Car:
    """Shape and place of a car, in metres.

    "near" is the end that the camera sees: the rear, or the front of an oncoming car.
    """

    x: float  # of its middle
    near: float  # z of the near end
    far: float  # z of the far end
    width: float
    belt: float  # height of the body, where the windows begin
    top: float  # height of the roof
    # z of the cabin: near foot, near roof edge, far roof edge, far foot
    cabin: tuple[float, float, float, float]
    oncoming: bool
    paint: Floats

    @property
    def left(self) -> float:
        """x of the left side."""
        return self.x - self.width / 2

    @property
    def right(self) -> float:
        """x of the right side."""
        return self.x + self.width / 2


def draw_car(
    canvas: Canvas, camera: Camera, x: float, z: float, oncoming: bool, rng: np.random.Generator
) -> None:
    """Draws a car that stands along the road.

    Args:
        x: of its middle, metres.
        z: of its near end, metres.
        oncoming: its front is the near end.
    """
    car = _design(x, z, oncoming, rng)
    left, right, near, far = car.left, car.right, car.near, car.far
    ground_shadow(
        canvas, camera, [(left, near), (right, near), (right, far), (left, far)], car.top * 0.9
    )
    under: list[Point] = [(left, 0, near), (right, 0, near), (right, 0, far), (left, 0, far)]
    canvas.fill(camera.project(under), 0.1 * canvas.light.ambient, near, CAR)
    for tyre in (left + 0.16, right - 0.16):
        canvas.fill(
            _upright(camera, near + 0.3, tyre - 0.11, tyre + 0.11, 0.0, 0.5), RUBBER, near, CAR
        )
    for side, outer in ((left, -1), (right, 1)):
        if (camera.x - side) * outer > 0:
            _draw_side(canvas, camera, car, side, outer)
    _draw_end(canvas, camera, car)


def _design(x: float, z: float, oncoming: bool, rng: np.random.Generator) -> Car:
    """Draws the shape and the paint of a car."""
    van = rng.random() < 0.18
    if van:
        length, bonnet, boot = rng.uniform(4.4, 5.2), rng.uniform(0.9, 1.2), 0.05
        width, belt, top = rng.uniform(1.7, 1.9), rng.uniform(1.0, 1.15), rng.uniform(1.9, 2.2)
    else:
        length, bonnet = rng.uniform(3.7, 4.7), rng.uniform(0.9, 1.2)
        boot = float(rng.choice([0.15, 0.7, 1.0]))
        width, belt, top = rng.uniform(1.7, 1.9), rng.uniform(0.85, 0.98), rng.uniform(1.4, 1.6)
    near_deck, far_deck, slant = boot, bonnet, 0.55
    if oncoming:
        near_deck, far_deck = bonnet, boot
    elif van:
        slant = 0.2
    return Car(
        x=x,
        near=z,
        far=z + length,
        width=width,
        belt=belt,
        top=top,
        cabin=(
            z + near_deck,
            z + near_deck + slant,
            z + length - far_deck - 0.55,
            z + length - far_deck,
        ),
        oncoming=oncoming,
        paint=pick(rng, CAR_PAINTS),
    )


def _glass(canvas: Canvas) -> Floats:
    """Returns the colour of a window that reflects the sky."""
    return colour(0.1, 0.12, 0.14) + 0.25 * canvas.light.horizon


def _draw_side(canvas: Canvas, camera: Camera, car: Car, side: float, outer: int) -> None:
    """Draws the long side at x = ``side``; ``outer`` is -1 on the left and 1 on the right."""
    light = canvas.light.on((float(outer), 0.0, 0.0))
    near, far, belt, top = car.near, car.far, car.belt, car.top
    foot, edge, front, end = car.cabin

    def fill(outline: list[tuple[float, float]], shade: Floats, inset: float = 0.0) -> None:
        points: list[Point] = [(side - outer * inset * (y > belt + 0.2), y, z) for z, y in outline]
        canvas.fill(camera.project(points), shade, near, CAR)

    fill(
        [(near, 0.28), (far, 0.28), (far, belt * 0.92), (end, belt), (near, belt)],
        car.paint * light,
    )
    fill(
        [(foot, belt), (edge, top), (front, top), (end, belt)], 0.9 * car.paint * light, CABIN_INSET
    )
    low, high, middle, glass = belt + 0.06, top - 0.1, (edge + front) / 2, _glass(canvas) * light
    slant = edge - foot
    fill(
        [
            (foot + 0.3, low),
            (foot + 0.3 + 0.7 * slant, high),
            (middle - 0.06, high),
            (middle - 0.06, low),
        ],
        glass,
        CABIN_INSET,
    )
    fill(
        [(middle + 0.06, low), (middle + 0.06, high), (end - 0.75, high), (end - 0.25, low)],
        glass,
        CABIN_INSET,
    )
    if near > DETAILED:
        return
    fill([(near, 0.28), (far, 0.28), (far, 0.42), (near, 0.42)], 0.6 * car.paint * light)
    angles = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    for hub in (near + 0.75, far - 0.8):
        for radius, shade in ((0.32, RUBBER), (0.17, colour(0.4, 0.4, 0.42) * light)):
            fill(ellipse((hub, 0.32), (radius, radius), angles), shade)


def _draw_end(canvas: Canvas, camera: Camera, car: Car) -> None:
    """Draws the near end of a car: lamps, boot lid or bonnet, window and roof."""
    light, above = canvas.light.on(FACING), canvas.light.on(UP)
    left, right, near, belt, top = car.left, car.right, car.near, car.belt, car.top
    foot, edge, front, _ = car.cabin

    def fill(corners: list[Point], shade: Floats) -> None:
        canvas.fill(camera.project(corners), shade, near, CAR)

    def slab(
        inset: float, y: tuple[float, float], z: tuple[float, float], narrowing: float = 0.0
    ) -> list[Point]:
        inner = inset + narrowing
        return [
            (left + inset, y[0], z[0]),
            (right - inset, y[0], z[0]),
            (right - inner, y[1], z[1]),
            (left + inner, y[1], z[1]),
        ]

    fill(slab(0.0, (0.25, belt), (near, near)), car.paint * light)
    fill(slab(0.0, (belt, belt), (near, foot)), car.paint * above)
    fill(slab(0.0, (belt, top), (foot, edge), CABIN_INSET), 0.95 * car.paint * light)
    fill(slab(CABIN_INSET, (top, top), (edge, front)), car.paint * above)
    rim = (top - 0.09 - belt) / (top - belt)
    fill(
        slab(0.16, (belt + 0.06, top - 0.09), (foot, foot + (edge - foot) * rim), 0.12),
        _glass(canvas) * light * 1.1,
    )
    lamp = colour(0.95, 0.93, 0.8) if car.oncoming else colour(0.6, 0.05, 0.05)
    lamp = lamp * (1.5 if canvas.light.lamps else light)
    for start in (left + 0.05, right - 0.37):
        canvas.fill(_upright(camera, near, start, start + 0.32, 0.6, 0.76), lamp, near, CAR)
    if near > DETAILED:
        return
    canvas.fill(_upright(camera, near, left, right, 0.25, 0.5), 0.7 * car.paint * light, near, CAR)
    plate = colour(0.85, 0.85, 0.8) * light
    canvas.fill(_upright(camera, near, car.x - 0.26, car.x + 0.26, 0.42, 0.54), plate, near, CAR)


def _upright(
    camera: Camera, z: float, left: float, right: float, low: float, high: float
) -> list[tuple[float, float]]:
    """Returns a rectangle that faces the camera, in pixels."""
    return camera.project([(left, low, z), (right, low, z), (right, high, z), (left, high, z)])
