"""Drawing in whole numbers: polygons, noise, blur.

Only integers are added and compared here, so a picture has the same pixels on every machine: no float rounding, no
thread count, no version of a drawing library can change it.
"""

from math import cos, sin

import numpy as np

SUB = 4  # sub-pixels along each side of a pixel: masks are drawn on them, colours are averaged over the 16
UNIT = 16  # fixed-point steps of a polygon's corner in a sub-pixel


def direction(angle):
    """(cos, sin) of an angle in radians to 40 binary digits: mathematical libraries agree on these, not on all 53."""
    return round(cos(angle) * 2**40) / 2**40, round(sin(angle) * 2**40) / 2**40


def fill(polygons, height, width, top=0, left=0):
    """Mask (height, width) of the union of polygons, all turning the same way (nonzero winding rule).

    polygons: list of (N, 2) arrays of (x, y) in mask pixels; top, left: the corner of the mask on their plane.
    A pixel belongs to the mask when its centre lies inside.
    """
    start = np.rint((np.concatenate(polygons) - (left, top)) * UNIT).astype(np.int64)
    following, first = np.arange(1, len(start) + 1), 0
    for polygon in polygons:  # the last corner of each is followed by its first
        following[first + len(polygon) - 1] = first
        first += len(polygon)
    end = start[following]
    down = start[:, 1:] < end[:, 1:]
    sign = np.where(down[:, 0], 1, -1).astype(np.int16)
    upper, lower = np.where(down, start, end), np.where(down, end, start)
    half = UNIT // 2
    # first row whose centre is at or below the upper corner (np.clip is slower than these two)
    first = np.minimum(np.maximum(-((half - upper[:, 1]) // UNIT), 0), height)
    last = np.minimum(np.maximum(-((half - lower[:, 1]) // UNIT), 0), height)
    rows = np.maximum(last - first, 0)
    edge = np.repeat(np.arange(len(rows)), rows)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(rows) - rows, rows) + first[edge]
    run, rise = (lower - upper)[edge].T
    x = upper[edge, 0] + (row * UNIT + half - upper[edge, 1]) * run // rise
    column = np.minimum(np.maximum(-((half - x) // UNIT), 0), width)
    winding = np.zeros((height, width + 1), dtype=np.int16)
    np.add.at(winding, (row, column), sign[edge])
    return np.cumsum(winding[:, :width], axis=1, dtype=np.int16) != 0


def turned(polygon):
    """The polygon with its corners in positive order, so that `fill` may unite it with others."""
    return polygon if _area(polygon.tolist()) >= 0 else polygon[::-1]


def _area(corners):
    """Twice the signed area: plain floats are quicker than arrays for so few."""
    return sum(a[0] * b[1] - a[1] * b[0] for a, b in zip(corners, [*corners[1:], corners[0]], strict=True))


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
        where = np.arange(size, dtype=np.int32)
        near, far = where // cell, where % cell
        rows = lattice[near] * (cell - far)[:, None] + lattice[near + 1] * far[:, None]
        layer = rows[:, near] * (cell - far) + rows[:, near + 1] * far
        loud = max(1, cell.bit_length())
        total += layer // (cell * cell) * loud
        weight += loud
    return np.clip((total // weight - 128) * 2 + 128, 0, 255)


def blend(canvas, colour, cover, full=16):
    """Paint on canvas (H, W, 3) int32, in place: colour (3,) or (H, W, 3) with cover (H, W) in 0..full."""
    rows, columns = np.flatnonzero(cover.any(axis=1)), np.flatnonzero(cover.any(axis=0))
    if not len(rows):
        return
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]  # nothing changes outside
    colour, cover = np.asarray(colour, dtype=np.int32), np.asarray(cover[window], dtype=np.int32)[..., None]
    target = canvas[window]
    target += (((colour[window] if colour.ndim == 3 else colour) - target) * cover + full // 2) // full


def blur(image):
    """One pass of the binomial filter (1, 2, 1)/4 along both sides of (H, W, 3) int32."""
    for axis in (0, 1):
        pad = [(1, 1) if a == axis else (0, 0) for a in range(3)]
        padded = np.pad(image, pad, mode="edge")
        cut = [slice(None)] * 3
        parts = []
        for shift in range(3):
            cut[axis] = slice(shift, shift + image.shape[axis])
            parts.append(padded[tuple(cut)])
        image = (parts[0] + 2 * parts[1] + parts[2] + 2) >> 2
    return image


def outline(mask):
    """The outer edge of the largest piece of a mask: (N, 2) int64 corner points (x, y) in mask pixels, clockwise on screen.

    Follows the cracks between pixels with the mask on the right hand; straight runs are merged.
    """
    padded = np.pad(mask, 1)
    # directed edges: along the top of a pixel to the right, its right side down, its bottom to the left, its left side up
    steps = ((0, 1), (1, 0), (0, -1), (-1, 0))
    starts = ((0, 0), (0, 1), (1, 1), (1, 0))
    edges: dict[tuple, dict[int, tuple]] = {}
    for turn, ((dy, dx), (sy, sx)) in enumerate(zip(steps, starts, strict=True)):
        outside = np.roll(padded, {0: 1, 1: -1, 2: -1, 3: 1}[turn], axis=turn % 2)
        for y, x in zip(*np.nonzero(padded & ~outside), strict=True):
            edges.setdefault((int(y) + sy, int(x) + sx), {})[turn] = (int(y) + sy + dy, int(x) + sx + dx)
    best, best_area = [], 0
    while edges:
        path: list[tuple[tuple, int]] = []
        point, area = next(iter(edges)), 0
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
    return np.array(best, dtype=np.int64).reshape(-1, 2)


def simplify(points, tolerance=1):
    """Fewer corners of a closed (N, 2) int64 outline: drop those within tolerance of the line between the kept ones.

    Distances are compared as squares of whole numbers, so no rounding decides which corner stays (Douglas, Peucker 1973).
    """

    def keep(first, last):
        if last - first < 2:
            return []
        dx, dy = points[last] - points[first]
        offset = points[first + 1 : last] - points[first]
        gap = np.abs(offset[:, 0] * dy - offset[:, 1] * dx)  # times the length of the line
        worst = int(np.argmax(gap))
        if gap[worst] ** 2 <= tolerance**2 * (dx * dx + dy * dy):
            return []
        middle = first + 1 + worst
        return [*keep(first, middle), middle, *keep(middle, last)]

    far = int(np.argmax(((points - points[0]) ** 2).sum(axis=1)))
    points = np.concatenate([points, points[:1]])
    return points[[0, *keep(0, far), far, *keep(far, len(points) - 1)]]
