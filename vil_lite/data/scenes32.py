"""Scenes of 32 x 32 pixels: a ring and a square, in ten positions relative to each other.

Classes 0 to 7: the ring lies to the east, north-east, north, ... of the square.  8: the ring is inside the square.
9: the square is inside the ring.  Both shapes have random sizes and brightness, and the pair stands anywhere.  Which
shapes there are says little, and where they are says little: a model has to find both and compare their places.
"""

import math

import torch

from vil_lite._names import did_you_mean
from vil_lite.data.digits import Examples

SIZE = 32
CLASSES = (
    "ring east of square",
    "ring north-east of square",
    "ring north of square",
    "ring north-west of square",
    "ring west of square",
    "ring south-west of square",
    "ring south of square",
    "ring south-east of square",
    "ring in square",
    "square in ring",
)
PLACES = ("anywhere", "centre", "border")


def draw(count: int, seed: int = 0, place: str = "anywhere", noise: float = 0.05) -> Examples:
    """Draw `count` scenes: images (count, 1, 32, 32) float32 in [0, 1], labels (count,) int64, classes in turn.

    place: where the middle of the pair stands: "anywhere" it fits, within 1 pixel of the "centre" of the image, or
    at the "border", as far out as it fits on one side.     noise: standard deviation of the grey levels.
    The same arguments give the same scenes.  Raises ValueError for a count below 1, an unknown place, negative noise.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count!r}")
    if place not in PLACES:
        raise ValueError(f"place must be one of {', '.join(PLACES)}, got {place!r}{did_you_mean(place, PLACES)}")
    if noise < 0:
        raise ValueError(f"noise must not be negative, got {noise!r}")
    generator = torch.Generator().manual_seed(seed)

    def uniform(low, high, *shape):
        return low + (high - low) * torch.rand(count, *shape, generator=generator)

    labels = torch.arange(count) % len(CLASSES)
    angle = (labels * 45 + uniform(-12, 12)) * math.pi / 180
    apart = uniform(8.5, 10.5)
    step = torch.stack([apart * angle.cos(), -apart * angle.sin()], dim=1)  # from square to ring; y points down
    step = torch.where(labels[:, None] >= 8, uniform(-0.7, 0.7, 2), step)
    ring, square = uniform(2.5, 3.5), uniform(2.5, 3.5)  # radius, half a side
    square = torch.where(labels == 8, uniform(6, 7.5), square)
    ring = torch.where(labels == 9, uniform(7, 8), ring)

    reach = step.abs() / 2 + torch.maximum(ring, square)[:, None] + 1
    middle = SIZE / 2 + _offset(uniform, place) * (1 if place == "centre" else SIZE / 2 - reach)
    images = torch.maximum(
        _outline((_grid() - (middle + step / 2)[:, :, None, None]).norm(dim=1), ring) * uniform(0.6, 1, 1, 1),
        _outline((_grid() - (middle - step / 2)[:, :, None, None]).abs().amax(dim=1), square) * uniform(0.6, 1, 1, 1),
    )
    images = (images + noise * torch.randn(images.shape, generator=generator)).clamp(0, 1)
    return Examples(images[:, None], labels)


def _offset(uniform, place):
    """Where the pair stands in the room that it has: (count, 2) in [-1, 1]."""
    offset = uniform(-1, 1, 2)
    if place == "border":
        axis, side = (uniform(0, 1, 2) < 0.5).unbind(1)
        side = torch.where(side, 1.0, -1.0)
        offset = torch.stack([torch.where(axis, side, offset[:, 0]), torch.where(axis, offset[:, 1], side)], dim=1)
    return offset


def _grid():
    """Coordinates (x, y) of the pixels' centres: (2, 32, 32)."""
    at = torch.arange(SIZE) + 0.5
    return torch.stack(torch.meshgrid(at, at, indexing="xy"))


def _outline(distance, size):
    """A line about one and a half pixels wide where distance (count, 32, 32) equals size (count,)."""
    return (1.25 - (distance - size[:, None, None]).abs()).clamp(0, 1)
