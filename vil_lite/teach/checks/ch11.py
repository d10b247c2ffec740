"""Checks of chapter 11: training it."""

import math

import torch

from vil_lite.recipes import learning_rate

from ._base import attempt, compare, exercise, expect

BETAS, EPS = (0.9, 0.999), 1e-8

# ---------------------------------------------------------------- 11.1


def adamw_step(p, g, m, v, t, lr, decay):
    """Reference: one AdamW update of p with gradient g; m, v running means, t = 1, 2, ...; returns p, m, v."""
    m = BETAS[0] * m + (1 - BETAS[0]) * g
    v = BETAS[1] * v + (1 - BETAS[1]) * g**2
    m_hat, v_hat = m / (1 - BETAS[0] ** t), v / (1 - BETAS[1] ** t)
    return p - lr * m_hat / (v_hat.sqrt() + EPS) - lr * decay * p, m, v


def _uncorrected(p, g, m, v, t, lr, decay):
    _, m, v = adamw_step(p, g, m, v, t, lr, decay)
    return p - lr * m / (v.sqrt() + EPS) - lr * decay * p, m, v


def _decay_in_gradient(p, g, m, v, t, lr, decay):
    return adamw_step(p, g + decay * p, m, v, t, lr, 0.0)


def _decay_without_rate(p, g, m, v, t, lr, decay):
    new, m, v = adamw_step(p, g, m, v, t, lr, 0.0)
    return new - decay * p, m, v


def _no_root(p, g, m, v, t, lr, decay):
    _, m, v = adamw_step(p, g, m, v, t, lr, decay)
    m_hat, v_hat = m / (1 - BETAS[0] ** t), v / (1 - BETAS[1] ** t)
    return p - lr * m_hat / (v_hat + EPS) - lr * decay * p, m, v


@exercise("one step of AdamW")
def check_adamw_step(student, rng):
    n, t = rng.size(3, 6), rng.size(2, 6)
    inputs = {"p": rng.normal(n), "g": rng.normal(n), "m": 0.3 * rng.normal(n), "v": rng.uniform(0.1, 1.0, n)}
    inputs |= {"t": t, "lr": 0.1, "decay": 0.5}
    compare(
        student, adamw_step, inputs, outputs=("p", "m", "v"),
        diagnose={
            "m and v are used without the correction 1 - beta^t: the first steps are then far too small": _uncorrected,
            "the decay is added to the gradient (that is L2 in Adam); the W of AdamW means apart from it":
                _decay_in_gradient,
            "the decay is not multiplied by the learning rate": _decay_without_rate,
            "the decay is missing": lambda p, g, m, v, t, lr, decay: adamw_step(p, g, m, v, t, lr, 0.0),
            "the decay pulls away from zero: its sign is wrong":
                lambda p, g, m, v, t, lr, decay: adamw_step(p, g, m, v, t, lr, -decay),
            "the square root of v is missing": _no_root,
            "the corrected means are returned; the next step needs m and v as they run":
                lambda p, g, m, v, t, lr, decay: (
                    lambda new: (new[0], new[1] / (1 - BETAS[0] ** t), new[2] / (1 - BETAS[1] ** t))
                )(adamw_step(p, g, m, v, t, lr, decay)),
        },
    )  # fmt: skip


# ---------------------------------------------------------------- 11.2


def decays(name, shape):
    """Reference: does weight decay apply to the parameter of this name and shape?"""
    return len(shape) >= 2 and not {"pos_embed", "cls_token"} & set(name.split("."))


PARAMETERS = {
    "encoder.blocks.0.layer.proj_up.weight": (128, 32),
    "patch_embed.proj.weight": (32, 1, 2, 2),
    "encoder.blocks.0.norm.weight": (32,),
    "encoder.blocks.0.layer.paths.0.learnable_skip": (64,),
    "encoder.blocks.0.layer.paths.0.mlstm_cell.fgate.bias": (4,),
    "encoder.blocks.0.layer.paths.0.mlstm_cell.fgate.weight": (4, 192),
    "head.bias": (10,),
    "pos_embed.embed": (1, 4, 4, 32),
    "cls_token": (1, 1, 27),
}


@exercise("which parameters decay", cases=1)
def check_decays(student, rng):
    for name, shape in PARAMETERS.items():
        got = attempt(student, name, shape)
        expect(got is not None, "nothing is returned: is the `return` missing?")
        wanted, words = decays(name, shape), f"`{name}` {shape}"
        if bool(got) == wanted:
            continue
        special = "pos_embed" in name or "cls_token" in name
        expect(not special, f"{words} has several axes but holds positions or a token, not a matrix: it does not decay")
        expect(wanted, f"{words} is a vector (norm, bias or skip): it does not decay")
        expect(False, f"{words} is a matrix or a kernel: it decays, whatever module it stands in")


# ---------------------------------------------------------------- 11.3


def _restarts(step, steps, warmup_steps, lr, min_lr):
    if step < warmup_steps:
        return lr * (step + 1) / (warmup_steps + 1)
    return min_lr + (lr - min_lr) * (1 + math.cos(math.pi * step / steps)) / 2


@exercise("the learning rate of one step")
def check_schedule(student, rng):
    warmup, steps, lr, low = rng.size(4, 9), rng.size(30, 60), float(rng.uniform(1e-3, 1e-2)), 1e-4
    for step in (0, warmup - 1, warmup, (steps + warmup) // 2, steps - 1):
        compare(
            student, learning_rate, {"step": step, "steps": steps, "warmup_steps": warmup, "lr": lr, "min_lr": low},
            rtol=1e-5, atol=0,
            diagnose={
                "the warm-up starts at 0, so the first step is wasted: use (step + 1) / (warmup_steps + 1)":
                    lambda s, n, w, lr, low: lr * s / w if s < w else learning_rate(s, n, w, lr, low),
                "the warm-up reaches lr one step early: divide by warmup_steps + 1":
                    lambda s, n, w, lr, low: lr * (s + 1) / w if s < w else learning_rate(s, n, w, lr, low),
                "the cosine must begin where the warm-up ends: count steps from warmup_steps on": _restarts,
                "the cosine goes down to 0, not to min_lr":
                    lambda s, n, w, lr, low: learning_rate(s, n, w, lr, 0.0),
                "min_lr is added on top: the cosine falls from lr to min_lr, so its height is lr - min_lr":
                    lambda s, n, w, lr, low: low + learning_rate(s, n, w, lr, 0.0),
                "after the warm-up the rate stays constant: the cosine is missing":
                    lambda s, n, w, lr, low: learning_rate(s, n, w, lr, lr),
                "this falls in a straight line; half a cosine is wanted":
                    lambda s, n, w, lr, low: low + (lr - low) * (1 - (s - w) / (n - w)),
            },
        )  # fmt: skip


# ---------------------------------------------------------------- 11.4


def clip(gradients, largest):
    """Reference: gradients (list of tensors) scaled together so that their common norm is at most `largest`."""
    norm = math.sqrt(sum(float((g**2).sum()) for g in gradients))
    return [g * min(1.0, largest / norm) for g in gradients]


def _one_by_one(gradients, largest):
    return [clip([g], largest)[0] for g in gradients]


@exercise("clip the gradient")
def check_clip(student, rng):
    gradients = [rng.normal(rng.size(2, 4), 3), rng.normal(rng.size(2, 5))]
    norm = math.sqrt(sum(float((g**2).sum()) for g in gradients))
    for largest in (0.4 * norm, 2.5 * norm):
        compare(
            student, clip, {"gradients": gradients, "largest": largest}, outputs=("gradient 1", "gradient 2"),
            diagnose={
                "a small gradient is made larger: clipping only shortens": lambda gs, c: [g * c / norm for g in gs],
                "each tensor is clipped by itself, which turns the direction; all share one norm": _one_by_one,
                "single values are cut off, which turns the direction; scale all by one factor":
                    lambda gs, c: [g.clamp(-c, c) for g in gs],
                "nothing is clipped": lambda gs, c: gs,
                "the norm lacks its square root": lambda gs, c: [g * min(1.0, c / norm**2) for g in gs],
                "the factor is upside down: largest / norm": lambda gs, c: [g * max(1.0, norm / c) for g in gs],
            },
        )  # fmt: skip


# ---------------------------------------------------------------- 11.5


def mixup(images, targets, order, share):
    """Reference: images (B, ...), targets (B, classes), order (B,): each is mixed with its partner images[order]."""
    return share * images + (1 - share) * images[order], share * targets + (1 - share) * targets[order]


@exercise("mixup")
def check_mixup(student, rng):
    B, classes = rng.size(4, 7), rng.size(3, 6)
    order = torch.arange(B).roll(rng.size(1, B - 1))
    targets = torch.eye(classes)[torch.arange(B) % classes]
    inputs = {"images": rng.normal(B, 1, 3, 3), "targets": targets, "order": order, "share": float(rng.uniform(0.1, 0.4))}
    compare(
        student, mixup, inputs, outputs=("images", "targets"),
        diagnose={
            "the targets are not mixed: a picture that is 70 % of a 3 should be called 70 % of a 3":
                lambda x, y, o, s: (mixup(x, y, o, s)[0], y),
            "the images are not mixed": lambda x, y, o, s: (x, mixup(x, y, o, s)[1]),
            "the shares are exchanged: the image itself has `share`": lambda x, y, o, s: mixup(x, y, o, 1 - s),
            "the targets have the other image's share": lambda x, y, o, s: (mixup(x, y, o, s)[0], mixup(x, y, o, 1 - s)[1]),
            "the other image comes with all of itself: its share is 1 - share":
                lambda x, y, o, s: (s * x + x[o], s * y + y[o]),
            "partners are images[order]; here each image is mixed with itself": lambda x, y, o, s: (x, y),
        },
    )  # fmt: skip
