"""torch.compile and torch.export see the cell, the encoder and the model whole: no graph break, any of two image sizes."""

import io
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter

from vil_lite import ViLEncoder, create_model
from vil_lite.mlstm import MLSTMState, mlstm_chunkwise, mlstm_parallel, mlstm_recurrent


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()


def whole(function):
    """Compiled without permission to break the graph; the graph is then run as it is, which takes seconds, not minutes."""
    return torch.compile(function, fullgraph=True, dynamic=False, backend="eager")


@pytest.mark.parametrize("form", [mlstm_parallel, mlstm_chunkwise])
def test_the_cell_is_one_graph(form):
    """In a graph powers of two are written as exp, which rounds: q . n near zero makes that larger."""
    torch.manual_seed(0)
    compiled = whole(form)
    for S in (48, 200):
        q, k, v = torch.randn(3, 1, 2, S, 16)
        i, f = torch.randn(2, 1, 2, S)
        torch.testing.assert_close(compiled(q, k, v, i, f)[0], form(q, k, v, i, f)[0], rtol=1e-4, atol=1e-4)


def test_the_encoder_is_one_graph_and_has_its_gradients():
    encoder = ViLEncoder(16, 2, version=1)
    compiled = whole(encoder)
    for grid in ((4, 4), (9, 15)):
        x = torch.randn(2, grid[0] * grid[1], 16)
        weight = encoder.blocks[0].norm.weight
        wanted = torch.autograd.grad(encoder(x, grid).square().mean(), weight)
        torch.testing.assert_close(torch.autograd.grad(compiled(x, grid).square().mean(), weight), wanted)


def small():
    """One block: the encoders above and below have two."""
    return create_model("vil2_tiny", dim=32, depth=1, image_size=64, patch_size=8, num_classes=5).eval()


@pytest.mark.parametrize("size", [(64, 64), (96, 128)])  # 64 and 192 tokens: the parallel and the chunkwise form
def test_the_model_exports_with_any_number_of_images(size):
    model = small()
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(model, (torch.randn(2, 3, *size),), dynamic_shapes={"images": {0: batch}})
    for count in (1, 3):
        x = torch.randn(count, 3, *size)
        torch.testing.assert_close(program.module()(x), model(x))


def test_one_graph_serves_all_image_sizes():
    """Compiled with dynamic=True: the positions' own grid, grids of one chunk, all longer ones; never a graph a size."""
    model, counter = small(), CompileCounter()
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend=counter)
    for height, width in ((96, 128), (64, 64), (104, 72), (88, 136), (160, 8), (120, 120), (72, 200)):
        x = torch.randn(1, 3, height, width)
        with torch.no_grad():
            torch.testing.assert_close(compiled(x), model(x))
    assert counter.frame_count <= 4


class Chunkwise(nn.Module):
    def forward(self, q, k, v, i, f, *state):
        h, end = mlstm_chunkwise(q, k, v, i, f, MLSTMState(*state) if state else None, chunk_size=32)
        return h, *end


@pytest.mark.parametrize("S", [7, 192, 197, 32 * 70])
@pytest.mark.parametrize("with_state", [False, True])
def test_traced_for_other_runtimes_the_cell_has_plain_operators_and_equal_results(S, with_state):
    """float32 throughout, sums restarted in each chunk: onnxruntime is as near to float64 as eager mode is, or nearly."""
    torch.manual_seed(S)
    q, k, v = torch.randn(3, 1, 2, S, 16)
    i, f = torch.randn(2, 1, 2, S)
    f = f + torch.tensor([0.0, 4.0])[:, None]  # a head that forgets at once, and one that remembers
    f[..., S // 2], i[..., S // 3] = -80.0, 30.0
    inputs = [q, k, v, i, f]
    if with_state:
        inputs += mlstm_recurrent(*(x[:, :, :5] + 0.1 for x in (q, k, v, i, f)))[1]
        inputs[-1] = inputs[-1].float()
    names = ["q", "k", "v", "i", "f", "C", "n", "m"][: len(inputs)]
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns of everything that it takes for fixed
        torch.onnx.export(Chunkwise(), tuple(inputs), buffer, input_names=names, opset_version=18, dynamo=False)
    graph = onnx.shape_inference.infer_shapes(onnx.load_from_string(buffer.getvalue()), strict_mode=True).graph
    assert not {value.name for value in graph.value_info if value.type.tensor_type.elem_type == onnx.TensorProto.DOUBLE}
    session = onnxruntime.InferenceSession(buffer.getvalue(), providers=["CPUExecutionProvider"])
    exported = session.run(None, {name: x.numpy() for name, x in zip(names, inputs)})
    double = [x.double() for x in inputs]
    h, end = mlstm_recurrent(*double[:5], MLSTMState(*double[5:]) if with_state else None)
    size = h.abs().amax(-1, keepdim=True).clamp(min=1).numpy()
    assert np.abs((exported[0] - h.numpy()) / size).max() < 2e-3
    assert np.abs((exported[0] - h.numpy()) / size).mean() < 1e-5
    C, _, m = exported[1:]
    assert np.abs(C * np.exp(m)[..., None, None] - (end.C * end.m.exp()[..., None, None]).numpy()).max() < 1e-2


#: Other runtimes have no rule for these, or one that fails; torch.export writes eye, tril and triu as counting.
MISSING = ("exp2", "cummax", ".mT", "addcmul", "baddbmm", "eye", "tril", "triu", "arange", "view_as")


@pytest.mark.parametrize("version", [1, 2])
def test_the_graph_of_the_encoder_has_neither_infinities_nor_negative_padding(version):
    """MNN's boxes were 55 pixels off, and CoreML, LiteRT and OpenVINO in 8 bits refused the graph, because of these."""
    torch.manual_seed(0)
    encoder = ViLEncoder(32, 2, version=version, num_heads=2, chunk_size=16).eval()

    class Encode(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = encoder

        def forward(self, tokens):
            return self.encoder(tokens, grid=(9, 10))

    x = torch.randn(2, 90, 32)
    program = torch.export.export(Encode(), (x,))
    nodes = [
        node for module in program.graph_module.modules() if hasattr(module, "graph") for node in module.graph.nodes
    ]
    calls = [node for node in nodes if node.op == "call_function"]
    assert not [name for node in calls for word in MISSING if word in (name := str(node.target))]
    numbers = torch.utils._pytree.tree_leaves([(node.args, node.kwargs) for node in calls])
    assert not [n for n in numbers if isinstance(n, float) and np.isinf(n)]
    padded = [node.args[1] for node in calls if "pad" in str(node.target)]
    assert padded and min(n for widths in padded for n in widths) >= 0
    results = torch.utils._pytree.tree_leaves([node.meta.get("val") for node in nodes])
    assert {x.dtype for x in results if isinstance(x, torch.Tensor)} <= {torch.float32, torch.int64, torch.bool}
    constants = [*program.state_dict.values(), *program.constants.values()]
    assert all(x.isfinite().all() for x in constants)
    torch.testing.assert_close(program.module()(x), encoder(x, grid=(9, 10)), rtol=1e-3, atol=1e-4)

    traced = torch.jit.trace(Encode(), (x,), check_trace=False)
    graph = str(traced.inlined_graph)
    assert "-inf" not in graph
    assert not [word for word in MISSING if word not in ("eye", "tril", "arange") and f"aten::{word}(" in graph]
    torch.testing.assert_close(traced(x), encoder(x, grid=(9, 10)), rtol=1e-3, atol=1e-4)
