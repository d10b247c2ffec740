"""Exercises of chapter 10: the model, its sizes, its weights."""

import itertools
import re

from ._base import attempt, exercise, expect

# ---------------------------------------------------------------- 10.1


def vil_parameters(dim, depth, tokens, classes, *, off=lambda d, depth, tokens, classes: 0):
    """Parameters of a version 1 Vision-LSTM for patches of 16 x 16 pixels in 3 colours."""
    around = 3 * 16 * 16 * dim + dim + tokens * dim + dim + 2 * dim + dim * classes + classes
    return around + depth * (6 * dim**2 + 87 * dim + 8) + off(dim, depth, tokens, classes)


@exercise(
    "10.1",
    "the parameters of a whole model",
    vil_parameters,
    rtol=1e-12,
    atol=0,
    mistakes={
        "the position embedding is missing: one vector of d for each token": {"off": lambda d, n, t, c: -t * d},
        "the bias of the head is missing: one number for each class": {"off": lambda d, n, t, c: -c},
        "the bias of the patch embedding is missing: d": {"off": lambda d, n, t, c: -d},
        "both norms are missing: d for the tokens (no bias), 2d for the pooled vector": {
            "off": lambda d, n, t, c: -3 * d
        },
        "the norm of the pooled vector is missing: a weight and a bias, 2d": {"off": lambda d, n, t, c: -2 * d},
        "d too many: the norm of the tokens has no bias in version 1": {"off": lambda d, n, t, c: d},
        "a patch has 16 × 16 pixels in 3 colours; the colours are missing": {"off": lambda d, n, t, c: -2 * 256 * d},
        "only one block is counted": {"off": lambda d, n, t, c: -(n - 1) * (6 * d**2 + 87 * d + 8)},
        "the head is missing: d · classes weights and a bias": {"off": lambda d, n, t, c: -(d * c + c)},
    },
)
def check_vil_parameters(rng):
    sizes = {"dim": 16 * rng.size(2, 60), "depth": rng.size(2, 40)}
    return {**sizes, "tokens": rng.size(20, 800), "classes": rng.size(5, 2000)}


# ---------------------------------------------------------------- 10.2


def which_counts(printed, counts, *, unit=1e9):
    """printed: "1.5", in billions.  counts: {name: multiply-adds} -> the names whose count a table would print so."""
    digits = len(printed.partition(".")[2])
    return [name for name, count in counts.items() if f"{count / unit:.{digits}f}" == printed]


def _within(printed, counts, limit):
    return [name for name, count in counts.items() if abs(count / 1e9 - float(printed)) <= limit * float(printed)]


@exercise(
    "10.2",
    "the counts that a printed number can be",
    which_counts,
    mistakes={
        "every printed number is taken to have one digit behind the point": lambda printed, counts: [
            name for name, count in counts.items() if abs(count / 1e9 - float(printed)) < 0.05
        ],
        "nothing fits: a printed number is in billions, and was rounded to its digits": lambda printed, counts: [],
        "the nearest count is taken, whatever is printed; it can be several, or none": lambda printed, counts: [
            min(counts, key=lambda name: abs(counts[name] / 1e9 - float(printed)))
        ],
        "the first that fits is taken; it can be several, or none": lambda printed, counts: which_counts(
            printed, counts
        )[:1],
        "a share of the number is no measure; it was rounded, by up to half of its last digit": lambda printed, counts: (
            _within(printed, counts, 0.05)
        ),
        "the count is cut off behind the last digit; a table rounds": lambda printed, counts: [
            name
            for name, count in counts.items()
            if 0 <= count / 1e9 - float(printed) < 10.0 ** -len(printed.partition(".")[2])
        ],
        "a whole last digit is allowed; rounding moves a number by half of one at most": lambda printed, counts: [
            name
            for name, count in counts.items()
            if abs(count / 1e9 - float(printed)) < 10.0 ** -len(printed.partition(".")[2])
        ],
        "a multiply-add is counted as two; here it is one": {"unit": 5e8},
    },
)
def check_which_counts(rng):
    digits = rng.turn([1, 2, 0])
    last = 10.0**-digits
    base = rng.size(3, 30) + (rng.size(0, 9) / 10 if digits else 0)
    # Rounded up, rounded down, too low by more than half a digit, too high by more, far too high, twice and half as many.
    shares = {"a": -0.3, "b": 0.3, "c": -0.7, "d": 0.7, "e": 3.0}
    counts = {name: (base + share * last) * 1e9 for name, share in shares.items()}
    counts |= {"doubled": 2 * base * 1e9, "halved": base / 2 * 1e9}
    chosen = rng.turn(["abcde", "cdbe", "dec", "eacd", "bde"])
    counts = {name: counts[name] for name in ("halved", *chosen, "doubled")}
    return {"printed": f"{base:.{digits}f}", "counts": counts}


# ---------------------------------------------------------------- 10.3


def best_choices(
    models, *, beats=lambda c, a, cost, accuracy: c <= cost and a >= accuracy and (c, a) != (cost, accuracy)
):
    """{name: (cost, accuracy)} -> names that no other model beats, cheapest first."""
    kept = [name for name, mine in models.items() if not any(beats(*other, *mine) for other in models.values())]
    return sorted(kept, key=lambda name: models[name][0])


def _twins_in_order(function, models):
    """The names, of models that are equal in both the same name: these may come in any order."""
    first = {mine: name for name, mine in sorted(models.items(), reverse=True)}
    names = [first.get(models.get(name), name) for name in function(models)]
    runs = itertools.groupby(names, key=lambda name: models.get(name, (name,))[0])
    return [name for _, run in runs for name in sorted(run)]


@exercise(
    "10.3",
    "the models that no other model beats",
    best_choices,
    through=_twins_in_order,
    mistakes={
        "the right models, in the wrong order: cheapest first": lambda models: best_choices(models)[::-1],
        "the right models, by name; cheapest first": lambda models: sorted(best_choices(models)),
        "only the most accurate are kept; a cheaper model may be worth its place too": lambda models: [
            n for n, (_, a) in models.items() if a == max(a for _, a in models.values())
        ],
        "these are the models that are beaten; the others are wanted": lambda models: sorted(
            set(models) - set(best_choices(models)), key=lambda n: models[n][0]
        ),
        "nothing is left: does every model beat itself? It costs as much as itself and is as accurate": lambda models: [],
        "two models that are equal in both do not beat each other": lambda models: [
            n for n in best_choices(models) if list(models.values()).count(models[n]) == 1
        ],
        "of two models that are equal in both, one is lost: neither beats the other": lambda models: list(
            {models[n]: n for n in best_choices(models)}.values()
        ),
        "a model that costs as much and is less accurate is beaten as well": {
            "beats": lambda c, a, cost, accuracy: c < cost and a >= accuracy
        },
        "a model that is as accurate and costs more is beaten as well": {
            "beats": lambda c, a, cost, accuracy: c <= cost and a > accuracy
        },
        "a model that costs as much and is less accurate, or is as accurate and costs more, is beaten as well": {
            "beats": lambda c, a, cost, accuracy: c < cost and a > accuracy
        },
        "accuracy divided by cost keeps the cheapest alone; compare two models in both numbers": lambda models: [
            max(models, key=lambda n: (models[n][1] / models[n][0], n))
        ],
    },
)
def check_best_choices(rng):
    costs = [0.5 * n for n in range(2, 10)]
    # The cheaper, the later in the alphabet.
    models = {f"m{9 - n}": (cost, 70 + 0.5 * rng.size(0, 20)) for n, cost in enumerate(costs)}
    best = max(accuracy for _, accuracy in models.values()) + 0.5
    models["m2"] = (models["m2"][0], best)  # never beaten, as m9 is not
    models["top"], models["top again"] = (9.0, best + 1), (9.0, best + 1)  # equal in both
    models["dear"] = (10.0, best + 1)  # as accurate, and costs more
    models["last"] = (11.0, best - 3)  # costs most, and is beaten
    models["like m9"] = (models["m9"][0], models["m9"][1] - 1)  # as cheap, and worse
    # The most expensive of those that are left comes first: they have to be sorted.
    return {"models": {name: models[name] for name in sorted(models, key=lambda name: -models[name][1])}}


# ---------------------------------------------------------------- 10.4

RAW = [
    ("xlstm.patch_embed.proj.weight", "patch_embed.proj.weight"),
    ("xlstm.pos_embed.embed", "pos_embed.embed"),
    ("xlstm.blocks.{i}.xlstm_norm.weight", "encoder.blocks.{i}.norm.weight"),
    ("xlstm.blocks.{i}.xlstm.proj_up.weight", "encoder.blocks.{i}.layer.proj_up.weight"),
    ("xlstm.blocks.{i}.xlstm.proj_down.weight", "encoder.blocks.{i}.layer.proj_down.weight"),
    ("xlstm.post_blocks_norm.weight", "token_norm.weight"),
    ("head.0.weight", "pooled_norm.weight"),
    ("head.0.bias", "pooled_norm.bias"),
    ("head.1.weight", "head.weight"),
    ("head.1.bias", "head.bias"),
]


def library_name(key):
    """Our name of a parameter outside the paths, from its name in a raw file of version 1."""
    key = key.removeprefix("xlstm.").replace(".xlstm_norm.", ".norm.").replace(".xlstm.", ".layer.")
    key = key.replace("post_blocks_norm.", "token_norm.").replace("head.0.", "pooled_norm.").replace("head.1.", "head.")
    return re.sub(r"^blocks\.", "encoder.blocks.", key)


_TOKENS = "the norm after the blocks is that of the tokens"
_POOLED = "head.0 is a LayerNorm, that of the pooled vector"
_WHOLE = "replace .xlstm_norm. as a whole, before .xlstm."
_LAYER = "inside a block, .xlstm. is the layer"
_ENCODER = "our blocks live in the encoder"
_PREFIX = "only the prefix xlstm. goes away; replacing every xlstm. hits it too"
_SEVERAL = "a number of a block has more than one digit"
_SINGLE = "a number of a block may have one digit"


@exercise(
    "10.4",
    "the names of a published file",
    library_name,
    cases=3,
    mistakes={
        _TOKENS: lambda key: library_name(key).replace("token_norm", "pooled_norm"),
        _POOLED: lambda key: (
            "head" + key[4:].replace(".0", "").replace(".1", "") if "head" in key else library_name(key)
        ),
        _WHOLE: lambda key: library_name(key.replace("xlstm_norm", "layer_norm")),
        _LAYER: lambda key: library_name(key).replace(".layer.", ".xlstm."),
        _ENCODER: lambda key: library_name(key).removeprefix("encoder."),
        _PREFIX: lambda key: library_name(key).replace(".layer.", "."),
        _SEVERAL: lambda key: library_name(re.sub(r"blocks\.(\d)\d", r"blocks.\1", key)),
        _SINGLE: lambda key: library_name(re.sub(r"blocks\.(\d)\.", r"blocks.0\1.", key)),
    },
)
def check_library_name(rng, student):
    blocks = rng.size(10, 23), rng.size(0, 9)
    for (key, wanted), block in itertools.product(RAW, blocks):
        key, wanted = key.format(i=block), wanted.format(i=block)
        got = attempt(student, key, told=f"; key: {key!r}")
        told = f": {key!r} became {got!r}, wanted {wanted!r}"
        got = str(got)
        expect(got == wanted or got != wanted.replace("token_norm", "pooled_norm"), _TOKENS, told)
        expect(not (key.startswith("head.0") and got.startswith(("token_norm", "norm", "head"))), _POOLED, told)
        expect("xlstm_norm" not in got and "layer_norm" not in got, _WHOLE, told)
        expect(".xlstm." not in got or "blocks" not in key, _LAYER, told)
        expect(not got.startswith("blocks."), _ENCODER, told)
        missing = wanted.replace(".layer.", ".") if ".layer." in wanted else "no layer"
        expect(got != missing, _PREFIX, told)
        expect(got == wanted or got != re.sub(r"blocks\.(\d)\d", r"blocks.\1", wanted), _SEVERAL, told)
        expect(got == wanted or block > 9 or "blocks" not in wanted, _SINGLE, told)
        yield {"key": key}
