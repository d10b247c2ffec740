"""Chapter 17: what ultralytics' export needs to know of the cell, told to it for the length of one export.

The cell writes graphs of ordinary operators in float32 (vil_lite/mlstm_fast.py).  Two things remain, both for graphs that
take images of any size, `export(format="onnx", dynamic=True)`.
"""

from functools import wraps

import torch
from torch.onnx import symbolic_helper
from ultralytics.utils import callbacks

from vil_lite.yolo.block import C2fViL

try:
    from torch.onnx._internal.torchscript_exporter import symbolic_opset13
except ModuleNotFoundError:  # torch before 2.9
    from torch.onnx import symbolic_opset13

#: Height and width that a graph for any size is traced at.  The trace keeps the form and the length of the chunks, and pads
#: to whole chunks only if it had to while tracing.  67 tokens at stride 32 are more than a chunk, and prime; the 268 at
#: stride 16 have no divisor from 16 to 32.  At stride 8 the chunks are 16 long, which divides the tokens of every image
#: whose sides are multiples of 32.  A detector with a map at stride 64 (P6) is traced at twice these sides and serves
#: multiples of 64: its tokens are 67, 268 and 1072 = 16 * 67, with the same divisors.
ANY_SIZE = (2144, 32)


def tell_exporter():
    """Let ultralytics call `prepare` before each export (a callback of its own)."""
    if prepare not in callbacks.default_callbacks["on_export_start"]:
        callbacks.default_callbacks["on_export_start"].append(prepare)


def prepare(exporter):
    """Before a graph for any size: trace at a size whose graph serves all of them, with our `unflatten` for the graph alone."""
    if exporter.args.dynamic and any(isinstance(m, C2fViL) for m in exporter.model.modules()):
        times = max(1, int(max(exporter.model.stride)) // 32)
        exporter.im = torch.zeros(*exporter.im.shape[:2], *(times * side for side in ANY_SIZE)).to(exporter.im)
        exporter.export_onnx = _with_our_unflatten(exporter.export_onnx)


def _with_our_unflatten(export_onnx):
    """Whatever becomes of the export, torch's own `unflatten` is back afterwards."""

    @wraps(export_onnx)
    def export(*arguments, **settings):
        torch.onnx.register_custom_op_symbolic("aten::unflatten", _unflattened, 18)
        try:
            return export_onnx(*arguments, **settings)
        finally:
            torch.onnx.unregister_custom_op_symbolic("aten::unflatten", 18)

    return export


def _unflattened(g, x, dim, sizes):
    """torch's own, which forgets that sizes may vary: it notes the sizes of the traced example, later folded into the graph."""
    y = symbolic_opset13.unflatten(g, x, dim, sizes)
    known = symbolic_helper._get_tensor_sizes(x)
    if known is None or None not in known:
        return y
    dim = symbolic_helper._get_const(dim, "i", "dim") % len(known)
    listed = symbolic_helper._is_packed_list(sizes)
    new = symbolic_helper._unpack_list(sizes) if listed else symbolic_helper._get_const(sizes, "is", "sizes")
    return y.setType(x.type().with_sizes([*known[:dim], *[None] * len(new), *known[dim + 1 :]]))
