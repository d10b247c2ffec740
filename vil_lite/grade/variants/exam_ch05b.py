"""Exam variant of chapter 5b: the delta rule with the memory transposed."""

import torch

from vil_lite.teach.checks._base import exercise


def transposed_delta(C, k, v, beta, *, read=lambda C, k: C @ k, share=True, sign=1):
    """The delta rule for a memory with a row for each number of the value: what k reads moves by the share beta
    towards v. C (dv, d), k (d) of length 1, v (dv), beta (). Returns C."""
    return C + sign * (beta if share else 1) * torch.outer(v - read(C, k), k)


@exercise(
    "exam 5b",
    "the delta rule, transposed",
    transposed_delta,
    mistakes={
        "this is the plain update: what k reads already has to be taken out": {"read": lambda C, k: 0 * (C @ k)},
        "beta is missing": {"share": False},
        "the sign is wrong: towards v": {"sign": -1},
        "the memory has a row for each number of the value here": lambda C, k, v, beta: (
            transposed_delta(C, k, v, beta).T
        ),
        "only the correction is returned; add it to C": lambda C, k, v, beta: transposed_delta(C, k, v, beta) - C,
    },
)
def check_transposed_delta(rng):
    d = rng.size(3, 5)
    k = rng.normal(d)
    sizes = {"C": rng.normal(d + rng.size(1, 2), d), "k": k / k.norm()}
    return sizes | {"v": rng.normal(len(sizes["C"])), "beta": rng.uniform(0.2, 0.8)}
