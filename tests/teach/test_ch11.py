"""Chapter 11: its references are the library."""

import torch

from vil_lite import VisionLSTM
from vil_lite.recipes import decay_groups
from vil_lite.teach.checks import ch11


def test_the_references_are_the_library():
    model = VisionLSTM(dim=16, depth=2, patch_size=2, image_size=8, channels=1, num_classes=10, pooling="middle_cls")
    decayed, free = (group["params"] for group in decay_groups(model, 0.1))
    for name, parameter in model.named_parameters():
        group = decayed if ch11.decays(name, parameter.shape) else free
        assert any(parameter is one for one in group), name
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
