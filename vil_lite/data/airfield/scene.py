"""One scene: ground, clutter, aircraft, light, camera; and the exact boxes, oriented boxes and masks of what is seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import cos, pi, radians, sin, tan

import numpy as np

from . import clutter, ground, sprite
from .aircraft import CLASSES
from .ground import between
from .placement import place
from .raster import SUB, blend, blur, direction, outline, simplify

SPLITS = ("train", "val")
# What can cover a pixel, in the order of `Scene.surfaces`.
SURFACES = ("ground", "runway", "pavement", "building", "vehicle", "tree", "aircraft")
METRES = (0.8, 1.6)  # of a pixel, drawn anew for each scene, unless told otherwise
ONES = np.array([bin(byte).count("1") for byte in range(256)], dtype=np.int32)  # binary ones of each byte


@dataclass(frozen=True)
class Scene:
    """What `scene` returns; N aircraft on S × S pixels.

    image: (S, S, 3) uint8 RGB.  labels: (N,) int64, positions in `names`.  boxes: (N, 4) float64, x0 y0 x1 y1 in pixels,
    tight around what is seen of the aircraft (shadow excluded) to a quarter of a pixel.  obb: (N, 4, 2) corners of the box
    turned with the aircraft, nose left, nose right, tail right, tail left; they may lie outside the image.  visible: (N,)
    share of each silhouette that is seen.  headings: (N,) radians, 0 to the right, clockwise.  metres: of one pixel.
    owners: (4S, 4S) uint8, k + 1 where aircraft k is seen, 0 elsewhere.  surfaces: (S, S) uint8, positions in SURFACES: what
    covers most of each pixel, seen from above (a shadow belongs to what it falls on).
    """

    image: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray
    obb: np.ndarray
    visible: np.ndarray
    headings: np.ndarray
    metres: float
    names: tuple
    owners: np.ndarray
    surfaces: np.ndarray

    @property
    def masks(self) -> np.ndarray:
        """(N, S, S) bool: pixels of which the aircraft covers at least half."""
        size = self.image.shape[0]
        blocks = self.owners.reshape(size, SUB, size, SUB)
        count = [(blocks == k + 1).sum(axis=(1, 3)) for k in range(len(self.labels))]
        return np.array(count).reshape(-1, size, size) >= SUB * SUB // 2

    @cached_property
    def polygons(self) -> list:
        """One (M, 2) outline in pixels for each aircraft: its largest visible piece, simplified to a quarter of a pixel."""
        found = []
        for k, (x0, y0, x1, y1) in enumerate((self.boxes * SUB).round().astype(int)):
            corners = outline(self.owners[y0:y1, x0:x1] == k + 1) + (x0, y0)
            found.append(simplify(corners) / SUB)
        return found


def scene(
    seed: int = 0,
    index: int = 0,
    image_size: int = 320,
    classes: Sequence[str] | None = None,
    balance: str = "uniform",
    split: str = "train",
    metres_per_pixel: float | tuple[float, float] = METRES,
) -> Scene:
    """Draw scene number `index`; the same arguments give the same pixels on every machine.

    seed, index: whole numbers from 0.  image_size: pixels of a side, a multiple of 32.  classes: names from CLASSES (None:
    all 27).  balance: "uniform" or "reported" (how often each class occurs in the reported validation set).
    split: "train" or "val".  metres_per_pixel: the scale, one number for all scenes, or (low, high) to draw each scene's from.
    A larger image at the same scale shows more land, not larger aircraft: at the default, half of all aircraft are smaller
    than 23 pixels; at (0.4, 0.7) half are larger than 50.  Raises ValueError, naming the argument and the remedy.
    """
    names = check(seed=seed, index=index, image_size=image_size, classes=classes, balance=balance, split=split)
    rng = np.random.Generator(np.random.PCG64([seed, SPLITS.index(split), index]))
    metres = between(rng, *scale(metres_per_pixel))
    frame = ground.Frame.make(image_size, metres, between(rng, 0, 2 * pi))
    land = ground.draw(rng, frame)
    azimuth, elevation = between(rng, 0, 2 * pi), radians(between(rng, 26, 62))
    shadow = (cos(azimuth) / tan(elevation) / metres, sin(azimuth) / tan(elevation) / metres)

    blocks = clutter.buildings(rng, land)
    plan = place(rng, land, blocks, names, balance, seed, SPLITS.index(split), index)
    blocks += clutter.small_things(rng, land, plan.taken)
    sprites = [sprite.draw(rng, p.plane, p.pose, p.livery, p.turn, shadow) for p in plan.placed]

    canvas = land.canvas
    shade = np.zeros((image_size, image_size), dtype=np.int32)
    for shapes in [b.shadow(shadow) for b in blocks] + [s.shadow for s in sprites]:
        window, mask = ground.soft_mask(shapes, image_size)
        if mask is not None:
            np.maximum(shade[window], mask, out=shade[window])
    blend(canvas, (22, 26, 38), shade * int(rng.integers(9, 13)) // 16)
    for block in blocks:
        block.paint(canvas)
    for s in sprites:
        sprite.paint(canvas, s)
    image = _camera(rng, canvas)
    return _labelled(image, plan.placed, sprites, metres, names, _surfaces(land, blocks))


def check(*, seed, index=0, image_size, classes, balance, split="train"):
    """Return the tuple of class names, or raise ValueError naming the argument and the remedy."""
    for name, value in (("seed", seed), ("index", index)):
        if not _whole(value) or value < 0:
            raise ValueError(f"{name} must be a whole number from 0, got {value!r}")
    if not _whole(image_size) or image_size < 64 or image_size % 32:
        raise ValueError(
            "image_size must be a multiple of 32, at least 64 (the coarsest feature map of YOLOv8 has stride 32), "
            f"got {image_size!r}: try 320"
        )
    if isinstance(classes, str):
        raise ValueError(f"classes must be a list of names, got the string {classes!r}: write [{classes!r}]")
    names = CLASSES if classes is None else tuple(classes)
    unknown = [n for n in names if n not in CLASSES]
    if unknown or not names or len(set(names)) < len(names):
        fault = (
            f"does not know {unknown}"
            if unknown
            else "is empty"
            if not names
            else f"names a class twice: {list(names)}"
        )
        raise ValueError(f"classes {fault}: choose different names from {', '.join(CLASSES)}, or None for all")
    if balance not in ("uniform", "reported"):
        raise ValueError(f"balance must be 'uniform' or 'reported', got {balance!r}")
    if split not in SPLITS:
        raise ValueError(f"split must be one of {SPLITS}, got {split!r}")
    return names


def scale(metres_per_pixel):
    """(low, high) of one number or of such a pair, or ValueError."""
    one = isinstance(metres_per_pixel, (int, float)) and not isinstance(metres_per_pixel, bool)
    pair = (
        (metres_per_pixel,) * 2
        if one
        else tuple(metres_per_pixel)
        if isinstance(metres_per_pixel, (tuple, list))
        else ()
    )
    if len(pair) != 2 or not 0.1 <= pair[0] <= pair[1] <= 10:
        raise ValueError(
            "metres_per_pixel must be a number from 0.1 to 10, or two of them, the smaller first, "
            f"got {metres_per_pixel!r}: try (0.4, 0.7), where most aircraft are 30 to 80 pixels long"
        )
    return pair


def _whole(value):
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _camera(rng, canvas):
    """Haze, light, blur and sensor noise: (S, S, 3) int32 -> uint8."""
    haze = int(rng.integers(0, 16)) + (int(rng.integers(0, 40)) if rng.random() < 0.2 else 0)  # per cent
    canvas = (canvas * (100 - haze) + np.array((176, 186, 196)) * haze) // 100
    gain = (rng.integers(230, 283) + rng.integers(-10, 11, 3)).astype(np.int32)  # 256: as it is
    canvas = ((canvas - 128) * gain >> 8) + 128 + int(rng.integers(-14, 15))
    for _ in range(int(rng.integers(0, 3))):
        canvas = blur(canvas)
    # the sum of eight random bits is nearly Gaussian, with standard deviation √2
    bell = ONES[np.frombuffer(rng.bytes(canvas.size), dtype=np.uint8)].reshape(canvas.shape) - 4
    return np.clip(canvas + (bell * int(rng.integers(12, 64)) >> 4), 0, 255).astype(np.uint8)


def _surfaces(land, blocks):
    """(S, S) uint8, positions in SURFACES, of a scene without its aircraft."""
    half = ground.FINE // 2
    found = np.where(land.paved >= half, SURFACES.index("pavement"), SURFACES.index("ground")).astype(np.uint8)
    found[land.runway >= half] = SURFACES.index("runway")
    for block in blocks:
        window, mask = ground.soft_mask([polygon for polygon, _ in block.faces], len(found))
        if mask is not None:
            found[window][mask >= half] = SURFACES.index(block.kind)
    return found


def _labelled(image, placed, sprites, metres, names, surfaces):
    size = image.shape[0]
    owners = np.zeros((size * SUB, size * SUB), dtype=np.uint8)
    whole = []
    for k, s in enumerate(sprites):
        y, x = s.top * SUB, s.left * SUB
        mask = s.roles > 0
        whole.append(np.count_nonzero(mask))
        inner = mask[max(-y, 0) : max(size * SUB - y, 0), max(-x, 0) : max(size * SUB - x, 0)]
        y, x = max(y, 0), max(x, 0)
        owners[y : y + inner.shape[0], x : x + inner.shape[1]][inner] = k + 1

    boxes, corners, visible = np.zeros((len(placed), 4)), np.zeros((len(placed), 4, 2)), np.zeros(len(placed))
    for k, (p, s) in enumerate(zip(placed, sprites, strict=True)):
        y0, x0 = max(s.top, 0) * SUB, max(s.left, 0) * SUB
        y1, x1 = (min(s.top + s.roles.shape[0] // SUB, size)) * SUB, (min(s.left + s.roles.shape[1] // SUB, size)) * SUB
        y, x = np.nonzero(owners[y0:y1, x0:x1] == k + 1)
        y, x = y + y0, x + x0
        visible[k] = len(y) / whole[k]
        boxes[k] = np.array((x.min(), y.min(), x.max() + 1, y.max() + 1)) / SUB
        corners[k] = _turned_box((x + 0.5) / SUB, (y + 0.5) / SUB, p.pose.heading)
    labels = np.array([names.index(p.name) for p in placed], dtype=np.int64)
    headings = np.array([p.pose.heading for p in placed])
    seen = (owners > 0).reshape(size, SUB, size, SUB).sum(axis=(1, 3)) >= SUB * SUB // 2
    surfaces = np.where(seen, SURFACES.index("aircraft"), surfaces).astype(np.uint8)
    return Scene(image, labels, boxes, corners, visible, headings, metres, names, owners, surfaces)


def _turned_box(x, y, heading):
    a, b = direction(heading)
    forward, right = x * a + y * b, y * a - x * b
    edge = (abs(a) + abs(b)) / (2 * SUB)  # from the centre of a sub-pixel to its farthest point
    f0, f1, r0, r1 = forward.min() - edge, forward.max() + edge, right.min() - edge, right.max() + edge
    return np.array([(f * a - r * b, f * b + r * a) for f, r in ((f1, r0), (f1, r1), (f0, r1), (f0, r0))])
