"""What is not an aircraft: hangars, halls, tanks, vehicles, trees, and things built in the form of a cross."""

from dataclasses import dataclass

import numpy as np

from . import ground
from .ground import Ground, between, pick
from .raster import turned

ROOFS = (
    (170, 172, 172),
    (120, 132, 140),
    (146, 96, 78),
    (196, 194, 186),
    (104, 108, 104),
    (150, 148, 128),
    (92, 112, 132),
)
PAINTS = ((214, 214, 210), (190, 160, 60), (70, 84, 62), (58, 72, 110), (150, 54, 46), (120, 122, 122), (40, 42, 44))
TREES = ((50, 74, 40), (62, 84, 46), (74, 84, 50))


@dataclass(frozen=True)
class Block:
    """faces: [(polygon in pixels, colour), …] painted in order; foot: polygons on the ground; height: metres; kind: one of
    scene.SURFACES."""

    faces: list
    foot: list
    height: float
    kind: str

    def paint(self, canvas):
        for polygon, colour in self.faces:
            ground.paint(canvas, [polygon], colour)

    def shadow(self, direction):
        """Foot and roof moved with the light, and what each edge sweeps between the two."""
        shift = np.array(direction) * self.height
        shapes = list(self.foot)
        for polygon in self.foot:
            shapes.append(polygon + shift)
            for a, b in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
                shapes.append(turned(np.array([a, b, b + shift, a + shift])))
        return shapes

    def occupy(self, taken):
        window, mask = ground.soft_mask(self.foot, taken.shape[0])
        if mask is not None:
            taken[window][mask > 0] = -1

    def free(self, taken):
        window, mask = ground.soft_mask(self.foot, taken.shape[0])
        return mask is not None and not taken[window][mask > 0].any()


def _rectangle(frame, u, v, length, width, angle=0.0):
    a, b = np.cos(angle), np.sin(angle)
    corners = np.array([(-length, -width), (length, -width), (length, width), (-length, width)]) / 2
    x, y = corners[:, 0], corners[:, 1]
    return np.stack(frame.pixel(u + x * a - y * b, v + x * b + y * a), axis=1)


def _round(frame, u, v, radius, rng=None, corners=12):
    angles = np.arange(corners) * (2 * np.pi / corners)
    radii = radius * (np.ones(corners) if rng is None else 0.75 + 0.4 * rng.random(corners))
    return np.stack(frame.pixel(u + radii * np.cos(angles), v + radii * np.sin(angles)), axis=1)


def _shaded(colour, light):
    return tuple(min(max(c + light, 0), 255) for c in colour)


def buildings(rng, land: Ground) -> list:
    """A row of hangars and halls behind the apron, tanks and cross-shaped buildings among them."""
    frame, blocks = land.frame, []
    u = -frame.reach
    v = land.far + between(rng, 6, 20)
    while u < frame.reach and land.far < 0.9 * frame.reach:
        length, width = between(rng, 22, 70), between(rng, 18, 46)
        kind = rng.random()
        if kind < 0.62:
            blocks.append(_hall(rng, frame, u + length / 2, v + width / 2, length, width))
        elif kind < 0.75:
            blocks.extend(
                _tank(rng, frame, u + 8 + 16 * k, v + 10, between(rng, 5, 8)) for k in range(int(rng.integers(1, 4)))
            )
        elif kind < 0.88:
            blocks.append(_cross(rng, frame, u + length / 2, v + width / 2, between(rng, 16, 44), between(rng, 7, 14)))
        u += length + between(rng, 6, 40)
    return blocks


def small_things(rng, land: Ground, taken) -> list:
    """Vehicles and carts on the pavement, trees and huts off it, wherever there is room; marks them in `taken`."""
    frame, blocks = land.frame, []
    room = min((frame.size * frame.metres / 384) ** 2, 4.0)
    woods = between(rng, 0, 1) ** 2 * 60
    for _ in range(round((20 + woods + between(rng, 0, 24)) * room)):
        u, v = between(rng, -0.72, 0.72) * frame.reach, between(rng, -0.72, 0.72) * frame.reach
        x, y = (int(w) for w in frame.pixel(u, v))
        if not (0 <= x < frame.size and 0 <= y < frame.size):
            continue
        if land.paved[y, x] < 4:
            block = (
                _tree(rng, frame, u, v)
                if rng.random() < 0.9
                else _hall(rng, frame, u, v, between(rng, 5, 12), between(rng, 4, 8))
            )
        elif rng.random() < 0.75:
            block = _vehicle(rng, frame, u, v)
        else:
            block = _cart(rng, frame, u, v)
        if block.free(taken):
            block.occupy(taken)
            blocks.append(block)
    return blocks


def _hall(rng, frame, u, v, length, width):
    """A roof of two halves; arched when it is a hangar."""
    colour, height = pick(rng, ROOFS), between(rng, 0.2, 0.35) * width + 2
    slope = int(rng.integers(6, 22))
    faces = [
        (_rectangle(frame, u, v - width / 4, length, width / 2), _shaded(colour, slope)),
        (_rectangle(frame, u, v + width / 4, length, width / 2), _shaded(colour, -slope)),
    ]
    for _ in range(int(rng.integers(0, 5))):  # vents
        vent = _rectangle(frame, u + between(rng, -0.4, 0.4) * length, v + between(rng, -0.35, 0.35) * width, 2.5, 2.0)
        faces.append((vent, _shaded(colour, int(rng.integers(-50, 40)))))
    return Block(faces, [_rectangle(frame, u, v, length, width)], height, "building")


def _tank(rng, frame, u, v, radius):
    colour = pick(rng, ((206, 206, 200), (180, 184, 180), (150, 146, 132)))
    return Block(
        [(_round(frame, u, v, radius), colour), (_round(frame, u, v, 0.5 * radius), _shaded(colour, 10))],
        [_round(frame, u, v, radius)],
        7.0,
        "building",
    )


def _cross(rng, frame, u, v, reach, width):
    """A building with two wings: from above almost an aircraft."""
    colour, angle = pick(rng, ROOFS), between(rng, 0, np.pi)
    body = _rectangle(frame, u, v, 1.2 * reach, width, angle)
    wings = _rectangle(frame, u, v, 0.8 * width, 1.3 * reach, angle)
    return Block([(wings, _shaded(colour, -8)), (body, _shaded(colour, 6))], [body, wings], 6.0, "building")


def _vehicle(rng, frame, u, v):
    length, width, angle = pick(rng, ((4.6, 1.9), (7.0, 2.4), (12.0, 2.6), (9.0, 2.5))) + (
        pick(rng, (0.0, np.pi / 2, between(rng, 0, np.pi))),
    )
    colour = pick(rng, PAINTS)
    a, b = np.cos(angle), np.sin(angle)
    cab = _rectangle(frame, u + 0.38 * length * a, v + 0.38 * length * b, 0.22 * length, width * 0.9, angle)
    body = _rectangle(frame, u, v, length, width, angle)
    return Block([(body, colour), (cab, _shaded(colour, -60 if colour[0] > 100 else 70))], [body], 2.4, "vehicle")


def _cart(rng, frame, u, v):
    """Ground equipment: a bar with one or two cross bars, of the size and colour of a small aircraft."""
    angle, long = between(rng, 0, np.pi), between(rng, 6, 15)
    a, b = np.cos(angle), np.sin(angle)
    colour = _shaded((150, 152, 152), int(rng.integers(-60, 60)))
    bars = [_rectangle(frame, u, v, long, 1.4, angle)]
    for place in (-0.45, 0.3)[: int(rng.integers(1, 3))]:
        bars.append(
            _rectangle(frame, u + place * long * a, v + place * long * b, 1.5, between(rng, 0.3, 0.9) * long, angle)
        )
    return Block([(bar, colour) for bar in bars], bars, 1.5, "vehicle")


def _tree(rng, frame, u, v):
    radius, colour = between(rng, 1.5, 5), pick(rng, TREES)
    crown = _round(frame, u, v, radius, rng)
    return Block(
        [
            (crown, colour),
            (_round(frame, u - 0.2 * radius, v - 0.2 * radius, 0.55 * radius, rng, 8), _shaded(colour, 16)),
        ],
        [crown],
        1.1 * radius,
        "tree",
    )
