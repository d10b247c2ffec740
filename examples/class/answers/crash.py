import torch

# %%
results = [1 / 0]


# %%
def recall(q, k, v):
    return q @ (k.mT @ v)


# %%
"""SYNTAX ERROR
def interference(k, v)
    return 0
"""


# %%
def covariance(C, k_sum, v_sum, N):
    return C - torch.outer(k_sum, v_sum) / len(results)
