"""Chapter 6's checks accept the chapter's solutions, and say what is wrong with plausible wrong answers."""

import pytest
import torch
import torch.nn.functional as F
from _chapter import page_tests, rejects

from vil_lite.layers import PatchEmbed, PositionEmbedding
from vil_lite.teach.checks import ch06
from vil_lite.traversal import DIRECTIONS, restore, traverse

CHECKS = {
    "patchify": ch06.check_patchify,
    "grid_of": ch06.check_grid_of,
    "resize": ch06.check_resize,
    "restore_by_hand": ch06.check_restore,
    "reach": ch06.check_reach,
    "influence": ch06.check_influence,
}

test_the_solution_passes, test_the_stub_is_not_attempted = page_tests(
    "part2_vision/06_images_as_sequences.ipynb", CHECKS, {"torch": torch, "F": F, "order": ch06.order}
)


def cut(image, P, *axes):
    """A student's patchify by unfold: axes (B, channels, H, W, P, P), then permuted and joined."""
    pieces = image.unfold(2, P, P).unfold(3, P, P).permute(*axes)
    return pieces.flatten(3).flatten(1, 2)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda x, P: cut(x, P, 0, 3, 2, 1, 4, 5), "column by column"),
        (lambda x, P: cut(x, P, 0, 2, 3, 4, 5, 1), "channels come last"),
        (lambda x, P: cut(x, P, 0, 2, 3, 1, 5, 4), "rows and columns are exchanged"),
        (lambda x, P: x.reshape(len(x), x.shape[2] // P * (x.shape[3] // P), -1), "reshape alone"),
        (lambda x, P: F.unfold(x, P, stride=P), "a convolution leaves them"),
        (lambda x, P: x.unfold(2, P, P).unfold(3, P, P).permute(0, 2, 3, 1, 4, 5).flatten(3), "still two axes"),
    ],
)
def test_wrong_patches(wrong, message):
    rejects(ch06.check_patchify, wrong, message)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda h, w, P, s: (h // P, w // P), "stride is ignored"),
        (lambda h, w, P, s: (h // s, w // s), "must still fit"),
        (lambda h, w, P, s: ((h - P) // s, (w - P) // s), "one too few"),
        (lambda h, w, P, s: ((w - P) // s + 1, (h - P) // s + 1), r"\(H, W\) is wanted"),
        (lambda h, w, P, s: ((h - P) // s + 1) * ((w - P) // s + 1), "number of tokens"),
        (lambda h, w, P, s: ((h - P) // s + 1, (w - P) // s + 1), "belong to no patch: raise ValueError"),
    ],
)
def test_wrong_grids(wrong, message):
    rejects(ch06.check_grid_of, wrong, message)


def test_a_grid_that_takes_too_small_images():
    def careless(height, width, P, stride):
        if (height - P) % stride or (width - P) % stride:
            raise ValueError("does not divide")
        return (height - P) // stride + 1, (width - P) // stride + 1

    rejects(ch06.check_grid_of, careless, "smaller than a patch")


def resized(embed, grid, **options):
    return F.interpolate(embed.permute(0, 3, 1, 2), grid, **options).permute(0, 2, 3, 1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda e, g: resized(e, g, mode="bilinear"), "bilinear"),
        (lambda e, g: resized(e, g), "nearest"),
        (lambda e, g: resized(e, g, mode="bicubic", align_corners=True), "align_corners"),
        (lambda e, g: resized(e, g, mode="bicubic").permute(0, 3, 1, 2), "move them back"),
        (lambda e, g: resized(e, (g[1], g[0]), mode="bicubic"), "rows and columns are exchanged"),
        (
            lambda e, g: F.interpolate(e.reshape(1, -1, *e.shape[1:3]), g, mode="bicubic").reshape(1, *g, -1),
            "a reshape never moves an axis",
        ),
        (
            lambda e, g: F.interpolate(e.flatten(1, 2).mT, g[0] * g[1], mode="linear").mT.unflatten(1, g),
            "resized as a line",
        ),
    ],
)
def test_wrong_positions(wrong, message):
    rejects(ch06.check_resize, wrong, message)


def mirrored(tokens, grid, direction):
    if direction.startswith("column"):
        return restore(tokens, grid, direction)
    return tokens.unflatten(1, grid).flip(2).flatten(1, 2) if direction.endswith("reversed") else tokens


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (traverse, "this is traverse once more"),
        (lambda tokens, grid, direction: tokens, "nothing is put back"),
        (lambda t, g, d: t.flip(1) if d.endswith("reversed") else t, "columns are not turned back|nothing is put back"),
        (lambda t, g, d: restore(t, g, d.removesuffix("_reversed")), "reversal is not undone|nothing is put back"),
        (lambda t, g, d: restore(t, g, d.replace("row", "column")), "only column orders need it"),
        (mirrored, "each row is reversed by itself"),
    ],
)
def test_wrong_ways_back(wrong, message):
    rejects(ch06.check_restore, wrong, message)


def masks(directions, grid):
    places = [ch06.order(grid, direction).argsort() for direction in directions]
    return [(place[None, :] <= place[:, None]).float() for place in places]


def product(matrices):
    result = matrices[0]
    for matrix in matrices[1:]:
        result = matrix @ result
    return result > 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda d, g: ch06.reach(d, g).mT, "t sees s"),
        (lambda d, g: product(masks(d, g)[::-1]), "wrong order|first block|last block"),
        (lambda d, g: sum(masks(d, g)) > 0, "joins what each block"),
        (lambda d, g: torch.stack(masks(d, g)).amin(0) > 0, "only what every block sees|last block|first block"),
        (lambda d, g: masks(d, g)[-1] > 0, "only the last block"),
        (lambda d, g: masks(d, g)[0] > 0, "only the first block"),
        (lambda d, g: ch06.reach(d, g).float(), "torch.bool is wanted"),
    ],
)
def test_wrong_reach(wrong, message):
    rejects(ch06.check_reach, wrong, message)


def test_reach_with_the_order_in_place_of_its_inverse():
    def confused(directions, grid):
        places = [ch06.order(grid, direction) for direction in directions]
        return product([(place[None, :] <= place[:, None]).float() for place in places])

    rejects(ch06.check_reach, confused, "argsort turns one into the other")


def gradient(model, tokens, scalar):
    tokens = tokens.clone().requires_grad_()
    return torch.autograd.grad(scalar(model(tokens)), tokens)[0]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda m, x, t: gradient(m, x, lambda y: y.square().sum())[0].norm(dim=-1), "all outputs are summed"),
        (lambda m, x, t: gradient(m, x, lambda y: y[0, t].sum())[0].norm(dim=-1), "plain sum"),
        (lambda m, x, t: gradient(m, x, lambda y: y[0, t].norm())[0].norm(dim=-1), "its square is wanted"),
        (lambda m, x, t: gradient(m, x, lambda y: y[0, t].square().sum())[0].sum(-1), "they cancel"),
        (lambda m, x, t: gradient(m, x, lambda y: y[0, t].square().sum())[0].abs().sum(-1), "absolute values"),
        (lambda m, x, t: gradient(m, x, lambda y: y[0, t].square().sum())[0], "the gradient itself"),
        (lambda m, x, t: gradient(m, x, lambda y: y[0, t].square().sum()).norm(dim=-1), "batch axis"),
        (lambda m, x, t: gradient(m, x, lambda y: y[0, t].square().sum())[0].norm(dim=0), "goes over the features"),
        (lambda m, x, t: m(x)[0, t].square().sum(), r"has shape \(\)"),
    ],
)
def test_wrong_influence(wrong, message):
    rejects(ch06.check_influence, wrong, message)


def test_the_references_are_the_library():
    torch.manual_seed(0)
    image, embed = torch.randn(2, 3, 8, 12), PatchEmbed(16, patch_size=4)
    by_hand = ch06.patchify(image, 4) @ embed.proj.weight.flatten(1).T + embed.proj.bias
    torch.testing.assert_close(by_hand, embed(image)[0])
    assert ch06.grid_of(224, 320, 16, 8) == PatchEmbed(16, 16, stride=8).grid(224, 320) == (27, 39)
    positions = PositionEmbedding(16, (3, 5))
    tokens = torch.randn(2, 28, 16)
    resized = tokens + ch06.resize(positions.embed, (4, 7)).flatten(1, 2)
    torch.testing.assert_close(resized, positions(tokens, (4, 7)))
    for direction in DIRECTIONS:
        there = traverse(tokens, (4, 7), direction)
        assert torch.equal(ch06.restore(there, (4, 7), direction), tokens)
