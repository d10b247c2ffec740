"""Exercises of chapter 18: every pixel."""

import math

import torch
import torch.nn.functional as F

from ._base import exercise

IGNORE = 255

# ---------------------------------------------------------------- 18.1


def count_pixels(guess, truth, classes, *, judged=lambda truth: truth != IGNORE, transposed=False):
    """(classes, classes): how many pixels of the class of the row were called the class of the column."""
    kept = judged(truth)
    truth = torch.where(truth == IGNORE, torch.zeros_like(truth), truth)[kept]
    matrix = torch.bincount(truth * classes + guess[kept], minlength=classes**2).view(classes, classes)
    return matrix.T if transposed else matrix


@exercise(
    "18.1",
    "the table of what was called what",
    count_pixels,
    rtol=0,
    atol=0,
    mistakes={
        "rows and columns are exchanged: the row is the true class": {"transposed": True},
        "pixels of 255 are not judged, and here they count as class 0": {
            "judged": lambda truth: torch.ones_like(truth, dtype=torch.bool)
        },
        "class 0 is a class like the others; 255 alone is left out": {
            "judged": lambda truth: (truth != IGNORE) & (truth != 0)
        },
        "only the right pixels are counted; the wrong ones stand beside the diagonal": lambda g, t, k: torch.diag(
            count_pixels(g, t, k).diagonal()
        ),
        "these are shares of each row; counts are wanted, which add up over images": lambda g, t, k: (
            count_pixels(g, t, k) / count_pixels(g, t, k).sum(1, keepdim=True)
        ),
        "these are shares of all pixels; counts are wanted, which add up over images": lambda g, t, k: (
            count_pixels(g, t, k) / count_pixels(g, t, k).sum()
        ),
    },
)
def check_count_pixels(rng):
    classes, shape = rng.size(3, 6), (rng.size(2, 3), rng.size(8, 14), rng.size(15, 20))
    every = torch.cat(
        [torch.arange(classes), torch.tensor([IGNORE, 0, 1])]
    )  # each class is there, and all mistakes show
    truth = every[(rng.uniform(0, len(every), *shape)).long()]
    guess = (rng.uniform(0, classes, *shape)).long()
    guess[(truth == classes - 1) & (guess == classes - 1)] = 0  # the last pair never comes: bincount needs minlength
    truth.view(-1)[: len(every)], guess.view(-1)[: len(every)] = every, (every + 1) % classes
    return {"guess": guess, "truth": truth, "classes": classes}


# ---------------------------------------------------------------- 18.2


def mean_iou(matrix, *, union=lambda hit, row, column: row + column - hit, there=lambda row, column: row + column > 0):
    """The mean over classes of intersection over union; classes that are neither there nor called are left out."""
    hit, row, column = matrix.diagonal().double(), matrix.sum(1).double(), matrix.sum(0).double()
    kept = there(row, column)
    return float((hit[kept] / union(hit, row, column)[kept]).mean())


def _ious(matrix):
    """Of each class; NaN for one that is neither there nor called."""
    hit = matrix.diagonal().double()
    return hit / (matrix.sum(1) + matrix.sum(0) - hit)


@exercise(
    "18.2",
    "the mean IoU of a table",
    mean_iou,
    mistakes={
        "the intersection stands in the union once, not twice: subtract it": {"union": lambda h, r, c: r + c},
        "this is Dice, twice the intersection over both sums; divide by the union": {
            "union": lambda h, r, c: (r + c) / 2
        },
        "this divides by the pixels that are there (recall); wrong calls of other pixels count, too": {
            "union": lambda h, r, c: r,
            "there": lambda r, c: r > 0,
        },
        "this divides by the pixels that were called so (precision); missed pixels count, too": {
            "union": lambda h, r, c: c,
            "there": lambda r, c: c > 0,
        },
        "this is the share of right pixels; each class counts the same, however small": lambda m: float(
            m.diagonal().sum() / m.sum()
        ),
        "classes are weighted by their pixels; each counts the same": lambda m: float(
            (m.sum(1) * _ious(m).nan_to_num(0)).sum() / m.sum()
        ),
        "a class that is neither there nor called is left out; here it counts as 0": lambda m: float(
            _ious(m).nan_to_num(0).mean()
        ),
        "a class that is neither there nor called is left out; here it counts as 1": lambda m: float(
            _ious(m).nan_to_num(1).mean()
        ),
        "a class that is neither there nor called gives 0 / 0, and the mean is NaN: leave it out": lambda m: float(
            _ious(m).mean()
        ),
        "a class that is called though it is nowhere has an IoU of 0, and counts": {"there": lambda r, c: r > 0},
        "a class that is there though it is never called has an IoU of 0, and counts": {"there": lambda r, c: c > 0},
        "an IoU of 0 counts, too; only a class that is neither there nor called is left out": lambda m: float(
            (iou := _ious(m))[iou > 0].mean()
        ),
    },
)
def check_mean_iou(rng):
    classes = rng.size(6, 8)
    matrix = rng.uniform(1, 40, classes, classes).long()
    matrix += torch.diag(rng.uniform(50, 900, classes).long())
    matrix[1], matrix[3], matrix[:, 0] = 0, 0, 0  # 1 and 3: called, and nowhere; 0: there, and never called
    matrix[2], matrix[:, 2] = 0, 0  # neither there nor called
    return {"matrix": matrix}


# ---------------------------------------------------------------- 18.3


def ceiling(mask, stride, *, ignore=IGNORE, choose=None, by_cell=False):
    """The share of judged pixels that are right if each cell of stride x stride pixels gets its best class."""
    rows, columns = mask.shape[0] // stride, mask.shape[1] // stride
    cells = mask.view(rows, stride, columns, stride).permute(0, 2, 1, 3).reshape(rows * columns, -1)
    known = torch.stack([(cells == c).sum(1) for c in sorted(set(mask.unique().tolist()) - {ignore})], dim=1)
    judged = (cells != ignore).sum(1)
    if choose is not None:  # one pixel decides
        right = ((cells == choose(cells)[:, None]) & (cells != ignore)).sum(1)
    else:
        right = known.amax(1)
    if by_cell:
        return float((right[judged > 0] / judged[judged > 0]).mean())
    return int(right.sum()) / int(judged.sum())


def _mean(cells):
    judged = cells != IGNORE
    return ((cells * judged).sum(1) / judged.sum(1).clamp(min=1)).round().long()


@exercise(
    "18.3",
    "the most that a stride can say",
    ceiling,
    mistakes={
        "the top left pixel of a cell need not be the best choice: take the most frequent class": {
            "choose": lambda cells: cells[:, 0]
        },
        "a mean of class numbers is no class that anybody voted for: take the most frequent one": {"choose": _mean},
        "pixels of 255 are not judged: they are no class, and not in the number that you divide by": {"ignore": -1},
        "pixels of 255 are no class, but here they are in the number that you divide by": lambda mask, stride: (
            ceiling(mask, stride) * float((mask != IGNORE).float().mean())
        ),
        "255 is no class: where most pixels of a cell are not judged, the others still vote": {
            "choose": lambda cells: cells.mode(dim=1).values
        },
        "cells with fewer judged pixels weigh less: add up pixels, then divide once": {"by_cell": True},
        "this is the share of wrong pixels": lambda mask, stride: 1 - ceiling(mask, stride),
    },
)
def check_ceiling(rng):
    stride, classes = rng.turn([2, 3, 4]), rng.size(3, 5)
    rows, columns = rng.size(5, 7), rng.size(8, 10)
    mask = rng.uniform(0, classes, rows * stride, columns * stride).long()
    middle = rng.uniform(0, 1, rows * stride, columns * stride) < 0.4
    mask = torch.where(middle, torch.ones_like(mask), mask)
    mask = torch.where(rng.uniform(0, 1, *mask.shape) < 0.2, torch.full_like(mask, IGNORE), mask)
    mask[:stride, :stride] = IGNORE  # one cell of nothing else
    mask[stride : 2 * stride, :stride] = torch.tensor([0, 1, 2]).repeat(stride**2)[: stride**2].view(stride, stride)
    return {"mask": mask, "stride": stride}


# ---------------------------------------------------------------- 18.4


def enlarging(n, scale, *, place=lambda i, n, scale: (i + 0.5) / scale - 0.5, clamp=True, nearest=False, least=0):
    """(n * scale, n): the weights with which a row of n numbers becomes one of n * scale."""
    x = place(torch.arange(n * scale, dtype=torch.float64), n, scale)
    x = x.clamp(0, n - 1) if clamp else x
    distance = (x[:, None] - torch.arange(n)).abs()
    if nearest:
        return F.one_hot(distance.argmin(1), n).float()
    return (1 - distance).clamp(min=least).float()


@exercise(
    "18.4",
    "the weights of enlarging",
    enlarging,
    mistakes={
        "pixels are squares, and their middles lie half a pixel in: (i + 1/2) / scale - 1/2": {
            "place": lambda i, n, scale: i / scale
        },
        "here the outermost middles lie on each other (align_corners=True); (i + 1/2) / scale - 1/2 is wanted": {
            "place": lambda i, n, scale: i * (n - 1) / (n * scale - 1)
        },
        "in the short row, too, the middles lie half a pixel in: subtract 1/2 after the division": {
            "place": lambda i, n, scale: (i + 0.5) / scale
        },
        "beyond the first and the last middle there is nothing to go to: hold the place between 0 and n - 1, so that each row sums to 1": {
            "clamp": False
        },
        "this repeats the nearest number; between two middles both count": {"nearest": True},
        "a middle more than one step away has no weight: 1 - |p - j| is held at 0 or more": {"least": -math.inf},
        "rows and columns are exchanged: one row for each number of the result": lambda n, scale: enlarging(n, scale).T,
    },
)
def check_enlarging(rng):
    return {"n": rng.size(3, 6), "scale": rng.turn([2, 3, 4])}


# ---------------------------------------------------------------- 18.5


def decode(maps, laterals, head, scale, *, join=lambda parts: sum(parts), before=False, after=False, activate=F.gelu):
    """maps: L of (C, H, W), laterals: L of (D, C), head: (K, D) -> logits (K, H * scale, W * scale)."""
    parts = [torch.einsum("dc,chw->dhw", lateral, x) for lateral, x in zip(laterals, maps)]
    total = join([activate(part) for part in parts] if before else parts)
    total = total if before or after else activate(total)
    logits = torch.einsum("kd,dhw->khw", head, total)
    logits = activate(logits) if after else logits
    rows, columns = (enlarging(n, scale) for n in logits.shape[1:])
    return torch.einsum("yh,khw,xw->kyx", rows, logits, columns)


def _late(maps, laterals, head, scale):
    """A mistake: GELU after enlarging."""
    large = decode(maps, laterals, torch.eye(len(laterals[0])), scale, activate=lambda x: x)
    return torch.einsum("kd,dhw->khw", head, F.gelu(large))


@exercise(
    "18.5",
    "the light decoder",
    decode,
    mistakes={
        "the maps are summed, not averaged": {"join": lambda parts: sum(parts) / len(parts)},
        "GELU comes once, after the sum": {"before": True},
        "GELU comes between sum and head; logits may be negative": {"after": True},
        "GELU does not commute with enlarging: it comes before": _late,
        "GELU is missing: without it the two 1 × 1 convolutions are one": {"activate": lambda x: x},
        "this is ReLU; GELU is wanted": {"activate": F.relu},
        "only the last map is read": lambda maps, laterals, head, scale: decode(maps[-1:], laterals[-1:], head, scale),
        "only the first map is read": lambda maps, laterals, head, scale: decode(maps[:1], laterals[:1], head, scale),
        "all maps go through the first lateral; each has its own": lambda maps, laterals, head, scale: decode(
            maps, [laterals[0]] * len(maps), head, scale
        ),
        "the logits are still of the size of the maps: enlarge them": lambda maps, laterals, head, scale: decode(
            maps, laterals, head, 1
        ),
        "each logit is repeated; enlarge with weights, as in Exercise 18.4": lambda maps, laterals, head, scale: (
            decode(maps, laterals, head, 1).repeat_interleave(scale, 1).repeat_interleave(scale, 2)
        ),
        "this is the class of each pixel; logits are wanted": lambda maps, laterals, head, scale: decode(
            maps, laterals, head, scale
        ).argmax(0),
    },
)
def check_decode(rng):
    C, D, K, H, W = rng.size(3, 6), rng.size(5, 8), rng.size(3, 5), rng.size(3, 5), rng.size(6, 8)
    maps = [rng.normal(C, H, W) for _ in range(rng.size(2, 4))]
    return {
        "maps": maps,
        "laterals": [rng.normal(D, C) for _ in maps],
        "head": rng.normal(K, D),
        "scale": rng.size(2, 4),
    }
