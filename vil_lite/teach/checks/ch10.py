"""Checks of chapter 10: the model, its sizes, its weights."""

import re

from ._base import attempt, compare, exercise, expect

# ---------------------------------------------------------------- 10.1


def vil_parameters(d, depth, tokens, classes):
    """Reference: parameters of a version 1 Vision-LSTM for patches of 16 x 16 pixels in 3 colours."""
    patches = 3 * 16 * 16 * d + d
    return patches + tokens * d + depth * (6 * d**2 + 87 * d + 8) + d + 2 * d + d * classes + classes


@exercise("the parameters of a whole model")
def check_vil_parameters(student, rng):
    inputs = {"d": 16 * rng.size(2, 60), "depth": rng.size(2, 40), "tokens": rng.size(20, 800), "classes": rng.size(5, 2000)}

    def off(by):
        return lambda d, depth, tokens, classes: vil_parameters(d, depth, tokens, classes) + by(d, depth, tokens, classes)

    compare(
        student, vil_parameters, inputs, rtol=1e-12, atol=0,
        diagnose={
            "the position embedding is missing: one vector of d for each token": off(lambda d, n, t, c: -t * d),
            "the bias of the head is missing: one number for each class": off(lambda d, n, t, c: -c),
            "the bias of the patch embedding is missing: d": off(lambda d, n, t, c: -d),
            "both norms are missing: d for the tokens (no bias), 2d for the pooled vector": off(lambda d, n, t, c: -3 * d),
            "the norm of the pooled vector is missing: a weight and a bias, 2d": off(lambda d, n, t, c: -2 * d),
            "d too many: the norm of the tokens has no bias in version 1": off(lambda d, n, t, c: d),
            "a patch has 16 × 16 pixels in 3 colours; the colours are missing": off(lambda d, n, t, c: -2 * 256 * d),
            "only one block is counted": off(lambda d, n, t, c: -(n - 1) * (6 * d**2 + 87 * d + 8)),
        },
    )  # fmt: skip


# ---------------------------------------------------------------- 10.2


def block_multiply_adds(S, d):
    """Reference: multiply-adds of a version 1 block in the paper's counting, norms left aside."""
    return 6 * S * d**2 + 4 * S**2 * d + 80 * S * d


@exercise("the multiply-adds of a block")
def check_block_multiply_adds(student, rng):
    compare(
        student, block_multiply_adds, {"S": rng.size(20, 3000), "d": 16 * rng.size(2, 60)}, rtol=1e-12, atol=0,
        diagnose={
            "only one of the two S × S products is counted: scores, and scores times values":
                lambda S, d: block_multiply_adds(S, d) - 2 * S**2 * d,
            "four times too little in the S × S products: all four heads together are 2d wide, so they cost 2 · S² · 2d":
                lambda S, d: block_multiply_adds(S, d) - 3 * S**2 * d,
            "the S × S products are counted once for each head at full width; a head is 2d/4 wide":
                lambda S, d: block_multiply_adds(S, d) + 12 * S**2 * d,
            "every number is doubled: one multiply-add counts as one": lambda S, d: 2 * block_multiply_adds(S, d),
            "the S × S products are missing": lambda S, d: block_multiply_adds(S, d) - 4 * S**2 * d,
            "proj_down is missing: S · 2d · d": lambda S, d: block_multiply_adds(S, d) - 2 * S * d**2,
            "this is one token; multiply by S": lambda S, d: 6 * d**2 + 4 * S * d + 80 * d,
            "these are the parameters of the block; every token uses them again":
                lambda S, d: 6 * d**2 + 87 * d + 8,
            "the gates are missing: two, each from 3 · 2d numbers to 4 heads": lambda S, d: block_multiply_adds(S, d) - 48 * S * d,
            "one of the two gates is missing": lambda S, d: block_multiply_adds(S, d) - 24 * S * d,
            "the convolution is missing: 4 taps for each of 2d features": lambda S, d: block_multiply_adds(S, d) - 8 * S * d,
            "q, k and v are missing: 4 inputs for each of 3 · 2d outputs": lambda S, d: block_multiply_adds(S, d) - 24 * S * d,
        },
    )  # fmt: skip


# ---------------------------------------------------------------- 10.3

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
    """Reference: our name of a parameter outside the paths, from its name in a raw file of version 1."""
    key = key.removeprefix("xlstm.").replace(".xlstm_norm.", ".norm.").replace(".xlstm.", ".layer.")
    key = key.replace("post_blocks_norm.", "token_norm.").replace("head.0.", "pooled_norm.").replace("head.1.", "head.")
    return re.sub(r"^blocks\.", "encoder.blocks.", key)


@exercise("the names of a published file", cases=3)
def check_library_name(student, rng):
    block = rng.size(10, 23)
    for key, wanted in RAW:
        key, wanted = key.format(i=block), wanted.format(i=block)
        got = attempt(student, key, told=f"; key: {key!r}")
        expect(got is not None, "nothing is returned: is the `return` missing?")
        if got == wanted:
            continue
        told = f"{key!r} became {got!r}, wanted {wanted!r}"
        expect(got != wanted.replace("token_norm", "pooled_norm"), f"{told}: the norm after the blocks is that of the tokens")
        expect(
            not (key.startswith("head.0") and str(got).startswith(("token_norm", "norm", "head"))),
            f"{told}: head.0 is a LayerNorm, that of the pooled vector",
        )
        expect("xlstm_norm" not in str(got) and "layer_norm" not in str(got), f"{told}: replace .xlstm_norm. as a whole, before .xlstm.")
        expect(".xlstm." not in str(got) or "blocks" not in key, f"{told}: inside a block, .xlstm. is the layer")
        expect(not str(got).startswith("blocks."), f"{told}: our blocks live in the encoder")
        expect(not str(got).startswith("layer."), f"{told}: only the prefix xlstm. goes away; replacing every xlstm. hits it too")
        expect(False, told)


# ---------------------------------------------------------------- 10.4


def best_choices(models):
    """Reference: {name: (cost, accuracy)} -> names that no other model beats in both, cheapest first."""
    def beaten(name):
        cost, accuracy = models[name]
        return any(c <= cost and a >= accuracy and (c, a) != (cost, accuracy) for c, a in models.values())

    return sorted((name for name in models if not beaten(name)), key=lambda name: models[name][0])


@exercise("the models that no other model beats")
def check_best_choices(student, rng):
    costs = [0.5 * n for n in range(2, 10)]
    models = {f"m{n}": (cost, 70 + 0.5 * rng.size(0, 20)) for n, cost in enumerate(costs)}
    models["last"] = (10.0, max(a for _, a in models.values()) - 3)  # costs most, and is beaten
    models["like m0"] = (models["m0"][0], models["m0"][1] - 1)  # as cheap, and worse
    models = {name: models[name] for name in sorted(models, key=lambda name: models[name][1])}

    def in_order(keep):
        return sorted(keep, key=lambda n: models[n][0])

    best = max(a for _, a in models.values())
    strict = in_order(n for n, (c, a) in models.items() if not any(C < c and A > a for C, A in models.values()))
    got = attempt(student, dict(models))
    wanted = best_choices(models)
    expect(got is not None, "nothing is returned: is the `return` missing?")
    got = list(got)
    if got == wanted:
        return
    expect(set(got) != set(wanted), "the right models, in the wrong order: cheapest first")
    expect(set(got) != {n for n, (_, a) in models.items() if a == best}, "only the most accurate are kept; a cheaper model may be worth its place too")
    expect(set(got) != set(models) - set(wanted), "these are the models that are beaten; the others are wanted")
    expect(got != [], "nothing is left: does every model beat itself? It costs as much as itself and is as accurate")
    expect(
        set(got) != set(strict),
        "a model that costs as much and is less accurate, or is as accurate and costs more, is beaten as well",
    )
    ratio = in_order(n for n, (c, a) in models.items() if a / c >= max(A / C for C, A in models.values()))
    expect(set(got) != set(ratio), "accuracy divided by cost keeps the cheapest alone; compare two models in both numbers")
    extra, missing = sorted(set(got) - set(wanted)), sorted(set(wanted) - set(got))
    expect(False, f"too many: {extra}; missing: {missing}; models: {models}")
