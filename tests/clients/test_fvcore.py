"""fvcore, which counted the paper's FLOPs, against vil_lite.complexity."""

import pytest
import torch

from vil_lite import create_model
from vil_lite.complexity import flops

fvcore = pytest.importorskip("fvcore.nn", reason="pip install 'vil-lite[clients]'")


@pytest.mark.parametrize("name", ["vil_tiny", "vil2_tiny"])
def test_the_count_of_the_paper(name):
    model, images = create_model(name, depth=2, form="parallel").eval(), torch.randn(1, 3, 224, 224)
    count = fvcore.FlopCountAnalysis(model, images).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    qkv = 2 * 3 * 196 * 384 * 4  # blocks, maps, tokens, width, weights for each; executed in tiles, mostly zeros
    assert count.total() - count.by_operator()["bmm"] + qkv == pytest.approx(flops(model, images), rel=5e-3)
