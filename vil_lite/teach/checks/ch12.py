"""Exercises of chapter 12: high resolution."""

import math

import numpy as np

from ._base import exercise


# ---------------------------------------------------------------- 12.1
def predicted_crossing(
    vit,
    vil,
    S,
    seconds,
    *,
    each=lambda seconds, work: seconds / work,
    counted=lambda b, c, S: b * S + c * S * S,
    share=lambda b, c, rate: (b * rate, c * rate),
    done=lambda S: S,
    which=lambda S: S > 0,
    never=math.inf,
):
    """The tokens at which both take the same time, if each model keeps the seconds for a multiply-add of one image of S tokens.

    vit, vil: (each, pair), multiply-adds for each token and each pair: b S + c S**2.  seconds: of both at S tokens.
    """
    rates = [each(float(t), counted(b, c, S)) for t, (b, c) in zip(seconds, (vit, vil))]
    (b1, c1), (b2, c2) = (share(b, c, rate) for (b, c), rate in zip((vit, vil), rates))
    meet = (b2 - b1) / (c1 - c2) if c1 != c2 else math.inf
    return done(meet) if which(meet) and math.isfinite(meet) else never


@exercise(
    "12.1",
    "a crossing, predicted",
    predicted_crossing,
    rtol=1e-6,
    atol=0,
    mistakes={
        "this is the crossing of the counts; a multiply-add of one model need not take as long as one of the other": {
            "each": lambda seconds, work: 1.0
        },
        "the seconds of one image are taken for those of one multiply-add; divide by the work at S tokens": {
            "each": lambda seconds, work: seconds
        },
        "upside down: the seconds for a multiply-add are seconds / work": {
            "each": lambda seconds, work: work / seconds
        },
        "divide by the work of S tokens, pairs too: each * S + pair * S**2": {"counted": lambda b, c, S: b * S},
        "the work at S tokens is each * S + pair * S**2; here S is missing": {"counted": lambda b, c, S: b + c},
        "the seconds are exchanged: the first are ViT's": lambda x, y, S, t: predicted_crossing(x, y, S, t[::-1]),
        "the pairs cost time as well: multiply them by the seconds, too": {"share": lambda b, c, r: (b * r, c)},
        "the pairs of ViL are left out; they shift the crossing": lambda x, y, S, t: predicted_crossing(
            x, (y[0], 0.0), S, t
        ),
        "this is one side of the grid; tokens are wanted": {"done": math.sqrt},
        "the meeting is rounded; leave the fraction": {"done": round},
        "a meeting at S < 0 is none: infinity is wanted": {"which": lambda S: True},
        "curves that never meet for S > 0: infinity is wanted, not 0": {"never": 0.0},
        "curves that never meet for S > 0: infinity is wanted, not NaN": {"never": math.nan},
        "curves that never meet for S > 0: infinity is wanted, not None": {"never": ""},
    },
)
def check_predicted_crossing(rng):
    b, c, S = rng.uniform(4e6, 6e6), rng.uniform(4e3, 6e3), rng.size(100, 400)
    b, c = float(b), float(c)
    vit, fast = (b, c), 1e-11
    for pairs, slower in ((0.0, 2.5), (0.1, 2.0), (0.0, 0.3), (3.0, 1.5)):  # now and then ahead at once, or never
        vil = (1.6 * b, pairs * c)
        work = [m * S + n * S * S for m, n in (vit, vil)]
        yield {"vit": vit, "vil": vil, "S": S, "seconds": (fast * work[0], fast * slower * work[1])}


# ---------------------------------------------------------------- 12.2
def fit_cost(tokens, seconds, *, weight=lambda seconds: 1 / seconds, powers=(0, 1, 2)):
    """(a, b, c) of a + b S + c S**2 with the smallest sum of squared relative errors."""
    columns = np.stack([tokens**power for power in powers], axis=1)
    scale, weights = columns.max(axis=0), weight(seconds)  # powers of thousands beside ones would cost digits
    return np.linalg.lstsq(columns / scale * weights[:, None], seconds * weights, rcond=None)[0] / scale


@exercise(
    "12.2",
    "a curve through measured times",
    fit_cost,
    rtol=1e-3,
    atol=0,
    mistakes={
        "the smallest absolute errors: the largest image alone decides; divide by seconds": {"weight": np.ones_like},
        "multiplying by the seconds favours the largest image even more; divide": {"weight": lambda t: t},
        "divide both sides by the seconds, not by their root": {"weight": lambda t: t**-0.5},
        "the weighted error is squared anyway: weight by 1 / seconds, not its square": {"weight": lambda t: t**-2.0},
        "the weights look at the tokens; divide by the seconds": lambda S, t: fit_cost(S, t, weight=lambda t: 1 / S),
        "the coefficients are in order of falling powers; a, b, c is wanted": lambda S, t: fit_cost(S, t)[::-1],
        "the constant is missing": {"powers": (1, 2)},
        "the square is missing": {"powers": (0, 1)},
    },
)
def check_fit_cost(rng):
    tokens = np.array([196.0, 576, 1024, 2304, 4096, 6400, 9216])
    a, b, c = rng.uniform(0.02, 0.05, 3).double().numpy() * [1, 1e-2, 1e-5]
    noise = rng.uniform(0.85, 1.15, 7).double().numpy()
    return {"tokens": tokens, "seconds": (a + b * tokens + c * tokens**2) * noise}


# ---------------------------------------------------------------- 12.3
def crossing(vit, vil, *, pick=max, which=lambda root: root > 0, never=math.inf, below=lambda middle: [], lines=True):
    """The largest S > 0 at which both curves a + b S + c S**2 meet, or infinity.  below: for a root of less than 0."""
    a, b, c = (float(x) - float(y) for x, y in zip(vit, vil))
    inside = b * b - 4 * a * c
    if c == 0:
        roots = [-a / b] if b and lines else []
    elif inside < 0:
        roots = below(-b / (2 * c))
    else:
        roots = sorted((-b + sign * math.sqrt(inside)) / (2 * c) for sign in (1, -1))
    return pick((root for root in roots if which(root)), default=never)


def _formula(sign):
    """A mistake: one of the two roots of the formula, whatever its place."""

    def wrong(vit, vil):
        a, b, c = (x - y for x, y in zip(vit, vil))
        if c == 0 or b * b < 4 * a * c:
            return crossing(vit, vil)
        root = (-b + sign * math.sqrt(b * b - 4 * a * c)) / (2 * c)
        return root if root > 0 else math.inf

    return wrong


@exercise(
    "12.3",
    "where two curves cross",
    crossing,
    cases=4,
    mistakes={
        "this is the smaller root; beyond it the curves meet once more": {"pick": min},
        "this takes + in the formula of the roots; where c is below 0 that is the smaller one": _formula(1),
        "this takes - in the formula of the roots; where c is above 0 that is the smaller one": _formula(-1),
        "the sign is wrong": lambda x, y: -crossing(x, y),
        "the meeting is rounded; leave the fraction": lambda x, y: float(np.round(crossing(x, y))),
        "the constants are left out": lambda x, y: crossing((0.0, *x[1:]), (0.0, *y[1:])),
        "divide by 2 c, not by c": lambda x, y: crossing(x, y) * 2,
        "this is one side of the grid; tokens are wanted": lambda x, y: math.sqrt(crossing(x, y)),
        "curves that never meet have complex roots; their real part is no meeting": {"below": lambda middle: [middle]},
        "two curves with the same square are lines to each other, and meet once: S = -a / b": {"lines": False},
        "a meeting at S < 0 is none: infinity is wanted": {"which": lambda root: True},
        "curves that never meet for S > 0: infinity is wanted, not NaN": {"never": math.nan},
        "curves that never meet for S > 0: infinity is wanted, not 0": {"never": 0.0},
        "curves that never meet for S > 0: infinity is wanted, not None": {"never": ""},
    },
)
def check_crossing(rng):
    low, high = rng.size(20, 200), rng.size(800, 3000) + 0.5
    c = rng.size(1, 9) / 1e8
    twice = (0.2 + c * low * high, 1e-4, 2 * c), (0.2, 1e-4 + c * (low + high), c)  # c (S - low)(S - high)
    once = (0.2, 1e-4, 2 * c), (0.2 + 2 * c * low * high, 1e-4 + c * (high - 2 * low), c)  # c (S + 2 low)(S - high)
    before = (0.2 + c * low * high, 1e-4 + c * (low + high), 2 * c), (0.2, 1e-4, c)  # c (S + low)(S + high)
    nowhere = (0.2 + c * high**2, 1e-4, 2 * c), (0.2, 1e-4 + c * high, c)  # no root: (S - high / 2)² and more
    lines = (0.2, 1e-4, c), (0.2 + 1e-5 * high, 9e-5, c)  # 1e-5 (S - high)
    parallel = (0.2, 1e-4, c), (0.3, 1e-4, c)
    for one, other in (twice, twice[::-1], once, once[::-1], before, nowhere, nowhere[::-1], lines, parallel):
        yield {"vit": one, "vil": other}


# ---------------------------------------------------------------- 12.4
def rate_factor(name, depth, decay, *, first=1, norm=0, pooled=1, head=0, digits=None):
    """By what the learning rate of a parameter is multiplied: 1 at the head, decay for each layer below it."""
    if name.startswith("encoder.blocks."):
        layer = int(name.split(".")[2][:digits]) + first
    elif name.startswith(("patch_embed.", "pos_embed.")):
        layer = 0
    else:
        layer = depth + {"token_norm": norm, "pooled_norm": pooled, "head": 1}[name.partition(".")[0]]
    return decay ** (depth + 1 + head - layer)


@exercise(
    "12.4",
    "a learning rate for each layer",
    rate_factor,
    mistakes={
        "blocks are counted from 1: block 0 lies above the patches": {"first": 0},
        "the norm of the tokens belongs to the last block, not to the head": {"norm": 1},
        "the norm of the pooled vector belongs to the head, factor 1: it stands before it, not in a layer below": {
            "pooled": 0
        },
        "the head learns at the full rate, factor 1": {"head": 1},
        "a block's number may have two digits: split the name at its dots": {"digits": 1},
        "the wrong way round: the patches learn least": lambda n, depth, r: r ** (depth + 1) / rate_factor(n, depth, r),
    },
)
def check_rate_factor(rng):
    depth, decay = rng.size(13, 24), rng.uniform(0.6, 0.9)
    block = rng.size(10, depth - 1)
    inside = ".layer.proj_up.weight"
    names = [
        f"encoder.blocks.{block}{inside}",
        f"encoder.blocks.0{inside}",
        "patch_embed.proj.weight",
        "pos_embed.embed",
    ]
    for name in (*names, "token_norm.weight", "pooled_norm.bias", "head.weight", f"encoder.blocks.{depth - 1}{inside}"):
        yield {"name": name, "depth": depth, "decay": float(decay)}


# ---------------------------------------------------------------- 12.5
def for_adamw(groups, rate, *, scaled=lambda rate, scale: rate * scale, decayed=lambda decay, scale: decay):
    """What decay_groups returns, as groups of torch.optim.AdamW: each has the learning rate `lr` that its scale asks for."""
    return [
        {
            "params": group["params"],
            "weight_decay": decayed(group["weight_decay"], group.get("lr_scale", 1)),
            "lr": scaled(rate, group.get("lr_scale", 1)),
        }
        for group in groups
    ]


def _as_adamw_reads(function, groups, rate):
    """The parameters, the weight decay and the learning rate of AdamW(function(groups, rate), lr=rate), group by group."""
    read = function(groups, rate)
    return [
        one
        for group in read
        for one in (*group["params"], float(group.get("weight_decay", 0.01)), float(group.get("lr", rate)))
    ]


@exercise(
    "12.5",
    "groups that AdamW understands",
    for_adamw,
    through=_as_adamw_reads,
    rtol=1e-6,
    atol=0,
    mistakes={
        "every group learns at the same rate: AdamW passes over `lr_scale`, it reads `lr`": {
            "scaled": lambda rate, scale: rate
        },
        "`lr` is the scale alone; multiply it by the rate": {"scaled": lambda rate, scale: scale},
        "upside down: the lowest layers learn fastest; multiply by the scale": {
            "scaled": lambda rate, scale: rate / scale
        },
        "the weight decay is lost: AdamW would take its own, 0.01, for all": lambda groups, rate: [
            {"params": group["params"], "lr": group["lr"]} for group in for_adamw(groups, rate)
        ],
        "the weight decay is scaled as well; AdamW multiplies it by the learning rate of its group already": {
            "decayed": lambda decay, scale: decay * scale
        },
    },
)
def check_for_adamw(rng):
    rate, decay = float(rng.uniform(1e-3, 1e-2)), float(rng.uniform(0.5, 0.9))
    layers = range(rng.size(3, 5))
    matrices, vectors = ({"params": [rng.normal(2, 3), rng.normal(4, 2)]}, {"params": [rng.normal(3)]})
    each = [{**matrices, "weight_decay": 0.05}, {**vectors, "weight_decay": 0.0}]
    yield {"groups": [{**group, "lr_scale": decay**above} for above in layers for group in each], "rate": rate}
    yield {"groups": each, "rate": rate}  # one rate for all


# ---------------------------------------------------------------- 12.6
def intensity(L, d, bytes_each, *, flops=2, vectors=4, states=2, products=(2, 2)):
    """FLOPs for each byte moved by one chunk of L tokens, one head of width d."""
    multiply_adds = products[0] * L * L * d + products[1] * L * d * d
    return flops * multiply_adds / (bytes_each * (vectors * L * d + states * d * d))


@exercise(
    "12.6",
    "the arithmetic intensity of a chunk",
    intensity,
    mistakes={
        "a multiply-add is two FLOPs here": {"flops": 1},
        "the state is read and written: it moves twice": {"states": 1},
        "the state has to be moved, too": {"states": 0},
        "the output is written, too: four vectors for each token": {"vectors": 3},
        "these are FLOPs for each number; a number has `bytes_each` bytes": lambda L, d, b: intensity(L, d, 1),
        "upside down: FLOPs for each byte": lambda L, d, b: 1 / intensity(L, d, b),
        "the two products with the state are missing": {"products": (2, 0)},
        "the two products inside the chunk are missing": {"products": (0, 2)},
    },
)
def check_intensity(rng):
    return {"L": rng.size(20, 200), "d": rng.size(201, 400), "bytes_each": rng.turn([2, 4])}
