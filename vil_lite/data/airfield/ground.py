"""The ground of a scene: grass or sand, a runway, a taxiway, aprons and hardstands, with their joints, stains and markings.

Every scene is a look at the same kind of airport, cut across: runway, grass, taxiway, apron, buildings lie in parallel
strips.  Only the widths, the surfaces, the angle and the place of the camera change.
"""

from dataclasses import dataclass
from math import ceil, cos, floor, sin

import numpy as np

from .raster import SUB, blend, direction, fill, noise, shrink

FINE = 16  # units of Frame.u and Frame.v in a pixel; also the full value of a cover


@dataclass(frozen=True)
class Frame:
    """Where the camera looks.  size: pixels of a side; metres: of one pixel; angle: of the runway on the screen, radians.
    u (along the runway) and v (across) are (size, size) int32 in 1/16 pixel, measured from the middle of the image."""

    size: int
    metres: float
    angle: float
    u: np.ndarray
    v: np.ndarray

    @classmethod
    def make(cls, size, metres, angle):
        along, across = round(cos(angle) * 4096), round(sin(angle) * 4096)
        middle = np.arange(size, dtype=np.int32) * 2 + 1 - size  # half pixels from the middle to each centre
        x, y = middle[None, :], middle[:, None]
        return cls(size, metres, angle, (x * along + y * across) >> 9, (y * along - x * across) >> 9)

    def units(self, metres):
        return round(metres / self.metres * FINE)

    def pixel(self, u, v):
        """(u, v) in metres -> (x, y) in pixels; numbers or arrays."""
        a, b = direction(self.angle)
        return self.size / 2 + (u * a - v * b) / self.metres, self.size / 2 + (u * b + v * a) / self.metres

    @property
    def reach(self):
        """Half the diagonal in metres: nothing farther from the middle is in sight."""
        return 0.71 * self.size * self.metres


@dataclass(frozen=True)
class Area:
    """A paved rectangle in metres where aircraft may stand: in rows, or on its centre line when it is narrow."""

    u0: float
    u1: float
    v0: float
    v1: float

    @property
    def narrow(self):
        return self.v1 - self.v0 < 70


@dataclass
class Ground:
    """canvas: (size, size, 3) int32 colours.  paved, runway: (size, size) int32 cover 0..16.  far: v in metres where buildings
    stand."""

    frame: Frame
    canvas: np.ndarray
    paved: np.ndarray
    runway: np.ndarray
    areas: list
    far: float


# colours of the land between the strips: (dark, bright), how often
LANDS = (
    ((58, 76, 42), (104, 118, 66)),  # green
    ((58, 76, 42), (122, 128, 78)),
    ((98, 94, 58), (150, 142, 94)),  # dry grass
    ((150, 130, 96), (196, 178, 140)),  # desert
    ((112, 100, 74), (170, 156, 118)),
)
CONCRETES = ((168, 166, 158), (150, 150, 146), (186, 182, 170), (132, 134, 134))
ASPHALTS = ((84, 86, 90), (100, 101, 103), (116, 115, 113))
YELLOW, WHITE = (206, 170, 62), (226, 226, 222)


def cover(frame, u0, u1, v0, v1):
    """Cover 0..16 of every pixel by a rectangle given in metres."""
    u0, u1, v0, v1 = (frame.units(w) for w in (u0, u1, v0, v1))
    inner = np.minimum(np.minimum(frame.u - u0, u1 - frame.u), np.minimum(frame.v - v0, v1 - frame.v))
    return np.clip(inner + FINE // 2, 0, min(max(min(u1 - u0, v1 - v0), 0), FINE))


def between(rng, low, high):
    return low + (high - low) * rng.random()


def pick(rng, items):
    return items[int(rng.integers(len(items)))]


def draw(rng, frame) -> Ground:
    """Draw the ground of one scene."""
    size, far = frame.size, 2 * frame.reach
    coarse = noise(rng, size, (96, 48, 24, 12))
    grain = noise(rng, size, (6, 3, 2, 1))
    dark, bright = (np.array(c, dtype=np.int32) for c in pick(rng, LANDS))
    mix = (coarse * 5 + grain * 3) // 8
    canvas = dark + (bright - dark) * mix[..., None] // 255
    if rng.random() < 0.5:  # mown in strips along the runway
        strip = (frame.v // frame.units(between(rng, 8, 16))) % 2
        canvas = canvas + strip[..., None] * np.array((7, 8, 5))
    canvas = canvas.astype(np.int32)

    slab = _concrete(rng, frame, coarse, grain)
    tar = _asphalt(rng, frame, coarse, grain)
    runway, taxi = between(rng, 42, 62), between(rng, 22, 32)
    gap, verge, depth = between(rng, 50, 110), between(rng, 0, 50), between(rng, 110, 260)
    edges = np.cumsum([0, runway, gap, taxi, verge, depth])
    camera = edges[4] + depth * between(rng, 0.0, 0.8) if rng.random() < 0.8 else between(rng, edges[0], edges[4])
    start, runway_end, taxi_start, taxi_end, apron_start, apron_end = edges - camera
    paved = np.zeros((size, size), dtype=np.int32)
    areas = []

    def pave(texture, area, stand=True):
        shape = cover(frame, area.u0, area.u1, area.v0, area.v1)
        blend(canvas, texture, shape)
        np.maximum(paved, shape, out=paved)
        if stand and np.count_nonzero(shape) > 400:
            areas.append(area)

    pave(pick(rng, (slab, tar, tar)), Area(-far, far, start, runway_end))
    runway_alone = paved.copy()
    taxi_texture = pick(rng, (slab, tar))
    pave(taxi_texture, Area(-far, far, taxi_start, taxi_end))
    spacing, first = between(rng, 130, 260), between(rng, -130, 130)
    for u in (first - spacing, first, first + spacing):
        pave(taxi_texture, Area(u, u + 24, start, apron_start + 2), stand=False)
    apron_texture = pick(rng, (slab, slab, slab, tar))
    if rng.random() < 0.78:
        left = -far if rng.random() < 0.6 else between(rng, -0.6, -0.1) * frame.reach
        pave(apron_texture, Area(left, far, apron_start, apron_end))
    else:  # hardstands off the taxiway, one or two aircraft each
        width, depth = between(rng, 62, 90), between(rng, 72, 95)
        for k in range(-5, 6):
            u = k * (width + 22) + first
            pave(apron_texture, Area(u, u + width, apron_start, apron_start + depth))
            pave(taxi_texture, Area(u + width / 2 - 9, u + width / 2 + 9, taxi_start, apron_start + 2), stand=False)
    _mark_runway(rng, frame, canvas, start, runway_end)
    for v in ((taxi_start + taxi_end) / 2, apron_start + between(rng, 15, 30)):
        line = np.minimum(cover(frame, -far, far, v - 0.35, v + 0.35), paved)
        blend(canvas, YELLOW, line * 3 // 4)
    if rng.random() < 0.6:
        _mark_stands(rng, frame, canvas, apron_start, apron_end, paved)
    _stain(rng, frame, canvas, paved)
    return Ground(frame, canvas, paved, runway_alone, areas or [Area(-far, far, -60.0, 60.0)], float(apron_end))


def _concrete(rng, frame, coarse, grain):
    side = frame.units(between(rng, 5.5, 9))
    tints = rng.integers(-7, 8, (64, 64)).astype(np.int32)
    tone = (
        tints[(frame.u // side) % 64, (frame.v // side) % 64] + (coarse - 128) * 22 // 256 + (grain - 128) * 14 // 256
    )
    for w in (frame.u, frame.v):
        near = np.minimum(w % side, side - w % side)
        tone -= np.clip(FINE * 3 // 4 - near, 0, FINE) * int(rng.integers(5, 15)) // 10
    return np.array(pick(rng, CONCRETES), dtype=np.int32) + tone[..., None]


def _asphalt(rng, frame, coarse, grain):
    lanes = rng.integers(-6, 7, 256).astype(np.int32)
    tone = lanes[(frame.v // frame.units(4.0)) % 256] + (coarse - 128) * 18 // 256 + (grain - 128) * 16 // 256
    return np.array(pick(rng, ASPHALTS), dtype=np.int32) + tone[..., None]


def _mark_runway(rng, frame, canvas, v0, v1):
    far, middle = 2 * frame.reach, (v0 + v1) / 2
    rubber = cover(frame, -far, far, middle - 9, middle + 9)
    blend(canvas, (40, 40, 42), rubber * int(rng.integers(0, 5)) // 16)
    for v in (v0 + 2, v1 - 3):
        blend(canvas, WHITE, cover(frame, -far, far, v, v + 0.9))
    dash = frame.units(50)
    shape = cover(frame, -far, far, middle - 0.5, middle + 0.5)
    blend(canvas, WHITE, np.where(frame.u % dash < dash * 3 // 5, shape, 0))
    if rng.random() < 0.5:  # the threshold: a comb of bars
        u, period = between(rng, -0.5, 0.5) * frame.reach, frame.units(3.6)
        comb = cover(frame, u, u + 30, v0 + 4, v1 - 4)
        blend(canvas, WHITE, np.where((frame.v - frame.units(middle)) % period < period // 2, comb, 0))


def _mark_stands(rng, frame, canvas, v0, v1, paved):
    """Lead-in lines across the apron, and now and then a painted cross: closed, and not an aircraft."""
    step, lean = frame.units(between(rng, 22, 60)), pick(rng, (0, 0, 1, -1))
    w = (frame.u + lean * frame.v) % step
    line = np.clip(FINE // 2 + 2 - np.minimum(w, step - w), 0, FINE)
    far = 2 * frame.reach
    inside = np.minimum(cover(frame, -far, far, v0 + 25, v1 - 8), paved)
    blend(canvas, YELLOW, line * inside // FINE // 2)
    if rng.random() < 0.4:
        u, v = between(rng, -0.6, 0.6) * frame.reach, between(rng, v0 + 10, v1 - 10)
        arm, colour = between(rng, 6, 18), pick(rng, (WHITE, YELLOW))
        bars = [
            np.array([(-arm, -1.2), (arm, -1.2), (arm, 1.2), (-arm, 1.2)]),
            np.array([(-1.2, arm), (-1.2, -arm), (1.2, -arm), (1.2, arm)]),
        ]
        paint(canvas, [np.stack(frame.pixel(u + b[:, 0], v + b[:, 1]), axis=1) for b in bars], colour, strength=12)


def _stain(rng, frame, canvas, paved):
    """Oil and tyre marks: soft dark ellipses on the pavement."""
    for _ in range(int(rng.integers(4, 18))):
        u, v = between(rng, -1, 1) * frame.units(frame.reach), between(rng, -1, 1) * frame.units(frame.reach)
        width, height = frame.units(between(rng, 2, 26)), frame.units(between(rng, 1, 5))
        x, y = (frame.u - round(u)) * 64 // width, (frame.v - round(v)) * 64 // height
        soft = np.clip(4096 - np.clip(x, -99, 99) ** 2 - np.clip(y, -99, 99) ** 2, 0, 4096)
        blend(canvas, (52, 50, 48), soft * paved // FINE * int(rng.integers(1, 6)) // 4096)


def paint(canvas, polygons, colour, strength=16):
    """Paint a union of polygons (pixels, positive order) with smooth edges."""
    window, shape = soft_mask(polygons, canvas.shape[0])
    if shape is not None:
        blend(canvas[window], colour, shape * strength // 16)


def soft_mask(polygons, size):
    """(window, cover 0..16) of a union of polygons, cut to the image; (None, None) when it lies outside."""
    corners = np.concatenate(polygons)
    left, top = (min(max(floor(w), 0), size) for w in corners.min(axis=0))
    right, bottom = (min(max(ceil(w), 0), size) for w in corners.max(axis=0))
    if left >= right or top >= bottom:
        return None, None
    mask = fill([p * SUB for p in polygons], (bottom - top) * SUB, (right - left) * SUB, top * SUB, left * SUB)
    return (slice(top, bottom), slice(left, right)), shrink(mask.view(np.uint8))
