"""Operators of the cell that ultralytics' ONNX export, which uses torch's TorchScript-based exporter, does not know."""

import math

import torch
from torch.onnx import symbolic_helper
from torch.onnx._internal.torchscript_exporter import symbolic_opset13

#: Tokens that the running maximum of a graph of any size can see back: WINDOW squared, a feature map of 128 x 128.
WINDOW = 128
#: Height and width to trace at for a graph of any size: model.export(format="onnx", dynamic=True, imgsz=list(ANY_SIZE)).
#: The trace keeps the form and the length of the chunks, and pads to whole chunks only if it had to while tracing.  67
#: tokens at stride 32 are more than a chunk, and prime; the 268 at stride 16 have no divisor from 16 to 32.  At stride 8
#: the chunks are 16 long, which divides the tokens of every image whose sides are multiples of 32.
ANY_SIZE = (2144, 32)


def register_symbols():
    """Let ultralytics export Tensor.mT, exp2, cummax, and unflatten at any size, to ONNX (torch's newer exporter can)."""
    torch.onnx.register_custom_op_symbolic("aten::mT", _transposed, 18)
    torch.onnx.register_custom_op_symbolic("aten::exp2", _power_of_two, 18)
    torch.onnx.register_custom_op_symbolic("aten::exp2_", _power_of_two, 18)
    torch.onnx.register_custom_op_symbolic("aten::cummax", _running_maximum, 18)
    torch.onnx.register_custom_op_symbolic("aten::unflatten", _unflattened, 18)


def _transposed(g, x):
    rank = symbolic_helper._get_tensor_rank(x)
    return g.op("Transpose", x, perm_i=[*range(rank - 2), rank - 1, rank - 2])


def _power_of_two(g, x):
    """ONNX has a general power.  Runtimes take ten times as long for it as for exp, so matrices per chunk take that."""
    number = lambda value: g.op("Constant", value_t=torch.tensor(value, dtype=x.type().dtype()))  # noqa: E731
    sizes = symbolic_helper._get_tensor_sizes(x) or [None]
    if None in sizes or math.prod(sizes) > 2**14:
        return g.op("Exp", g.op("Mul", x, number(math.log(2))))
    return g.op("Pow", number(2.0), x)


def _unflattened(g, x, dim, sizes):
    """torch's own, which forgets that sizes may vary: it notes the sizes of the traced example, later folded into the graph."""
    y = symbolic_opset13.unflatten(g, x, dim, sizes)
    known = symbolic_helper._get_tensor_sizes(x)
    inputs = (value.type() for value in g.graph.inputs())
    fixed = not any(None in (kind.varyingSizes() or []) for kind in inputs if kind.kind() == "TensorType")
    if fixed or known is None or None not in known:
        return y
    dim = symbolic_helper._get_const(dim, "i", "dim") % len(known)
    listed = symbolic_helper._is_packed_list(sizes)
    new = symbolic_helper._unpack_list(sizes) if listed else symbolic_helper._get_const(sizes, "is", "sizes")
    return y.setType(x.type().with_sizes([*known[:dim], *[None] * len(new), *known[dim + 1 :]]))


@symbolic_helper.parse_args("v", "i")
def _running_maximum(g, x, dim):
    """The maximum over the last w tokens, then over w of those, w apart, with w * w >= S: two steps, all tokens at once."""
    shape = symbolic_helper._get_tensor_sizes(x) or []
    if len(shape) != 3 or dim % 3 != 2:
        raise RuntimeError(f"cummax exports along the last of three dimensions, got dim={dim} of {len(shape)}")
    w = WINDOW if shape[2] is None else math.isqrt(shape[2] - 1) + 1
    lowest = g.op("Constant", value_t=torch.tensor(-torch.inf, dtype=x.type().dtype()))
    near = g.op("MaxPool", x, kernel_shape_i=[w], pads_i=[w - 1, 0])
    padded = g.op("Pad", near, g.op("Constant", value_t=torch.tensor([0, 0, (w - 1) * w, 0, 0, 0])), lowest)
    highest = g.op("MaxPool", padded, kernel_shape_i=[w], dilations_i=[w]).setType(x.type())
    # The cell uses the maximum, not where it was reached; whoever uses that gets a graph that no runtime accepts.
    index = g.op("vil_lite::index_of_the_maximum_is_not_exported", x)
    return highest, index.setType(x.type().with_dtype(torch.int64))
