"""Chapter 19: its references are right on paper, and are what the library computes."""

import torch

from vil_lite.masked import masked_loss, random_mask
from vil_lite.mlstm import mlstm_parallel
from vil_lite.teach.checks import ch19


def test_the_references_on_paper():
    target = torch.tensor([[[5.0, 5], [0, 2], [5, 5], [1, 1]]])
    guess = torch.tensor([[[0.0, 0], [1, 1], [9, 9], [1, 0]]])
    mask = torch.tensor([[False, True, False, True]])
    assert ch19.loss_of(guess, target, mask) == 0.75
    half, middle = torch.zeros(6), torch.tensor([0, 1, 1, 1, 1, 0]).bool()
    assert ch19.left_over(half, middle)[-1, 0] == 1 / 2
    assert ch19.left_over(half, torch.zeros(6).bool())[-1, 0] == 1 / 32
    hidden = torch.tensor([True, False, True, False])
    assert ch19.known(hidden, ["row"]).tolist() == [0, 1, 1, 2] == ch19.known(hidden, ["row", "row"]).tolist()
    assert ch19.known(hidden, ["row", "row_reversed"]).tolist() == [2, 2, 2, 2]


def test_the_references_are_the_library():
    torch.manual_seed(0)
    noise = torch.rand(5, 16)
    torch.manual_seed(0)
    mask = random_mask(5, 16, 0.6)
    assert torch.equal(ch19.hidden(noise, 0.6), mask)
    guess, target = torch.randn(2, 5, 16, 7)
    torch.testing.assert_close(ch19.loss_of(guess, target, mask), masked_loss(guess, target, mask))


def test_what_is_left_is_what_the_cell_reads():
    """One key that all queries ask for, and values of their own: h is a weighted mean with the shares of left_over."""
    torch.manual_seed(0)
    f, mask = torch.randn(9), torch.rand(9) < 0.5
    visible = int((~mask).sum())
    q = k = torch.ones(1, 1, visible, 1)
    v, i = torch.eye(visible)[None, None], torch.zeros(1, 1, visible)
    h, _ = mlstm_parallel(q, k, v, i, f[~mask][None, None], eps=0.0)
    left = ch19.left_over(f, mask)
    torch.testing.assert_close(h[0, 0], left / left.sum(1, keepdim=True))


def test_a_loss_without_a_gradient_is_no_answer():
    for end in (torch.Tensor.item, torch.Tensor.detach):
        outcome = ch19.check_loss.outcome(lambda guess, x, mask, end=end: end((guess - x)[mask].square().mean()))
        assert outcome.mistake == "the values are right, but no gradient comes back" and ".item()" in outcome.message
