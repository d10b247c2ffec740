"""Exam variant of chapter 3: the memory transposed."""

import torch

from vil_lite.teach.checks._base import exercise


def transposed_step(
    C, n, q, k, v, i, f, *, read_after=True, key=lambda k: k / len(k) ** 0.5, query=lambda q: q, floor=1.0, fade_n=True
):
    """The memory has a row for each number of the value, C (dv, d), and the key is divided by sqrt(d), not the query.
    n, q, k (d), v (dv); i, f: the gates themselves, ().  The floor is 1.  Returns h (dv), C, n."""
    C_t, n_t = f * C + i * torch.outer(v, key(k)), (f if fade_n else 1) * n + i * key(k)
    used_C, used_n = (C_t, n_t) if read_after else (C, n)
    return used_C @ query(q) / (used_n @ query(q)).abs().clamp(min=floor), C_t, n_t


@exercise(
    "exam 3",
    "a step whose memory is transposed",
    transposed_step,
    mistakes={
        "the key is divided by sqrt(d)": {"key": lambda k: k},
        "the key is divided by sqrt(d), not the query": {"key": lambda k: k, "query": lambda q: q / len(q) ** 0.5},
        "key and query are both divided; only the key is": {"query": lambda q: q / len(q) ** 0.5},
        "the memory is read before the token is written; a token also reads itself": {"read_after": False},
        "the normaliser is not forgotten": {"fade_n": False},
        "the floor is missing: the denominator is at least 1": {"floor": 0.0},
        "the memory has a row for each number of the value here": lambda C, n, q, k, v, i, f: (
            lambda h, C, n: (h, C.T, n)
        )(*transposed_step(C, n, q, k, v, i, f)),
    },
)
def check_transposed_step(rng):
    d, small = rng.size(3, 5), rng.turn([1.0, 0.05])
    dv = d + rng.size(1, 2)
    gates = {"i": rng.uniform(0.5, 2), "f": rng.uniform(0.3, 0.9)}
    return {
        "C": rng.normal(dv, d),
        "n": 4 * rng.normal(d),
        "q": small * 3 * rng.normal(d),
        "k": rng.normal(d),
        "v": rng.normal(dv),
    } | gates
