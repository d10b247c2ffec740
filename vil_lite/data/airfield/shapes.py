"""From a row of the table to polygons in metres: what is seen from above, and what throws a shadow."""

from dataclasses import dataclass
from functools import lru_cache
from math import cos, pi, radians, sin, tan

import numpy as np

from .aircraft import Aircraft, Surface
from .raster import turned

# Half outlines of bodies: (fraction of the length from the nose, fraction of half the width)
BODIES = {
    "liner": (
        (0, 0),
        (0.008, 0.3),
        (0.03, 0.66),
        (0.07, 0.92),
        (0.12, 1),
        (0.64, 1),
        (0.77, 0.82),
        (0.89, 0.48),
        (0.98, 0.16),
        (1, 0.06),
    ),
    "cargo": (
        (0, 0),
        (0.01, 0.38),
        (0.04, 0.74),
        (0.09, 0.95),
        (0.13, 1),
        (0.66, 1),
        (0.82, 0.72),
        (0.94, 0.34),
        (1, 0.1),
    ),
    "boom": ((0, 0), (0.01, 0.35), (0.04, 0.75), (0.1, 1), (0.58, 1), (0.74, 0.7), (0.86, 0.3), (0.88, 0.12), (1, 0.1)),
    "bomber": ((0, 0), (0.015, 0.35), (0.05, 0.75), (0.1, 1), (0.72, 1), (0.9, 0.62), (0.98, 0.3), (1, 0.15)),
    "tupolev": ((0, 0), (0.03, 0.25), (0.12, 0.5), (0.28, 0.6), (0.36, 0.95), (0.6, 1), (0.9, 0.85), (1, 0.7)),
    "fighter": ((0, 0), (0.08, 0.25), (0.2, 0.5), (0.35, 0.85), (0.5, 1), (0.8, 0.95), (0.95, 0.66), (1, 0.55)),
    "twin": ((0, 0), (0.1, 0.16), (0.24, 0.32), (0.32, 0.5), (0.36, 0.9), (0.5, 1), (0.85, 1), (0.96, 0.86), (1, 0.7)),
    "flanker": ((0, 0), (0.08, 0.3), (0.18, 0.62), (0.28, 0.82), (0.4, 1), (0.55, 0.9), (0.75, 0.4), (0.8, 0.1)),
    "stealth": ((0, 0), (0.14, 0.28), (0.26, 0.5), (0.34, 0.92), (0.5, 1), (0.86, 0.95), (0.95, 0.6), (0.96, 0.5)),
    "wing": ((0.1, 0), (0.16, 0.3), (0.28, 0.52), (0.55, 0.56), (0.8, 0.38), (0.9, 0)),
    "heli": ((0, 0), (0.02, 0.5), (0.07, 0.9), (0.14, 1), (0.42, 1), (0.5, 0.7), (0.58, 0.32), (0.94, 0.18), (1, 0.14)),
    "box": ((0, 0), (0.02, 0.5), (0.08, 0.85), (0.14, 1), (0.8, 1), (0.92, 0.8), (1, 0.5)),
}
# Cockpit glass: (from, to) as fractions of the length and its half width as a fraction of the body's half width
GLASS = {
    "fighter": (0.17, 0.36, 0.42),
    "twin": (0.16, 0.34, 0.24),
    "flanker": (0.15, 0.3, 0.42),
    "stealth": (0.15, 0.33, 0.2),
    "tupolev": (0.1, 0.16, 0.36),
    "heli": (0.02, 0.13, 0.8),
    "box": (0.015, 0.08, 0.8),
    "wing": (0.15, 0.22, 0.24),
}
DEFAULT_GLASS = (0.018, 0.05, 0.62)


@dataclass(frozen=True)
class Part:
    """kind: colour role (sprite.ROLES).  outline: (N, 2) metres, x forward of the middle, y to the right, positive order.
    heights: (N,) metres above ground, for the shadow.  solid: seen from above and part of the silhouette (else shadow only)."""

    kind: str
    outline: np.ndarray
    heights: np.ndarray
    solid: bool = True


def parts(plane: Aircraft, turn: float = 0.0) -> tuple[Part, ...]:
    """All parts of one aircraft, lowest first.  turn: azimuth of rotor blades in radians."""
    return _parts(plane, turn if plane.rotors else 0.0)


@lru_cache(maxsize=64)
def _parts(plane, turn):
    found: list[Part] = []

    def add(kind, points, height=plane.height, solid=True, mirror=True):
        points = np.asarray(points, dtype=np.float64)
        for side in (1, -1) if mirror else (1,):
            outline = np.stack([plane.length / 2 - points[:, 0], side * points[:, 1]], axis=1)
            heights = np.broadcast_to(np.asarray(height, dtype=np.float64), len(points))
            upright = turned(outline)
            if upright is not outline:
                outline, heights = upright, heights[::-1]
            name = kind if kind not in ("body", "wing") else f"{kind}_{'right' if side > 0 else 'left'}"
            found.append(Part(name, outline, heights, solid))

    if plane.strake:
        closed = [(plane.strake[0][0], 0), *plane.strake, (plane.strake[-1][0], 0)]
        add("wing", closed)
    for engine in plane.engines:
        front = _leading_edge(plane.wing, engine.y) - engine.ahead
        add("engine", _capsule(front, engine.y, engine.length, engine.width), plane.height - 1)
        if engine.prop:
            add("prop", _rectangle(front - 0.1, engine.y - engine.prop / 2, 0.4, engine.prop), plane.height)
    for surface, rise in ((plane.wing, 0.0), (plane.canard, 0.5), (plane.tail, 0.0)):
        if surface:
            t_tail = surface is plane.tail and plane.shape == "cargo" and plane.fins
            add("wing", _surface(surface), plane.height + rise + (plane.fins[0].height if t_tail else 0))
            if surface.span > 12:
                add("flap", _flap(surface), plane.height)
    half = [(t * plane.length, w * plane.width / 2) for t, w in BODIES[plane.shape]]
    add("body", [*half, (half[-1][0], 0)], plane.height)
    for pod in plane.pods:
        add("engine" if pod.y else "body", _capsule(pod.x, pod.y, pod.length, pod.width), mirror=pod.y > 0)
    start, stop, half_width = GLASS.get(plane.shape, DEFAULT_GLASS)
    half_width *= plane.width / 2
    length = (stop - start) * plane.length
    add("glass", _capsule(start * plane.length, 0, length, 2 * half_width), mirror=False)
    for fin in plane.fins:
        _add_fin(add, plane, fin)
    for rotor in plane.rotors:
        for blade in range(rotor.blades):
            angle = turn + 2 * pi * blade / rotor.blades
            add("blade", _blade(rotor, angle), plane.height + 1.5, mirror=rotor.y > 0)
        if rotor.blades == 0:  # the dish of a radar, with its dark stripe
            add("dome", _disc(rotor.x, rotor.y, rotor.diameter / 2), plane.height + 4, mirror=False)
            add("stripe", _turned_bar(rotor, turn, 0.12), plane.height + 4, mirror=False)
    return tuple(found)


def _add_fin(add, plane, fin):
    base = plane.height + 0.3
    tip, top = 0.45 * fin.root, fin.height * cos(radians(fin.cant))
    lean = fin.height * sin(radians(fin.cant))
    thick = 0.12 + 0.012 * plane.length
    back = fin.x + fin.root
    seen = [
        (fin.x, fin.y - thick / 2),
        (fin.x + 0.6 * fin.root, fin.y + lean - thick / 2),
        (back + 0.05 * fin.root, fin.y + lean - thick / 2),
        (back + 0.05 * fin.root, fin.y + lean + thick / 2),
        (back, fin.y + thick / 2),
        (fin.x, fin.y + thick / 2),
    ]
    add("fin", seen, base, mirror=fin.y > 0)
    plate = [(fin.x, fin.y), (back - tip, fin.y + lean), (back, fin.y + lean), (back, fin.y)]
    add("fin", plate, [base, base + top, base + top, base], solid=False, mirror=fin.y > 0)


def _leading_edge(surface: Surface, y):
    return surface.x + y * tan(radians(surface.sweep))


def _surface(s: Surface):
    half = s.span / 2
    nose = _leading_edge(s, half)
    corners = [(s.x, 0), (nose, half * 0.985), (nose + 0.25 * s.tip, half), (nose + s.tip, half)]
    if s.kink:
        corners.append((s.x + s.root, s.kink * half))
    return [*corners, (s.x + s.root, 0)]


def _flap(s: Surface):
    """A strip along the trailing edge between 15 and 80 % of the half span."""
    half = s.span / 2

    def trailing(part):
        tip, root = _leading_edge(s, half) + s.tip, s.x + s.root
        return root if part < s.kink else root + (tip - root) * (part - s.kink) / (1 - s.kink)

    stations = [0.15, max(s.kink, 0.4), 0.8]
    depth = 0.16 * (s.root + s.tip) / 2
    back = [(trailing(p), p * half) for p in stations]
    return [*back, *[(x - depth, y) for x, y in reversed(back)]]


def _capsule(x, y, length, width):
    """A rounded bar along the body: nose blunt, tail narrower."""
    w = width / 2
    right = [(0, 0.55), (0.06, 0.88), (0.18, 1), (0.7, 1), (0.9, 0.8), (1, 0.55)]
    return [(x + t * length, y + a * w) for t, a in right] + [(x + t * length, y - a * w) for t, a in reversed(right)]


def _rectangle(x, y, length, width):
    return [(x, y), (x + length, y), (x + length, y + width), (x, y + width)]


def _disc(x, y, radius, corners=28):
    return [(x + radius * cos(2 * pi * k / corners), y + radius * sin(2 * pi * k / corners)) for k in range(corners)]


def _blade(rotor, angle):
    radius, half = rotor.diameter / 2, 0.3 + 0.004 * rotor.diameter
    a, b = cos(angle), sin(angle)
    ends = [(-0.4, -half), (radius, -half), (radius, half), (-0.4, half)]
    return [(rotor.x + p * a - q * b, rotor.y + p * b + q * a) for p, q in ends]


def _turned_bar(rotor, angle, part):
    radius = rotor.diameter / 2
    a, b = cos(angle), sin(angle)
    ends = [(-0.98, -part), (0.98, -part), (0.98, part), (-0.98, part)]
    return [(rotor.x + radius * (p * a - q * b), rotor.y + radius * (p * b + q * a)) for p, q in ends]
