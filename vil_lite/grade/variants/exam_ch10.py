"""Exam variant of chapter 10: another count."""

from vil_lite.teach.checks._base import exercise


def mlp_parameters(d, r):
    """Parameters of a transformer's MLP: a LayerNorm with scale and bias, d to r d, r d to d, both with bias."""
    return 2 * r * d * d + r * d + d + 2 * d


@exercise(
    "exam 10",
    "the parameters of an MLP",
    mlp_parameters,
    mistakes={
        "the norm is missing: scale and bias, 2d": lambda d, r: mlp_parameters(d, r) - 2 * d,
        "the norm has a bias, too": lambda d, r: mlp_parameters(d, r) - d,
        "the biases of the two layers are missing: r d and d": lambda d, r: mlp_parameters(d, r) - r * d - d,
        "there are two layers": lambda d, r: mlp_parameters(d, r) - r * d * d,
    },
)
def check_mlp_parameters(rng):
    return {"d": 8 * rng.size(3, 60), "r": rng.size(3, 6)}
