"""Operators of the cell that ultralytics' ONNX export, which uses torch's TorchScript-based exporter, does not know."""

import torch
from torch.onnx import symbolic_helper


def register_symbols():
    """Let ultralytics export Tensor.mT, cummax and diff to ONNX (torch's newer exporter knows them)."""
    torch.onnx.register_custom_op_symbolic("aten::mT", _transposed, 18)
    torch.onnx.register_custom_op_symbolic("aten::cummax", _running_maximum, 18)
    torch.onnx.register_custom_op_symbolic("aten::diff", _differences, 18)


def _transposed(g, x):
    rank = symbolic_helper._get_tensor_rank(x)
    return g.op("Transpose", x, perm_i=[*range(rank - 2), rank - 1, rank - 2])


@symbolic_helper.parse_args("v", "i")
def _running_maximum(g, x, dim):
    """x_t <- max(x_t, x_{t-1}), then max(x_t, x_{t-2}), x_{t-4}, ...: log2(S) steps, each over all tokens at once."""
    rank, length = symbolic_helper._get_tensor_rank(x), symbolic_helper._get_tensor_dim_size(x, dim)
    if length is None:
        raise RuntimeError("the chunkwise form exports for one image size; for dynamic=True build with form='parallel'")
    dim, step = dim % rank, 1
    lowest = g.op("CastLike", g.op("Constant", value_t=torch.tensor(-torch.inf)), x)
    start, end, axis = (g.op("Constant", value_t=torch.tensor([value])) for value in (0, length, dim))
    while step < length:
        pads = [0] * (2 * rank)
        pads[dim] = step  # shift to the right by `step`, filling with -inf
        shifted = g.op("Pad", x, g.op("Constant", value_t=torch.tensor(pads)), lowest)
        x = g.op("Max", x, g.op("Slice", shifted, start, end, axis))
        step *= 2
    # The cell uses the maximum, not where it was reached; whoever uses that gets a graph that no runtime accepts.
    return x, g.op("vil_lite::index_of_the_maximum_is_not_exported", x)


@symbolic_helper.parse_args("v", "i", "i", "v", "v")
def _differences(g, x, n, dim, prepend, append):
    if n != 1 or not symbolic_helper._is_none(append):
        raise RuntimeError("diff exports for n=1 without append")
    rank = symbolic_helper._get_tensor_rank(x)
    if not symbolic_helper._is_none(prepend):
        x = g.op("Concat", prepend, x, axis_i=dim % rank)
    first, second, end, axis = (
        g.op("Constant", value_t=torch.tensor([value])) for value in (0, 1, torch.iinfo(torch.int64).max, dim % rank)
    )
    last = g.op("Constant", value_t=torch.tensor([-1]))
    return g.op("Sub", g.op("Slice", x, second, end, axis), g.op("Slice", x, first, last, axis))
