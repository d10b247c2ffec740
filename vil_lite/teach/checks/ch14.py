"""Exercises of chapter 14: ViL inside YOLOv8."""

import builtins
import itertools

import torch

from ._base import CheckFailed, exercise


# ---------------------------------------------------------------- 14.1
def on_map(
    block,
    x,
    *,
    there=lambda x: x.flatten(2).transpose(1, 2),
    back=lambda tokens, like: tokens.transpose(1, 2).reshape(like.shape),
    grid=lambda H, W: (H, W),
):
    """A block that maps tokens (B, S, C) on a grid (H, W), used on a feature map (B, C, H, W)."""
    return back(block(there(x), grid(*x.shape[2:])), x)


def _probe(tokens, grid):
    """A block that notices everything: the order of tokens, which features stand together, and the grid."""
    places = torch.arange(tokens.shape[1], dtype=tokens.dtype)[None, :, None]
    return tokens.cumsum(1) * torch.arange(1, tokens.shape[2] + 1) + 10 * places + grid[0] + 0.1 * grid[1]


def _mixed(x):
    return x.reshape(len(x), -1, x.shape[1])


def _unmoved(tokens, like):
    return tokens.reshape(like.shape)


@exercise(
    "14.1",
    "the adapter lets a block of tokens work on a feature map",
    on_map,
    mistakes={
        "places and channels are mixed: transpose (B, C, H, W) to (B, H·W, C), do not reshape": {"there": _mixed},
        "the way in is right; on the way out the tokens are reshaped without being transposed back": {"back": _unmoved},
        "the grid is (W, H); it has to be (H, W), rows first": {"grid": lambda H, W: (W, H)},
        "the tokens run down the columns": lambda block, x: on_map(block, x.mT, grid=lambda W, H: (H, W)).mT,
        "places and channels are mixed both ways: transpose where axes change": {"there": _mixed, "back": _unmoved},
        "the tokens are returned; a map (B, C, H, W) is wanted again": {"back": lambda tokens, like: tokens},
        "the block's input is returned, not its output": lambda block, x: x,
    },
)
def check_adapter(rng):
    B, C, H = rng.size(1, 3), rng.size(2, 4), rng.size(2, 4)
    W = H + rng.size(1, 3)  # never square, and no side equal to another number by chance
    return {"block": _probe, "x": rng.normal(B, C, H, W)}


# ---------------------------------------------------------------- 14.2
def with_donor(names, donor, block, call):
    """names[donor] is block for the length of call(); what call() returns."""
    original = names[donor]
    names[donor] = block
    try:
        return call()
    finally:
        names[donor] = original


def _never_back(names, donor, block, call):
    names[donor] = block
    return call()


def _deleted(names, donor, block, call):
    original = names.pop(donor)
    result = call()
    names[donor] = original
    return result


def _after(*kinds):
    """The donor is put back after a good end and after these exceptions."""

    def wrong(names, donor, block, call):
        original, names[donor] = names[donor], block
        try:
            result = call()
        except kinds:
            names[donor] = original
            raise
        names[donor] = original
        return result

    return wrong


def _swallowed(*arguments):
    try:
        return with_donor(*arguments)
    except Exception:
        return None


def _watched_call(function, names, donor, block, error):
    """The names at each call of call(), which ends with this error, if any; the names afterwards; what comes back."""
    names, seen = dict(names), []

    def call():
        seen.append(str(dict(names)))
        if error:
            raise getattr(builtins, error)("inside call()")
        return "the result"

    try:
        result = function(names, donor, block, call)
    except (ConnectionError, KeyboardInterrupt) as raised:
        result = type(raised).__name__
    except CheckFailed:
        result = "nothing"
    during = " then ".join(seen) or "never"
    return f"while call() runs: {during}; afterwards: {names}; what comes back: {result or 'nothing'}"


@exercise(
    "14.2",
    "the donor serves for one call and is itself again afterwards",
    with_donor,
    through=_watched_call,
    outputs=("what happens",),
    cases=2,
    mistakes={
        "call() is never called": lambda names, donor, block, call: None,
        "call() is called more than once": lambda *a: (with_donor(*a), with_donor(*a))[0],
        "the donor is missing while call() runs: point it at block, do not delete it": _deleted,
        "the donor is still the original while call() runs": lambda names, donor, block, call: call(),
        "the donor still points at the block afterwards: put the original back": _never_back,
        "an error inside call() is swallowed: let it pass (try … finally, without except)": _swallowed,
        "after an error inside call() the donor still points at the block: restore it in `finally`": _after(),
        "after an interruption (Ctrl-C), which is no Exception, the donor still points at the block": _after(Exception),
    },
)
def check_donor(rng):
    donor = rng.choice(["C3TR", "C3x", "C1"])
    names = {donor: "the original", "Conv": "another"}
    for error in ("", "ConnectionError", "KeyboardInterrupt"):  # "in any case": what stops a program is no Exception
        yield {"names": names, "donor": donor, "block": "the block", "error": error}


# ---------------------------------------------------------------- 14.3
def decay_bytes(height, width, stride, batch=1, heads=4):
    """Bytes of one block's log-decay matrices, float32."""
    tokens = (height // stride) * (width // stride)
    return 4 * batch * heads * tokens**2


@exercise(
    "14.3",
    "the memory of the decay matrices",
    decay_bytes,
    rtol=1e-9,
    mistakes={
        "the number of tokens is not squared": lambda h, w, s, b, n: 4 * b * n * (h // s) * (w // s),
        "the heads are missing: each has its own matrix": lambda h, w, s, b, n: decay_bytes(h, w, s, b, 1),
        "the images of the batch are missing": lambda h, w, s, b, n: decay_bytes(h, w, s, 1, n),
        "these are numbers, not bytes: a float32 has 4 bytes": lambda *a: decay_bytes(*a) // 4,
        "these are 8 bytes per number; a float32 has 4": lambda *a: decay_bytes(*a) * 2,
        "these are bits: a float32 has 4 bytes": lambda *a: decay_bytes(*a) * 8,
        "both sides are divided by the stride": lambda h, w, s, b, n: 4 * b * n * (h * w // s) ** 2,
        "the grid of a rectangle has two sides; this is for squares": lambda h, w, s, b, n: decay_bytes(h, h, s, b, n),
    },
)
def check_decay_bytes(rng):
    inputs = {"height": 32 * rng.size(5, 20), "width": 32 * rng.size(21, 30), "stride": rng.turn([8, 16, 32])}
    return {**inputs, "batch": rng.choice([3, 5, 7]), "heads": rng.choice([3, 6, 12])}


# ---------------------------------------------------------------- 14.4
def block_parameters(d, *, less=lambda d: 0):
    """Parameters of a version 1 ViL block of width d; inner width 2 d, 4 heads, q/k/v blocks of 4."""
    inner = 2 * d
    norm, proj_up, proj_down = d, d * 2 * inner, inner * d
    conv = inner * 4 + inner
    qkv = 3 * (inner // 4) * 4 * 4
    gates = 2 * (3 * inner * 4 + 4)
    return norm + proj_up + conv + qkv + gates + inner + inner + proj_down - less(d)


@exercise(
    "14.4",
    "the parameters of a version 1 block",
    block_parameters,
    rtol=1e-12,
    atol=0,
    mistakes={
        "the gates' biases are missing: 4 for each of the two gates": {"less": lambda d: 8},
        "one gate is missing: there is an input gate and a forget gate": {"less": lambda d: 24 * d + 4},
        "the gates read q, k and v side by side: 3 · 2d inputs, not 2d": {"less": lambda d: 32 * d},
        "a vector of 2d is missing: convolution bias, learnable skip or output norm?": {"less": lambda d: 2 * d},
        "two vectors of 2d are missing (convolution bias, learnable skip, output norm)": {"less": lambda d: 4 * d},
        "the norm at the entrance of the block is missing": {"less": lambda d: d},
        "proj_up makes x_m and z together: d to 4d, not d to 2d": {"less": lambda d: 2 * d * d},
        "q, k and v each have their own block-diagonal matrix: three of them": {"less": lambda d: 16 * d},
        "q, k, v are block-diagonal, 2d/4 blocks of 4 × 4, not full": {"less": lambda d: 24 * d - 12 * d * d},
        "that convolution is version 2's 3 × 3; version 1 has 4 taps": {"less": lambda d: -10 * d},
        "the norm at the entrance has a weight and no bias in version 1": {"less": lambda d: -d},
    },
)
def check_block_parameters(rng):
    return {"d": 8 * rng.size(2, 60)}


# ---------------------------------------------------------------- 14.5
def explain(total, plain, per_class, saving, available, *, classes=range(1, 101), counts=lambda n: range(n + 1)):
    """Every (nc, n0, n1, n2) with plain + nc·per_class − Σ n·saving = total, nc 1..100, 0 ≤ n ≤ available."""
    parts = [(c, sum(n * s for n, s in zip(c, saving))) for c in itertools.product(*map(counts, available))]
    return [(nc, *c) for nc in classes for c, saved in parts if plain + nc * per_class - saved == total]


def _in_any_order(function, *inputs):
    """Each explanation as text: so many of them, in whatever order they were found."""
    return ", ".join(sorted(str(tuple(map(int, found))) for found in function(*inputs)))


@exercise(
    "14.5",
    "all explanations of a number of parameters",
    explain,
    through=_in_any_order,
    cases=2,
    mistakes={
        "a count runs up to and including `available`: range(n + 1)": {"counts": range},
        "a count may be 0: a width whose bottlenecks all stayed is allowed": {"counts": lambda n: range(1, n + 1)},
        "nc runs from 1 to 100, both included": {"classes": range(1, 100)},
        "nc runs from 1 to 100: range(100) begins at 0 and ends at 99": {"classes": range(100)},
        "nc begins at 1: a detector has at least one class": {"classes": range(101)},
        "only one explanation is returned; return all of them": lambda *a: explain(*a)[:1],
        "nothing is found: do the replaced bottlenecks lower the total, and do the classes raise it?": lambda *a: [],
        "an explanation is found twice": lambda *a: explain(*a) * 2,
    },
)
def check_explain(rng):
    per_class, available = rng.size(300, 900), tuple(rng.size(2, 4) for _ in range(3))
    small, plain = rng.size(20_000, 60_000), rng.size(30_000_000, 50_000_000)
    # Two of the first are one of the second: several explanations.  All three of the last are used, or none.
    saving = (small, 2 * small, rng.size(500_000, 900_000))
    for nc, counts in ((37, (2, 0, available[2])), (1, (0, 1, 0)), (100, (1, 1, 1)), (0, (1, 1, 0)), (99, available)):
        total = plain + nc * per_class - sum(n * s for n, s in zip(counts, saving))
        values = (total, plain, per_class, saving, available)
        yield dict(zip(("total", "plain", "per_class", "saving", "available"), values))
