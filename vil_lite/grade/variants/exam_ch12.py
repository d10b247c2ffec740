"""Exam variant of chapter 12: the prediction turned round."""

from vil_lite.teach.checks._base import exercise


def needed_speedup(vit, vil, S, seconds, wanted, *, work=lambda b, c, S: b * S + c * S * S, out=lambda x: x):
    """vit, vil: (b, c) of b S + c S**2 multiply-adds.  seconds: (of vit, of vil) for an image of S tokens.  Each model keeps
    its seconds for a multiply-add.  By what factor has vil to become faster, so that both take the same time at `wanted` tokens?
    """
    vit_seconds, vil_seconds = (t * work(b, c, wanted) / work(b, c, S) for t, (b, c) in zip(seconds, (vit, vil)))
    return out(vil_seconds / vit_seconds)


@exercise(
    "exam 12",
    "how much faster a model has to become",
    needed_speedup,
    rtol=1e-6,
    atol=0,
    mistakes={
        "upside down: how much longer vil takes than vit is wanted": {"out": lambda x: 1 / x},
        "this is the factor at the size that was timed": lambda x, y, S, t, wanted: t[1] / t[0],
        "these are the counts alone; a multiply-add of one may last longer": lambda x, y, S, t, wanted: needed_speedup(
            x, y, S, (x[0] * S + x[1] * S * S, y[0] * S + y[1] * S * S), wanted
        ),
        "the pairs are left out; they grow with S²": {"work": lambda b, c, S: b * S},
        "the seconds are exchanged": lambda x, y, S, t, wanted: needed_speedup(x, y, S, t[::-1], wanted),
    },
)
def check_needed_speedup(rng):
    b, c, S = float(rng.uniform(4e6, 6e6)), float(rng.uniform(4e3, 6e3)), rng.size(100, 300)
    vit, vil = (b, c), (1.6 * b, 0.2 * c)
    seconds = (1e-11 * (b * S + c * S * S), float(rng.uniform(2.0, 3.0)) * 1e-11 * (vil[0] * S + vil[1] * S * S))
    return {"vit": vit, "vil": vil, "S": S, "seconds": seconds, "wanted": S + rng.size(200, 900)}
