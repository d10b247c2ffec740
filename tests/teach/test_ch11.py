"""Chapter 11: its references are torch."""

import torch

from vil_lite.teach.checks import ch11


def test_the_references_are_torch():
    p = torch.nn.Parameter(torch.randn(5))
    optimiser = torch.optim.AdamW([p], lr=0.1, weight_decay=0.5)
    ours, m, v = p.detach().clone(), torch.zeros(5), torch.zeros(5)
    for t in (1, 2, 3):
        p.grad = torch.randn(5)
        ours, m, v = ch11.adamw_step(ours, p.grad, m, v, t, 0.1, 0.5)
        optimiser.step()
        torch.testing.assert_close(ours, p.detach())
    p.grad = torch.full((5,), 3.0)
    clipped = ch11.clip([p.grad.clone()], 1.0)[0]
    torch.nn.utils.clip_grad_norm_([p], 1.0)
    torch.testing.assert_close(clipped, p.grad)
