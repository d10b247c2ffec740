"""Right answers of another make than the book's: other number types, shapes that unpack, loops over plain numbers."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import pad, softplus
from torchvision.ops import box_iou

from vil_lite.teach.checks import (
    ch01,
    ch02,
    ch03,
    ch04,
    ch05,
    ch05b,
    ch07,
    ch08,
    ch09,
    ch10,
    ch11,
    ch12,
    ch13,
    ch14,
    ch15,
    ch16,
    project2,
)


def revise_both(distance, value, nearest, kept, sharpness):
    i = torch.sigmoid(sharpness * (nearest - distance))
    return torch.lerp(torch.stack([nearest, kept]), torch.stack([distance, value]), i)


def cell_of_numpy(a, c):
    i, f, z, o = a.numpy().reshape(4, -1)
    c = c.numpy() / (1 + np.exp(-f)) + np.tanh(z) / (1 + np.exp(-i))
    return np.tanh(c) / (1 + np.exp(-o)), c


def confusion_in_lists(overlap, true, predicted, classes, threshold=0.45):
    matrix, left = [[0] * (classes + 1) for _ in range(classes + 1)], dict(enumerate(true))
    for d in range(len(predicted)):
        best, g = max(((overlap[g][d], g) for g in left), default=(-1, None))
        matrix[predicted[d]][left.pop(g) if best > threshold else classes] += 1
    for label in left.values():
        matrix[classes][label] += 1
    return matrix


def choose_by_counting(known, matters, offered):
    S, wanted, best = len(known), set(torch.where(matters)[0].tolist()), ("", -1.0)
    knows = [wanted <= set(torch.where(row)[0].tolist()) for row in known]
    places = {"avg": range(S), "middle_patch": [S // 2], "first": [0], "last": [S - 1]}
    for name in offered:
        taken = places.get(name, [0, S - 1])
        share = sum(knows[t] for t in taken) / len(taken)
        best = (name, share) if share > best[1] else best
    return best[0]


def width_by_the_root(budget, depth, paths, shared, step):
    """Where 6 d^2 + (86 n + 1) d + 8 n is the budget of one block."""
    n = 1 if shared else paths
    root = np.roots([6, 86 * n + 1, 8 * n - budget / depth]).max()
    return int(root + 1e-6) // step * step


def shortest_by_breadth(orders, needed, most):
    masks = [(order.argsort()[None] <= order.argsort()[:, None]).float() for order in orders]
    front = [((), torch.eye(len(needed)))]
    for _ in range(most):
        front = [((*stack, n), (mask @ known > 0).float()) for stack, known in front for n, mask in enumerate(masks)]
        for stack, known in reversed(front):
            if known[needed].all():
                return torch.tensor(stack)
    return torch.tensor([])


def diagnose_in_torch(loss, val, norm, rate, largest):
    loss, val, rate = (torch.tensor(x) for x in (loss, val, rate))
    first, last = loss[: len(loss) // 10], loss.flip(0)[: len(loss) // 10]
    signs = {
        "frozen": val.amax() - val.amin() < val[0] / 100,
        "rate too high": last.mean() / loss[0] > 0.9,
        "no warm-up": bool((rate[0] >= rate).all()) and first.amax() / loss[0] > 1.05,
        "overfitting": val[-1] / val.amin() > 1.2,
        "healthy": True,
    }
    return next(name for name, sign in signs.items() if sign)


def crossing_of_roots(vit, vil, S, seconds):
    curves = [np.array([c, b, 0.0]) * t / (b * S + c * S**2) for (b, c), t in zip((vit, vil), seconds)]
    return max((r.real for r in np.roots(curves[0] - curves[1]) if r.real > 1e-6 * S), default=np.inf)


def join_by_rows(c1, n1, m1, c2, n2, m2, log_f):
    units = torch.stack([log_f + m1, m2])
    factors = (units - units.amax(0)).exp()
    memory = (factors * torch.stack([torch.stack([c1, c2]), torch.stack([n1, n2])])).sum(1)
    return *memory, units.amax(0)


def dies_by_a_loop(i, f):
    """The running maximum of chapter 2, without a matrix."""
    m, dead = torch.full_like(i[..., 0], -torch.inf), []
    for t in range(i.shape[-1]):
        m = torch.maximum(torch.nn.functional.logsigmoid(f[..., t]) + m, i[..., t])
        dead.append(torch.exp(-m) == torch.inf)
    return torch.stack(dead, dim=-1)


def log_decay_of_softplus(i, f):
    F = -softplus(-f).cumsum(-1)
    future = torch.ones(f.shape[-1], f.shape[-1]).triu(1) > 0
    return (F.unsqueeze(-1) + (i - F).unsqueeze(-2)).masked_fill(future, torch.finfo(i.dtype).min)


def parallel_token_by_token(q, k, v, i, f, C, n, m):
    q, k, v, i, f, C, n, m = (x.double() for x in (q, k, v, i, f, C, n, m))
    C, n, h = m.exp()[:, None, None] * C, m.exp()[:, None] * n, []
    for t in range(q.shape[1]):
        keep, write, asked = f[:, t].sigmoid(), i[:, t].exp(), q[:, t] / q.shape[2] ** 0.5
        C = keep[:, None, None] * C + write[:, None, None] * k[:, t, :, None] * v[:, t, None]
        n = keep[:, None] * n + write[:, None] * k[:, t]
        h.append((asked[:, None] @ C)[:, 0] / (asked * n).sum(-1).abs().clamp(min=1)[:, None])
    return torch.stack(h, 1).float()


def cover_of_blocks(S, L):
    inside = torch.block_diag(*[torch.ones(L, L)] * -(-S // L))[:S, :S]
    return (2 - inside).tril().int()


def end_with_one_einsum(k, v, i, f, C, n, m):
    F = torch.nn.functional.logsigmoid(f).cumsum(-1)
    loud = torch.cat([F[:, -1:] - F + i, (F[:, -1] + m)[:, None], 0 * m[:, None]], 1)
    end = loud.amax(1)
    write, keep = (loud - end[:, None]).exp()[:, :-1].split([k.shape[1], 1], 1)
    return (
        torch.einsum("hl,hld,hlv->hdv", write, k, v) + keep[..., None] * C,
        (write[..., None] * k).sum(1) + keep * n,
        end,
    )


def exponents_by_doubling(i, f):
    F = torch.nn.functional.logsigmoid(f).cumsum(-1)
    key = top = i - F
    r = 1
    while r < i.shape[-1]:
        top = torch.maximum(top, pad(top, (r, 0), value=-torch.inf)[..., :-r])
        r *= 2
    return key, torch.minimum(-top, F)


def convolution_with_zeros(a, x):
    nothing = torch.zeros_like(x)
    powers = torch.tensor(a, dtype=x.dtype) ** torch.arange(len(x))
    product = torch.fft.rfft(torch.cat([powers, nothing])) * torch.fft.rfft(torch.cat([x, nothing]))
    return torch.fft.irfft(product)[: len(x)]


def scan_by_halves(a, x):
    if len(x) == 1:
        return x
    if len(x) % 2:
        before = scan_by_halves(a[:-1], x[:-1])
        return torch.cat([before, (a[-1] * before[-1] + x[-1])[None]])
    odd = scan_by_halves(a[1::2] * a[::2], a[1::2] * x[::2] + x[1::2])
    return torch.stack([a[::2] * pad(odd[:-1], (1, 0)) + x[::2], odd], 1).flatten()


def hilbert_from_places(side):
    if side < 1 or side & (side - 1):
        raise ValueError(side)
    place = torch.zeros(1, 1, dtype=torch.long)
    while len(place) < side:
        n = place.numel()
        above = torch.cat([place.T, place + n], 1)
        place = torch.cat([above, torch.cat([place.flip(0, 1).T + 3 * n, place + 2 * n], 1)])
    return place.flatten().argsort().tolist()


def model_by_counting(shapes):
    """10.1 with a set of blocks, the version from the convolution, and a dict."""
    rows, columns, dim = shapes["pos_embed.embed"][1:]
    depth = len({name.split(".")[2] for name in shapes if "blocks" in name})
    conv = shapes["encoder.blocks.0.layer.paths.0.conv.weight"]
    classes = len(range(*shapes.get("head.bias", (0,))))
    return {"dim": dim, "depth": depth, "tokens": rows * columns, "classes": classes, "version": len(conv) - 2}


RIGHT = [
    (ch01.check_cell_step, cell_of_numpy),
    (ch01.check_shares, lambda i, f: [float(i[s]) * math.prod(f[s + 1 :].tolist()) for s in range(len(i))]),
    (ch01.check_revise, revise_both),
    (ch01.check_values_only, lambda v, kinds: (v == v.mode(1).values[:, None]).double().mean()),
    (ch01.check_parity_gates, lambda bit, h: torch.stack([bit, 1 - bit, 1 - h])),
    (ch01.check_parity_gates, lambda bit, h: (bit.bool(), bit == 0, h == 0)),
    (ch01.check_parity_gates, lambda bit, h: np.stack([bit, 0 * bit + 1, 1 - 2 * h])),
    (ch02.check_deaf_for, lambda x, f: -np.log1p(np.exp(x) * (1 - f)) / np.log(f)),
    (ch02.check_loudest, lambda dtype: torch.tensor(torch.finfo(dtype).max, dtype=dtype).log()),  # 88.5 in bfloat16
    (ch02.check_join, join_by_rows),
    (ch03.check_recall, lambda q, k, v: (q @ k.T @ v).tolist()),
    (ch03.check_covariance, lambda C, k, v, N: (C - k[:, None] * v / N).tolist()),
    (
        ch15.check_count,
        lambda x, n: ([sum(c in o for o in x) for c in range(n)], [sum((o == c).sum() for o in x) for c in range(n)]),
    ),
    (ch15.check_confusion, confusion_in_lists),
    (ch03.check_overwrite, lambda C, k, v: C.clone().addr_(k, v - C.T @ k)),
    (ch04.check_dies, dies_by_a_loop),
    (ch04.check_log_decay, log_decay_of_softplus),
    (ch04.check_half_life, lambda bias: (math.log(2) / torch.log1p(torch.exp(-bias))).numpy()),
    (ch04.check_parallel_from, parallel_token_by_token),
    (ch04.check_longest, lambda budget, b, h, n: np.floor(np.sqrt(budget / (4 * b * h * n)))),
    (ch05.check_cover, lambda S, L: [[0 if s > t else 1 + (s // L < t // L) for s in range(S)] for t in range(S)]),
    (ch05.check_cover, cover_of_blocks),
    (ch05.check_chunk_end, end_with_one_einsum),
    (ch05.check_exponents, exponents_by_doubling),
    (ch05.check_best_chunk, lambda *prices: min(range(1, 500), key=lambda L: ch05.cost(L, *prices))),
    (ch05b.check_by_convolution, convolution_with_zeros),
    (ch05b.check_scan, scan_by_halves),
    (ch07.check_block_diagonal, lambda x, w: (x.unflatten(-1, (len(w), 1, -1)) * w).sum(-1).flatten(-2)),
    (ch07.check_bias_for_span, lambda span: torch.logit(torch.tensor(1 - 1 / span, dtype=torch.float64))),
    (ch08.check_width_for, width_by_the_root),
    (ch08.check_shortest, shortest_by_breadth),
    (ch09.check_paired, lambda a, b: ((d := torch.tensor(a - b)).mean(), d.std() / len(a) ** 0.5)),
    (ch09.check_choose, choose_by_counting),
    (ch10.check_what_model, model_by_counting),
    (ch11.check_diagnose, diagnose_in_torch),
    (ch12.check_predicted_crossing, crossing_of_roots),
    (ch12.check_fit_cost, lambda S, t: np.polynomial.Polynomial.fit(S, t, 2, w=1 / t).convert().coef),
    (ch12.check_for_adamw, lambda groups, rate: [{**g, "lr": g.pop("lr_scale", 1) * rate} for g in map(dict, groups)]),
    (project2.check_serpentine, lambda H, W: [r * W + (W - 1 - c if r % 2 else c) for r in range(H) for c in range(W)]),
    (project2.check_hilbert, hilbert_from_places),
    (
        project2.check_scan_along,
        lambda x, order, mix: torch.empty_like(x).index_copy(1, order, mix(x.index_select(1, order))),
    ),
    (ch13.check_iou, lambda a, b: box_iou(a, b).tolist()),
    (ch16.check_one_box, lambda iou: 0.995 * (iou >= np.arange(0.5, 1, 0.05)).mean()),
    (ch14.check_donor, ch14._after(BaseException)),
    (ch14.check_donor, ch14._after(ConnectionError, KeyboardInterrupt)),
]


@pytest.mark.parametrize(("check", "answer"), RIGHT)
def test_an_unusual_right_answer_passes(check, answer):
    for seed in range(2):
        assert check.outcome(answer, seed).status == "right", check.outcome(answer, seed)
