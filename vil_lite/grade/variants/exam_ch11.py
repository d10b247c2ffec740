"""Exam variant of chapter 11: decay in the gradient."""

from vil_lite.teach.checks._base import exercise


def adam_l2_step(w, g, m, v, t, lr, decay, *, coupled=True, correct=True, root=lambda v: v.sqrt() + 1e-8):
    """Adam with the decay in the gradient, g + decay w, and not beside it; betas 0.9 and 0.999, eps 1e-8.
    w, g, m, v (n), t: this step, from 1.  Returns w, m, v."""
    full = g + decay * w if coupled else g
    m, v = 0.9 * m + 0.1 * full, 0.999 * v + 0.001 * full**2
    m_hat, v_hat = (m / (1 - 0.9**t), v / (1 - 0.999**t)) if correct else (m, v)
    return w - lr * m_hat / root(v_hat) - (0 if coupled else lr * decay * w), m, v


@exercise(
    "exam 11",
    "a step of Adam with L2",
    adam_l2_step,
    mistakes={
        "the decay belongs into the gradient here, not beside it (that is AdamW)": {"coupled": False},
        "the corrections for the first steps are missing": {"correct": False},
        "the root of the second mean is missing": {"root": lambda v: v + 1e-8},
        "the decay is missing": lambda w, g, m, v, t, lr, decay: adam_l2_step(w, g, m, v, t, lr, 0.0),
        "the order is w, m, v": lambda *x: (lambda w, m, v: (m, v, w))(*adam_l2_step(*x)),
    },
)
def check_adam_l2_step(rng):
    n = rng.size(3, 6)
    state = {"m": rng.normal(n), "v": rng.uniform(0.5, 2, n)}
    return {"w": 2 * rng.normal(n), "g": rng.normal(n)} | state | {"t": rng.size(1, 5), "lr": 0.1, "decay": 0.3}
