"""The cell against that of Hugging Face transformers, which was written by others from the same papers."""

import pytest
import torch

from vil_lite import mlstm_chunkwise, mlstm_parallel, mlstm_recurrent

xlstm = pytest.importorskip("transformers.models.xlstm.modeling_xlstm", reason="pip install 'vil-lite[clients]'")


@pytest.mark.parametrize("form", [mlstm_recurrent, mlstm_parallel, mlstm_chunkwise])
def test_outputs_and_states_agree(form):
    torch.manual_seed(0)
    q, k = torch.randn(2, 2, 4, 128, 16)
    v, i, f = torch.randn(2, 4, 128, 24), 2 * torch.randn(2, 4, 128), 3 + 2 * torch.randn(2, 4, 128)
    h, state = form(q, k, v, i, f)
    wanted, (C, n, m) = xlstm.mlstm_chunkwise_native_autograd(q, k, v, i, f, chunk_size=32, return_last_states=True)
    close(h, wanted)  # stored memories are in units of exp(m), and the two choose m differently
    close(state.C * torch.exp(state.m).float()[..., None, None], C * torch.exp(m)[..., None])
    close(state.n * torch.exp(state.m).float()[..., None], n * torch.exp(m))


def close(ours, theirs):
    assert (ours - theirs).abs().max() < 1e-5 * theirs.abs().max()
