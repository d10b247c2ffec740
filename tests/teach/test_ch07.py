"""Chapter 7's checks accept the chapter's solutions, and say what is wrong with plausible wrong answers."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from _chapter import page_tests, rejects

from vil_lite.block import ViLBlock
from vil_lite.layers import CausalConv1d, LinearBlockDiagonal
from vil_lite.teach.checks import ch07

CHECKS = {
    "causal_conv": ch07.check_causal_conv,
    "block_diagonal": ch07.check_block_diagonal,
    "gates": ch07.check_gates,
    "bias_for_span": ch07.check_bias_for_span,
    "vil_block": ch07.check_vil_block,
    "v2_parameters": ch07.check_v2_parameters,
}

test_the_solution_passes, test_the_stub_is_not_attempted = page_tests(
    "part2_vision/07_vil_block.ipynb", CHECKS, {"torch": torch, "np": np, "F": F}
)


def torch_conv(x, weight, bias, left, right=0):
    padded = F.pad(x.mT, (left, right))
    return F.conv1d(padded, weight[:, None], bias, groups=x.shape[2]).mT


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda x, w, b: torch_conv(x, w, b, w.shape[1] // 2, w.shape[1] - 1 - w.shape[1] // 2), "looks ahead"),
        (lambda x, w, b: torch_conv(x, w, b, 0, w.shape[1] - 1), "looks ahead"),
        (lambda x, w, b: torch_conv(x, w.flip(1), b, w.shape[1] - 1), "mirrored"),
        (lambda x, w, b: torch_conv(x, w, b, w.shape[1])[:, :-1], "one token late"),
        (lambda x, w, b: torch_conv(x, w, None, w.shape[1] - 1), "bias is missing"),
        (lambda x, w, b: torch_conv(x, w[:1].repeat(len(w), 1), b, w.shape[1] - 1), "same taps"),
        (lambda x, w, b: torch_conv(x, w, b, 0), "looks ahead|shorter"),
    ],
)
def test_wrong_convolutions(wrong, message):
    rejects(ch07.check_causal_conv, wrong, message)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda x, w: x @ torch.block_diag(*w), "transposed"),
        (lambda x, w: torch.einsum("noi,bsin->bson", w, x.unflatten(-1, (-1, len(w)))).flatten(-2), "neighbours"),
        (lambda x, w: x @ torch.block_diag(*[w[0]] * len(w)).T, "first matrix"),
        (lambda x, w: torch.einsum("noi,bsni->bso", w, x.unflatten(-1, (len(w), -1))), "side by side"),
        (lambda x, w: torch.einsum("noi,bsni->bsno", w, x.unflatten(-1, (len(w), -1))), "joined"),
    ],
)
def test_wrong_block_diagonals(wrong, message):
    rejects(ch07.check_block_diagonal, wrong, message)


def linear(parts, weight, bias):
    return (torch.cat(parts, dim=-1) @ weight.T + bias).permute(2, 0, 1)


def joined(*parts):
    return [x.permute(1, 2, 0, 3).flatten(2) for x in parts]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda q, k, v, w, b: linear([x.reshape(*x.shape[1:3], -1) for x in (q, k, v)], w, b), "mixed"),
        (lambda q, k, v, w, b: linear(joined(k, q, v), w, b), "order is q, k, v"),
        (lambda q, k, v, w, b: linear(joined(q, k, v), w, 0), "bias is missing"),
        (lambda q, k, v, w, b: linear(joined(q, k, v), w, b).sigmoid(), "pre-activations"),
        (lambda q, k, v, w, b: linear(joined(q, k, v), w, b).permute(1, 2, 0), "heads in front"),
        (lambda q, k, v, w, b: linear([x.permute(1, 2, 3, 0).flatten(2) for x in (q, k, v)], w, b), r"\(d, heads\)"),
        (
            lambda q, k, v, w, b: torch.stack([
                torch.cat([q, k, v], -1)[h] @ w[h].view(3, *q.shape[::3])[:, h].flatten() + b[h] for h in range(len(q))
            ]),
            "own head only",
        ),
    ],
)  # fmt: skip
def test_wrong_gates(wrong, message):
    rejects(ch07.check_gates, wrong, message)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (math.log, "not e"),
        (lambda span: 1 - 1 / span, "this is the gate"),
        (lambda span: math.log(1 - 1 / span), "undo the sigmoid"),
        (lambda span: -math.log(span - 1), "sign"),
        (lambda span: math.log10(span - 1), "base 10"),
        (lambda span: span - 1, "take the logarithm"),
    ],
)
def test_wrong_biases(wrong, message):
    rejects(ch07.check_bias_for_span, wrong, message)


def block(x, p, reverse, v_of="x_m", qk_of="c", conv_silu=F.silu, gate=F.silu, skip="c", late=False, back=True, base=None):
    """A student's block, with room for mistakes."""
    y = p.norm(x).flip(1) if reverse else p.norm(x)
    x_m, z = p.proj_up(y).chunk(2, dim=-1)
    has = {"x_m": x_m, "c": conv_silu(p.conv(x_m))}
    h = p.cell(p.q_proj(has[qk_of]), p.k_proj(has[qk_of]), p.v_proj(has[v_of]))
    bypass = p.skip * has[skip] if skip else 0
    y = p.proj_down(h * gate(z) + bypass if late else (h + bypass) * gate(z))
    y = y.flip(1) if reverse and back else y
    return y + (x if base is None else base(x, p))


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ({"v_of": "c"}, "v is made of c"),
        ({"qk_of": "x_m"}, "q and k are made of x_m"),
        ({"conv_silu": lambda c: c}, "SiLU after the convolution"),
        ({"gate": torch.sigmoid}, "gate is a sigmoid"),
        ({"gate": lambda z: z}, "gate is z itself"),
        ({"skip": "x_m"}, "carries c"),
        ({"skip": None}, "skip is missing"),
        ({"late": True}, "added before"),
        ({"back": False}, "not restored"),
        ({"base": lambda x, p: 0}, "residual is missing"),
        ({"base": lambda x, p: p.norm(x)}, "normalised tokens"),
    ],
)
def test_wrong_blocks(mistake, message):
    rejects(ch07.check_vil_block, lambda x, p, reverse: block(x, p, reverse, **mistake), message)


def test_a_block_that_ignores_or_overdoes_the_reversal():
    rejects(ch07.check_vil_block, lambda x, p, reverse: block(x, p, False), "`reverse` is ignored")
    rejects(ch07.check_vil_block, lambda x, p, reverse: block(x, p, True), "although `reverse` is False")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda d: 6 * d**2 + 87 * d + 8, "this is version 1"),
        (lambda d: 6 * d**2 + 101 * d + 8, "9, for each"),
        (lambda d: 6 * d**2 + 105 * d + 8, "biases of q, k and v"),
        (lambda d: 6 * d**2 + 106 * d + 8, "proj_up"),
        (lambda d: 6 * d**2 + 111 * d + 16, "counted twice"),
        (lambda d: 6 * d**2 + 108 * d + 8, "two norms"),
    ],
)
def test_wrong_counts(wrong, message):
    rejects(ch07.check_v2_parameters, wrong, message)


def test_the_references_are_the_library():
    for d in (16, 48, 192):
        assert ch07.v2_parameters(d) == sum(p.numel() for p in ViLBlock(d, version=2).parameters())
    x, conv, proj = torch.randn(2, 9, 16), CausalConv1d(16), LinearBlockDiagonal(16, num_heads=4)
    torch.nn.init.normal_(proj.weight)
    torch.testing.assert_close(ch07.causal_conv(x, conv.weight[:, 0], conv.bias), conv(x))
    heads = ch07.block_diagonal(x, proj.weight).unflatten(-1, (4, 4)).permute(2, 0, 1, 3)
    torch.testing.assert_close(heads, proj(x))
    cell = ViLBlock(8).layer.paths[0].mlstm_cell
    torch.nn.init.normal_(cell.igate.weight)
    q, k, v = torch.randn(3, 4, 2, 9, 4)
    torch.testing.assert_close(ch07.gates(q, k, v, cell.igate.weight, cell.igate.bias), cell.gates(q, k, v)[0].float())
    assert math.isclose(1 / (1 - torch.sigmoid(torch.tensor(ch07.bias_for_span(20.0))).item()), 20, rel_tol=1e-4)
