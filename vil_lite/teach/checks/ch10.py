"""Exercises of chapter 10: the model, its sizes, its weights."""

import itertools
import re

import torch

from vil_lite.model import VisionLSTM

from ._base import exercise


# ---------------------------------------------------------------- 10.1
def what_model(
    shapes,
    *,
    width=lambda shapes: shapes["patch_embed.proj.weight"][0],
    depth=lambda numbers: max(map(int, numbers)) + 1,
    tokens=lambda grid, dim: grid[0] * grid[1],
    classes=lambda head: head[0] if head else 0,
    version=lambda shapes: 2 if "token_norm.bias" in shapes else 1,
):
    """{name of a tensor: its shape} of a whole model, or of one without a head -> (dim, depth, tokens, classes, version)."""
    blocks = [name.split(".")[2] for name in shapes if name.startswith("encoder.blocks.")]
    dim, head = width(shapes), shapes.get("head.weight")
    return dim, depth(blocks), tokens(shapes["pos_embed.embed"][1:3], dim), classes(head), version(shapes)


def shapes_of(dim, depth, grid, classes, version):
    """{name: shape} of the state dict of such a model; one block is built, as all are alike and building takes time."""
    with torch.device("meta"):
        model = VisionLSTM(dim, 1, version, image_size=(16 * grid[0], 16 * grid[1]), num_classes=classes)
    shapes = {}
    for name, tensor in model.state_dict().items():
        for block in range(depth) if "blocks" in name else [0]:
            shapes[name.replace("blocks.0.", f"blocks.{block}.")] = tuple(tensor.shape)
    return shapes


def _by_head(shapes):
    """The version, by the width of the head alone."""
    return 2 if shapes.get("head.weight", (0, 0))[1] > shapes["patch_embed.proj.weight"][0] else 1


@exercise(
    "10.1",
    "the model that a file holds",
    what_model,
    rtol=0,
    atol=0,
    mistakes={
        "blocks are counted from 0: their number is the largest plus 1": {"depth": lambda n: max(map(int, n))},
        'numbers are compared as texts, and "9" comes after "23": take int(...) of each': {
            "depth": lambda n: int(max(n)) + 1
        },
        "the block that is listed last need not be the last one: names may be sorted as texts": {
            "depth": lambda n: int(n[-1]) + 1
        },
        "these are the tensors in the blocks; a block has many": {"depth": len},
        "this is one side of the grid; the tokens are height times width": {"tokens": lambda grid, dim: grid[0]},
        "the grid need not be square: height times width": {"tokens": lambda grid, dim: grid[0] ** 2},
        "these are the numbers in the position embedding; a token has `dim` of them": {
            "tokens": lambda grid, dim: grid[0] * grid[1] * dim
        },
        "the inner width is 2 d; d is the number of outputs of the patch embedding": {
            "width": lambda s: s["encoder.blocks.0.layer.paths.0.learnable_skip"][0]
        },
        "a weight is (outputs, inputs, ...): the 3 are colours": {"width": lambda s: s["patch_embed.proj.weight"][1]},
        "head.weight is (classes, features); the classes come first": {"classes": lambda head: head[1] if head else 0},
        "a file without a head has 0 classes": {"classes": lambda head: head[0] if head else 1000},
        "a file without a head has a version, too: look at the biases, or at the convolution": {"version": _by_head},
        "the versions are exchanged: it is version 2 that has biases everywhere": {
            "version": lambda s: 1 if "token_norm.bias" in s else 2
        },
    },
)
def check_what_model(rng):
    depth, version, classes = rng.size(12, 15), rng.turn([1, 2]), rng.turn([rng.size(5, 2000), 0, 0])
    shapes = shapes_of(8 * rng.size(3, 12), depth, (rng.size(3, 6), rng.size(7, 9)), classes, version)
    return {"shapes": dict(sorted(shapes.items())) if rng.case % 2 else shapes}


# ---------------------------------------------------------------- 10.2
def _off(printed, counts):
    """{name: by how many last digits the count is above the printed number, in billions}."""
    digit = 10.0 ** -len(printed.partition(".")[2])
    return {name: (count / 1e9 - float(printed)) / digit for name, count in counts.items()}


def which_counts(printed, counts, *, unit=1e9):
    """printed: "1.5", in billions.  counts: {name: multiply-adds} -> the names whose count a table would print so."""
    digits = len(printed.partition(".")[2])
    return [name for name, count in counts.items() if f"{count / unit:.{digits}f}" == printed]


def _within(limit):
    return lambda printed, counts: [
        n for n, c in counts.items() if abs(c / 1e9 - float(printed)) < limit(float(printed))
    ]


@exercise(
    "10.2",
    "the counts that a printed number can be",
    which_counts,
    mistakes={
        "every printed number is taken to have one digit after the point": _within(lambda x: 0.05),
        "nothing fits: a printed number is in billions, and was rounded to its digits": lambda printed, counts: [],
        "the nearest is taken; it can be several, or none": lambda *x: [min(_off(*x), key=lambda n: abs(_off(*x)[n]))],
        "the first that fits is taken; it can be several, or none": lambda *x: which_counts(*x)[:1],
        "a tolerance in percent is wrong: rounding moves a number by half a last digit at most": _within(
            lambda x: 0.05 * x
        ),
        "the count is cut off; a table rounds": lambda *x: [n for n, off in _off(*x).items() if 0 <= off < 1],
        "rounding moves a number by half a last digit at most, not by a whole one": lambda *x: [
            n for n, off in _off(*x).items() if abs(off) < 1
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
    models,
    *,
    beats=lambda c, a, cost, accuracy: c <= cost and a >= accuracy and (c, a) != (cost, accuracy),
    beaten=False,
):
    """{name: (cost, accuracy)} -> names that no other model beats, cheapest first."""
    kept = [n for n, mine in models.items() if beaten == any(beats(*other, *mine) for other in models.values())]
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
        "only the most accurate are kept; a cheaper model may be worth it": {"beats": lambda c, a, cost, b: a > b},
        "these are the models that are beaten; the others are wanted": {"beaten": True},
        "nothing is left: does every model beat itself?": lambda models: [],
        "two models that are equal in both do not beat each other": lambda models: [
            n for n in best_choices(models) if list(models.values()).count(models[n]) == 1
        ],
        "of two equal models one is lost": lambda models: list({models[n]: n for n in best_choices(models)}.values()),
        "a model that costs as much and is worse is beaten": {"beats": lambda c, a, cost, b: c < cost and a >= b},
        "a model that is as accurate and costs more is beaten": {"beats": lambda c, a, cost, b: c <= cost and a > b},
        "equal in one, worse in the other: beaten as well": {"beats": lambda c, a, cost, b: c < cost and a > b},
        "accuracy divided by cost favours the cheapest; compare both numbers": {
            "beats": lambda c, a, cost, b: a / c > b / cost
        },
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


@exercise(
    "10.4",
    "the names of a published file",
    library_name,
    cases=3,
    mistakes={
        "after the blocks comes the tokens' norm": lambda key: library_name(key).replace("token_", "pooled_"),
        "head.0 is the LayerNorm of the pooled vector": lambda key: library_name(key).replace("pooled_norm", "head"),
        "replace .xlstm_norm. before .xlstm.": lambda key: library_name(key.replace("xlstm_norm", "layer_norm")),
        "inside a block, .xlstm. is the layer": lambda key: library_name(key).replace(".layer.", ".xlstm."),
        "our blocks live in the encoder": lambda key: library_name(key).removeprefix("encoder."),
        "only the prefix xlstm. goes away, not .xlstm.": lambda key: library_name(key).replace(".layer.", "."),
        "a block's number may have two digits": lambda key: library_name(re.sub(r"blocks\.(\d)\d", r"blocks.\1", key)),
        "a block's number may have one digit": lambda key: library_name(re.sub(r"blocks\.(\d)\.", r"blocks.0\1.", key)),
    },
)
def check_library_name(rng):
    for (key, _), block in itertools.product(RAW, (rng.size(10, 23), rng.size(0, 9))):
        yield {"key": key.format(i=block)}
