"""What stands in a drawn street: cars, pedestrians, trees, poles and signs, each one function that draws it once.

Every function takes the canvas, the camera and where the thing stands (x, z: metres, its nearest point on the
ground), and draws its variations from the generator it is given. Class ids are those of ``CLASSES``.
"""

from __future__ import annotations

import numpy as np

from clipmask.data.datasets.toy_canvas import (
    Camera,
    Canvas,
    Floats,
    Point,
    Region,
    colour,
    noise_tile,
    sample,
)

CLASSES = ("road", "sidewalk", "building", "sky", "tree", "pole", "sign", "car", "pedestrian")
ROAD, SIDEWALK, BUILDING, SKY, TREE, POLE, SIGN, CAR, PEDESTRIAN = range(len(CLASSES))

FACING: Point = (0.0, 0.0, -1.0)  # the normal of what looks at the camera
UP: Point = (0.0, 1.0, 0.0)

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
LEAVES = [(0.2, 0.36, 0.12), (0.28, 0.42, 0.16), (0.14, 0.28, 0.14), (0.4, 0.42, 0.16), (0.55, 0.36, 0.12)]


def pick(rng: np.random.Generator, options: list[tuple[float, float, float]], spread: float = 0.1) -> Floats:
    """Returns one of the colours, each channel varied by a relative ``spread`` around it."""
    return colour(*options[rng.integers(len(options))]) * rng.uniform(1 - spread, 1 + spread, 3).astype(np.float32)


def ground_shadow(canvas: Canvas, camera: Camera, corners: list[tuple[float, float]], height: float) -> None:
    """Casts the shadow of an upright prism with the given ground corners (x, z) on the ground."""
    sx, sy, sz = (float(part) for part in canvas.light.towards_sun)
    if not canvas.light.sun.any():
        return
    tips = [(x - height * sx / sy, z - height * sz / sy) for x, z in corners]
    if min(z for _, z in tips) < 1.0:  # would reach behind the camera
        return
    for i in range(len(corners)):
        j = (i + 1) % len(corners)
        side = [corners[i], corners[j], tips[j], tips[i]]
        canvas.cast_shadow(camera.project([(x, 0.0, z) for x, z in side]))
    canvas.cast_shadow(camera.project([(x, 0.0, z) for x, z in tips]))


def draw_car(canvas: Canvas, camera: Camera, x: float, z: float, oncoming: bool, rng: np.random.Generator) -> None:
    """Draws a hatchback, saloon or van that stands along the road, its near end at ``z``."""
    light = canvas.light
    van = rng.random() < 0.18
    width = rng.uniform(1.7, 1.9)
    length = rng.uniform(4.4, 5.2) if van else rng.uniform(3.7, 4.7)
    belt, top = (rng.uniform(1.0, 1.15), rng.uniform(1.9, 2.2)) if van else (rng.uniform(0.85, 0.98), rng.uniform(1.4, 1.6))
    deck = 0.05 if van and not oncoming else rng.choice([0.15, 0.7, 1.0]) if not oncoming else rng.uniform(0.9, 1.2)
    bonnet = 0.9 if not oncoming else rng.choice([0.15, 0.7])
    slant = 0.2 if van and not oncoming else 0.55
    paint = pick(rng, CAR_PAINTS)
    glass = colour(0.1, 0.12, 0.14) + 0.25 * light.horizon
    left, right, far = x - width / 2, x + width / 2, z + length
    distant = z > 35  # small enough to leave details out

    ground_shadow(canvas, camera, [(left, z), (right, z), (right, far), (left, far)], top * 0.9)
    under = [(left - 0.05, 0.0, z), (right + 0.05, 0.0, z), (right + 0.05, 0.0, far), (left - 0.05, 0.0, far)]
    canvas.fill(camera.project(under), 0.1 * light.ambient, z, CAR)
    for wheel in (left + 0.05, right - 0.27):
        tyre = [(wheel, 0.0, z + 0.3), (wheel + 0.22, 0.0, z + 0.3), (wheel + 0.22, 0.5, z + 0.3), (wheel, 0.5, z + 0.3)]
        canvas.fill(camera.project(tyre), colour(0.06, 0.06, 0.06), z, CAR)

    inset = 0.14  # the cabin narrows towards the roof
    z_low, z_high, z_front, z_end = z + deck, z + deck + slant, far - bonnet - 0.6, far - bonnet
    for side, outer, normal in ((left, -1, (-1.0, 0.0, 0.0)), (right, 1, (1.0, 0.0, 0.0))):
        if (camera.x - side) * outer <= 0:
            continue
        shade = light.on(normal)
        body = [(side, 0.28, z), (side, 0.28, far), (side, belt * 0.92, far), (side, belt, z_end), (side, belt, z)]
        canvas.fill(camera.project(body), paint * shade, z, CAR)
        if distant:
            continue
        sill = [(side, 0.28, z), (side, 0.28, far), (side, 0.42, far), (side, 0.42, z)]
        canvas.fill(camera.project(sill), 0.6 * paint * shade, z, CAR)
        for hub in (z + 0.75, far - 0.8):
            for radius, rubber in ((0.32, colour(0.06, 0.06, 0.06)), (0.17, colour(0.4, 0.4, 0.42) * shade)):
                angles = np.linspace(0, 2 * np.pi, 14, endpoint=False)
                rim = [(side, 0.32 + radius * float(np.sin(a)), hub + radius * float(np.cos(a))) for a in angles]
                canvas.fill(camera.project(rim), rubber, z, CAR)
        top_side = side - outer * inset
        cabin = [(side, belt, z_low), (top_side, top, z_high), (top_side, top, z_front), (side, belt, z_end)]
        canvas.fill(camera.project(cabin), 0.9 * paint * shade, z, CAR)
        low, high = belt + 0.06, top - 0.1
        near, mid, end = z_low + 0.3, (z_high + z_front) / 2, z_end - 0.25
        for a, b, c, d in (
            (near, near + slant * 0.7, mid - 0.06, mid - 0.06),
            (mid + 0.06, mid + 0.06, end - 0.5, end),
        ):
            pane: list[Point] = [(side, low, a), (top_side, high, b), (top_side, high, c), (side, low, d)]
            canvas.fill(camera.project(pane), glass * shade, z, CAR)

    back = light.on(FACING)
    ends = [(left, 0.25, z), (right, 0.25, z), (right, belt, z), (left, belt, z)]
    canvas.fill(camera.project(ends), paint * back, z, CAR)
    bumper = [(left, 0.25, z), (right, 0.25, z), (right, 0.5, z), (left, 0.5, z)]
    canvas.fill(camera.project(bumper), 0.7 * paint * back, z, CAR)
    lid = [(left, belt, z), (right, belt, z), (right, belt, z_low), (left, belt, z_low)]
    canvas.fill(camera.project(lid), paint * light.on(UP), z, CAR)
    hatch = [(left, belt, z_low), (right, belt, z_low), (right - inset, top, z_high), (left + inset, top, z_high)]
    canvas.fill(camera.project(hatch), 0.95 * paint * back, z, CAR)
    roof = [
        (left + inset, top, z_high),
        (right - inset, top, z_high),
        (right - inset, top, z_front),
        (left + inset, top, z_front),
    ]
    canvas.fill(camera.project(roof), paint * light.on(UP), z, CAR)
    low, rise = belt + 0.06, (top - belt - 0.14) / (top - belt)
    pane_top = z_low + (z_high - z_low) * rise
    window = [
        (left + 0.16, low, z_low),
        (right - 0.16, low, z_low),
        (right - 0.28, top - 0.09, pane_top),
        (left + 0.28, top - 0.09, pane_top),
    ]
    canvas.fill(camera.project(window), glass * back * 1.1, z, CAR)
    lamp = colour(0.95, 0.93, 0.8) if oncoming else colour(0.6, 0.05, 0.05)
    lamp = lamp * (1.5 if light.lamps else back)
    for start in (left + 0.05, right - 0.37):
        light_box = [(start, 0.6, z), (start + 0.32, 0.6, z), (start + 0.32, 0.76, z), (start, 0.76, z)]
        canvas.fill(camera.project(light_box), lamp, z, CAR)
    plate = [(x - 0.26, 0.42, z), (x + 0.26, 0.42, z), (x + 0.26, 0.54, z), (x - 0.26, 0.54, z)]
    canvas.fill(camera.project(plate), colour(0.85, 0.85, 0.8) * back, z, CAR)


def draw_pedestrian(canvas: Canvas, camera: Camera, x: float, z: float, base: float, rng: np.random.Generator) -> None:
    """Draws a walking or standing person; ``base`` is the height of the ground there (the kerb's), metres."""
    tall = rng.uniform(1.5, 1.9) / 1.75
    light = canvas.light.on(FACING)
    coat, legs, skin = rng.uniform(0.08, 0.8, 3) * light, rng.uniform(0.08, 0.4, 3) * light, pick(rng, SKINS) * light
    legs = legs.mean() * 0.7 + 0.3 * legs
    stride, swing = rng.uniform(0.0, 0.16), rng.uniform(-0.1, 0.1)
    ground_shadow(canvas, camera, [(x - 0.15, z), (x + 0.15, z), (x + 0.15, z + 0.2), (x - 0.15, z + 0.2)], 1.6 * tall)

    def part(shape: list[tuple[float, float]], shade: Floats) -> None:
        points: list[Point] = [(x + dx * tall, base + y * tall, z) for dx, y in shape]
        canvas.fill(camera.project(points), shade.astype(np.float32), z, PEDESTRIAN)

    for side in (-1, 1):
        foot = side * (0.07 + stride)
        dim = 0.8 if side < 0 else 1.0
        part([(side * 0.01, 0.9), (side * 0.17, 0.9), (foot + 0.07, 0.05), (foot - 0.07, 0.05)], legs * dim)
        part([(foot - 0.08, 0.0), (foot + 0.12, 0.0), (foot + 0.08, 0.1), (foot - 0.08, 0.1)], 0.15 * light)
    for side in (-1, 1):
        hand = side * 0.26 + swing * rng.random()
        part([(side * 0.15, 1.42), (side * 0.25, 1.38), (hand + 0.06, 0.82), (hand - 0.06, 0.82)], coat * 0.8)
        part([(hand - 0.05, 0.84), (hand + 0.05, 0.84), (hand + 0.04, 0.74), (hand - 0.04, 0.74)], skin)
    hem = 0.55 if rng.random() < 0.3 else 0.85
    part([(-0.2, 1.45), (0.2, 1.45), (0.24, 1.3), (0.2, hem), (-0.2, hem), (-0.24, 1.3)], coat)
    if rng.random() < 0.35:  # a bag
        part([(0.16, 1.2), (0.36, 1.2), (0.36, 0.8), (0.16, 0.8)], pick(rng, CAR_PAINTS) * light)
    part([(-0.05, 1.55), (0.05, 1.55), (0.05, 1.42), (-0.05, 1.42)], skin)
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    head = [(0.105 * float(np.cos(a)), 1.62 + 0.14 * float(np.sin(a))) for a in angles]
    part(head, skin)
    hair = [(dx * 1.08, y + 0.02) for dx, y in head if y > 1.63]
    part(hair, pick(rng, [(0.1, 0.08, 0.06), (0.3, 0.2, 0.1), (0.5, 0.42, 0.25), (0.5, 0.5, 0.5)]) * light)


def draw_tree(canvas: Canvas, camera: Camera, x: float, z: float, rng: np.random.Generator) -> None:
    """Draws a street tree: a trunk and a crown whose edge is frayed by noise."""
    light = canvas.light
    height, radius = rng.uniform(4.5, 9.0), rng.uniform(1.4, 2.6)
    stem, leaf = rng.uniform(0.12, 0.2), pick(rng, LEAVES, 0.15)
    middle = height - radius
    ground_shadow(canvas, camera, [(x - stem, z), (x + stem, z), (x + stem, z + 0.3), (x - stem, z + 0.3)], middle)
    if light.sun.any():
        sx, sy, sz = (float(part) for part in light.towards_sun)
        cx, cz = x - middle * sx / sy, z - middle * sz / sy
        angles = np.linspace(0, 2 * np.pi, 16, endpoint=False)
        blob = [(cx + radius * float(np.cos(a)), 0.0, cz + radius * float(np.sin(a))) for a in angles]
        if cz - radius > 1.5:
            canvas.cast_shadow(camera.project(blob))
    bark = colour(0.26, 0.2, 0.15) * light.on(FACING)
    trunk = [(x - stem, 0.0, z), (x + stem, 0.0, z), (x + 0.6 * stem, middle, z), (x - 0.6 * stem, middle, z)]
    canvas.fill(camera.project(trunk), bark, z, TREE, grain=0.3)
    draw_foliage(canvas, camera, (x, middle, z), (radius, radius * rng.uniform(0.9, 1.35)), leaf, rng)


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
    corners = camera.project([(x - half_width, y + half_height, z), (x + half_width, y - half_height, z)])
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
    facing_sun = -across * -light.towards_sun[0] - down * 0.8
    tone = 0.62 + 0.3 * clumps + 0.35 * (leaves - 0.5)
    glow = np.clip(0.45 + 0.4 * facing_sun + 0.3 * (clumps - 0.5), 0.0, 1.0)
    shade = leaf * tone[..., None] * (light.ambient + light.sun * glow[..., None])
    canvas.paint(Region(rows, columns, mask), shade.astype(np.float32), z, TREE)


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
    metal = pick(rng, [(0.4, 0.42, 0.44), (0.2, 0.24, 0.22), (0.55, 0.55, 0.52), (0.35, 0.28, 0.22)])
    height, reach = rng.uniform(5.0, 7.5), -np.sign(x) * rng.uniform(1.0, 1.8)
    draw_post(canvas, camera, x, z, rng.uniform(0.2, 0.3), height, metal)
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
    shine = colour(1.5, 1.3, 0.9) if canvas.light.lamps else colour(0.5, 0.5, 0.48) * canvas.light.on(FACING)
    canvas.fill(camera.project(head), shine, z, POLE)


def draw_sign(canvas: Canvas, camera: Camera, x: float, z: float, rng: np.random.Generator) -> None:
    """Draws a traffic sign or a traffic light (both are the class sign) on its pole."""
    light = canvas.light.on(FACING)
    height = rng.uniform(2.1, 2.7)
    draw_post(canvas, camera, x, z, 0.14, height, colour(0.5, 0.5, 0.5))

    def plate(corners: int, turn: float, size: float, shade: Floats, at: tuple[float, float] = (0.0, 0.0)) -> None:
        angles = np.linspace(0, 2 * np.pi, corners, endpoint=False) + turn
        shape = [(x + at[0] + size * float(np.cos(a)), height + at[1] + size * float(np.sin(a)), z) for a in angles]
        canvas.fill(camera.project(shape), shade, z, SIGN, grain=0.02)

    size = rng.uniform(0.42, 0.58)
    red, white, blue = colour(0.75, 0.08, 0.1) * light, colour(0.92, 0.92, 0.9) * light, colour(0.1, 0.25, 0.65) * light
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
            canvas.fill(_bar(camera, x, height + line * size, z, size * 1.0, size * 0.12), white, z, SIGN)
    else:
        canvas.fill(_bar(camera, x, height + 0.1, z, 0.26, 0.65), dark, z, SIGN)
        on = int(rng.integers(3))
        for i, lamp in enumerate((colour(0.95, 0.1, 0.08), colour(0.95, 0.7, 0.1), colour(0.15, 0.85, 0.35))):
            plate(12, 0.0, 0.15, lamp * (1.2 if i == on else 0.2), (0.0, 0.5 - 0.4 * i))


def _bar(camera: Camera, x: float, y: float, z: float, half_width: float, half_height: float) -> list[tuple[float, float]]:
    """Returns an upright rectangle that faces the camera, in pixels."""
    left, right, low, high = x - half_width, x + half_width, y - half_height, y + half_height
    return camera.project([(left, low, z), (right, low, z), (right, high, z), (left, high, z)])
