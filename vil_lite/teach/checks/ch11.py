"""Exercises of chapter 11: training it."""

import math

import torch

from vil_lite.recipes import learning_rate

from ._base import exercise


# ---------------------------------------------------------------- 11.1
def adamw_step(
    p,
    g,
    m,
    v,
    t,
    lr,
    decay,
    *,
    betas=(0.9, 0.999),
    correct=lambda mean, beta, t: mean / (1 - beta**t),
    below=lambda v_hat: v_hat.sqrt() + 1e-8,
    shrink=lambda p, lr, decay: lr * decay * p,
):
    """One AdamW update of p with gradient g; m, v running means, t = 1, 2, ...; returns p, m, v."""
    m = betas[0] * m + (1 - betas[0]) * g
    v = betas[1] * v + (1 - betas[1]) * g**2
    m_hat, v_hat = correct(m, betas[0], t), correct(v, betas[1], t)
    return p - lr * m_hat / below(v_hat) - shrink(p, lr, decay), m, v


def _corrected(p, g, m, v, t, lr, decay):
    p, m, v = adamw_step(p, g, m, v, t, lr, decay)
    return p, m / (1 - 0.9**t), v / (1 - 0.999**t)


def _decay_after(p, g, m, v, t, lr, decay):
    p, m, v = adamw_step(p, g, m, v, t, lr, 0.0)
    return p - lr * decay * p, m, v


@exercise(
    "11.1",
    "one step of AdamW",
    adamw_step,
    outputs=("p", "m", "v"),
    mistakes={
        "m and v lack the correction 1 - beta^t: the first steps are small": {"correct": lambda mean, beta, t: mean},
        "the steps count from 1": {"correct": lambda mean, beta, t: mean / (1 - beta ** (t + 1))},
        "the decay is added to g (that is L2 in Adam)": lambda p, g, *x: adamw_step(p, g + x[4] * p, *x[:4], 0.0),
        "the decay is not multiplied by the learning rate": {"shrink": lambda p, lr, decay: decay * p},
        "the decay is missing": {"shrink": lambda p, lr, decay: 0},
        "the decay pulls away from zero": {"shrink": lambda p, lr, decay: -lr * decay * p},
        "the decay uses p after the step; use p before it": _decay_after,
        "the square root of v is missing": {"below": lambda v_hat: v_hat + 1e-8},
        "the 1e-8 is missing: where the gradient was always 0 this is 0 / 0": {"below": torch.sqrt},
        "the 1e-8 stands under the root; it is added to the root": {"below": lambda v_hat: (v_hat + 1e-8).sqrt()},
        "the betas are exchanged: 0.9 for m, 0.999 for v": {"betas": (0.999, 0.9)},
        "the corrected means are returned; the next step needs m and v as they run": _corrected,
    },
)
def check_adamw_step(rng):
    n = rng.size(4, 6)
    inputs = {"p": rng.normal(n), "g": rng.normal(n), "m": 0.3 * rng.normal(n), "v": rng.uniform(0.1, 1.0, n)}
    for name, zero, small in (("g", 0.0, 1e-6), ("m", 0.0, 1e-6), ("v", 0.0, 1e-12)):
        inputs[name][0], inputs[name][1] = zero, small  # never a gradient; always a very small one
    return {**inputs, "t": rng.size(2, 6), "lr": rng.turn([0.1, 0.05]), "decay": rng.turn([0.5, 0.2])}


# ---------------------------------------------------------------- 11.2
def decays(name, shape):
    """Does weight decay apply to the parameter of this name and shape?"""
    return len(shape) >= 2 and not {"pos_embed", "cls_token"} & set(name.split("."))


PARAMETERS = {
    "encoder.blocks.0.layer.proj_up.weight": (128, 32),
    "patch_embed.proj.weight": (32, 1, 2, 2),
    "encoder.blocks.0.layer.paths.0.conv.conv.weight": (64, 1, 4),
    "encoder.blocks.0.layer.paths.0.q_proj.weight": (16, 4, 4),
    "encoder.blocks.0.norm.weight": (32,),
    "encoder.blocks.0.layer.paths.0.learnable_skip": (64,),
    "encoder.blocks.0.layer.paths.0.mlstm_cell.fgate.bias": (4,),
    "encoder.blocks.0.layer.paths.0.mlstm_cell.fgate.weight": (4, 192),
    "head.weight": (10, 32),
    "head.bias": (10,),
    "pos_embed.embed": (1, 4, 4, 32),
    "cls_token": (1, 1, 27),
}


@exercise(
    "11.2",
    "which parameters decay",
    decays,
    cases=1,
    through=lambda function, name, shape: str(bool(function(name, shape))),
    mistakes={
        "positions and tokens have several axes and are not matrices: they do not decay": lambda n, s: len(s) > 1,
        "a vector (norm, bias or skip) does not decay": lambda n, s: not n.startswith(("pos_embed", "cls_token")),
        "weights with three axes (a kernel along the sequence, a row of small matrices) decay as well": lambda n, s: (
            decays(n, s) and len(s) != 3
        ),
        "more than two axes are no reason not to decay: kernels and rows of small matrices do": lambda n, s: (
            decays(n, s) and len(s) == 2
        ),
        "a matrix or a kernel decays, whatever module it is in": lambda n, s: decays(n, s) and "proj" not in n,
    },
)
def check_decays(rng):
    for name, shape in PARAMETERS.items():
        yield {"name": name, "shape": shape}


# ---------------------------------------------------------------- 11.3
def _then(after):
    """The warm-up, and another way down after it; its share of the way is from 0 to 1."""

    def wrong(s, n, w, lr, low):
        return learning_rate(s, n, w, lr, low) if s < w else after(s, n, w, lr, low)

    return wrong


def _warm(up):
    def wrong(s, n, w, lr, low):
        return lr * up(s, w) if s < w else learning_rate(s, n, w, lr, low)

    return wrong


def _cosine(done, lr, low):
    return low + (lr - low) * (1 + math.cos(math.pi * done)) / 2


@exercise(
    "11.3",
    "the learning rate of one step",
    learning_rate,
    function="schedule",
    rtol=1e-5,
    atol=0,
    mistakes={
        "the warm-up starts at 0, a wasted step: (step + 1) / (warmup_steps + 1)": _warm(lambda s, w: s / w),
        "the warm-up reaches lr a step early: divide by warmup_steps + 1": _warm(lambda s, w: (s + 1) / w),
        "there is no warm-up": lambda s, n, w, lr, low: learning_rate(max(s, w), n, w, lr, low),
        "the cosine must begin where the warm-up ends": _then(lambda s, n, w, lr, low: _cosine(s / n, lr, low)),
        "the cosine ends one step early": _then(lambda s, n, w, lr, low: _cosine((s - w) / (n - w - 1), lr, low)),
        "the cosine goes down to 0, not to min_lr": lambda s, n, w, lr, low: learning_rate(s, n, w, lr, 0),
        "min_lr is added on top of it": _then(lambda s, n, w, lr, low: low + _cosine((s - w) / (n - w), lr, 0)),
        "after the warm-up the rate stays constant: the cosine is missing": _then(lambda s, n, w, lr, low: lr),
        "a straight line; half a cosine is wanted": _then(lambda s, n, w, lr, low: lr + (low - lr) * (s - w) / (n - w)),
    },
)
def check_schedule(rng):
    warmup, steps, lr = rng.size(4, 9), rng.size(30, 60), float(rng.uniform(1e-3, 1e-2))
    for step in (0, warmup - 1, warmup, (steps + warmup) // 2, steps - 1):
        yield {"step": step, "steps": steps, "warmup_steps": warmup, "lr": lr, "min_lr": 1e-4}


# ---------------------------------------------------------------- 11.4
def clip(
    gradients,
    largest,
    *,
    join=lambda squares: math.sqrt(sum(squares)),
    factor=lambda largest, norm: min(1.0, largest / norm),
):
    """Gradients (list of tensors) scaled together so that their common norm is at most `largest`."""
    norm = join([float((g**2).sum()) for g in gradients])
    return [g * factor(largest, norm) for g in gradients]


@exercise(
    "11.4",
    "clip the gradient",
    clip,
    outputs=("gradient 1", "gradient 2"),
    mistakes={
        "a small gradient is made larger: clipping only shortens": {"factor": lambda largest, norm: largest / norm},
        "each tensor is clipped by itself; all share one norm": lambda gs, largest: [clip([g], largest)[0] for g in gs],
        "single values are cut off; scale all by one factor": lambda gs, c: [g.clamp(-c, c) for g in gs],
        "nothing is clipped": {"factor": lambda largest, norm: 1.0},
        "the norm lacks its square root": {"join": sum},
        "the norms are added; add squares, then take the root": {"join": lambda squares: sum(map(math.sqrt, squares))},
        "the largest norm decides; all share one": {"join": lambda squares: math.sqrt(max(squares))},
        "the factor is upside down": {"factor": lambda largest, norm: max(1.0, norm / largest)},
    },
)
def check_clip(rng):
    gradients = [rng.normal(rng.size(2, 4), 3), rng.normal(rng.size(2, 5))]
    gradients[1] = gradients[1] + 3 * gradients[1].sign()  # one number above what is allowed, whatever is drawn
    norm = math.sqrt(sum(float((g**2).sum()) for g in gradients))
    for largest in (0.4 * norm, 2.5 * norm):
        yield {"gradients": gradients, "largest": largest}


# ---------------------------------------------------------------- 11.5
def mixup(images, targets, order, share, *, take=lambda share: 1 - share):
    """Images (B, ...), targets (B, classes), order (B,): each is mixed with its partner images[order]."""
    return share * images + take(share) * images[order], share * targets + take(share) * targets[order]


@exercise(
    "11.5",
    "mixup",
    mixup,
    outputs=("images", "targets"),
    mistakes={
        "the targets are not mixed: what is 70 % a 3 is still labelled a 3": lambda x, y, o, s: (
            mixup(x, y, o, s)[0],
            y,
        ),
        "the images are not mixed": lambda x, y, o, s: (x, mixup(x, y, o, s)[1]),
        "the shares are exchanged: the image itself has `share`": lambda x, y, o, s: mixup(x, y, o, 1 - s),
        "the targets have the other share": lambda x, y, o, s: (mixup(x, y, o, s)[0], mixup(x, y, o, 1 - s)[1]),
        "the other image is added whole: its share is 1 - share": {"take": lambda share: 1},
        "both have `share`; the other image's is 1 - share": {"take": lambda share: share},
        "partners are images[order]; here each image is mixed with itself": lambda x, y, o, s: (x, y),
        "partners are images[order]; here `order` is undone": lambda x, y, o, s: mixup(x, y, o.argsort(), s),
        "here each image is mixed with its neighbour": lambda x, y, o, s: mixup(x, y, o.sort()[0].roll(1), s),
    },
)
def check_mixup(rng):
    B, classes = rng.size(5, 8), rng.size(3, 6)
    return {
        "images": rng.normal(B, 1, 3, 3),
        "targets": torch.eye(classes)[torch.arange(B) % classes],
        "order": torch.arange(B).roll(2),
        "share": float(rng.uniform(0.1, 0.4)),
    }


# ---------------------------------------------------------------- 11.6
def _frozen(loss, val, norm, rate, largest):
    return val.max() - val.min() < 0.01 * val[0]


def _too_high(loss, val, norm, rate, largest):
    return loss[-(len(loss) // 10) :].mean() > 0.9 * loss[0]


def _no_warmup(loss, val, norm, rate, largest):
    return rate[0] == rate.max() and _climbs(loss)


def _climbs(loss):
    return loss[: len(loss) // 10].max() > 1.05 * loss[0]


def _overfits(loss, val, norm, rate, largest):
    return val[-1] > 1.2 * val.min()


_FAULTS = {"frozen": _frozen, "rate too high": _too_high, "no warm-up": _no_warmup, "overfitting": _overfits}


def diagnose(loss, val, norm, rate, largest, *, order=tuple(_FAULTS), found="healthy", **instead):
    """The fault of a run, the first of `order` whose criterion holds.  instead: other criteria, spaces written as _."""
    for name in order:
        key = name.replace(" ", "_").replace("-", "_")
        criterion = instead[key] if key in instead else _FAULTS[name]
        if criterion(loss, val, norm, rate, largest):
            return name
    return found


def _clipped(loss, val, norm, rate, largest):
    return (norm > largest).mean() > 0.9


def _moved(name, after):
    """The order of the questions with one of them moved behind another."""
    names = [n for n in _FAULTS if n != name]
    names.insert(names.index(after) + 1, name)
    return {"order": tuple(names)}


@exercise(
    "11.6",
    "the fault of a run",
    diagnose,
    cases=2,
    mistakes={
        "a norm above `largest` in every step is not a fault: AdamW divides the length out": {
            "order": (*_FAULTS, "clipped"),
            "clipped": _clipped,
        },
        "a gap between the two losses is not overfitting: `val` has to have risen from its lowest point": {
            "overfitting": lambda loss, val, *_: val[-1] > 1.2 * loss[-(len(loss) // 10) :].mean()
        },
        "overfitting compares the end of `val` with its lowest point, not with its start": {
            "overfitting": lambda loss, val, *_: val[-1] > 1.2 * val[0]
        },
        "`val` is high at its start and may be high in between: its end counts for overfitting": {
            "overfitting": lambda loss, val, *_: val.max() > 1.2 * val.min()
        },
        "a falling training loss is not overfitting by itself; look at `val`": {
            "overfitting": lambda loss, *_: loss[-(len(loss) // 10) :].mean() < 0.1 * loss[0]
        },
        "a rate that begins at its highest is not a fault by itself: the loss has to climb": {
            "no_warm_up": lambda loss, val, norm, rate, largest: rate[0] == rate.max()
        },
        "a loss that climbs at first may be a hard batch: the rate has to begin at its highest": {
            "no_warm_up": lambda loss, *_: _climbs(loss)
        },
        "only the first tenth of the steps says anything about the warm-up": {
            "no_warm_up": lambda loss, val, norm, rate, largest: rate[0] == rate.max() and loss.max() > 1.05 * loss[0]
        },
        "the last step is one batch: take the mean of the last tenth": {
            "rate_too_high": lambda loss, *_: loss[-1] > 0.9 * loss[0]
        },
        "the lowest loss is one lucky batch: take the mean of the last tenth": {
            "rate_too_high": lambda loss, *_: loss.min() > 0.9 * loss[0]
        },
        "the rate is too high where the loss does not come down again, not where it once stood high": {
            "rate_too_high": lambda loss, *_: loss.max() > 1.05 * loss[0]
        },
        "a frozen model has gradients; that nothing moves shows in `val`": {
            "frozen": lambda loss, val, norm, *_: (norm == 0).all()
        },
        "each batch has another training loss; that nothing moves shows in `val`": {
            "frozen": lambda loss, *_: loss.max() - loss.min() < 0.01 * loss[0]
        },
        "a `val` that has come back to its start has moved: compare its highest and its lowest point": {
            "frozen": lambda loss, val, *_: abs(val[-1] - val[0]) < 0.01 * val[0]
        },
        "ask for `frozen` first: a loss that never moved has not come down either": _moved("frozen", "rate too high"),
        "ask for the rate before the warm-up: this loss never comes down again": _moved("rate too high", "no warm-up"),
        "ask for the rate before overfitting: nothing was learned here": _moved("rate too high", "overfitting"),
        "ask for the warm-up before overfitting": _moved("no warm-up", "overfitting"),
    },
)
def check_diagnose(rng):
    """Each fault, and each sign of a fault without the fault."""
    down, up = rng.uniform(0.1, 0.4, 2).tolist()
    yield _run(rng, down, gap=0.0)
    yield _run(rng, down, gap=0.8)
    yield _run(rng, 0.03)
    yield _run(rng, down, warm=False)  # and nothing comes of it
    yield _run(rng, down, climbs="early")  # a hard batch
    yield _run(rng, down, climbs="late", warm=False)
    yield _run(rng, down, climbs="early", warm=False)
    yield _run(rng, down, climbs="early", warm=False, rises=0.3 + up)
    yield _run(rng, 0.03, rises=0.3 + up)
    yield _run(rng, down, hill=True)
    for noise in (0.05, 0.0):  # small batches, and all images at once
        yield _run(rng, 1.0, noise=noise, still=True)
    yield _run(rng, 1.0, noise=0.0, still=True, norm=0.0)
    yield _run(rng, 1.05, climbs="early")
    yield _run(rng, 1.05, climbs="early", warm=False)
    yield _run(rng, 1.05, climbs="early", rises=0.3 + up)
    yield _run(rng, 1.05, climbs="early", last=0.5)
    yield _run(rng, 1.05, climbs="early", lucky=0.5)
    yield _run(rng, 1.05, climbs="early", back=True)


def _run(
    rng,
    end,
    *,
    gap=0.1,
    noise=0.02,
    warm=True,
    climbs="",
    rises=0.0,
    hill=False,
    still=False,
    norm=3.0,
    last=None,
    lucky=None,
    back=False,
):
    """Curves that end at the share `end` of the first loss, far from every threshold but where they shall decide."""
    steps, start = 10 * rng.size(4, 9), float(rng.uniform(1.5, 4.0))
    way = torch.linspace(0, 1, steps, dtype=torch.float64)
    share = 1 + (end - 1) * way**0.5
    wiggle = 1 + noise * rng.uniform(-1, 1, steps).double()
    loss = share * wiggle
    loss[0] = 1.0
    tenth = steps // 10
    if climbs:
        loss[1 if climbs == "early" else 2 * tenth] = 1.5
    if last:
        loss[-1] = last
    if lucky:
        loss[steps // 2] = lucky
    points = torch.linspace(0, 1, rng.size(9, 14), dtype=torch.float64)
    val = 1 + (end + gap - 1) * points**0.5
    if rises:  # down to the middle, then up again, but not to where it began
        val = torch.where(points < 0.5, 1 - points, 0.5 + rises * (2 * points - 1) ** 2)
    if hill:
        val = val + 0.6 * (-(((points - 0.5) / 0.15) ** 2)).exp()
    if still:
        val = torch.ones_like(points)
    if back:
        val = 1 + 0.5 * (math.pi * points).sin()
    rate = torch.tensor([learning_rate(s, steps, 2 * tenth if warm else 0, 1e-2, 1e-5) for s in range(steps)])
    norms = norm * (1 + 0.3 * rng.uniform(0, 1, steps).double())
    curves = {"loss": start * loss, "val": start * val, "norm": norms, "rate": rate}
    return {name: curve.double().numpy() for name, curve in curves.items()} | {"largest": 1.0}
