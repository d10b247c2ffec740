"""Exercises of chapter 20: what the memory holds."""

import math

import torch
import torch.nn.functional as F

from ._base import exercise

LOG_2 = math.log(2)

# ---------------------------------------------------------------- 20.1


def half_life(f, *, fade=lambda f: -F.logsigmoid(f).mean(), left=LOG_2):
    """After how many tokens half of a memory is left, if each token fades it by the mean of -log sigmoid(f)."""
    return float(left / fade(f))


@exercise(
    "20.1",
    "the half-life of a memory",
    half_life,
    mistakes={
        "this is when 1/e is left; half is left log 2 times as soon": {"left": 1.0},
        "log 2 is the natural logarithm of 2, 0.69; here it has another base": {"left": math.log10(2)},
        "decays multiply, so their logarithms add: take the mean of log sigmoid(f), not the logarithm of the mean": {
            "fade": lambda f: -torch.sigmoid(f).mean().log()
        },
        "the mean belongs after the gate: log sigmoid of each f first": {"fade": lambda f: -F.logsigmoid(f.mean())},
        "1 - sigmoid(f) is close to -log sigmoid(f) for slow heads alone; take the logarithm": {
            "fade": lambda f: 1 - torch.sigmoid(f).mean()
        },
        "each token fades by the mean of these numbers, not by their sum": {"fade": lambda f: -F.logsigmoid(f).sum()},
        "the sign is wrong: log sigmoid(f) is negative, a half-life is not": {"fade": lambda f: F.logsigmoid(f).mean()},
        "this is the mean of each token's own half-life; fading adds up, half-lives do not": lambda f: float(
            (math.log(2) / -F.logsigmoid(f)).mean()
        ),
    },
)
def check_half_life(rng):
    return {"f": 4 * rng.normal(rng.size(5, 12))}


# ---------------------------------------------------------------- 20.2


def decay_map(
    i,
    f,
    place,
    grid,
    backwards,
    *,
    start=True,
    back=True,
    gate=True,
    after=True,
    past=True,
    share=True,
    own=True,
    log=F.logsigmoid,
    turn=lambda w: w.flip(0, 1),
):
    """Shares of the decay weights of the output at a place of the grid, laid on the grid: (H, W), summing to 1."""
    H, W = grid
    t = len(f) - 1 - place if backwards and start else place
    total = log(f).double().cumsum(0)
    before = total if after else torch.cat([total.new_zeros(1), total[:-1]])
    log_D = total[t] - before + (i.double() if gate else 0)
    log_D = torch.where((torch.arange(len(f)) < t + own) | (not past), log_D, -math.inf)
    weights = (log_D.softmax(0) if share else log_D.exp()).view(H, W).float()
    return turn(weights) if backwards and back else weights


@exercise(
    "20.2",
    "a row of the decay matrix on the grid",
    decay_map,
    mistakes={
        "a block that reads backwards has its first token at the last place: turn the weights round before they go on the grid": {
            "back": False
        },
        "when the block reads backwards, `place` is not its position in the sequence: that is S - 1 - place": {
            "start": False
        },
        "`backwards` is not used": {"back": False, "start": False},
        "the input gates are missing: a weight is exp(F_t - F_s + i_s)": {"gate": False},
        "what token s writes has not met its own forget gate: from F_t subtract F_s, not F before s": {"after": False},
        "tokens that are read after t have no weight yet": {"past": False},
        "the place has already been written when it is read: s = t counts": {"own": False},
        "a forget gate is a sigmoid: F adds up log sigmoid(f), not f": {"log": lambda f: f},
        "`i` and `f` stand in the order of reading: go on in it, and turn only the weights round": lambda i, f, p, g, b: (
            decay_map(i.flip(0) if b else i, f.flip(0) if b else f, p, g, False)
        ),
        "a backward scan turns rows and columns round, not the rows alone": {"turn": lambda w: w.flip(0)},
        "these weights do not sum to 1: divide by their sum": {"share": False},
        "rows and columns of the grid are exchanged: tokens stand row by row": lambda i, f, place, grid, backwards: (
            decay_map(i, f, place, grid, backwards).flatten().view(grid[1], grid[0]).T
        ),
    },
)
def check_decay_map(rng):
    H, W = rng.size(2, 3), rng.size(4, 5)
    S = H * W
    return {
        "i": rng.normal(S),
        "f": 2 * rng.normal(S),
        "place": rng.size(S // 2 + 1, S - 3) if rng.case % 2 else rng.size(2, S // 2 - 1),
        "grid": (H, W),
        "backwards": rng.turn([True, False]),
    }


# ---------------------------------------------------------------- 20.3


def answers(
    q,
    k,
    i,
    f,
    *,
    scale=True,
    floor=True,
    after=True,
    reverse=True,
    size=torch.abs,
    gate=True,
    log=F.logsigmoid,
    decay=torch.exp,
):
    """(S,): with which weight each value is in what the memory answers to q after the last token."""
    total = log(f).double().cumsum(0)
    start = total if after else torch.cat([total.new_zeros(1), total[:-1]])
    log_D = (total[-1] - start if reverse else total) + (i.double() if gate else 0)
    score = k.double() @ q.double() * decay(log_D) / (len(q) ** 0.5 if scale else 1)
    below = size(score.sum())
    return (score / (below.clamp(min=1) if floor else below)).float()


def _softmax(q, k, i, f):
    total = F.logsigmoid(f).cumsum(0)
    return (k @ q / len(q) ** 0.5 + total[-1] - total + i).softmax(0)


@exercise(
    "20.3",
    "who answers a query",
    answers,
    mistakes={
        "the query is divided by the root of its width": {"scale": False},
        "below stands at least 1: chapter 3's max(|q n|, 1)": {"floor": False},
        "below stands the size of the sum, so it is never negative: abs is missing": {"size": lambda x: x},
        "what token s writes has not met its own forget gate: from F_S subtract F_s, not F before s": {"after": False},
        "the early tokens have faded, not the late ones: what fades token s comes after it": {"reverse": False},
        "the input gates are missing": {"gate": False},
        "a softmax is attention; here scores may be negative, and are divided by the size of their sum": _softmax,
        "a forget gate is a sigmoid: F adds up log sigmoid(f), not f": {"log": lambda f: f},
        "the decays of Exercise 20.2 are divided by their sum; here the scores are, and only once": {
            "decay": lambda log_D: log_D.softmax(0)
        },
        "these are the scores; divide them by max(|their sum|, 1)": lambda q, k, i, f: answers(
            q, k, i, f, size=lambda x: x * 0
        ),
        "below stands the size of the sum, not the sum of the sizes": lambda q, k, i, f: (
            (one := answers(q, k, i, f, size=lambda x: x * 0)) / one.abs().sum().clamp(min=1)
        ),
    },
)
def check_answers(rng):
    d, S = rng.size(3, 5), rng.size(6, 9)
    q, k = rng.normal(d), rng.normal(S, d)
    i, f = rng.normal(S), 1.5 + rng.normal(S)
    score = answers(q, k, i, f, size=lambda x: x * 0)
    # in turn: a sum far below 1, one above 1, one below -1
    wanted = rng.turn([0.3, 3.0, -3.0])
    total = float(score.sum())
    return {"q": q * (wanted / total if abs(total) > 1e-3 else 1.0), "k": k, "i": i, "f": f}


# ---------------------------------------------------------------- 20.4


def _patches(x, patch, reduce=torch.sum):
    """(height, width) -> (H, W), one number for each patch."""
    H, W = x.shape[0] // patch, x.shape[1] // patch
    return reduce(x.reshape(H, patch, W, patch).transpose(1, 2).reshape(H, W, -1), -1)


def gradient_input(
    model, image, label, patch, *, scalar=lambda y, c: y[c], times=lambda g, x: g * x, end=lambda x: x, reduce=torch.sum
):
    """Gradient of a logit times input, summed over each patch: (height / patch, width / patch)."""
    with torch.enable_grad():
        x = image.detach().clone().requires_grad_()
        (g,) = torch.autograd.grad(scalar(model(x[None])[0], label), x)
    return end(_patches(times(g, x.detach())[0], patch, reduce))


@exercise(
    "20.4",
    "gradient times input",
    gradient_input,
    mistakes={
        "this is the gradient alone; multiply it by the image": {"times": lambda g, x: g},
        "signs matter: a patch may speak against the class, so no absolute values": {
            "times": lambda g, x: (g * x).abs()
        },
        "no absolute values, also not of the sums": {"end": torch.abs},
        "a patch speaks for or against: keep negative sums": {"end": lambda x: x.clamp(min=0)},
        "sum over each patch, do not take the mean: the parts shall add up": {"reduce": torch.mean},
        "this is the gradient of the probability; take that of the logit": {"scalar": lambda y, c: y.softmax(0)[c]},
        "this is the gradient of the log probability; take that of the logit": {
            "scalar": lambda y, c: y.log_softmax(0)[c]
        },
        "this is the gradient of all logits together; only the label's counts": {"scalar": lambda y, c: y.sum()},
        "this is the gradient of the largest logit; the label's is asked for": {"scalar": lambda y, c: y.max()},
        "one number for each pixel; one for each patch is wanted": lambda model, image, label, patch: gradient_input(
            model, image, label, 1
        ),
    },
)
def check_gradient_input(rng):
    patch, H, W = rng.size(2, 3), rng.size(2, 3), rng.size(4, 5)
    model, best = _classifier(rng, patch * H * patch * W)
    image = rng.normal(1, patch * H, patch * W)
    label = (int(model(image[None])[0].argmax()) + 1 + rng.size(0, 1)) % 4  # not the largest logit
    return {"model": model, "image": image, "label": label, "patch": patch}


def _classifier(rng, size):
    """(B, 1, height, width) -> (B, 4) logits, bent a little."""
    weight = rng.normal(size, 6) / size**0.5
    head = rng.normal(6, 4)
    return lambda x: torch.tanh(x.flatten(1) @ weight) @ head, head


# ---------------------------------------------------------------- 20.5


def occlusion(
    model,
    image,
    label,
    patch,
    *,
    clone=True,
    inside=True,
    fill=lambda x: 0.0,
    score=lambda y, c: y[c],
    sign=1.0,
    step=None,
):
    """By how much the label's logit falls when a patch is black: (height / patch, width / patch)."""
    whole, hidden = score(model(image[None])[0], label), image.clone()
    drops = torch.zeros(image.shape[1] // patch, image.shape[2] // patch)
    for row in range(drops.shape[0]):
        for column in range(drops.shape[1]):
            hidden = image.clone() if clone else hidden
            here = torch.zeros(image.shape, dtype=torch.bool)
            top, left = row * (step or patch), column * (step or patch)
            here[:, top : top + patch, left : left + patch] = True
            hidden[here if inside else ~here] = fill(image)
            drops[row, column] = sign * (whole - score(model(hidden[None])[0], label))
    return drops.detach()


@exercise(
    "20.5",
    "occlusion",
    occlusion,
    mistakes={
        "a patch that is missed makes the logit fall: whole minus hidden": {"sign": -1.0},
        "keep the sign: without a patch that speaks against the class the logit rises": lambda *inputs: occlusion(
            *inputs
        ).abs(),
        "keep falls below 0: without a patch that speaks against the class the logit rises": lambda *inputs: occlusion(
            *inputs
        ).clamp(min=0),
        "patch (r, c) begins at pixel (r * patch, c * patch), not at pixel (r, c)": {"step": 1},
        "earlier patches are still hidden: work on a new copy for each": {"clone": False},
        "hide the patch, not everything but the patch": {"inside": False},
        "black is 0; here the patch becomes the mean of the image": {"fill": lambda x: x.mean()},
        "black is 0; here the patch becomes white": {"fill": lambda x: 1.0},
        "this is by how much the probability falls; take the logit": {"score": lambda y, c: y.softmax(0)[c]},
        "this looks at the largest logit; the label's is asked for": {"score": lambda y, c: y.max()},
        "these are the logits with the patch hidden; the fall is wanted": lambda model, image, label, patch: (
            model(image[None])[0][label] - occlusion(model, image, label, patch)
        ),
    },
)
def check_occlusion(rng):
    patch, H, W = rng.size(2, 3), rng.size(2, 3), rng.size(4, 5)
    model, _ = _classifier(rng, patch * H * patch * W)
    image = rng.uniform(0.1, 1, 1, patch * H, patch * W)
    label = (int(model(image[None])[0].argmax()) + 1 + rng.size(0, 1)) % 4
    return {"model": model, "image": image, "label": label, "patch": patch}


# ---------------------------------------------------------------- 20.6


def ranks(x):
    """Ranks from 1; equal values share the mean of theirs."""
    below, equal = (x[:, None] > x).sum(1), (x[:, None] == x).sum(1)
    return below + (equal + 1) / 2


def rank_correlation(a, b, *, rank=ranks, end=lambda x: x, middle=True):
    """Spearman's rank correlation of two maps: the correlation of their ranks."""
    x, y = (rank(z.flatten().double()).double() for z in (a, b))
    x, y = (x - x.mean(), y - y.mean()) if middle else (x, y)
    return end(float((x * y).sum() / (x.norm() * y.norm())))


def _shortcut(a, b):
    n = a.numel()
    d = (ranks(a.flatten()) - ranks(b.flatten())).double()
    return float(1 - 6 * d.square().sum() / (n * (n**2 - 1)))


@exercise(
    "20.6",
    "rank correlation",
    rank_correlation,
    mistakes={
        "this is Pearson's correlation of the values; take that of their ranks": {"rank": lambda x: x},
        "argsort says where the smallest stands, not which rank each has: sort twice, or count": {
            "rank": lambda x: x.float().argsort()
        },
        "equal values share the mean of their ranks; here the one that comes first is ranked lower": {
            "rank": lambda x: x.argsort(stable=True).argsort()
        },
        "equal values share the mean of their ranks; here they share the lowest": {
            "rank": lambda x: (x[:, None] > x).sum(1)
        },
        "equal values share the mean of their ranks; here they share the highest": {
            "rank": lambda x: (x[:, None] >= x).sum(1)
        },
        "the short formula 1 - 6 Σd² / (n³ - n) holds only where no two values are equal": _shortcut,
        "equal values share the mean of their ranks; here they share one rank, and the next value has the next": {
            "rank": lambda x: x.unique(return_inverse=True)[1]
        },
        "equal values share the mean of their ranks; here each has the one that sorting gave it": lambda a, b: (
            rank_correlation(a, b, rank=lambda x: x.float().argsort().argsort())
        ),
        "the sum of all ranks is not 0: subtract their means first": {"middle": False},
        "maps may run against each other: keep the sign": {"end": abs},
        "this is the square of the correlation": {"end": lambda x: x * x},
    },
)
def check_rank_correlation(rng):
    H, W = rng.size(4, 5), rng.size(5, 6)
    a = rng.normal(H, W)
    b = (a if rng.case % 2 else -a) + rng.normal(H, W)
    a, b = a.clamp(min=0), b.clamp(min=-0.4)  # ties, as in a map of a black background
    a[0, 0], a[1, 0], b[1, 1] = a.max() + 20, 0.0, -0.4
    a[2], b[:, 3] = 0.5, 0.6  # and of values that are not the smallest
    return {"a": a, "b": b}
