"""Chapter 9: its references are the library."""

import torch

from vil_lite import VisionLSTM
from vil_lite.model import POOLINGS
from vil_lite.teach.checks import ch09


def test_the_references_are_the_library():
    x = torch.randn(2, 12, 8)
    for name in ch09.NAMES:
        torch.testing.assert_close(ch09.pool(x, name), POOLINGS[name](x))
    for name in (*ch09.NAMES, "middle_cls"):
        with torch.device("meta"):
            whole, bare = (VisionLSTM(16, 1, image_size=32, num_classes=k, pooling=name) for k in (7, 0))
        counts = [sum(p.numel() for p in model.parameters()) for model in (whole, bare)]
        token = 16 if name == "middle_cls" else 0  # which the bare model has, too
        assert ch09.tail_parameters(name, 16, 7) == counts[0] - counts[1] + token
