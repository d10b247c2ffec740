"""torch.compile and torch.export see the cell, the encoder and the model whole: no graph break, any of two image sizes."""

import pytest
import torch

from vil_lite import ViLEncoder, create_model
from vil_lite.mlstm import mlstm_chunkwise, mlstm_parallel


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()


def whole(function):
    """Compiled without permission to break the graph; the graph is then run as it is, which takes seconds, not minutes."""
    return torch.compile(function, fullgraph=True, dynamic=False, backend="eager")


@pytest.mark.parametrize("form", [mlstm_parallel, mlstm_chunkwise])
def test_the_cell_is_one_graph(form):
    compiled = whole(form)
    for S in (48, 200):
        q, k, v = torch.randn(3, 1, 2, S, 16)
        i, f = torch.randn(2, 1, 2, S)
        torch.testing.assert_close(compiled(q, k, v, i, f)[0], form(q, k, v, i, f)[0])


def test_the_encoder_is_one_graph_and_has_its_gradients():
    encoder = ViLEncoder(16, 2, version=1)
    compiled = whole(encoder)
    for grid in ((4, 4), (9, 15)):
        x = torch.randn(2, grid[0] * grid[1], 16)
        weight = encoder.blocks[0].norm.weight
        wanted = torch.autograd.grad(encoder(x, grid).square().mean(), weight)
        torch.testing.assert_close(torch.autograd.grad(compiled(x, grid).square().mean(), weight), wanted)


def small():
    return create_model("vil2_tiny", dim=32, depth=2, image_size=64, patch_size=8, num_classes=5).eval()


def test_the_model_is_one_graph_for_two_image_sizes():
    model = small()
    compiled = whole(model)
    for size in ((64, 64), (96, 128)):  # 64 and 192 tokens: the parallel and the chunkwise form
        x = torch.randn(2, 3, *size)
        torch.testing.assert_close(compiled(x), model(x))


@pytest.mark.parametrize("size", [(64, 64), (96, 128)])
def test_the_model_exports_with_any_number_of_images(size):
    model = small()
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(model, (torch.randn(2, 3, *size),), dynamic_shapes={"images": {0: batch}})
    for count in (1, 3):
        x = torch.randn(count, 3, *size)
        torch.testing.assert_close(program.module()(x), model(x))
