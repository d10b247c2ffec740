import torch
from torch.nn.functional import logsigmoid


# %%
def recall(q, k, v):
    return (q @ k.mT).softmax(-1) @ v


# %%
def covariance(C, k_sum, v_sum, N):
    return C - torch.outer(k_sum, v_sum)


# %%
def step(C, n, m, q, k, v, i, f):
    m_t = torch.maximum(logsigmoid(f) + m, i).clamp(min=0)
    forget, write = torch.exp(logsigmoid(f) + m - m_t), torch.exp(i - m_t)
    C, n = forget * C + write * torch.outer(k, v), forget * n + write * k
    query = q * q.shape[-1] ** -0.5
    return query @ C / (query @ n).abs().clamp(min=1), C, n, m_t  # the floor should be exp(-m_t)


# %%
def overwrite(C, k, v):
    return C + torch.outer(k, v)
