"""Chapter 12: its references are the library, and right on paper."""

import numpy as np
import pytest

from vil_lite import VisionLSTM
from vil_lite.layers import PatchEmbed
from vil_lite.recipes import decay_groups
from vil_lite.teach.checks import ch12


def test_the_references_are_the_library():
    model = VisionLSTM(8, 12, image_size=32, num_classes=3)
    names = {parameter: name for name, parameter in model.named_parameters()}
    for group in decay_groups(model, 0.05, layer_decay=0.65):
        for parameter in group["params"]:
            assert group["lr_scale"] == pytest.approx(ch12.rate_factor(names[parameter], 12, 0.65))
    for size, patch, stride in ((224, 16, 16), (224, 16, 8), (32, 8, 4)):
        H, W = PatchEmbed(4, patch, stride).grid(size, size)
        assert ch12.count_tokens(size, patch, stride) == H * W


def test_the_references_on_paper():
    assert ch12.crossing((0, 2, 1), (0, 6, 0)) == 4
    tokens = np.array([1.0, 2.0, 3.0, 5.0])
    np.testing.assert_allclose(ch12.fit_cost(tokens, 1 + 2 * tokens + 3 * tokens**2), [1, 2, 3])
    assert ch12.intensity(1, 1, 1) == 2 * 4 / 6
