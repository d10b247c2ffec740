"""Exam variant of chapter 12: the prediction turned round."""

from vil_lite.teach.checks._base import exercise


def needed_speedup(vit, vil, S, seconds, wanted, *, out=lambda x: x):
    """vit, vil: (each, pair), the work is each * S + pair * S**2 multiply-adds.  seconds: (of vit, of vil)
    for an image of S tokens.  Each model keeps its seconds for a multiply-add.  By what factor has vil to become faster,
    so that both take the same time at `wanted` tokens?
    """
    grown = [(b * wanted + c * wanted**2) / (b * S + c * S**2) for b, c in (vit, vil)]
    return out(seconds[1] * grown[1] / (seconds[0] * grown[0]))


@exercise(
    "exam 12",
    "how much faster a model has to become",
    needed_speedup,
    rtol=1e-6,
    atol=0,
    mistakes={
        "upside down: it is the seconds of vil over those of vit": {"out": lambda x: 1 / x},
        "this is the factor at the size that was timed; with more tokens the pairs weigh more": lambda x, y, S, t, wanted: (
            t[1] / t[0]
        ),
        "these are the counts alone; a multiply-add of one may last longer": lambda x, y, S, t, wanted: needed_speedup(
            x, y, S, (x[0] * S + x[1] * S * S, y[0] * S + y[1] * S * S), wanted
        ),
        "the pairs of vit are left out; they grow with S²": lambda x, y, S, t, wanted: needed_speedup(
            (x[0], 0.0), y, S, t, wanted
        ),
        "the seconds are exchanged": lambda x, y, S, t, wanted: needed_speedup(x, y, S, t[::-1], wanted),
    },
)
def check_needed_speedup(rng):
    b, c, S = float(rng.uniform(4e6, 6e6)), float(rng.uniform(4e3, 6e3)), rng.size(100, 300)
    vit, vil = (b, c), (1.6 * b, 0.2 * c)
    seconds = (1e-11 * (b * S + c * S * S), float(rng.uniform(2.0, 3.0)) * 1e-11 * (vil[0] * S + vil[1] * S * S))
    return {"vit": vit, "vil": vil, "S": S, "seconds": seconds, "wanted": S + rng.size(200, 900)}
