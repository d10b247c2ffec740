"""Chapter 10's checks accept the chapter's solutions, and say what is wrong with plausible wrong answers."""

import pytest
import torch
from _chapter import page_tests, rejects

from vil_lite import complexity, create_model
from vil_lite.block import ViLBlock
from vil_lite.checkpoints import official_name
from vil_lite.teach.checks import CheckFailed, ch10

CHECKS = {
    "vil_parameters": ch10.check_vil_parameters,
    "block_multiply_adds": ch10.check_block_multiply_adds,
    "best_choices": ch10.check_best_choices,
    "library_name": ch10.check_library_name,
}

test_the_solution_passes, test_the_stub_is_not_attempted = page_tests("part2_vision/10_model.ipynb", CHECKS)


def block(d):
    return 6 * d**2 + 87 * d + 8


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda d, n, t, c: 769 * d + n * block(d) + 3 * d + c * d + c, "position embedding is missing"),
        (lambda d, n, t, c: 769 * d + t * d + n * block(d) + 3 * d + c * d, "bias of the head"),
        (lambda d, n, t, c: 768 * d + t * d + n * block(d) + 3 * d + c * d + c, "bias of the patch"),
        (lambda d, n, t, c: 769 * d + t * d + n * block(d) + c * d + c, "both norms"),
        (lambda d, n, t, c: 769 * d + t * d + n * block(d) + d + c * d + c, "norm of the pooled vector"),
        (lambda d, n, t, c: 769 * d + t * d + n * block(d) + 4 * d + c * d + c, "no bias in version 1"),
        (lambda d, n, t, c: 257 * d + t * d + n * block(d) + 3 * d + c * d + c, "colours"),
        (lambda d, n, t, c: 769 * d + t * d + block(d) + 3 * d + c * d + c, "only one block"),
    ],
)
def test_wrong_parameters(wrong, message):
    rejects(ch10.check_vil_parameters, wrong, message)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda S, d: 6 * S * d**2 + 2 * S**2 * d + 80 * S * d, "only one of the two"),
        (lambda S, d: 6 * S * d**2 + S**2 * d + 80 * S * d, "four times too little"),
        (lambda S, d: 6 * S * d**2 + 16 * S**2 * d + 80 * S * d, "once for each head"),
        (lambda S, d: 12 * S * d**2 + 8 * S**2 * d + 160 * S * d, "doubled"),
        (lambda S, d: 6 * S * d**2 + 80 * S * d, "products are missing"),
        (lambda S, d: 4 * S * d**2 + 4 * S**2 * d + 80 * S * d, "proj_down"),
        (lambda S, d: block(d), "these are the parameters"),
        (lambda S, d: 6 * S * d**2 + 4 * S**2 * d + 56 * S * d, "one of the two gates"),
        (lambda S, d: 6 * S * d**2 + 4 * S**2 * d + 72 * S * d, "convolution is missing"),
    ],
)
def test_wrong_multiply_adds(wrong, message):
    rejects(ch10.check_block_multiply_adds, wrong, message)


def named(key, tokens="token_norm.", pooled="pooled_norm.", prefix="encoder.", inside=".layer.", norm=".norm."):
    key = key.removeprefix("xlstm.").replace(".xlstm_norm.", norm).replace(".xlstm.", inside)
    key = key.replace("post_blocks_norm.", tokens).replace("head.0.", pooled).replace("head.1.", "head.")
    return prefix + key if key.startswith("blocks.") else key


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda key: named(key, tokens="pooled_norm."), "that of the tokens"),
        (lambda key: named(key, pooled="token_norm."), "head.0 is a LayerNorm"),
        (lambda key: named(key, prefix=""), "live in the encoder"),
        (lambda key: named(key, inside=".xlstm."), "is the layer"),
        (lambda key: named(key, norm=".xlstm_norm."), "as a whole"),
        (lambda key: named(key.replace("xlstm.", "")), "became"),
    ],
)
def test_wrong_names(wrong, message):
    rejects(ch10.check_library_name, wrong, message)


def front(models, beats):
    names = (n for n, own in models.items() if not any(beats(other, own) for other in models.values()))
    return sorted(names, key=lambda n: models[n][0])


def beats(other, own):
    return other[0] <= own[0] and other[1] >= own[1] and other != own


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda m: front(m, beats)[::-1], "wrong order"),
        (lambda m: [n for n in m if n not in front(m, beats)], "models that are beaten"),
        (lambda m: front(m, lambda o, own: o[0] <= own[0] and o[1] >= own[1]), "does every model beat itself"),
        (lambda m: front(m, lambda o, own: o[0] < own[0] and o[1] > own[1]), "costs as much and is less accurate"),
        (lambda m: list(m), "too many"),
    ],
)
def test_wrong_choices(wrong, message):
    for seed in (1, 2, 3):
        with pytest.raises(CheckFailed, match=message):
            ch10.check_best_choices(wrong, seed=seed)


def test_the_references_are_the_library():
    with torch.device("meta"):
        small, block = create_model("vil_small", depth=3, num_classes=7, image_size=160), ViLBlock(64, form="parallel")
        x = torch.empty(1, 35, 64)
    assert ch10.vil_parameters(384, 3, 100, 7) == complexity.parameters(small)
    norms = 5 * 35 * 64 + 5 * 35 * 128
    assert ch10.block_multiply_adds(35, 64) + norms == complexity.flops(block, x, (5, 7))
    for raw, wanted in ch10.RAW:
        assert official_name(raw.format(i=3), version=1) == wanted.format(i=3) == ch10.library_name(raw.format(i=3))
