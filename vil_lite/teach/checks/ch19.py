"""Exercises of chapter 19: without labels."""

import torch
import torch.nn.functional as F

from ._base import exercise, expect_gradients

# ---------------------------------------------------------------- 19.1


def hidden(noise, share, *, ranks=lambda noise: noise.argsort(1).argsort(1), count=round):
    """(B, S) bool: in each row the count(share * S) smallest numbers are True."""
    return ranks(noise) < count(share * noise.shape[1])


def _largest(noise, share):
    n = round(share * noise.shape[1])
    return noise.argsort(1).argsort(1) >= noise.shape[1] - n


@exercise(
    "19.1",
    "a mask of exactly so many patches",
    hidden,
    rtol=0,
    atol=0,
    mistakes={
        "the count differs from row to row: `noise < share` hides so many only on average": lambda noise, share: (
            noise < share
        ),
        "argsort gives the places in order, not the rank of each place: sort once more, or scatter to those places": {
            "ranks": lambda noise: noise.argsort(1)
        },
        "True is for hidden patches; here it is for those that are seen": lambda noise, share: ~hidden(noise, share),
        "the smallest numbers are hidden; here it is the largest": _largest,
        "every image has the mask of the first one": lambda noise, share: (
            hidden(noise, share)[:1].expand(noise.shape).clone()
        ),
        "the count is over all images together; each row needs its own": lambda noise, share: hidden(
            noise.reshape(1, -1), share
        ).view(noise.shape),
        "share * S is rounded to the nearest whole number, not down": {"count": int},
    },
)
def check_hidden(rng):
    tokens = rng.turn([9, 16, 25])
    share = {9: 0.4, 16: 0.6, 25: 0.5 + 0.07}[tokens]  # 3.6, 9.6 and 14.25: rounding down differs twice
    noise = rng.uniform(0, 1, rng.size(4, 6), tokens)
    noise[0], noise[1] = noise[0] * share, 1 - noise[1] * (1 - share)  # a row that is all below, one all above
    noise[0, 0], noise[0, 1], noise[0, 2] = share * 0.9, share * 0.01, share * 0.5
    return {"noise": noise, "share": share}


# ---------------------------------------------------------------- 19.2


def loss_of(guess, target, mask, *, judged=lambda mask: mask, power=2):
    """The mean over all pixels of hidden patches of (guess - target) ** power."""
    return (guess - target)[judged(mask)].abs().pow(power).mean()


def _by_image(guess, target, mask):
    return torch.stack([loss_of(g, t, m) for g, t, m in zip(guess, target, mask)]).mean()


@exercise(
    "19.2",
    "the loss of hidden patches",
    loss_of,
    mistakes={
        "patches that are seen are judged, too: copying them is no achievement": {"judged": torch.ones_like},
        "this is the loss of the patches that are seen": {"judged": torch.logical_not},
        "the sum is over hidden patches, but it is divided by the pixels of all": lambda guess, target, mask: (
            loss_of(guess, target, mask) * mask.float().mean()
        ),
        "divide by the pixels of hidden patches, not by their number of patches": lambda guess, target, mask: (
            loss_of(guess, target, mask) * guess.shape[-1]
        ),
        "this is a sum; the mean is wanted": lambda guess, target, mask: (
            loss_of(guess, target, mask) * mask.sum() * guess.shape[-1]
        ),
        "this is a mean of the images' means; all hidden pixels of the batch count the same": _by_image,
        "this is the absolute error; the squared one is wanted": {"power": 1},
        "this is the root of the loss": lambda guess, target, mask: loss_of(guess, target, mask).sqrt(),
    },
)
def check_loss(rng, student):
    images, tokens, pixels = rng.size(3, 5), rng.size(6, 9), rng.size(3, 8)
    mask = rng.uniform(0, 1, images, tokens) < 0.5
    mask[0], mask[1] = True, False
    mask[0, 0], mask[1, :2] = False, True  # rows of very different counts
    inputs = {
        "guess": rng.normal(images, tokens, pixels),
        "target": rng.normal(images, tokens, pixels) + 1.0,
        "mask": mask,
    }
    yield inputs
    if rng.case == 0:  # it is trained with
        expect_gradients(student, loss_of, inputs)


# ---------------------------------------------------------------- 19.3


def left_over(f, mask, *, kept=lambda mask: ~mask, gate=torch.sigmoid, own=False, last=True):
    """(V, V) of the V visible tokens: what is left, at the row's token, of the one of the column, when hidden ones are dropped."""
    gates = gate(f[kept(mask)])
    n = len(gates)
    left = torch.zeros(n, n, dtype=gates.dtype)
    for t in range(n):
        for s in range(t + 1):
            left[t, s] = gates[s if own or not last else s + 1 : t + 1 if last else t].prod()
    return left


def _true_places(f, mask):
    return left_over(f, torch.zeros_like(mask))[~mask][:, ~mask]


@exercise(
    "19.3",
    "what is left when tokens are dropped",
    left_over,
    mistakes={
        "the gates of dropped tokens are still counted: whoever drops a token drops its forget gate": _true_places,
        "these are the hidden tokens; the mask is True where a token is dropped": {"kept": lambda mask: mask},
        "the forget gate is the sigmoid of f": {"gate": lambda f: f},
        "the gate of the token that wrote comes before its writing: the product begins one token later": {"own": True},
        "the token that reads has faded what came before it: the product ends with its own gate": {"last": False},
        "rows and columns are exchanged: a row is the token that reads": lambda f, mask: left_over(f, mask).T,
        "a token has nothing of those that come later: above the diagonal stands 0": lambda f, mask: torch.exp(
            (total := F.logsigmoid(f[~mask]).cumsum(0))[:, None] - total
        ),
        "this is the logarithm": lambda f, mask: left_over(f, mask).log(),
        "hidden tokens are dropped: one row and one column for each visible one": lambda f, mask: left_over(
            f, torch.zeros_like(mask)
        ),
    },
)
def check_left_over(rng):
    tokens = rng.size(7, 11)
    mask = rng.uniform(0, 1, tokens) < 0.4
    mask[:5] = torch.tensor([False, True, True, False, False])
    return {"f": rng.normal(tokens) + 0.5, "mask": mask}


# ---------------------------------------------------------------- 19.4


def hide(tokens, mask, token, positions, *, put=lambda tokens, mask, token: torch.where(mask, token, tokens)):
    """(B, S, dim): the mask token where mask is True, the token elsewhere, and positions everywhere."""
    return put(tokens, mask[..., None], token) + positions


@exercise(
    "19.4",
    "mask tokens",
    hide,
    mistakes={
        "a hidden token needs its position, too: without it all guesses are alike": lambda tokens, mask, token, pos: (
            torch.where(mask[..., None], token, tokens + pos)
        ),
        "a token that is seen needs its position, too": lambda tokens, mask, token, pos: torch.where(
            mask[..., None], token + pos, tokens
        ),
        "positions are missing": lambda tokens, mask, token, pos: torch.where(mask[..., None], token, tokens),
        "True is for hidden tokens: here those that are seen are replaced": lambda tokens, mask, token, pos: hide(
            tokens, ~mask, token, pos
        ),
        "the mask token is added to what it should hide: the patch still shows": {
            "put": lambda tokens, mask, token: tokens + mask * token
        },
        "hidden tokens are zero; the learned mask token takes their place": {
            "put": lambda tokens, mask, token: tokens * ~mask
        },
        "hidden tokens are dropped: all S stay, and the mask token takes the place of the hidden ones": (
            lambda tokens, mask, token, pos: (tokens + pos)[~mask].view(len(tokens), -1, tokens.shape[-1])
        ),
    },
)
def check_hide(rng):
    images, tokens, dim = rng.size(2, 4), rng.size(6, 9), rng.size(3, 6)
    mask = torch.zeros(images, tokens, dtype=torch.bool)
    for row in mask:  # the same count in every row
        row[torch.randperm(tokens, generator=rng.generator)[: tokens // 2]] = True
    return {
        "tokens": rng.normal(images, tokens, dim),
        "mask": mask,
        "token": rng.normal(dim),
        "positions": rng.normal(tokens, dim),
    }


# ---------------------------------------------------------------- 19.5


def known(mask, directions, *, include=True, count=lambda mask: ~mask, turned=False, only=slice(None)):
    """(S,): from how many visible patches something can reach the output at each place."""
    S = len(mask)
    reach = torch.eye(S)
    for direction in directions[only]:
        backwards = (direction == "row_reversed") != turned
        one = torch.ones(S, S)
        one = one.triu(0 if include else 1) if backwards else one.tril(0 if include else -1)
        reach = one @ reach
    return ((reach > 0) & count(mask)).sum(1)


@exercise(
    "19.5",
    "what a place can know",
    known,
    rtol=0,
    atol=0,
    mistakes={
        "hidden patches tell nothing: count the visible ones": {"count": torch.ones_like},
        "these are the hidden patches; count the visible ones": {"count": lambda mask: mask},
        "a visible patch knows itself: its own place counts": {"include": False},
        "'row' reads from the first place to the last: place t knows what comes before, not after": {"turned": True},
        "only the first block counts; blocks follow each other, and pass on what they know": {"only": slice(1)},
        "only the last block counts; what stands before it already knows something": {"only": slice(-1, None)},
        "every place knows all visible patches only if blocks read both ways": lambda mask, directions: torch.full(
            (len(mask),), int((~mask).sum())
        ),
    },
)
def check_known(rng):
    tokens = rng.size(7, 12)
    mask = rng.uniform(0, 1, tokens) < 0.5
    mask[:3], mask[-3:] = torch.tensor([True, False, False]), torch.tensor([False, False, True])
    directions = rng.turn(
        [
            ["row"],
            ["row_reversed", "row_reversed"],
            ["row", "row_reversed"],
            ["row", "row"],
        ]
    )
    return {"mask": mask, "directions": directions}
