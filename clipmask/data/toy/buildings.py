"""The two rows of buildings of a drawn street: their plan, facades and windows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clipmask.data.toy.canvas import Camera, Canvas, Floats, Point, colour, noise_tile, sample
from clipmask.data.toy.objects import BUILDING, LEAVES, draw_foliage, pick

WALLS = [
    (0.52, 0.27, 0.2),
    (0.6, 0.38, 0.28),
    (0.76, 0.7, 0.58),
    (0.55, 0.55, 0.55),
    (0.82, 0.8, 0.76),
    (0.72, 0.58, 0.36),
    (0.42, 0.4, 0.4),
    (0.62, 0.66, 0.68),
    (0.68, 0.5, 0.44),
    (0.38, 0.44, 0.5),
]
STREET_END = 95.0  # metres; houses and trees close the street there
BLOCK_DEPTH = 14.0  # how far a building reaches back from the street, metres


@dataclass(frozen=True)
class Building:
    """One building: its place along the street and the style of its walls, in metres and shares."""

    start: float
    end: float
    height: float
    wall: Floats
    trim: Floats
    floor: float  # height of a storey
    pitch: float  # distance of windows
    window: tuple[float, float]  # share of the pitch and of the storey that is window
    shop: bool
    bricks: bool
    shift: int  # into the noise tiles


def lay_out_row(rng: np.random.Generator) -> list[Building]:
    """Draws the plan of one row of buildings, with occasional gaps.

    The row runs from behind the camera to the end of the street.
    """
    row: list[Building] = []
    z = rng.uniform(-6.0, 2.0)
    tall = rng.uniform(7, 15)
    while z < STREET_END:
        width = rng.uniform(7, 18)
        row.append(_building(z, z + width, max(4.0, tall + rng.uniform(-4, 6)), rng))
        z += width + (rng.uniform(3, 8) if rng.random() < 0.3 else 0.0)
    return row


def _building(start: float, end: float, height: float, rng: np.random.Generator) -> Building:
    """Draws a random style for a building."""
    wall = pick(rng, WALLS, 0.08)
    return Building(
        start=start,
        end=end,
        height=height,
        wall=wall,
        trim=wall * 0.5
        + 0.5 * (colour(0.9, 0.88, 0.84) if rng.random() < 0.6 else colour(0.3, 0.28, 0.26)),
        floor=rng.uniform(2.8, 3.6),
        pitch=rng.uniform(1.8, 3.4),
        window=(rng.uniform(0.35, 0.75), rng.uniform(0.4, 0.62)),
        shop=bool(rng.random() < 0.5),
        bricks=bool(rng.random() < 0.45),
        shift=int(rng.integers(256)),
    )


def draw_buildings(
    canvas: Canvas,
    camera: Camera,
    left: list[Building],
    right: list[Building],
    wall: float,
    rng: np.random.Generator,
) -> None:
    """Draws the far end of the street, then both rows of buildings from far to near.

    Args:
        wall: distance of the facades from the middle of the road, metres.
    """
    _close_street(canvas, camera, rng)
    for side, row in ((-1, left), (1, right)):
        for building, nearer in zip(reversed(row), [*row[-2::-1], None], strict=True):
            if building.end <= 2.0:
                continue
            hidden = (
                nearer is not None
                and nearer.end == building.start
                and nearer.height >= building.height
            )
            if building.start >= 4.0 and not hidden:
                _draw_end_wall(canvas, camera, building, side * wall, side)
            _draw_facade(canvas, camera, building, side * wall, side)
            # a bush or tree in the gap before the building
            if building.start > 4.0 and rng.random() < 0.5:
                x, z = side * (wall + rng.uniform(1.5, 4)), building.start - 1.5
                radius = rng.uniform(1.0, 2.5)
                draw_foliage(
                    canvas,
                    camera,
                    (x, radius * 0.9, z),
                    (radius, radius),
                    pick(rng, LEAVES, 0.15),
                    rng,
                )


def _close_street(canvas: Canvas, camera: Camera, rng: np.random.Generator) -> None:
    """Draws houses and trees across the far end of the street."""
    z, x = STREET_END + 10, -60.0
    while x < 60:
        width = rng.uniform(8, 20)
        if rng.random() < 0.55:
            block = _building(x, x + width, rng.uniform(4, 16), rng)
            corners: list[Point] = [
                (x, 0, z),
                (x + width, 0, z),
                (x + width, block.height, z),
                (x, block.height, z),
            ]
            _draw_wall(canvas, camera, block, corners, None)
        x += width
    for x in np.arange(-50, 50, 7.0):
        radius = rng.uniform(3.0, 5.5)
        draw_foliage(
            canvas,
            camera,
            (float(x), radius * 0.7, z - 4),
            (radius, radius),
            pick(rng, LEAVES, 0.15),
            rng,
        )


def _draw_end_wall(
    canvas: Canvas, camera: Camera, building: Building, wall: float, side: int
) -> None:
    """Draws the wall that faces the camera."""
    far, top, z = wall + side * BLOCK_DEPTH, building.height, building.start
    _draw_wall(
        canvas, camera, building, [(wall, 0, z), (far, 0, z), (far, top, z), (wall, top, z)], None
    )


def _draw_facade(
    canvas: Canvas, camera: Camera, building: Building, wall: float, side: int
) -> None:
    """Draws the wall along the street."""
    near, far, top = max(building.start, 2.0), building.end, building.height
    corners: list[Point] = [(wall, 0, near), (wall, 0, far), (wall, top, far), (wall, top, near)]
    _draw_wall(canvas, camera, building, corners, side)


def _draw_wall(
    canvas: Canvas, camera: Camera, building: Building, corners: list[Point], side: int | None
) -> None:
    """Draws an upright wall pixel by pixel.

    Args:
        corners: of the wall, metres.
        side: -1 or 1 for a facade along the left or right of the street, None for a wall that faces
            the camera.
    """
    region = canvas.polygon(camera.project(corners))
    if region is None:
        return
    x, _, z = corners[0]
    v, u = np.ogrid[region.rows, region.columns]
    # (1, w), tangent of the view angle
    across = ((u + 0.5 - camera.u0) / camera.focal).astype(np.float32)
    if side is None:
        depth = np.full(across.shape, z, np.float32)
        along = across * z + camera.x
    else:
        # Columns beyond the wall's ends, which the mask leaves out, are clipped to avoid a division
        # by zero.
        depth = np.clip(
            (x - camera.x) / np.where(np.abs(across) < 1e-4, 1e-4, across), z, corners[1][2]
        )
        along = depth
    up = camera.height - ((v + 0.5 - camera.v0) / camera.focal).astype(np.float32) * depth  # (h, w)
    light = canvas.light.on((0, 0, -1) if side is None else (-side, 0, 0))
    shade = _wall_colours(canvas, building, along, up, depth, light, blind=side is None)
    canvas.paint(region, shade, depth, BUILDING)


def _wall_colours(
    canvas: Canvas,
    building: Building,
    along: Floats,
    up: Floats,
    depth: Floats,
    light: Floats,
    blind: bool,
) -> Floats:
    """Returns the colours (h, w, 3) of the pixels of a wall.

    Args:
        canvas, building: the scene and the building.
        along: (1, w), the horizontal place on the wall in metres.
        up: (h, w), the height on the wall in metres.
        depth: (1, w), the distance from the camera in metres; bricks fade with it.
        light: factor of the light on this wall.
        blind: the wall has few windows and no shop.
    """
    grain = sample(noise_tile(0.5), up * 22 + building.shift, along * 22) - 0.5
    stains = sample(noise_tile(1.6), up * 7 + building.shift, along * 9) - 0.5
    tone = 1 + 0.16 * grain + 0.22 * stains
    if building.bricks:
        course = np.floor(up / 0.28)
        joint = (up / 0.28 % 1 < 0.22) | ((along / 0.7 + 0.5 * course) % 1 < 0.12)
        tone = tone - 0.22 * joint / (1 + depth / 14)
    rgb = building.wall * tone[..., None] * light

    base = building.floor * (1.15 if building.shop else 0.3)
    storey, column = (up - base) / building.floor, along / building.pitch
    dice = sample(
        noise_tile(0.0), np.floor(storey) + building.shift, np.floor(column) + building.shift
    )
    off_x, off_y = np.abs(column % 1 - 0.5) * 2, np.abs(storey % 1 - 0.5) * 2
    share_x, share_y = building.window
    storeys = (storey > 0) & (
        up < base + building.floor * np.floor((building.height - base - 0.4) / building.floor)
    )
    if blind:
        storeys &= dice > 0.65
    frame = storeys & (off_x < share_x + 0.1) & (off_y < share_y + 0.12)
    glass = storeys & (off_x < share_x) & (off_y < share_y) & (off_x > 0.05)
    rgb[frame] = building.trim * light * 0.95
    pane = colour(0.1, 0.12, 0.15) + 0.35 * canvas.light.zenith * dice[..., None] ** 2
    if canvas.light.lamps:
        pane = np.where((dice > 0.62)[..., None], colour(0.95, 0.75, 0.42), 0.5 * pane)
    rgb[glass] = pane[glass]

    if building.shop and not blind:
        front = (up < base - 0.75) & (up > 0.4)
        bay = along / (2.2 * building.pitch) % 1
        rgb[front & (bay < 0.86)] = pane[front & (bay < 0.86)] * 1.2 + 0.04
        rgb[front & ((bay % 0.29) < 0.03)] = building.trim * light * 0.6
        awning = (up >= base - 0.75) & (up < base - 0.2)
        stripe = np.where((along / 0.5 % 1 < 0.5)[..., None], building.trim, building.wall[::-1])
        rgb[awning] = np.broadcast_to(stripe * light, rgb.shape)[awning]
    rgb[up > building.height - 0.4] = building.trim * light * 0.85
    rgb[up < 0.35] *= 0.7  # the plinth
    return rgb
