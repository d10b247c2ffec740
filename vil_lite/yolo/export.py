"""What ultralytics' ONNX export lacks for our blocks."""

import torch
from torch.onnx import symbolic_helper


def _transposed(g, x):
    rank = symbolic_helper._get_tensor_rank(x)
    return g.op("Transpose", x, perm_i=[*range(rank - 2), rank - 1, rank - 2])


def register_symbols():
    """Let the TorchScript-based exporter, which ultralytics uses, write Tensor.mT (torch's newer exporter knows it)."""
    torch.onnx.register_custom_op_symbolic("aten::mT", _transposed, 18)
