"""Chapter 20: open the trained models of ch20_train.py: gates, receptive field, saliency under random weights, what can be cut.

    python experiments/ch20_open.py        some ten minutes of one core; see _runs.py for --only, --seeds

parts   gates      forget and input pre-activations of each head: mean and spread over test images, trained and untrained
        field      how strongly each output token depends on each input token (chapter 6), trained and untrained
        saliency   Spearman's rank correlation between the maps of the trained model and those of a model whose weights are
                   replaced by fresh ones, from the head down; and between each map and the brightness of the image
        cut        accuracy without one block, without the memory of one block, without ever more heads in two orders: by what
                   each head's loss costs on training images, and at random
The test images that judge are the first 2000; heads are ranked on 300 images of the training set.
Writes book/results/ch20_open.json.
"""

from functools import partial

import torch
import torch.nn.functional as F
from _runs import Runs
from ch20_train import SEEDS, UPDATES, data, fresh, trained
from scipy.stats import spearmanr

from vil_lite import keep_freed_memory, mlstm_recurrent
from vil_lite.inspection import cells, cut_blocks, cut_heads, forgetful

RANKED, JUDGED, GATED, FIELD, MAPPED = 300, 2000, 500, 16, 4  # images; the last for each class
NUMBERS = (2, 4, 8, 12, 16)  # heads to cut
DEPTH, HEADS, PATCH = 6, 4, 4
BOTH = ("untrained", "trained")


def model_of(kind, seed, updates):
    return fresh(seed).eval() if kind == "untrained" else trained(seed, updates)


def effective_rank(C):
    """Of matrices (..., d, dv): e to the entropy of the shares of their squared singular values."""
    p = torch.linalg.svdvals(C).square()
    p = p / p.sum(-1, keepdim=True)
    return torch.exp(-torch.xlogy(p, p).sum(-1))


@torch.no_grad()
def gates(seed, updates):
    """{kind: {"f": [block][head] mean, "f_spread": ..., "i": ..., "i_spread": ..., "half": half-life in
    tokens, "rank": effective rank of the memory after the last token, of 100 images}}"""
    found, images = {}, data().test.images[:GATED]
    for kind in BOTH:
        rows = {name: [] for name in ("f", "f_spread", "i", "i_spread", "half", "rank")}
        for cell in cells(model_of(kind, seed, updates), images):
            for name, gate in (("f", cell.f), ("i", cell.i)):
                rows[name].append(gate.mean((1, 2)).tolist())
                rows[f"{name}_spread"].append(gate.std((1, 2)).tolist())
            fades = -F.logsigmoid(cell.f).mean((1, 2))
            rows["half"].append((torch.tensor(2.0).log() / fades).tolist())
            _, state = mlstm_recurrent(*(x[:, :100] for x in cell[:5]))
            rows["rank"].append(effective_rank(state.C).mean(1).tolist())
        found[kind] = rows
    return found


def influence(model, images):
    """(S, S): row t, column s, how much the size of output token t changes with input token s; each row sums to 1."""
    tokens, grid = model.embed(images)
    tokens = tokens.detach().requires_grad_()
    sizes = model.encoder(tokens, grid).square().sum((0, 2))
    rows = []
    for size in sizes:
        of_each = torch.autograd.grad(size, tokens, retain_graph=True)[0].norm(dim=-1)  # (B, S)
        rows.append((of_each / of_each.sum(1, keepdim=True)).mean(0))
    return torch.stack(rows)


def field(seed, updates):
    """{kind: {"map": of the middle token, and means over all tokens: share of "own" place, of the rest of its "row" and its
    "column", "distance" in patches}}"""
    found, side = {}, 28 // PATCH
    place = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij"), -1).view(-1, 2).float()
    far, other = torch.cdist(place, place), ~torch.eye(side**2, dtype=torch.bool)
    row, column = (other & (place[:, None, axis] == place[None, :, axis]) for axis in (0, 1))
    for kind in BOTH:
        matrix = influence(model_of(kind, seed, updates), data().test.images[:FIELD])
        found[kind] = {
            "map": matrix[side**2 // 2].tolist(),
            "own": matrix.diagonal().mean().item(),
            "row": (matrix * row).sum(1).mean().item(),
            "column": (matrix * column).sum(1).mean().item(),
            "distance": (matrix * far).sum(1).mean().item(),
        }
    return found


# ---------------------------------------------------------------- saliency


def gradients(model, images, labels):
    """d logit of the label / d image, (B, 28, 28), and the activations and gradients after the last block but one."""
    x = images.clone().requires_grad_()
    last, (before,) = model.forward_intermediates(x, [-2], output_fmt="NLC")
    logits = model.forward_head(last).gather(1, labels[:, None]).sum()
    pixels, tokens = torch.autograd.grad(logits, [x, before])
    return pixels[:, 0], before.detach(), tokens


def patches(maps):
    """Sums of each patch: (B, 28, 28) -> (B, 49)"""
    return F.avg_pool2d(maps[:, None], PATCH).flatten(1) * PATCH**2


@torch.no_grad()
def occlusion(model, images, labels):
    """By how much the logit falls when a patch is black: (B, 49)"""
    whole, drops = model(images).gather(1, labels[:, None])[:, 0], []
    for row in range(0, 28, PATCH):
        for column in range(0, 28, PATCH):
            hidden = images.clone()
            hidden[:, :, row : row + PATCH, column : column + PATCH] = 0
            drops.append(whole - model(hidden).gather(1, labels[:, None])[:, 0])
    return torch.stack(drops, 1)


def maps_of(model, images, labels):
    """{method: one row for each image}"""
    grad, tokens, token_grad = gradients(model, images, labels)
    cam = (tokens * token_grad.mean(1, keepdim=True)).sum(-1).clamp(min=0)
    return {
        "gradient": grad.abs().flatten(1),
        "gradient x input": (grad * images[:, 0]).abs().flatten(1),
        "gradient x input, patches": patches(grad * images[:, 0]),
        "grad-cam": cam,
        "occlusion": occlusion(model, images, labels),
    }


def correlation(a, b):
    """The mean of Spearman's rank correlations image by image; 0 where a map is constant."""
    found = [spearmanr(x, y).statistic if x.std() > 0 and y.std() > 0 else 0.0 for x, y in zip(a.numpy(), b.numpy())]
    return sum(map(float, found)) / len(found)


def stages(seed, updates):
    """(name, model) with ever more fresh weights, from the head down."""
    other = fresh(1000 + seed).eval()
    model = trained(seed, updates)
    yield "none", model
    parts = [("head", ["head", "pooled_norm", "token_norm"])]
    parts += [(f"block {b}", [f"encoder.blocks.{b}"]) for b in reversed(range(DEPTH))]
    for name, modules in [*parts, ("embedding", ["patch_embed", "pos_embed"])]:
        for module in modules:
            model.get_submodule(module).load_state_dict(other.get_submodule(module).state_dict())
        yield name, model


def saliency(seed, updates):
    """{method: {stage: mean correlation with the trained model's map}}, likewise with the image, and methods with occlusion."""
    images, labels = data().test
    rows = torch.cat([(labels == c).nonzero()[:MAPPED, 0] for c in range(10)])
    images, base = images[rows], None
    bright = {784: images.flatten(1), 49: patches(images[:, 0])}
    found = {"trained": {}, "image": {}}
    for stage, model in stages(seed, updates):
        if base is None:
            named = model(images).argmax(1)
        maps = maps_of(model, images, named)
        base = base or maps
        for method, rows in maps.items():
            for against, other in (("trained", base[method]), ("image", bright[rows.shape[1]])):
                found[against].setdefault(method, {})[stage] = correlation(rows, other)
    others = {method: base[method] for method in ("gradient x input, patches", "grad-cam")} | {"image": bright[49]}
    found["occlusion"] = {name: correlation(other, base["occlusion"]) for name, other in others.items()}
    return found


# ---------------------------------------------------------------- what can be cut


def without(model, heads):
    """A copy without these (block, head) pairs; a block that loses all its heads goes as a whole."""
    of_block = {b: [h for c, h in heads if c == b] for b in range(DEPTH)}
    gone = [b for b, cut in of_block.items() if len(cut) == HEADS]
    model = cut_heads(model, {b: cut for b, cut in of_block.items() if cut and b not in gone})
    return cut_blocks(model, gone)


class Judge:
    """Losses and accuracy of models that are the whole one up to some block: what stands there is computed once."""

    @torch.no_grad()
    def __init__(self, whole, images, labels):
        tokens, self.grid = whole.embed(images)
        self.before, self.labels = [tokens], labels
        for b in range(DEPTH):
            self.before.append(
                torch.cat([whole.encoder.step(b, part, self.grid) for part in self.before[b].split(500)])
            )

    @torch.no_grad()
    def logits(self, model, first):
        """first: the first block that is not as in the whole model."""
        found = []
        for tokens in self.before[first].split(500):
            for b in range(first, len(model.encoder.blocks)):
                tokens = model.encoder.step(b, tokens, self.grid)
            found.append(model.forward_head(model.token_norm(tokens)))
        return torch.cat(found)

    def loss(self, model, first):
        return F.cross_entropy(self.logits(model, first), self.labels).item()

    def right(self, model, first):
        return (self.logits(model, first).argmax(1) == self.labels).float().mean().item()


def cut(seed, updates):
    """Shares of the judged images that are right, without this and that; the order of the heads and what each is worth."""
    model, every = trained(seed, updates), [(b, h) for b in range(DEPTH) for h in range(HEADS)]
    few = Judge(model, *(part[-RANKED:] for part in data().train))
    tests = Judge(model, *(part[:JUDGED] for part in data().test))
    whole = few.loss(model, DEPTH)
    worth = [few.loss(without(model, [(b, h)]), b) - whole for b, h in every]
    memory = [few.loss(forgetful(model, {b: [h]}), b) - whole for b, h in every]
    order = [every[n] for n in torch.tensor(worth).argsort().tolist()]
    chance = [every[n] for n in torch.randperm(len(every), generator=torch.Generator().manual_seed(seed)).tolist()]

    def of(heads):
        return [tests.right(without(model, heads[:n]), min(b for b, _ in heads[:n])) for n in NUMBERS]

    return {
        "full": tests.right(model, DEPTH),
        "worth": worth,
        "memory": memory,
        "order": order,
        "least": of(order),
        "chance": of(chance),
        "block": [tests.right(cut_blocks(model, [b]), b) for b in range(DEPTH)],
        "block_memory": [tests.right(forgetful(model, {b: range(HEADS)}), b) for b in range(DEPTH)],
        "no_memory": tests.right(forgetful(model, {b: range(HEADS) for b in range(DEPTH)}), 0),
    }


PARTS = {"gates": gates, "field": field, "saliency": saliency, "cut": cut}


def collect(runs, finish, parts):
    updates = 2 if runs.tiny else UPDATES
    figures = {"plan": {"ranked": RANKED, "judged": JUDGED, "gated": GATED, "field": FIELD, "mapped": 10 * MAPPED}}
    figures["numbers"] = NUMBERS
    for part in parts:
        done = finish({f"{part} {seed}": partial(PARTS[part], seed, updates) for seed in runs.seeds})
        if done is None:
            return None
        figures[part] = [done[f"{part} {seed}"] for seed in runs.seeds]
    return figures


if __name__ == "__main__":
    keep_freed_memory()
    runs = Runs("ch20_open", __doc__, tuple(PARTS), SEEDS)
    runs.record(partial(collect, runs))
