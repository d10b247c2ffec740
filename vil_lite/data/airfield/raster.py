"""Drawing in whole numbers: polygons, noise, blur.

Only integers are added and compared here, so a picture has the same pixels on every machine: no float rounding, no
thread count, no version of a drawing library can change it.
"""

import numpy as np

SUB = 4  # sub-pixels along each side of a pixel: masks are drawn on them, colours are averaged over the 16
UNIT = 16  # fixed-point steps of a polygon's corner in a sub-pixel


def fill(polygons, height, width, top=0, left=0):
    """Mask (height, width) of the union of polygons, all turning the same way (nonzero winding rule).

    polygons: list of (N, 2) arrays of (x, y) in mask pixels; top, left: the corner of the mask on their plane.
    A pixel belongs to the mask when its centre lies inside.
    """
    corners = [np.rint((np.asarray(p, dtype=np.float64) - (left, top)) * UNIT).astype(np.int64) for p in polygons]
    start = np.concatenate(corners)
    end = np.concatenate([np.roll(c, -1, axis=0) for c in corners])
    sign = np.where(start[:, 1] < end[:, 1], 1, -1)
    upper = np.where(sign[:, None] > 0, start, end)
    lower = np.where(sign[:, None] > 0, end, start)
    half = UNIT // 2
    first = np.clip(
        -((half - upper[:, 1]) // UNIT), 0, height
    )  # first row whose centre is at or below the upper corner
    last = np.clip(-((half - lower[:, 1]) // UNIT), 0, height)
    rows = np.maximum(last - first, 0)
    edge = np.repeat(np.arange(len(rows)), rows)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(rows) - rows, rows) + first[edge]
    run, rise = (lower - upper)[edge].T
    x = upper[edge, 0] + (row * UNIT + half - upper[edge, 1]) * run // rise
    column = np.clip(-((half - x) // UNIT), 0, width)
    winding = np.zeros((height, width + 1), dtype=np.int16)
    np.add.at(winding, (row, column), sign[edge].astype(np.int16))
    return np.cumsum(winding[:, :width], axis=1, dtype=np.int16) != 0


def turned(polygon):
    """The polygon with its corners in positive order, so that `fill` may unite it with others."""
    x, y = polygon[:, 0], polygon[:, 1]
    area = np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))
    return polygon if area >= 0 else polygon[::-1]


def shrink(image, factor=SUB):
    """Sums over factor × factor blocks: (H·f, W·f, …) -> (H, W, …), int32."""
    height, width = image.shape[0] // factor, image.shape[1] // factor
    rows = image.reshape(height, factor, width * factor, *image.shape[2:]).sum(axis=1, dtype=np.int32)
    return rows.reshape(height, width, factor, *image.shape[2:]).sum(axis=2, dtype=np.int32)


def noise(rng, size, cells):
    """Smooth noise (size, size) int32 in 0..255: random lattices of the given cell sizes (pixels), coarse ones louder."""
    total, weight = np.zeros((size, size), dtype=np.int32), 0
    for cell in cells:
        points = size // cell + 2
        lattice = rng.integers(0, 256, (points, points)).astype(np.int32)
        where = np.arange(size)
        near, far = where // cell, where % cell
        rows = lattice[near] * (cell - far)[:, None] + lattice[near + 1] * far[:, None]
        layer = rows[:, near] * (cell - far) + rows[:, near + 1] * far
        loud = max(1, cell.bit_length())
        total += layer // (cell * cell) * loud
        weight += loud
    return np.clip((total // weight - 128) * 2 + 128, 0, 255)


def blend(canvas, colour, cover, full=16):
    """Paint on canvas (H, W, 3) int32, in place: colour (3,) or (H, W, 3) with cover (H, W) in 0..full."""
    cover = np.asarray(cover, dtype=np.int32)[..., None]
    canvas += ((np.asarray(colour, dtype=np.int32) - canvas) * cover + full // 2) // full


def blur(image):
    """One pass of the binomial filter (1, 2, 1)/4 along both sides of (H, W, 3) int32."""
    for axis in (0, 1):
        pad = [(1, 1) if a == axis else (0, 0) for a in range(3)]
        wide = np.pad(image, pad, mode="edge")
        cut = [slice(None)] * 3
        parts = []
        for shift in range(3):
            cut[axis] = slice(shift, shift + image.shape[axis])
            parts.append(wide[tuple(cut)])
        image = (parts[0] + 2 * parts[1] + parts[2] + 2) >> 2
    return image


def outline(mask):
    """The longest outer edge of a mask as (N, 2) corner points (x, y) in mask pixels, clockwise on the screen.

    Follows the cracks between pixels with the mask on the right hand; straight runs are merged.
    """
    wide = np.pad(mask, 1)
    # directed edges: along the top of a pixel to the right, its right side down, its bottom to the left, its left side up
    steps = ((0, 1), (1, 0), (0, -1), (-1, 0))
    starts = ((0, 0), (0, 1), (1, 1), (1, 0))
    edges = {}
    for turn, ((dy, dx), (sy, sx)) in enumerate(zip(steps, starts, strict=True)):
        outside = np.roll(wide, {0: 1, 1: -1, 2: -1, 3: 1}[turn], axis=turn % 2)
        for y, x in zip(*np.nonzero(wide & ~outside), strict=True):
            edges.setdefault((int(y) + sy, int(x) + sx), {})[turn] = (int(y) + sy + dy, int(x) + sx + dx)
    best, best_area = [], 0
    while edges:
        point, path, area = next(iter(edges)), [], 0
        turn = next(iter(edges[point]))
        while point in edges:
            choices = edges[point]
            # where two pixels touch by a corner, turn right: the two stay apart
            turn = next(t for t in ((turn + 1) % 4, turn, (turn + 3) % 4, (turn + 2) % 4) if t in choices)
            target = choices.pop(turn)
            if not choices:
                del edges[point]
            if not path or path[-1][1] != turn:
                path.append((point, turn))
            area += point[1] * target[0] - point[0] * target[1]
            point = target
        if area > best_area:
            best, best_area = [(x - 1, y - 1) for (y, x), _ in path], area
    return np.array(best, dtype=np.float64).reshape(-1, 2)


def simplify(points, tolerance):
    """Fewer corners: drop those closer than tolerance to the line between the kept ones (Douglas and Peucker, 1973)."""

    def keep(first, last):
        if last - first < 2:
            return []
        base, (dx, dy) = points[first], points[last] - points[first]
        offset = points[first + 1 : last] - base
        length = max((dx * dx + dy * dy) ** 0.5, 1e-9)
        gap = np.abs(offset[:, 0] * dy - offset[:, 1] * dx) / length if dx or dy else np.hypot(*offset.T)
        worst = int(np.argmax(gap))
        if gap[worst] <= tolerance:
            return []
        middle = first + 1 + worst
        return [*keep(first, middle), middle, *keep(middle, last)]

    far = int(np.argmax(np.hypot(*(points - points[0]).T)))
    points = np.concatenate([points, points[:1]])
    return points[[0, *keep(0, far), far, *keep(far, len(points) - 1)]]
