"""Checks of chapter 14: ViL inside YOLOv8."""

import itertools

import torch

from ._base import CheckFailed, attempt, compare, exercise, expect

# ---------------------------------------------------------------- 14.1


def on_map(block, x):
    """Reference: a block that maps tokens (B, S, C) on a grid (H, W), used on a feature map (B, C, H, W)."""
    B, C, H, W = x.shape
    tokens = block(x.flatten(2).transpose(1, 2), (H, W))
    return tokens.transpose(1, 2).reshape(B, C, H, W)


def _probe(tokens, grid):
    """A block that notices everything: the order of tokens, which features stand together, and the grid."""
    places = torch.arange(tokens.shape[1], dtype=tokens.dtype)[None, :, None]
    return tokens.cumsum(1) * torch.arange(1, tokens.shape[2] + 1) + 10 * places + grid[0] + 0.1 * grid[1]


@exercise("the adapter lets a block of tokens work on a feature map")
def check_adapter(student, rng):
    B, C, H = rng.size(1, 3), rng.size(2, 4), rng.size(2, 4)
    W = H + rng.size(1, 3)  # never square, and no side equal to another number by chance
    compare(
        student, on_map, {"block": _probe, "x": rng.normal(B, C, H, W)},
        diagnose={
            "the places and the channels are mixed: (B, C, H, W) has to be transposed to (B, H·W, C), not reshaped":
                lambda block, x: block(x.reshape(B, H * W, C), (H, W)).transpose(1, 2).reshape(B, C, H, W),
            "the way in is right; on the way out the tokens are reshaped without being transposed back":
                lambda block, x: block(x.flatten(2).transpose(1, 2), (H, W)).reshape(B, C, H, W),
            "the grid is (W, H); it has to be (H, W), rows first":
                lambda block, x: block(x.flatten(2).transpose(1, 2), (W, H)).transpose(1, 2).reshape(B, C, H, W),
            "the tokens run down the columns; they have to run along the rows":
                lambda block, x: on_map(lambda t, g: block(t, (H, W)), x.transpose(2, 3)).transpose(2, 3),
            "places and channels are mixed on both ways: use transpose (or permute) where the axes change their order":
                lambda block, x: block(x.reshape(B, H * W, C), (H, W)).reshape(B, C, H, W),
            "the tokens are returned as they are; the result has to be a map (B, C, H, W) again":
                lambda block, x: block(x.flatten(2).transpose(1, 2), (H, W)),
            "the block's input is returned, not its output": lambda block, x: x,
        },
    )


# ---------------------------------------------------------------- 14.2


class _Stop(CheckFailed):
    """Raised inside the student's call, to see what is left behind; a CheckFailed, so that attempt() lets it pass."""


@exercise("the donor serves for one call and is itself again afterwards")
def check_donor(student, rng):
    donor, original, block = rng.choice(["C3TR", "C3x", "C1"]), object(), object()
    names, seen, result = {donor: original, "Conv": object()}, [], object()
    before = dict(names)

    def call():
        seen.append(dict(names))
        return result

    def failing():
        raise _Stop

    got = attempt(student, names, donor, block, call)
    expect(seen, "call() was never called")
    expect(len(seen) == 1, f"call() was called {len(seen)} times; once is wanted")
    expect(donor in seen[0], f"names[{donor!r}] is missing while call() runs: point it at block, do not delete it")
    expect(seen[0][donor] is not original, f"names[{donor!r}] is still the original while call() runs")
    expect(seen[0][donor] is block, f"names[{donor!r}] must be the block itself while call() runs, not {seen[0][donor]!r}")
    expect(set(seen[0]) == set(before), "other names are added or removed while call() runs")
    expect(names.get(donor) is not block, "the donor still points at the block afterwards: put the original back")
    expect(names == before, "names is not what it was afterwards: save the original before, and put that very object back")
    expect(got is not None, "nothing is returned; return what call() returned")
    expect(got is result, "what is returned is not what call() returned")
    try:
        attempt(student, names, donor, block, failing)
    except _Stop:
        pass
    else:
        raise CheckFailed("an error inside call() is swallowed: let it pass (try … finally, without except)")
    expect(names == before, "after an error inside call() the donor still points at the block: restore it in `finally`")


# ---------------------------------------------------------------- 14.3


def decay_bytes(height, width, stride, batch=1, heads=4):
    """Reference: bytes of one block's log-decay matrices, float32."""
    tokens = (height // stride) * (width // stride)
    return 4 * batch * heads * tokens**2


@exercise("the memory of the decay matrices")
def check_decay_bytes(student, rng):
    stride = rng.choice([8, 16, 32])
    height, width = 32 * rng.size(5, 20), 32 * rng.size(21, 30)
    inputs = {"height": height, "width": width, "stride": stride, "batch": rng.choice([3, 5, 7]), "heads": rng.choice([2, 6, 8])}
    compare(
        student, decay_bytes, inputs, rtol=1e-9,
        diagnose={
            "the number of tokens is not squared: the matrix has a row and a column for each token":
                lambda h, w, s, b, n: 4 * b * n * (h // s) * (w // s),
            "the heads are missing: each head has its own gates and so its own matrix":
                lambda h, w, s, b, n: decay_bytes(h, w, s, b, 1),
            "the images of the batch are missing": lambda h, w, s, b, n: decay_bytes(h, w, s, 1, n),
            "these are numbers, not bytes: a float32 has 4 bytes": lambda h, w, s, b, n: decay_bytes(h, w, s, b, n) // 4,
            "these are bits: a float32 has 4 bytes": lambda h, w, s, b, n: decay_bytes(h, w, s, b, n) * 8,
            "the stride divides both sides, so the tokens are (height / stride) · (width / stride)":
                lambda h, w, s, b, n: 4 * b * n * (h * w // s) ** 2,
            "the grid of a rectangle has height / stride rows and width / stride columns; this is right for squares only":
                lambda h, w, s, b, n: decay_bytes(h, h, s, b, n),
        },
    )


# ---------------------------------------------------------------- 14.4


def block_parameters(d):
    """Reference: parameters of a version 1 ViL block of width d; inner width 2 d, 4 heads, q/k/v blocks of 4."""
    inner = 2 * d
    norm, proj_up, proj_down = d, d * 2 * inner, inner * d
    conv = inner * 4 + inner
    qkv = 3 * (inner // 4) * 4 * 4
    gates = 2 * (3 * inner * 4 + 4)
    return norm + proj_up + conv + qkv + gates + inner + inner + proj_down


@exercise("the parameters of a version 1 block")
def check_block_parameters(student, rng):
    d = 8 * rng.size(2, 60)

    def short(by, why):
        return {why: lambda d: block_parameters(d) - by(d)}

    compare(
        student, block_parameters, {"d": d}, rtol=1e-12, atol=0,
        diagnose={
            **short(lambda d: 8, "the gates' biases are missing: 4 for each of the two gates"),
            **short(lambda d: 24 * d + 4, "one gate is missing: there is an input gate and a forget gate"),
            **short(lambda d: 2 * 2 * 2 * d * 4, "the gates read q, k and v side by side: 3 · 2d inputs, not 2d"),
            **short(lambda d: 2 * d, "a vector of 2d is missing: convolution bias, learnable skip or output norm?"),
            **short(lambda d: 4 * d, "two vectors of 2d are missing (convolution bias, learnable skip, output norm)"),
            **short(lambda d: d, "the norm at the entrance of the block is missing"),
            **short(lambda d: 2 * d * d, "proj_up makes x_m and z together: d to 4d, not d to 2d"),
            **short(lambda d: 16 * d, "q, k and v each have their own block-diagonal matrix: three of them"),
            **short(lambda d: 24 * d - 3 * 4 * d * d, "q, k, v are block-diagonal: 2d/4 blocks of 4 × 4, not full matrices"),
            **short(lambda d: 2 * d - 2 * d * 9 + 2 * d * 3, "that convolution is version 2's 3 × 3; version 1 has 4 taps"),
        },
    )


# ---------------------------------------------------------------- 14.5


def explain(total, plain, per_class, saving, available):
    """Reference: every (nc, n0, n1, n2) with plain + nc·per_class − Σ n·saving = total, nc 1..100, 0 ≤ n ≤ available."""
    counts = itertools.product(*(range(n + 1) for n in available))
    parts = [(c, sum(n * s for n, s in zip(c, saving))) for c in counts]
    return [(nc, *c) for nc in range(1, 101) for c, saved in parts if plain + nc * per_class - saved == total]


@exercise("all explanations of a number of parameters", cases=4)
def check_explain(student, rng):
    per_class, available = rng.size(300, 900), tuple(rng.size(1, 4) for _ in range(3))
    small = rng.size(20_000, 60_000)
    # Half of the cases have several explanations: two savings of which one is the other's double.
    saving = (small, 2 * small if rng.size(0, 1) else rng.size(100_000, 200_000), rng.size(500_000, 900_000))
    truth = [rng.size(0, n) for n in available]
    largest = rng.size(0, 2)
    truth[largest] = available[largest]
    plain, nc = rng.size(30_000_000, 50_000_000), rng.choice([1, 37, 100])
    total = plain + nc * per_class - sum(n * s for n, s in zip(truth, saving))

    def same_order(total, plain, per_class, saving, available):
        answer = student(total, plain, per_class, saving, available)
        return answer if answer is None else sorted(tuple(map(int, found)) for found in answer)

    names = ("total", "plain", "per_class", "saving", "available")
    if len(explain(total, plain, per_class, saving, available)) > 1:
        first = {"only one explanation is returned; return all of them": lambda *a: explain(*a)[:1]}
    else:
        first = {}
    compare(
        same_order, explain, dict(zip(names, (total, plain, per_class, saving, available))), rtol=0, atol=0,
        diagnose={
            "a count runs up to and including `available`: range(n + 1)":
                lambda t, p, c, s, a: [e for e in explain(t, p, c, s, a) if all(n < m for n, m in zip(e[1:], a))],
            "a count may be 0: a width whose bottlenecks all stayed is allowed":
                lambda t, p, c, s, a: [e for e in explain(t, p, c, s, a) if 0 not in e[1:]],
            "nc runs from 1 to 100, both included": lambda t, p, c, s, a: [e for e in explain(t, p, c, s, a) if e[0] < 100],
            "nothing is found: do the replaced bottlenecks lower the total, and do the classes raise it?": [],
            **first,
        },
    )
