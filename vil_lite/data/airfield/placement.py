"""Where aircraft stand: mostly in rows of one type on aprons, some on runway and taxiway, a few anywhere."""

from dataclasses import dataclass
from math import pi

import numpy as np

from .aircraft import AIRCRAFT, REPORTED, Aircraft
from .ground import Ground, between, pick
from .sprite import Pose, silhouette

ROOMY = 384.0  # metres: side of a scene that the numbers of aircraft below are meant for
MOST = 80  # aircraft in a scene


@dataclass(frozen=True)
class Placed:
    name: str
    plane: Aircraft
    pose: Pose
    livery: str
    turn: float


@dataclass
class Plan:
    """placed: in the order of drawing, later over earlier.  taken: (size, size) int32, -1 clutter, k + 1 aircraft, 0 free."""

    placed: list
    taken: np.ndarray
    areas: list  # pixels of each silhouette, whole
    seen: list  # pixels of each that are in the image and not covered


def place(rng, land: Ground, blocks, names, balance, seed, split, index) -> Plan:
    """Choose classes and find a free place for each aircraft, the largest first."""
    size = land.frame.size
    taken = np.zeros((size, size), dtype=np.int32)
    for block in blocks:
        block.occupy(taken)
    plan = Plan([], taken, [], [])
    groups: list[tuple] = []
    for name, count in _wanted(rng, land.frame, names, balance, seed, split, index):
        plane = pick(rng, AIRCRAFT[name])
        groups.append((plane.span * plane.length, len(groups), name, plane, count))
    for _, _, name, plane, count in sorted(groups, key=lambda g: (-g[0], g[1])):
        _place_group(rng, land, plan, name, plane, min(count, MOST - len(plan.placed)))
    return plan


def _wanted(rng, frame, names, balance, seed, split, index):
    """[(class, number), …].  The scene's first class is dealt from a shuffled deck, so that n scenes of C classes show each
    at least ⌊n/C⌋ times; with balance="reported" it is drawn like the reported images instead."""
    room = min((frame.size * frame.metres / ROOMY) ** 2, 8.0)
    if balance == "reported":
        images = np.array([REPORTED[n][0] for n in names], dtype=np.int64)
        wanted = [names[_weighted(rng, images)]]
        if rng.random() < 0.28:  # 294 pairs of class and image on 230 images
            wanted.append(names[_weighted(rng, images)])
        each = [REPORTED[n][1] / REPORTED[n][0] for n in wanted]
        return [(n, max(1, round(between(rng, 0.3, 1.7) * mean * room))) for n, mean in zip(wanted, each, strict=True)]
    deck = np.random.Generator(np.random.PCG64([seed, split, index // len(names), 27]))
    order = np.argsort(deck.random(len(names)), kind="stable")
    wanted = [(names[int(order[index % len(names)])], max(1, round(between(rng, 1, 6) * room)))]
    for _ in range(round(between(rng, 1, 4.5) * min(room, 2.0))):
        wanted.append((pick(rng, names), max(1, round(between(rng, 0.6, 3.4) * room))))
    return wanted


def _weighted(rng, weights):
    return int(np.searchsorted(np.cumsum(weights), rng.integers(int(weights.sum())), side="right"))


def _place_group(rng, land, plan, name, plane, count):
    """One type, mostly one livery: try rows first, then single places."""
    frame, before = land.frame, len(plan.placed)
    livery = pick(rng, plane.paints)

    def offer(u, v, heading, crowded=False):
        colours = livery if rng.random() < 0.8 else pick(rng, plane.paints)
        x, y = frame.pixel(u, v)
        pose = Pose(x, y, heading + frame.angle, frame.metres)
        return _try(plan, Placed(name, plane, pose, colours, between(rng, 0, pi)), crowded)

    for _ in range(6):
        left = count - (len(plan.placed) - before)
        if left <= 0:
            return
        area = pick(rng, land.areas if rng.random() < 0.25 else [a for a in land.areas if not a.narrow] or land.areas)
        heading, along = _row_heading(rng, area, plane)
        v = (area.v0 + area.v1) / 2 + between(rng, -0.5, 0.5) * max(
            area.v1 - area.v0 - 0.9 * max(plane.length, plane.span), 0
        )
        step = along * between(rng, 1.06, 1.5) + 1.5
        u = max(area.u0, -frame.reach) + between(rng, 0.05, 0.8) * (
            min(area.u1, frame.reach) - max(area.u0, -frame.reach)
        )
        for k in range(min(left, 3) if area.narrow else left):
            nudge = between(rng, -1, 1)
            if u + k * step > area.u1 - 0.3 * along:
                break
            offer(u + k * step + nudge, v + nudge, heading + 0.04 * nudge)
    for _ in range(40):
        if len(plan.placed) - before >= count:
            return
        u, v = between(rng, -0.72, 0.72) * frame.reach, between(rng, -0.72, 0.72) * frame.reach
        if rng.random() < 0.08 or _is_paved(land, u, v):
            offer(u, v, between(rng, 0, 2 * pi), crowded=rng.random() < 0.3)


def _row_heading(rng, area, plane):
    """(heading in the frame of the runway, metres that one aircraft needs along the row)"""
    if area.narrow:
        return pick(rng, (0.0, pi)), plane.length
    heading = pick(rng, (pi / 2, -pi / 2, pi / 2, -pi / 2, pi / 4, -pi / 4, 3 * pi / 4, 0.0))
    return heading, plane.length if heading == 0 else plane.span


def _is_paved(land, u, v):
    x, y = (int(w) for w in land.frame.pixel(u, v))
    return 0 <= x < land.frame.size and 0 <= y < land.frame.size and land.paved[y, x] > 8


def _try(plan, candidate, crowded):
    """Add the candidate if it is free there, with some metres around it.  `crowded`: it may cover another, by a fifth at most."""
    mask, top, left = silhouette(candidate.plane, candidate.pose, candidate.turn)
    size = plan.taken.shape[0]
    inner = mask[max(-top, 0) : max(size - top, 0), max(-left, 0) : max(size - left, 0)]
    area, seen = np.count_nonzero(mask), np.count_nonzero(inner)
    if seen < 0.47 * area or seen < 12:  # so at least 0.4 is seen: nothing drawn goes unlabelled
        return False
    corner, top, left = (top, left), max(top, 0), max(left, 0)
    target = plan.taken[top : top + inner.shape[0], left : left + inner.shape[1]]
    under = target[inner]
    if (under < 0).any() or (not crowded and _touches(plan.taken, mask, *corner, round(2.5 / candidate.pose.metres))):
        return False
    hits = np.bincount(under, minlength=1)
    for k in np.nonzero(hits)[0]:
        if k and (
            not crowded
            or hits[k] > 0.2 * min(area, plan.areas[k - 1])
            or plan.seen[k - 1] - hits[k] < 0.47 * plan.areas[k - 1]
        ):
            return False
    for k in np.nonzero(hits)[0]:
        if k:
            plan.seen[k - 1] -= int(hits[k])
    plan.placed.append(candidate)
    plan.areas.append(area)
    plan.seen.append(seen)
    target[inner] = len(plan.placed)
    return True


def _touches(taken, mask, top, left, margin):
    """True when something is nearer than `margin` pixels to the mask, along rows, columns and diagonals."""
    padded = np.pad(mask, margin)
    for axis in (0, 1):
        padded = np.logical_or.reduce(
            [np.roll(padded, step, axis) for step in (-margin, -(margin // 2), 0, margin // 2, margin)]
        )
    top, left, size = top - margin, left - margin, taken.shape[0]
    inner = padded[max(-top, 0) : max(size - top, 0), max(-left, 0) : max(size - left, 0)]
    top, left = max(top, 0), max(left, 0)
    return bool(taken[top : top + inner.shape[0], left : left + inner.shape[1]][inner].any())
