"""Chapter 11's checks accept the chapter's solutions, and say what is wrong with plausible wrong answers."""

import math

import pytest
import torch
from _chapter import page_tests, rejects

from vil_lite import VisionLSTM
from vil_lite.recipes import decay_groups, learning_rate
from vil_lite.teach.checks import ch11

CHECKS = {
    "adamw_step": ch11.check_adamw_step,
    "decays": ch11.check_decays,
    "schedule": ch11.check_schedule,
    "clip": ch11.check_clip,
    "mixup": ch11.check_mixup,
}

test_the_solution_passes, test_the_stub_is_not_attempted = page_tests(
    "part2_vision/11_training.ipynb", CHECKS, {"torch": torch, "math": math}
)


def adamw(p, g, m, v, t, lr, decay, correct=True, inside=False, rate=True):
    """AdamW as a student may write it, with mistakes to switch on."""
    g = g + decay * p if inside else g
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    a, b = (m / (1 - 0.9**t), v / (1 - 0.999**t)) if correct else (m, v)
    pull = 0 if inside else decay * p * (lr if rate else 1)
    return p - pull - lr * a / (b.sqrt() + 1e-8), m, v


def test_wrong_adamw():
    check = ch11.check_adamw_step
    check(adamw, seed=0)
    rejects(check, lambda *a: adamw(*a, correct=False), "without the correction")
    rejects(check, lambda *a: adamw(*a, inside=True), "added to the gradient")
    rejects(check, lambda *a: adamw(*a, rate=False), "not multiplied by the learning rate")
    rejects(check, lambda *a: adamw(*a[:-1], 0.0), "decay is missing")
    rejects(check, lambda *a: adamw(*a)[0], "wanted")


def test_wrong_decays():
    rejects(ch11.check_decays, lambda name, shape: True, "is a vector")
    rejects(ch11.check_decays, lambda name, shape: len(shape) >= 2, "holds positions or a token")
    rejects(ch11.check_decays, lambda name, shape: len(shape) == 2, "a matrix or a kernel")
    rejects(ch11.check_decays, lambda name, shape: "weight" in name, "is a vector")
    rejects(ch11.check_decays, lambda name, shape: len(shape) >= 2 and "gate" not in name and "embed" not in name, "kernel")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda s, n, w, lr, low: lr * s / w if s < w else learning_rate(s, n, w, lr, low), "first step is wasted"),
        (lambda s, n, w, lr, low: lr * (s + 1) / w if s < w else learning_rate(s, n, w, lr, low), "one step early"),
        (lambda s, n, w, lr, low: learning_rate(s, n, w, lr, 0.0), "not to min_lr"),
        (lambda s, n, w, lr, low: learning_rate(s, n, w, lr, lr), "the cosine is missing"),
        (
            lambda s, n, w, lr, low: (
                learning_rate(s, n, w, lr, low) if s < w else low + (lr - low) * (1 + math.cos(math.pi * s / n)) / 2
            ),
            "begin where the warm-up ends",
        ),
    ],
)
def test_wrong_schedules(wrong, message):
    rejects(ch11.check_schedule, wrong, message)


def norm(gradients):
    return torch.cat([g.flatten() for g in gradients]).norm()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda gs, c: [g * c / norm(gs) for g in gs], "only shortens"),
        (lambda gs, c: [g * min(1, c / g.norm()) for g in gs], "turns the direction"),
        (lambda gs, c: gs, "nothing is clipped"),
        (lambda gs, c: [g.mul_(min(1, c / norm(gs))) for g in gs], "in place"),
    ],
)
def test_wrong_clips(wrong, message):
    rejects(ch11.check_clip, wrong, message)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda x, y, o, s: (s * x + (1 - s) * x[o], y), "targets are not mixed"),
        (lambda x, y, o, s: ((1 - s) * x + s * x[o], (1 - s) * y + s * y[o]), "shares are exchanged"),
        (lambda x, y, o, s: (s * x + (1 - s) * x[o], (1 - s) * y + s * y[o]), "other image's share"),
        (lambda x, y, o, s: (s * x + x[o], s * y + y[o]), "all of itself"),
    ],
)
def test_wrong_mixups(wrong, message):
    rejects(ch11.check_mixup, wrong, message)


def test_the_references_are_the_library():
    model = VisionLSTM(dim=16, depth=2, patch_size=2, image_size=8, channels=1, num_classes=10, pooling="middle_cls")
    decayed, free = (group["params"] for group in decay_groups(model, 0.1))
    for name, parameter in model.named_parameters():
        group = decayed if ch11.decays(name, parameter.shape) else free
        assert any(parameter is one for one in group), name
    p = torch.nn.Parameter(torch.randn(5))
    optimiser = torch.optim.AdamW([p], lr=0.1, weight_decay=0.5)
    ours, m, v = p.detach().clone(), torch.zeros(5), torch.zeros(5)
    for t in (1, 2, 3):
        p.grad = torch.randn(5)
        ours, m, v = ch11.adamw_step(ours, p.grad, m, v, t, 0.1, 0.5)
        optimiser.step()
        torch.testing.assert_close(ours, p.detach())
    p.grad = torch.full((5,), 3.0)
    clipped = ch11.clip([p.grad.clone()], 1.0)[0]
    torch.nn.utils.clip_grad_norm_([p], 1.0)
    torch.testing.assert_close(clipped, p.grad)
