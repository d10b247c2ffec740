"""One aircraft drawn on sub-pixels: a map of colour roles, its palette, its shadow."""

from dataclasses import dataclass
from math import cos, sin

import numpy as np

from .aircraft import Aircraft
from .ground import between, pick
from .raster import SUB, direction, fill, shrink, turned
from .shapes import parts

ROLES = (
    "",
    "body_left",
    "body_right",
    "wing_left",
    "wing_right",
    "flap",
    "engine",
    "glass",
    "fin",
    "prop",
    "blade",
    "dome",
    "stripe",
)
CAMO = 16  # added to a role where the second colour of a camouflage lies

# livery: body, engines and fins, second colour of the camouflage (None: plain)
LIVERIES = {
    "white": ((226, 228, 228), (190, 194, 198), None),
    "whiteblue": ((224, 228, 230), (70, 92, 138), None),
    "grey": ((178, 183, 187), (150, 155, 160), None),
    "midgrey": ((142, 148, 154), (118, 123, 128), None),
    "dark": ((76, 79, 83), (60, 62, 66), None),
    "bluegrey": ((152, 168, 182), (122, 136, 150), None),
    "bluecamo": ((156, 178, 196), (112, 132, 152), (104, 130, 160)),
    "greycamo": ((152, 157, 160), (122, 127, 131), (112, 118, 123)),
    "olive": ((98, 99, 76), (76, 77, 60), (72, 70, 54)),
}


@dataclass(frozen=True)
class Pose:
    """x, y: middle of the aircraft in pixels; heading: radians on the screen, 0 to the right, clockwise; metres: of a pixel."""

    x: float
    y: float
    heading: float
    metres: float

    def pixels(self, outline):
        """(N, 2) metres (forward, right) -> (N, 2) pixels (x, y)."""
        a, b = (w / self.metres for w in direction(self.heading))
        forward, right = outline[:, 0], outline[:, 1]
        placed = np.empty_like(outline)
        placed[:, 0], placed[:, 1] = self.x + forward * a - right * b, self.y + forward * b + right * a
        return placed


@dataclass(frozen=True)
class Sprite:
    """roles: (h·4, w·4) uint8, 0 where there is nothing; top, left: its corner in pixels (may lie outside the image);
    palette: (32, 3) uint8; shadow: polygons in pixels."""

    roles: np.ndarray
    top: int
    left: int
    palette: np.ndarray
    shadow: list


def silhouette(plane: Aircraft, pose: Pose, turn: float = 0.0):
    """(mask, top, left): the outline on whole pixels, quickly, to find a free place."""
    shapes = [pose.pixels(p.outline) for p in parts(plane, turn) if p.solid]
    top, left, height, width = _window(shapes)
    return fill(shapes, height, width, top, left), top, left


def draw(rng, plane: Aircraft, pose: Pose, livery: str, turn: float, shadow) -> Sprite:
    """Draw an aircraft.  shadow: (dx, dy) in pixels of the shadow of a point one metre above ground."""
    pieces = [(p, pose.pixels(p.outline)) for p in parts(plane, turn)]
    top, left, height, width = _window([shape for part, shape in pieces if part.solid])
    roles = np.zeros((height * SUB, width * SUB), dtype=np.uint8)
    for part, shape in pieces:
        if part.solid:
            window, mask = _piece(shape, top, left)
            roles[window][mask] = ROLES.index(part.kind)
    palette, camouflaged = _palette(rng, livery, pose, shadow)
    if camouflaged:
        blobs = [_blob(rng, plane, pose) for _ in range(9)]
        patch = fill([b * SUB for b in blobs], height * SUB, width * SUB, top * SUB, left * SUB)
        roles[patch & (roles > 0) & (roles < ROLES.index("engine"))] += CAMO
    cast = [turned(shape + part.heights[:, None] * np.array(shadow)) for part, shape in pieces]
    return Sprite(roles, top, left, palette, cast)


def _window(shapes):
    corners = np.concatenate(shapes)
    left, top = np.floor(corners.min(axis=0)).astype(int)
    right, bottom = np.ceil(corners.max(axis=0)).astype(int)
    return int(top), int(left), int(bottom - top), int(right - left)


def _piece(shape, top, left):
    """The mask of one part on the sub-pixels of its sprite, in a window as small as the part."""
    shape = shape * SUB
    y, x, height, width = _window([shape])
    y0, x0 = y - top * SUB, x - left * SUB
    return (slice(y0, y0 + height), slice(x0, x0 + width)), fill([shape], height, width, y, x)


def _blob(rng, plane, pose):
    """A wobbly ellipse somewhere on the aircraft."""
    reach = 0.5 * max(plane.length, plane.span)
    x, y = between(rng, -1, 1) * reach, between(rng, -1, 1) * reach
    angles = np.arange(10) * (2 * np.pi / 10)
    radius = reach * (0.12 + 0.16 * rng.random(10))
    return pose.pixels(np.stack([x + radius * np.cos(angles), y + 0.7 * radius * np.sin(angles)], axis=1))


def _palette(rng, livery, pose, shadow):
    body, trim = (np.array(c, dtype=np.int32) for c in LIVERIES[livery][:2])
    camo = LIVERIES[livery][2]
    wear = int(rng.integers(-12, 13)) + rng.integers(-3, 4, 3).astype(np.int32)
    # sideways across the aircraft: is the sun, opposite to the shadow, to the right?
    sun_right = (shadow[0] * sin(pose.heading) - shadow[1] * cos(pose.heading)) > 0
    light = 1 if sun_right else -1
    dome = pick(rng, ((70, 72, 76), (206, 208, 208), (120, 124, 128)))
    colours = {
        "body_left": body + 6 - light * 18,
        "body_right": body + 6 + light * 18,
        "wing_left": body - 4 - light * 6,
        "wing_right": body - 4 + light * 6,
        "flap": body - 22,
        "engine": trim,
        "glass": np.array((44, 50, 58)),
        "fin": trim + 26,
        "prop": np.array((52, 52, 54)),
        "blade": np.array((58, 58, 58)),
        "dome": np.array(dome),
        "stripe": np.array((214, 214, 210)) if dome[0] < 150 else np.array((60, 62, 66)),
    }
    palette = np.zeros((2 * CAMO, 3), dtype=np.int32)
    for index, role in enumerate(ROLES[1:], start=1):
        palette[index] = colours[role] + wear
        if camo is not None:
            palette[index + CAMO] = np.array(camo) + wear + (colours[role] - body) // 2
    palette[1:] = np.clip(palette[1:], 8, 248)
    return palette.astype(np.uint8), camo is not None


def paint(canvas, sprite: Sprite):
    """Paint the sprite on canvas (size, size, 3) int32, edges smooth, cut at the border."""
    size = canvas.shape[0]
    height, width = sprite.roles.shape[0] // SUB, sprite.roles.shape[1] // SUB
    colour = sprite.palette[sprite.roles]
    colour[sprite.roles == 0] = 0
    blocks, cover = shrink(colour), shrink((sprite.roles > 0).view(np.uint8))
    y0, x0 = max(sprite.top, 0), max(sprite.left, 0)
    y1, x1 = min(sprite.top + height, size), min(sprite.left + width, size)
    inner = (slice(y0 - sprite.top, y1 - sprite.top), slice(x0 - sprite.left, x1 - sprite.left))
    full = SUB * SUB
    target = canvas[y0:y1, x0:x1]
    target[:] = (target * (full - cover[inner][..., None]) + blocks[inner] + full // 2) // full
