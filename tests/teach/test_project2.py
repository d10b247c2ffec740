"""The project of Part 2: its orders never jump, and its table of distances is true."""

import pytest
import torch

from vil_lite.teach.checks import project2


@pytest.mark.parametrize("order", [project2.serpentine(8, 8), project2.serpentine(3, 5), project2.hilbert(16)])
def test_an_order_has_every_token_once_and_never_jumps(order):
    assert torch.equal(order.sort().values, torch.arange(len(order)))
    columns = {64: 8, 15: 5, 256: 16}[len(order)]
    assert ((order // columns).diff().abs() + (order % columns).diff().abs() == 1).all()


def test_what_the_teachers_page_says_of_distances():
    gaps = [
        torch.cat([part.flatten() for part in project2.distances(order, 8, 8)]).double()
        for order in (torch.arange(64), project2.serpentine(8, 8), project2.hilbert(8))
    ]
    assert [round(gap.mean().item(), 2) for gap in gaps] == [4.5, 4.5, 5.07]
    assert [gap.max().item() for gap in gaps] == [8, 15, 53]
    assert round(100 * (gaps[2] <= 3).double().mean().item()) == 74


def test_both_orders_end_at_the_bottom_left():
    assert project2.serpentine(8, 8)[[0, -1]].tolist() == project2.hilbert(8)[[0, -1]].tolist() == [0, 56]
