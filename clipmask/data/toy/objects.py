"""The classes of the drawn street scenes, and the drawing of pedestrians and trees.

Every function that draws takes the canvas, the camera and where the thing stands (x, z: metres, its
nearest point on the ground), and draws its variations from the generator it is given. Class ids are
those of ``CLASSES``.
"""

from __future__ import annotations

import numpy as np

from clipmask.data.toy.canvas import (
    Camera,
    Canvas,
    Floats,
    Point,
    Region,
    colour,
    ellipse,
    noise_tile,
    sample,
)

CLASSES = ("road", "sidewalk", "building", "sky", "tree", "pole", "sign", "car", "pedestrian")
ROAD, SIDEWALK, BUILDING, SKY, TREE, POLE, SIGN, CAR, PEDESTRIAN = range(len(CLASSES))

FACING: Point = (0.0, 0.0, -1.0)  # the normal of a surface that faces the camera
UP: Point = (0.0, 1.0, 0.0)
DETAILED = 22.0  # metres; objects that are farther away are drawn without small details

CAR_PAINTS = [
    (0.75, 0.75, 0.77),
    (0.12, 0.12, 0.14),
    (0.45, 0.47, 0.5),
    (0.9, 0.9, 0.88),
    (0.62, 0.1, 0.1),
    (0.13, 0.22, 0.5),
    (0.16, 0.32, 0.22),
    (0.55, 0.45, 0.3),
    (0.75, 0.6, 0.15),
    (0.3, 0.45, 0.6),
]
SKINS = [(0.85, 0.66, 0.54), (0.68, 0.48, 0.36), (0.45, 0.3, 0.22)]
LEAVES = [
    (0.2, 0.36, 0.12),
    (0.28, 0.42, 0.16),
    (0.14, 0.28, 0.14),
    (0.4, 0.42, 0.16),
    (0.55, 0.36, 0.12),
]


def pick(
    rng: np.random.Generator, options: list[tuple[float, float, float]], spread: float = 0.1
) -> Floats:
    """Returns one of the colours, each channel varied by a relative ``spread`` around it."""
    return colour(*options[rng.integers(len(options))]) * rng.uniform(
        1 - spread, 1 + spread, 3
    ).astype(np.float32)


def ground_shadow(
    canvas: Canvas, camera: Camera, corners: list[tuple[float, float]], height: float
) -> None:
    """Casts the shadow of an upright prism with the given ground corners (x, z) on the ground."""
    sx, sy, sz = map(float, canvas.light.towards_sun)
    if not canvas.light.sun.any():
        return
    tips = [(x - height * sx / sy, z - height * sz / sy) for x, z in corners]
    if min(z for _, z in tips) < 1.0:  # would reach behind the camera
        return
    for i in range(len(corners)):
        j = (i + 1) % len(corners)
        side = [corners[i], corners[j], tips[j], tips[i]]
        canvas.cast_shadow(camera.project(_on_ground(side)))
    canvas.cast_shadow(camera.project(_on_ground(tips)))


def _on_ground(places: list[tuple[float, float]]) -> list[Point]:
    """Returns the points (x, 0, z) of places (x, z)."""
    return [(x, 0.0, z) for x, z in places]


def draw_pedestrian(
    canvas: Canvas, camera: Camera, x: float, z: float, rng: np.random.Generator
) -> None:
    """Draws a walking or standing person."""
    tall = rng.uniform(1.5, 1.9) / 1.75
    light = canvas.light.on(FACING)
    skin = pick(rng, SKINS) * light
    coat = colour(*rng.uniform(0.08, 0.8, 3)) * light
    legs = colour(*(rng.uniform(0.08, 0.4) * rng.uniform(0.8, 1.2, 3))) * light
    stride, swing = rng.uniform(0.0, 0.16), rng.uniform(-0.1, 0.1)
    ground_shadow(
        canvas,
        camera,
        [(x - 0.15, z), (x + 0.15, z), (x + 0.15, z + 0.2), (x - 0.15, z + 0.2)],
        1.6 * tall,
    )

    def part(shape: list[tuple[float, float]], shade: Floats) -> None:
        points: list[Point] = [(x + dx * tall, y * tall, z) for dx, y in shape]
        canvas.fill(camera.project(points), shade, z, PEDESTRIAN)

    for side in (-1, 1):
        foot, hand = side * (0.07 + stride), side * 0.26 + swing
        dim = 0.8 if side < 0 else 1.0
        part(
            [(side * 0.01, 0.9), (side * 0.17, 0.9), (foot + 0.07, 0.0), (foot - 0.07, 0.0)],
            legs * dim,
        )
        part(
            [(side * 0.15, 1.42), (side * 0.25, 1.38), (hand + 0.06, 0.82), (hand - 0.06, 0.82)],
            coat * 0.8,
        )
        if z < DETAILED:
            part(
                [(foot - 0.08, 0.0), (foot + 0.12, 0.0), (foot + 0.08, 0.1), (foot - 0.08, 0.1)],
                0.15 * light,
            )
            part(
                [
                    (hand - 0.05, 0.84),
                    (hand + 0.05, 0.84),
                    (hand + 0.04, 0.74),
                    (hand - 0.04, 0.74),
                ],
                skin,
            )
    hem = 0.55 if rng.random() < 0.3 else 0.85
    part([(-0.2, 1.45), (0.2, 1.45), (0.24, 1.3), (0.2, hem), (-0.2, hem), (-0.24, 1.3)], coat)
    if rng.random() < 0.35 and z < DETAILED:  # a bag
        part([(0.16, 1.2), (0.36, 1.2), (0.36, 0.8), (0.16, 0.8)], pick(rng, CAR_PAINTS) * light)
    part([(-0.05, 1.55), (0.05, 1.55), (0.05, 1.42), (-0.05, 1.42)], skin)  # the neck
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    head = ellipse((0.0, 1.62), (0.105, 0.14), angles)
    part(head, skin)
    hair = [(dx * 1.08, y + 0.02) for dx, y in head if y > 1.63]
    part(
        hair,
        pick(rng, [(0.1, 0.08, 0.06), (0.3, 0.2, 0.1), (0.5, 0.42, 0.25), (0.5, 0.5, 0.5)]) * light,
    )


def draw_tree(canvas: Canvas, camera: Camera, x: float, z: float, rng: np.random.Generator) -> None:
    """Draws a street tree: a trunk and a crown whose edge is frayed by noise."""
    light = canvas.light
    height, radius = rng.uniform(4.5, 9.0), rng.uniform(1.4, 2.6)
    stem, leaf = rng.uniform(0.12, 0.2), pick(rng, LEAVES, 0.15)
    middle = height - radius
    ground_shadow(
        canvas,
        camera,
        [(x - stem, z), (x + stem, z), (x + stem, z + 0.3), (x - stem, z + 0.3)],
        middle,
    )
    if light.sun.any():
        sx, sy, sz = map(float, light.towards_sun)
        cx, cz = x - middle * sx / sy, z - middle * sz / sy
        angles = np.linspace(0, 2 * np.pi, 16, endpoint=False)
        if cz - radius > 1.5:
            blob = _on_ground(ellipse((cx, cz), (radius, radius), angles))
            canvas.cast_shadow(camera.project(blob))
    bark = colour(0.26, 0.2, 0.15) * light.on(FACING)
    trunk = [
        (x - stem, 0.0, z),
        (x + stem, 0.0, z),
        (x + 0.6 * stem, middle, z),
        (x - 0.6 * stem, middle, z),
    ]
    canvas.fill(camera.project(trunk), bark, z, TREE, grain=0.3)
    draw_foliage(
        canvas, camera, (x, middle, z), (radius, radius * rng.uniform(0.9, 1.35)), leaf, rng
    )


def draw_foliage(
    canvas: Canvas,
    camera: Camera,
    centre: Point,
    radii: tuple[float, float],
    leaf: Floats,
    rng: np.random.Generator,
) -> None:
    """Draws an ellipse of leaves, lit from the sun's side, with clumps, gaps and a frayed edge.

    Args:
        centre: its middle, metres.
        radii: half its width and half its height, metres.
        leaf: colour of the leaves.
    """
    x, y, z = centre
    margin = 1.25
    half_width, half_height = radii[0] * margin, radii[1] * margin
    corners = camera.project(
        [(x - half_width, y + half_height, z), (x + half_width, y - half_height, z)]
    )
    window = canvas.window(corners)
    if window is None:
        return
    rows, columns = window
    (left, top), (right, bottom) = corners
    v, u = np.ogrid[rows, columns]
    across = ((u - left) / (right - left) * 2 - 1) * margin
    down = ((v - top) / (bottom - top) * 2 - 1) * margin
    shift = rng.integers(0, 256, 2)
    scale = 34 * z / camera.focal  # clumps are as large on a near tree as on a far one, in metres
    clumps = sample(noise_tile(1.3), v * scale + shift[0], u * scale + shift[1])
    leaves = sample(noise_tile(0.7), v * scale * 2.1 + shift[1], u * scale * 2.1 + shift[0])
    mask = across**2 + down**2 + 0.75 * (clumps - 0.5) + 0.22 * (leaves - 0.5) < 0.92
    light = canvas.light
    facing_sun = across * light.towards_sun[0] - down * 0.8
    tone = 0.62 + 0.3 * clumps + 0.35 * (leaves - 0.5)
    glow = np.clip(0.45 + 0.4 * facing_sun + 0.3 * (clumps - 0.5), 0.0, 1.0)
    shade = leaf * tone[..., None] * (light.ambient + light.sun * glow[..., None])
    canvas.paint(Region(rows, columns, mask), shade.astype(np.float32), z, TREE)
