"""Exam variant of chapter 7: the other direction."""

import torch.nn.functional as F

from vil_lite.teach.checks._base import exercise


def ahead_conv(x, weight, bias, *, front=lambda K: 0, behind=lambda K: K - 1):
    """A convolution that looks ahead only: y_t = bias + sum_j weight[:, j] x_{t + j}, zeros behind the last token.
    x (B, S, E), weight (E, K), bias (E)."""
    K, S = weight.shape[1], x.shape[1]
    padded = F.pad(x, (0, 0, front(K), behind(K)))
    return bias + sum(weight[:, j] * padded[:, j : j + S] for j in range(K))


@exercise(
    "exam 7",
    "a convolution that looks ahead only",
    ahead_conv,
    mistakes={
        "it looks back; ahead is wanted": {"front": lambda K: K - 1},
        "the taps are mirrored: weight[:, 0] belongs to the token itself": lambda x, w, b: ahead_conv(x, w.flip(1), b),
        "the bias is missing": lambda x, w, b: ahead_conv(x, w, 0 * b),
        "all features use the same taps": lambda x, w, b: ahead_conv(x, w[:1].expand_as(w), b),
    },
)
def check_ahead_conv(rng):
    E, K = rng.size(2, 4), rng.size(3, 4)
    return {"x": rng.normal(2, rng.size(6, 9), E), "weight": rng.normal(E, K), "bias": rng.normal(E)}
