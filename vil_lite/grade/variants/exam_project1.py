"""Exam variant of project 1: a floor that is added."""

import torch

from vil_lite.teach.checks._base import exercise


def soft_floor_step(
    C, n, q, k, v, i, f, *, gate=torch.sigmoid, bottom=lambda s: s.abs() + 1, read_after=True, scale=True
):
    """Both gates are sigmoids, and the denominator is |q^T n| + 1, with q divided by sqrt(d).
    C (d, dv), n, q, k (d), v (dv), i, f ().  Returns h (dv), C, n."""
    C_t, n_t = torch.sigmoid(f) * C + gate(i) * torch.outer(k, v), torch.sigmoid(f) * n + gate(i) * k
    used_C, used_n = (C_t, n_t) if read_after else (C, n)
    q = q / len(q) ** 0.5 if scale else q
    return q @ used_C / bottom(q @ used_n), C_t, n_t


@exercise(
    "exam P1",
    "a sigmoid step whose floor is added",
    soft_floor_step,
    mistakes={
        "the floor is added here; this takes the larger of the two": {"bottom": lambda s: s.abs().clamp(min=1)},
        "the floor is missing": {"bottom": lambda s: s.abs()},
        "the absolute value is missing": {"bottom": lambda s: s + 1},
        "the input gate is a sigmoid": {"gate": torch.exp},
        "the memory is read before the token is written": {"read_after": False},
        "the query is not divided by sqrt(d)": {"scale": False},
    },
)
def check_soft_floor_step(rng):
    d, dv = rng.size(3, 5), rng.size(2, 4)
    q, k, i, f = rng.normal(d), rng.normal(d), rng.normal(), rng.normal()
    wanted = rng.turn([-4.0, 2.0, -0.5, 3.0, 0.4]) * d**0.5  # q^T n: of both signs, above 1 and below
    n = q * (wanted - torch.sigmoid(i) * (q @ k)) / (torch.sigmoid(f) * (q @ q))
    return {"C": rng.normal(d, dv), "n": n, "q": q, "k": k, "v": rng.normal(dv), "i": i, "f": f}
