"""Chapter 17: what ultralytics' export needs to know of the cell, told to it for the length of one export.

The cell writes graphs of ordinary operators in float32 (vil_lite/mlstm_fast.py).  Two things remain, both for graphs that
take images of any size, `export(format="onnx", dynamic=True)`.
"""

from functools import wraps

import torch
from torch.onnx import symbolic_helper

from vil_lite.block import MLSTMCell
from vil_lite.yolo.registration import call_at

try:
    from torch.onnx._internal.torchscript_exporter import symbolic_opset13
except ModuleNotFoundError:  # torch before 2.9
    from torch.onnx import symbolic_opset13  # type: ignore[no-redef]

OPSET = 13  # the first with `unflatten`; a rule serves all later ones


def tell_exporter():
    """Let ultralytics call `prepare` before each export (a callback of its own)."""
    call_at("on_export_start", prepare)


def prepare(exporter):
    """Before a graph for any size: trace at a size whose graph serves all of them, with our `unflatten` for the graph alone.

    What is made of an ONNX file afterwards finds the image that was asked for: TensorRT admits sides up to twice its own.
    Raises ValueError for cells of the recurrent form: their graph is a list of the traced image's tokens.
    """
    if exporter.args.dynamic and any(isinstance(m, MLSTMCell) for m in exporter.model.modules()):
        height, width = any_size(exporter.model)
        asked, exporter.im = exporter.im, torch.zeros(*exporter.im.shape[:2], height, width).to(exporter.im)
        exporter.export_onnx = _with_our_unflatten(exporter.export_onnx, exporter, asked)


def any_size(network):
    """Height and width in pixels that a graph for any size is traced at.

    A trace keeps the form and the length of the chunks, and pads to whole chunks only if it had to while tracing.  So the
    coarsest map gets one column of p tokens, p the first prime above the longest chunk: its tokens are more than a chunk, and
    no chunk but of one token divides them.  The finer maps have 4p and 16p; a chunk that divides these is 2, 4, 8 or 16 long
    and divides the tokens of every image whose sides are multiples of the largest stride.
    """
    cells = [m for m in network.modules() if isinstance(m, MLSTMCell)]
    if any(cell.form == "recurrent" for cell in cells):
        raise ValueError(
            'export(dynamic=True): form "recurrent" writes a graph of as many steps as one image has tokens; build the model '
            'with form "auto", or export without dynamic=True'
        )
    rows = max(cell.chunk_size for cell in cells) + 1
    while any(rows % n == 0 for n in range(2, rows)):
        rows += 1
    stride = max(32, int(max(network.stride)))  # a classifier's is noted as 1
    return rows * stride, stride


def _with_our_unflatten(export_onnx, exporter, asked):
    """Whatever becomes of the export, torch's own `unflatten` and the image that was asked for are back afterwards."""

    @wraps(export_onnx)
    def export(*arguments, **settings):
        torch.onnx.register_custom_op_symbolic("aten::unflatten", _unflattened, OPSET)
        try:
            return export_onnx(*arguments, **settings)
        finally:
            torch.onnx.unregister_custom_op_symbolic("aten::unflatten", OPSET)
            exporter.im = asked

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
