"""A wrong answer or several to each exercise, written without looking at the check, and what is said about them.

So that the name of a mistake and the mistake cannot drift apart together.
"""

import math
from statistics import NormalDist

import numpy as np
import torch
from torch.nn.functional import logsigmoid, one_hot


def _new_c(a, c):
    """The memory of 1.1."""
    i, f, z, _ = a.view(4, -1)
    return c / (1 + torch.exp(-f)) + torch.tanh(z) / (1 + torch.exp(-i))


def _never_fades(c1, n1, m1, c2, n2, m2, log_f):
    """2.4 as if nothing were forgotten on the second half."""
    m = torch.where(m1 > m2, m1, m2)
    return (m1 - m).exp() * c1 + (m2 - m).exp() * c2, (m1 - m).exp() * n1 + (m2 - m).exp() * n2, m


def _floor_of_one(k, z, i, f):
    """2.5 with the floor in the wrong units."""
    c, n, m, h = 0.0, 0.0, torch.tensor(0.0), []
    for t in range(len(k)):
        new = torch.stack([logsigmoid(f[t]) + m, i[t], torch.tensor(0.0)]).amax()
        keep, write = torch.exp(logsigmoid(f[t]) + m - new), torch.exp(i[t] - new)
        c, n, m = keep * c + write * k[t] * z[t], keep * n + write * k[t], new
        h.append(c / n.abs().clamp(min=1))
    return torch.stack(h)


def _floor_at_one(C, n, m, q, k, v, i, f):
    """3.4 with the denominator of the paper's unstabilised form."""
    new = max(logsigmoid(f) + m, i, torch.tensor(0.0))
    keep, write = torch.exp(logsigmoid(f) + m - new), torch.exp(i - new)
    C, n = keep * C + write * k[:, None] * v, keep * n + write * k
    return (q @ C) / len(q) ** 0.5 / (q @ n / len(q) ** 0.5).abs().clamp(min=1), C, n, new


def _every_gate_from_s_on(i, f):
    """4.1 entry by entry."""
    log_D = torch.full((*f.shape, f.shape[-1]), -1e30)
    for t in range(f.shape[-1]):
        for s in range(t + 1):
            log_D[..., t, s] = logsigmoid(f[..., s : t + 1]).sum(-1) + i[..., s]
    return log_D


def _asks_without_scale(q, k, v, i, f, C, n, m):
    """4.4 token by token, as chapter 3 does it."""
    C, n = torch.exp(m.double())[:, None, None] * C, torch.exp(m.double())[:, None] * n
    asked, h = (C, n), []
    C, n = 0 * C, 0 * n
    for t in range(q.shape[1]):
        forget, write = torch.sigmoid(f[:, t].double()), torch.exp(i[:, t].double())
        asked = (forget[:, None, None] * asked[0], forget[:, None] * asked[1])
        C = forget[:, None, None] * C + write[:, None, None] * k[:, t, :, None] * v[:, t, None, :]
        n = forget[:, None] * n + write[:, None] * k[:, t]
        scaled = q[:, t].double() / q.shape[2] ** 0.5
        total = (scaled * n).sum(-1) + (q[:, t] * asked[1]).sum(-1)
        read = (scaled[:, None] @ C)[:, 0] + (q[:, t, None].double() @ asked[0])[:, 0]
        h.append(read / total.abs().clamp(min=1)[:, None])
    return torch.stack(h, 1).float()


def _agree_on(form, reference, S):
    """4.5 on short sequences."""
    for shift in (-6.0, 0.0, 90.0):
        x = [torch.randn(2, 2, S, 6, dtype=torch.float64) for _ in range(3)]
        x += [torch.randn(2, 2, S, dtype=torch.float64) + shift, torch.randn(2, 2, S, dtype=torch.float64) + 4]
        if not torch.allclose(form(*x), reference(*x)):
            return False
    return True


def _unfaded_end(k, v, i, f, C, n, m):
    """5.2 token by token, the old memory beside."""
    log_f = logsigmoid(f)
    loud = [i[:, s] + log_f[:, s + 1 :].sum(-1) for s in range(i.shape[1])]
    end = torch.stack([*loud, m, 0 * m]).amax(0)
    C, n = torch.exp(m - end)[:, None, None] * C, torch.exp(m - end)[:, None] * n
    for s, weight in enumerate(loud):
        C = C + torch.exp(weight - end)[:, None, None] * k[:, s, :, None] * v[:, s, None, :]
        n = n + torch.exp(weight - end)[:, None] * k[:, s]
    return C, n, end


def _from_nothing(q, k, v, i, f):
    """The parallel form of chapter 4."""
    F = logsigmoid(f).cumsum(-1)
    log_D = (F[:, :, None] - F[:, None] + i[:, None]).masked_fill(torch.ones(q.shape[1], q.shape[1]).triu(1) > 0, -1e30)
    m = log_D.amax(-1).clamp(min=0)
    scores = q @ k.mT / q.shape[2] ** 0.5 * torch.exp(log_D - m[..., None])
    return scores @ v / torch.maximum(scores.sum(-1).abs(), torch.exp(-m))[..., None]


def _sum_below(q, k, v, i, f):
    """P1.3 without a denominator's floor, token by token."""
    D = torch.zeros(*i.shape, i.shape[-1])
    for t in range(i.shape[-1]):
        for s in range(t + 1):
            D[..., t, s] = f[..., s + 1 : t + 1].sigmoid().prod(-1) * i[..., s].sigmoid()
    scores = q @ k.mT * D / q.shape[-1] ** 0.5
    return (scores / scores.sum(-1, keepdim=True)) @ v


def _sigmoid_step(C, n, q, k, v, i, f):
    """P1.1 with the old input gate."""
    C, n = C / (1 + torch.exp(-f)) + torch.exp(i) * k[:, None] * v, n / (1 + torch.exp(-f)) + torch.exp(i) * k
    return q @ C / len(q) ** 0.5 / max(abs(q @ n / len(q) ** 0.5), torch.tensor(1.0)), C, n


def _curve_by_bits(side):
    """P2.2 with the rule that stands in many programs: its first step goes down."""
    if side < 1 or bin(side).count("1") != 1:
        raise ValueError(side)
    order = []
    for place in range(side * side):
        x = y = 0
        rest, size = place, 1
        while size < side:
            across = rest // 2 % 2
            down = (rest ^ across) % 2
            if not down:
                x, y = (size - 1 - x, size - 1 - y) if across else (x, y)
                x, y = y, x
            x, y, rest, size = x + size * across, y + size * down, rest // 4, 2 * size
        order.append(x + y * side)
    return torch.tensor(order)


def _rows_of_columns(tokens, grid, direction):
    """6.4 with the image's own grid."""
    tokens = tokens.flip(1) if "reversed" in direction else tokens
    if "column" in direction:
        B, S, d = tokens.shape
        tokens = tokens.reshape(B, *grid, d).permute(0, 2, 1, 3).reshape(B, S, d)
    return tokens


def _reach_by_union(directions, grid):
    """6.5: whoever is seen in some block."""
    H, W = grid
    number = torch.arange(H * W).view(H, W)
    seen = torch.zeros(H * W, H * W, dtype=torch.bool)
    for direction in directions:
        line = number.T.flatten() if direction.startswith("column") else number.flatten()
        line = line.flip(0) if direction.endswith("reversed") else line
        for n, t in enumerate(line.tolist()):
            seen[t, line[: n + 1]] = True
    return seen


def _influence_of_all(model, tokens, t):
    """6.6 for all outputs at once."""
    x = tokens.clone().requires_grad_(True)
    (model(x) ** 2).sum().backward()
    return x.grad[0].pow(2).sum(-1).sqrt()


def _own_gates(q, k, v, weight, bias):
    """7.3 head by head."""
    H, _, _, d = q.shape
    rows = []
    for head in range(H):
        w = weight[head].view(3, H, d)[:, head]
        rows.append(q[head] @ w[0] + k[head] @ w[1] + v[head] @ w[2] + bias[head])
    return torch.stack(rows)


def _block_gated_late(x, p, reverse):
    """7.5 with the tokens put back only at the end."""
    a, z = p.proj_up(p.norm(x)).chunk(2, -1)
    a = torch.flip(a, [1]) if reverse else a
    c = torch.nn.SiLU()(p.conv(a))
    y = p.proj_down((p.cell(p.q_proj(c), p.k_proj(c), p.v_proj(a)) + p.skip * c) * torch.nn.SiLU()(z))
    return x + (torch.flip(y, [1]) if reverse else y)


def _block_never_put_back(x, p, reverse):
    """7.5 as the solution has it, but for `h = h.flip(1)`."""
    x_m, z = p.proj_up(p.norm(x)).chunk(2, dim=-1)
    x_m = x_m.flip(1) if reverse else x_m
    c = torch.nn.functional.silu(p.conv(x_m))
    h = p.cell(p.q_proj(c), p.k_proj(c), p.v_proj(x_m)) + p.skip * c
    return x + p.proj_down(h * torch.nn.functional.silu(z))


def _block_skips_late(x, p, reverse):
    """7.5 with the skip added to an h that is back in place, while c is not."""
    x_m, z = p.proj_up(p.norm(x)).chunk(2, dim=-1)
    x_m = x_m.flip(1) if reverse else x_m
    c = torch.nn.functional.silu(p.conv(x_m))
    h = p.cell(p.q_proj(c), p.k_proj(c), p.v_proj(x_m))
    h = (h.flip(1) if reverse else h) + p.skip * c
    return x + p.proj_down(h * torch.nn.functional.silu(z))


def _grid_of_several(height, width, P, stride):
    """6.2 that takes a single patch for none."""
    if height <= P or width <= P or (height - P) % stride or (width - P) % stride:
        raise ValueError("no room for patches")
    return (height - P) // stride + 1, (width - P) // stride + 1


def _norms_below_the_head(name, depth, decay):
    """12.4 with both norms at the rate of the last block."""
    kind, *rest = name.split(".")
    below = {"head": 0, "pooled_norm": 1, "token_norm": 1, "patch_embed": depth + 1, "pos_embed": depth + 1}
    return decay ** (depth - int(rest[1]) if kind == "encoder" else below[kind])


def _model_by_its_last_line(shapes):
    """10.1 that takes the names as they come."""
    blocks = [key for key in shapes if key.startswith("encoder.blocks.")]
    _, h, w, d = shapes["pos_embed.embed"]
    k = shapes["head.weight"][0] if "head.weight" in shapes else 0
    return d, int(blocks[-1].split(".")[2]) + 1, h * w, k, 1 + ("token_norm.bias" in shapes)


def _model_by_its_head(shapes):
    """10.1 that knows version 2 by both ends side by side."""
    _, h, w, d = shapes["pos_embed.embed"]
    k, features = shapes.get("head.weight", (0, 0))
    depth = len({key.split(".")[2] for key in shapes if "blocks" in key})
    return d, depth, h * w, k, 2 if features == 2 * d else 1


def _paths_as_they_come(x_m, z, paths, orders):
    """8.2 without the way back."""
    out = torch.zeros_like(z)
    for n, order in enumerate(orders):
        out += (paths[0] if len(paths) == 1 else paths[n])(x_m.index_select(1, order))
    return out * z / (1 + torch.exp(-z))


def _shortest_by_greed(orders, needed, most):
    """8.5, each time the order that adds most; the block that comes last is added in front."""
    S, stack = len(needed), []
    known = torch.eye(S) > 0
    while len(stack) < most and (needed & ~known).any():
        gains = []
        for order in orders:
            place = order.argsort()
            sees = (place[None, :] <= place[:, None]).float() @ known.float() > 0
            gains.append((int((needed & sees).sum()), sees))
        best = max(range(len(orders)), key=lambda n: gains[n][0])
        stack, known = [best, *stack], gains[best][1]
    return stack


def _choices_one_of_twins(models):
    """10.3 by a sweep from the cheapest on."""
    best, kept = -math.inf, []
    for name, (_, accuracy) in sorted(models.items(), key=lambda item: (item[1][0], -item[1][1])):
        if accuracy > best:
            best, kept = accuracy, [*kept, name]
    return kept


def _adam_with_l2(p, g, m, v, t, lr, decay):
    """11.1 as Adam with L2."""
    g = g + decay * p
    m, v = m + 0.1 * (g - m), v + 0.001 * (g * g - v)
    return p - lr * (m / (1 - 0.9**t)) / (torch.sqrt(v / (1 - 0.999**t)) + 1e-8), m, v


def _choose_by_number(known, matters, offered):
    """9.4 by how many tokens know everything, so that the mean over all of them wins."""
    places = torch.where(matters)[0].tolist()
    knows = [all(bool(row[p]) for p in places) for row in known]
    S = len(knows)
    taken = {"avg": range(S), "middle_patch": [S // 2], "first": [0], "last": [S - 1]}
    counts = [sum(knows[t] for t in taken.get(name, [0, S - 1])) for name in offered]
    return offered[counts.index(max(counts))]


def _diagnose_by_gap(loss, val, norm, rate, largest):
    """11.6 with the usual picture of overfitting: validation far above training."""
    n = len(loss) // 10
    if np.ptp(val) < val[0] / 100:
        return "frozen"
    if np.average(loss[len(loss) - n :]) / loss[0] > 0.9:
        return "rate too high"
    if np.argmax(rate) == 0 and max(loss[:n]) / loss[0] > 1.05:
        return "no warm-up"
    return "overfitting" if val[-1] / np.average(loss[len(loss) - n :]) > 1.2 else "healthy"


def _iou_of_sums(a, b):
    """13.3 box by box, the union counted twice where both meet."""
    rows = []
    for x1, y1, x2, y2 in a.tolist():
        row = []
        for u1, v1, u2, v2 in b.tolist():
            common = max(0.0, min(x2, u2) - max(x1, u1)) * max(0.0, min(y2, v2) - max(y1, v1))
            row.append(common / ((x2 - x1) * (y2 - y1) + (u2 - u1) * (v2 - v1)))
        rows.append(row)
    return torch.tensor(rows)


def _assign_with_outsiders(scores, overlap, inside, topk):
    """13.4 without a second look at who is inside."""
    wanted = torch.zeros(inside.shape)
    for g, t in enumerate(scores**0.5 * overlap**6 * inside):
        wanted[g, t.topk(topk)[1]] = 1
    owner = torch.where(wanted.sum(0) == 1, wanted.argmax(0), (overlap * inside).argmax(0))
    return owner.masked_fill(wanted.sum(0) == 0, -1)


def _assign_without_masks(scores, overlap, inside, topk):
    """13.4 with `inside` in the metric alone."""
    t = scores.sqrt() * overlap**6 * inside
    wanted = torch.zeros_like(inside).scatter_(1, t.topk(topk, dim=1).indices, True)
    owner = torch.where(wanted.sum(0) > 1, overlap.argmax(0), wanted.int().argmax(0))
    return torch.where(wanted.any(0), owner, -1)


def _assign_anywhere(scores, overlap, inside, topk):
    """13.4 for objects without a place."""
    wanted = torch.zeros_like(inside).scatter_(1, (scores.sqrt() * overlap**6).topk(topk, dim=1).indices, True)
    owner = torch.where(wanted.sum(0) > 1, overlap.argmax(0), wanted.int().argmax(0))
    return torch.where(wanted.any(0), owner, -1)


def _assign_chosen_then_masked(scores, overlap, inside, topk):
    """13.4 that asks who is inside once the best are chosen."""
    wanted = torch.zeros_like(inside).scatter_(1, (scores.sqrt() * overlap**6).topk(topk, dim=1).indices, True) & inside
    owner = torch.where(wanted.sum(0) > 1, (overlap * inside).argmax(0), wanted.int().argmax(0))
    return torch.where(wanted.any(0), owner, -1)


def _voc_ap(correct, scores, objects):
    """13.5 as the VOC development kit did it until 2009."""
    hits = correct[np.argsort(-scores)].cumsum()
    recall, precision = hits / objects, hits / np.arange(1, len(hits) + 1)
    return sum(precision[recall >= k / 10].max(initial=0) for k in range(11)) / 11


def _coco_ap(correct, scores, objects):
    """13.5 as pycocotools does it."""
    hits = correct[np.argsort(-scores)].cumsum()
    recall, precision = hits / objects, hits / np.arange(1, len(hits) + 1)
    return float(np.mean([precision[recall >= r].max(initial=0) for r in np.linspace(0, 1, 101)]))


def _donor_without_finally(names, donor, block, call):
    """14.2 for the case that nothing goes wrong."""
    before = names[donor]
    names.update({donor: block})
    value = call()
    names.update({donor: before})
    return value


def _patience_from_minus_one(fitness, patience):
    """15.2 with a best below every value."""
    best = -1
    for n in range(len(fitness)):
        if fitness[n] > best:
            best, at = fitness[n], n + 1
        elif n + 1 - at >= patience:
            break
    return n + 1, at


def _last_of_equal_cuts(correct, scores, objects):
    """15.3 in a loop over the scores as they are listed, with >=."""
    best, found = -1.0, None
    for cut in scores:
        kept = scores >= cut
        p, r = correct[kept].sum() / kept.sum(), correct[kept].sum() / objects
        f1 = 2 * p * r / (p + r) if p + r else 0.0
        if f1 >= best:
            best, found = f1, (cut, p, r)
    return found


def _confusion_with_equality(overlap, true, predicted, classes, threshold=0.45):
    """15.4 on a copy, with >=."""
    left, out = overlap.copy(), np.zeros((classes + 1, classes + 1), int)
    for d in range(left.shape[1]):
        g = left[:, d].argmax() if len(left) else 0
        if len(left) and left[g, d] >= threshold:
            out[predicted[d], true[g]] += 1
            left[g] = -1
        else:
            out[predicted[d], -1] += 1
    for g in range(len(left)):
        out[-1, true[g]] += not len(left[g]) or left[g, 0] >= 0
    return out


def _audit_of_first_lines(root, classes):
    """15.5 that reads one line of each file."""
    found = set()
    for split in ("train", "val"):
        images = {p.name.split(".")[0] for p in (root / "images" / split).glob("*")}
        for p in (root / "labels" / split).glob("*.txt"):
            if p.stem not in images:
                found.add((f"{split}/{p.stem}", "no image"))
            words = p.read_text().split("\n")[0].split()
            if words and int(words[0]) not in range(classes):
                found.add((f"{split}/{p.stem}", "class"))
            if any(not 0 <= float(w) <= 1 for w in words[1:]):
                found.add((f"{split}/{p.stem}", "range"))
        found |= {(f"{split}/{n}", "no label") for n in images if not (root / "labels" / split / f"{n}.txt").exists()}
    return found


def _partners_of_a(a, b, iou=0.9):
    """17.3 from one side."""
    if not len(a):
        return 1.0
    met = [any(x[5] == y[5] and _overlap(x, y) >= iou for y in b.tolist()) for x in a.tolist()]
    return sum(met) / len(a)


def _overlap(x, y):
    common = max(0.0, min(x[2], y[2]) - max(x[0], y[0])) * max(0.0, min(x[3], y[3]) - max(x[1], y[1]))
    return common / ((x[2] - x[0]) * (x[3] - x[1]) + (y[2] - y[0]) * (y[3] - y[1]) - common)


def _saliency_of_pixels(model, image, label, patch):
    """20.4, the way the field's tutorials make it look good."""
    x = image.clone().requires_grad_()
    model(x[None])[0, label].backward()
    return torch.nn.functional.avg_pool2d((x.grad * image).abs(), patch)[0] * patch**2


def _stays_hidden(model, image, label, patch):
    """20.5 on one copy."""
    x, before = image.clone(), model(image[None])[0, label]
    drops = torch.zeros(image.shape[1] // patch, image.shape[2] // patch)
    for r, c in np.ndindex(*drops.shape):
        x[0, r * patch : (r + 1) * patch, c * patch : (c + 1) * patch] = 0
        drops[r, c] = before - model(x[None])[0, label]
    return drops


WRONG = {
    "ch01": {
        "cell_step": (
            lambda a, c: (torch.sigmoid(a.view(4, -1)[3]) * (new := _new_c(a, c)), new),
            r"o times tanh\(c\)",
        ),
        "shares": (
            lambda i, f: torch.stack([i[s] * f[s:].prod() for s in range(len(i))]),
            "own forget gate is counted",
        ),
        "revise": (
            lambda d, v, n, k, s: (n + (i := torch.sigmoid(s * (n - d))) * d, k + i * v),
            "kept in full",
        ),
        "values_only": (lambda v, k: one_hot(v, k).sum((0, 1)).amax() / v.numel(), "over the whole batch"),
        "parity_gates": (lambda bit, h: (torch.ones_like(bit), 1 - bit, 1 - h), "after a zero, the memory 0 is 1"),
    },
    "ch02": {
        "loudness": (lambda n, share: math.log(share) - math.log(1 - share), "others are forgotten"),
        "deaf_for": (lambda loudness, f: math.log(math.exp(-loudness)) / math.log(f), "faded to weight 1"),
        "loudest": (lambda dtype: 88.72, "float32 for every type"),
        "join": (_never_fades, "first memory does not fade"),
        "floored_cell": (_floor_of_one, "1 in true units"),
    },
    "ch03": {
        "recall": (lambda q, k, v: sum(torch.outer(q @ a, b) for a, b in zip(k, v)) / len(k), "not a mean"),
        "interference": (lambda k, v: ((k @ k.T @ v - v) ** 2).mean(), "not by their number"),
        "covariance": (lambda C, k, v, N: C / N - torch.outer(k / N, v / N), "covariance itself"),
        "step": (_floor_at_one, "denominator is 1 here"),
        "overwrite": (lambda C, k, v: C + k[:, None] * v, "old value stays"),
    },
    "ch04": {
        "log_decay": (_every_gate_from_s_on, "own forget gate is counted"),
        "half_life": (lambda bias: -1 / torch.log(torch.sigmoid(bias)), "1/e = 0.37"),
        "dies": (lambda i, f: torch.exp(-i).isinf(), "a quiet gate is not enough"),
        "parallel_from": (_asks_without_scale, "asks the memory is not divided"),
        "agree": (lambda form, reference: _agree_on(form, reference, S=20), "older than 40"),
        "longest": (lambda budget, b, h, n: math.isqrt(budget // (4 * b * h)), "count `matrices`"),
    },
    "ch05": {
        "cover": (
            lambda S, L: torch.tensor([[(s <= t) * (1 + (t - s >= L)) for s in range(S)] for t in range(S)]),
            "slides",
        ),
        "chunk_end": (_unfaded_end, "memory from before does not fade"),
        "chunkwise": (
            lambda q, k, v, i, f, L: torch.cat(
                [_from_nothing(*(x[:, s : s + L] for x in (q, k, v, i, f))) for s in range(0, q.shape[1], L)], 1
            ),
            "every chunk starts empty",
        ),
        "exponents": (lambda i, f: (w := i - logsigmoid(f).cumsum(-1), -w.cummax(-1).values), "floor is missing"),
        "best_chunk": (lambda d, a, b, m: d * math.sqrt(4 * m / (2 * a * d)), r"5 L\) cost as well"),
    },
    "ch05b": {
        "by_convolution": (
            lambda a, x: torch.fft.irfft(torch.fft.rfft(a ** torch.arange(len(x))) * torch.fft.rfft(x), n=len(x)),
            "round a circle",
        ),
        "scan": (lambda a, x: torch.cumsum(x, dim=0), "nothing fades"),
        "gated_delta": (
            lambda q, k, v, log_a, beta: (
                (q @ k.T).tril()
                @ torch.linalg.solve_triangular(
                    torch.eye(len(q)).double() + beta[:, None] * (k @ k.T).tril(-1), beta[:, None] * v, upper=False
                )
            ),
            "off by",
        ),
        "mirrors": (
            lambda m: [torch.tensor([math.cos(x), math.sin(x)]).double() for x in (0.3, 0.3 + 2 * math.pi / m)],
            "twice that angle",
        ),
        "backward": (
            lambda q, k, v, F, C, dh: (
                P := (dh @ v.T) * (D := torch.exp(F[:, None] - F).tril()),
                (P @ k, P.T @ q, (q @ k.T * D).T @ dh, (q * (P @ k)).sum(1) - (k * (P.T @ q)).sum(1)),
            )[1],
            "lacks what came through the memory|`dq` is off",
        ),
    },
    "project1": {
        "step": (_sigmoid_step, "still exponential"),
        "disguise": (lambda i: -torch.log(1 + torch.exp(i)), "turned round"),
        "parallel": (_sum_below, "floor is missing"),
        "chunkwise": (
            lambda q, k, v, i, f, L: torch.cat(
                [_sum_below(*x) for x in zip(*(y.split(L, 1) for y in (q, k, v, i, f)))], 1
            ),
            "off by",
        ),
        "shift_needed": (lambda loudest, error: loudest - math.log(error), "1 - e is missing"),
        "revise": (lambda d, v, s, b, floor: torch.sigmoid(b - s * d).mul(v).cumsum(1), "nothing divides"),
    },
    "project2": {
        "serpentine": (
            lambda H, W: torch.tensor([r * W + (c if r % 2 else W - 1 - c) for r in range(H) for c in range(W)]),
            "the first row goes from left to right",
        ),
        "hilbert": (_curve_by_bits, "exchange rows and columns"),
        "scan_along": (
            lambda x, order, mix: torch.zeros_like(x).index_copy(1, order.argsort(), mix(x[:, order])),
            "`order` once more",
        ),
        "distances": (
            lambda order, H, W: (order.view(H, W).diff().abs(), order.view(H, W).diff(dim=0).abs()),
            "argsort",
        ),
    },
    "ch06": {
        "patchify": (
            lambda x, P: torch.nn.functional.unfold(x.transpose(2, 3), P, stride=P).mT,
            "patches come column by column|off by|rows and columns are exchanged",
        ),
        "grid_of": [
            (lambda h, w, P, s: (int((h - P) / s) + 1, int((w - P) / s) + 1), "is refused|not refused"),
            (_grid_of_several, "it has one patch"),
        ],
        "resize": (
            lambda e, g: torch.nn.functional.interpolate(e.movedim(-1, 1), g, mode="bilinear").movedim(1, -1),
            "bicubic is wanted",
        ),
        "restore_by_hand": (_rows_of_columns, "traverse once more"),
        "reach": (_reach_by_union, "what each block sees by itself"),
        "influence": (_influence_of_all, "only output t is wanted"),
    },
    "ch07": {
        "causal_conv": (
            lambda x, w, b: torch.nn.functional.conv1d(
                x.mT, w[:, None], b, padding=w.shape[1] // 2, groups=w.shape[0]
            ).mT[:, : x.shape[1]],
            "looks ahead",
        ),
        "block_diagonal": (lambda x, w: x @ torch.block_diag(*w), "blocks are transposed"),
        "gates": (_own_gates, "own head only"),
        "bias_for_span": (lambda span: math.log(span), r"1 \+ e\^b"),
        "vil_block": [
            (_block_gated_late, "still reversed where it meets the gate"),
            (_block_never_put_back, "never put back"),
            (_block_skips_late, "c is still reversed"),
        ],
        "v2_parameters": (lambda d: 6 * d * d + 97 * d + 8, "bias|4 taps"),
    },
    "ch08": {
        "plan": (
            lambda design, depth: [
                [("row", "row_reversed", "column", "column_reversed")[: 4 if "quad" in design else 2][n % 2]]
                if "alt" in design
                else list(("row", "row_reversed", "column", "column_reversed")[: {"q": 4, "b": 2, "u": 1}[design[0]]])
                for n in range(depth)
            ],
            "not right|quad-directional",
        ),
        "several_paths": (_paths_as_they_come, "not put back in place"),
        "width_for": (
            lambda budget, depth, paths, shared, step: int((budget / depth / 6) ** 0.5) // step * step,
            "the result is",
        ),
        "path_flops": (lambda d, S: S * 90 * d + S * S * 2 * d, "half of the"),
        "shortest": (_shortest_by_greed, "the result is|wrong way round"),
    },
    "ch09": {
        "pool": (
            lambda x, name: {
                "avg": x.mean(1),
                "middle_patch": x[:, len(x[0]) // 2],
                "bilateral_avg": x[:, 0] + x[:, -1],
                "bilateral_concat": torch.hstack([x[:, 0], x[:, -1]]),
            }[name],
            "not their sum",
        ),
        "with_cls": (lambda x, c: torch.cat([c.expand(len(x), 1, -1), x], 1), "stands in front"),
        "middle_of": (lambda H, W: (H // 2, W // 2), "middle of the image"),
        "choose": (_choose_by_number, "number of informed tokens"),
        "paired": (lambda a, b: ((a - b).mean(), (a - b).std() / math.sqrt(len(a))), "ddof=1"),
    },
    "ch10": {
        "what_model": [
            (_model_by_its_last_line, "names may be sorted as texts"),
            (_model_by_its_head, "has a version, too"),
        ],
        "which_counts": (
            lambda printed, counts: [n for n, c in counts.items() if round(c / 1e9, 1) == float(printed)],
            "one digit after the point",
        ),
        "best_choices": (_choices_one_of_twins, "one is lost"),
        "library_name": (
            lambda key: key.replace("xlstm.", "").replace("xlstm_norm", "norm").replace("blocks.", "encoder.blocks."),
            "which is not right for `key`",
        ),
    },
    "ch11": {
        "adamw_step": (_adam_with_l2, "that is L2 in Adam"),
        "decays": (lambda name, shape: "weight" in name, "which is not right for `name`"),
        "schedule": (
            lambda s, n, w, lr, low: lr * (s + 1) / (w + 1) if s < w else low + (lr - low) * (n - s) / (n - w),
            "straight line",
        ),
        "clip": (lambda gs, c: [g / g.norm() * min(c, g.norm()) for g in gs], "clipped by itself"),
        "mixup": (lambda x, y, order, s: (torch.lerp(x[order], x, s), y), "targets are not mixed"),
        "diagnose": (_diagnose_by_gap, "gap between the two losses"),
    },
    "ch12": {
        "predicted_crossing": (
            lambda x, y, S, t: (lambda m: m if m > 0 else math.inf)((y[0] - x[0]) / (x[1] - y[1])),
            "crossing of the counts",
        ),
        "fit_cost": (lambda S, t: np.polynomial.polynomial.polyfit(S, t, 2), "absolute errors"),
        "crossing": (
            lambda x, y: max([r.real for r in np.roots(np.subtract(x, y)[::-1]) if r.real > 0], default=math.inf),
            "complex roots",
        ),
        "rate_factor": [
            (
                lambda name, depth, decay: (
                    decay
                    ** (
                        depth - int(name.split(".")[2])
                        if "blocks" in name
                        else depth + 1
                        if "embed" in name
                        else 1
                        if name.startswith("token_norm")
                        else 0
                    )
                    * decay
                ),
                "factor 1",
            ),
            (_norms_below_the_head, "belongs to the head"),
        ],
        "for_adamw": (lambda groups, rate: [group | {"lr": rate} for group in groups], "passes over `lr_scale`"),
        "intensity": (lambda L, d, b: (2 * L * L * d + 2 * L * d * d) / b / (4 * L * d + 2 * d * d), "two FLOPs"),
    },
    "ch13": {
        "read_row": (
            lambda n, c, d, w, m: (max(round(n * d), 1) if n > 1 else n, math.ceil(min(c * w, m) / 8) * 8),
            "the cap comes first",
        ),
        "decode": (
            lambda x, p, s: torch.cat([p - (e := x.argmax(-1).float())[:, :2], p + e[:, 2:]], 1) * s[:, None],
            "mean of the distribution",
        ),
        "iou": (_iou_of_sums, "counts the intersection twice"),
        "assign": (_assign_with_outsiders, "fewer than topk anchors"),
        "average_precision": (_coco_ap, "COCO's mean"),
    },
    "ch14": {
        "on_map": (
            lambda block, x: block(x.view(len(x), x.shape[1], -1).mT, x.shape[2:]).reshape(x.shape),
            "on the way out",
        ),
        "with_donor": (_donor_without_finally, "restore it in `finally`"),
        "decay_bytes": (lambda h, w, s, b=1, n=4: 4 * n * ((h // s) * (w // s)) ** 2, "images of the batch"),
        "block_parameters": (lambda d: 6 * d * d + 87 * d, "gates' biases"),
        "explain": (
            lambda total, plain, each, saving, available: [
                (c, x, y, z)
                for c in range(100)
                for x in range(available[0] + 1)
                for y in range(available[1] + 1)
                for z in range(available[2] + 1)
                if plain + c * each - x * saving[0] - y * saving[1] - z * saving[2] == total
            ],
            r"range\(100\)",
        ),
    },
    "ch15": {
        "count": (
            lambda labels, classes: (x := [sum(int((one == c).sum()) for one in labels) for c in range(classes)], x),
            "counts once for a class",
        ),
        "stop": (_patience_from_minus_one, "begins at 0, not below"),
        "best_cut": (
            lambda c, s, g: max(
                ((float(t), float(c[s >= t].mean()), float(c[s >= t].sum() / g)) for t in s), key=lambda x: (x[2], x[0])
            ),
            "greatest recall",
        ),
        "confusion": (_confusion_with_equality, "exactly the threshold"),
        "audit": (_audit_of_first_lines, "every line counts"),
    },
    "ch16": {
        "one_box": (lambda iou: sum(iou >= t / 100 for t in range(50, 100, 5)) / 10, "0.995"),
        "wilson": (
            lambda r, n, z=1.96: tuple(r / n + s * z * math.sqrt(r / n * (1 - r / n) / n) for s in (-1, 1)),
            "textbook interval",
        ),
        "interval": (
            lambda statistic, draws, level=0.95: np.percentile(
                [statistic(np.isin(range(len(row)), row).astype(int)) for row in draws],
                [50 - 50 * level, 50 + 50 * level],
            ),
            "counts twice",
        ),
        "paired": (
            lambda a, b, level=0.95: (
                np.quantile(b, [0.5 - level / 2, 0.5 + level / 2]) - np.quantile(a, [0.5 - level / 2, 0.5 + level / 2])
            ),
            "the pairing is lost",
        ),
        "images_needed": (
            lambda s, gap, power=0.8: round(((1.959963984540054 + NormalDist().inv_cdf(power)) * s / gap) ** 2),
            "not to the nearest",
        ),
    },
    "ch17": {
        "log_sigmoid": (lambda x: torch.log(1 / (1 + torch.exp(-x))), "minus infinity"),
        "disagreement": (
            lambda a, b: (abs(a - b)[:, :4].max(), abs(a - b)[:, 5:].max()),
            "first score stands in row 4",
        ),
        "agreement": (_partners_of_a, "only the detections of `a`"),
        "serves": (lambda tokens, length, padded: tokens % length == 0, "any number of tokens"),
    },
    "ch18": {
        "count_pixels": (
            lambda guess, truth, classes: torch.tensor(
                [[int(((guess == a) & (truth == b)).sum()) for b in range(classes)] for a in range(classes)]
            ),
            "the row is the true class",
        ),
        "mean_iou": (
            lambda matrix: (
                torch.nan_to_num(matrix.diagonal() / (matrix.sum(0) + matrix.sum(1) - matrix.diagonal())).mean().item()
            ),
            "here it counts as 0",
        ),
        "ceiling": (
            lambda mask, stride: (
                sum(
                    (cell == cell.flatten().mode().values).sum().item()
                    for rows in mask.split(stride)
                    for cell in rows.split(stride, 1)
                )
                / mask.numel()
            ),
            "pixels of 255 are not judged",
        ),
        "enlarging": (
            lambda n, scale: (
                torch.nn.functional.interpolate(torch.eye(n)[None], size=n * scale, mode="linear", align_corners=True)[
                    0
                ].T
            ),
            "align_corners=True",
        ),
        "decode": (
            lambda maps, laterals, head, scale: torch.nn.functional.interpolate(
                torch.einsum(
                    "kd,dhw->khw",
                    head,
                    torch.nn.functional.gelu(
                        sum(torch.einsum("dc,chw->dhw", W, x) for W, x in zip(laterals, maps)) / len(maps)
                    ),
                )[None],
                scale_factor=scale,
                mode="bilinear",
            )[0],
            "summed, not averaged",
        ),
    },
    "ch19": {
        "hidden": (
            lambda noise, share: torch.stack([row <= row.sort().values[int(share * len(row)) - 1] for row in noise]),
            "rounded to the nearest whole number",
        ),
        "loss_of": (
            lambda guess, target, mask: ((guess - target) ** 2 * mask[..., None]).mean(),
            "divided by the pixels of all",
        ),
        "left_over": (
            lambda f, mask: torch.exp(
                torch.stack([logsigmoid(f).cumsum(0) - c for c in logsigmoid(f).cumsum(0)], dim=1)
            ).tril()[~mask][:, ~mask],
            "drops its forget gate",
        ),
        "hide": (
            lambda tokens, mask, token, positions: torch.where(mask[..., None], token, tokens + positions),
            "needs its position",
        ),
        "known": (
            lambda mask, directions: (
                (~mask).long().cumsum(0) if directions[0] == "row" else (~mask).long().flip(0).cumsum(0).flip(0)
            ),
            "only the first block counts",
        ),
    },
    "ch20": {
        "half_life": (lambda f: -math.log(2) / math.log(torch.sigmoid(f).mean()), "not the logarithm of the mean"),
        "decay_map": (
            lambda i, f, place, grid, backwards: (
                torch.tensor(
                    [
                        math.exp(logsigmoid(f[s + 1 : place + 1]).sum() + i[s]) if s <= place else 0.0
                        for s in range(len(f))
                    ]
                ).view(grid)
                / sum(math.exp(logsigmoid(f[s + 1 : place + 1]).sum() + i[s]) for s in range(place + 1))
            ),
            "`backwards` is not used",
        ),
        "answers": (
            lambda q, k, i, f: torch.softmax(
                torch.stack([k[s] @ q / len(q) ** 0.5 + i[s] + logsigmoid(f[s + 1 :]).sum() for s in range(len(k))]),
                0,
            ),
            "a softmax is attention",
        ),
        "gradient_input": (_saliency_of_pixels, "no absolute values"),
        "occlusion": (_stays_hidden, "earlier patches are still hidden"),
        "rank_correlation": (
            lambda a, b: float(
                np.corrcoef(
                    np.argsort(np.argsort(a.flatten(), kind="stable")),
                    np.argsort(np.argsort(b.flatten(), kind="stable")),
                )[0, 1]
            ),
            "the one that comes first is ranked lower",
        ),
    },
}

MORE = [  # (module, function, answer, what is said): answers that two names, or none, could have been meant for
    ("ch13", "assign", _assign_without_masks, "outside of it, twice"),
    ("ch13", "assign", _assign_anywhere, "`inside` is not used"),
    ("ch13", "assign", _assign_chosen_then_masked, "take places among the topk"),
    ("ch13", "average_precision", _voc_ap, "VOC's mean of 11"),
    ("ch15", "best_cut", _last_of_equal_cuts, "listed last"),
]
