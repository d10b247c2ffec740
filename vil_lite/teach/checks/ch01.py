"""Checks of chapter 1: what an LSTM forgets."""

import torch

from ._base import attempt, compare, exercise, expect

# ---------------------------------------------------------------- 1.1


def cell_step(a, c):
    """Reference: one step of an LSTM cell.  a: (4 H,) pre-activations in torch's order i, f, z, o; c: (H,) -> h, c."""
    return _step(a, c)


def _step(a, c, order=(0, 1, 2, 3), squash=torch.tanh, candidate=torch.tanh, gate=torch.sigmoid, old=False, keep=None):
    parts = a.chunk(4)
    i, f, z, o = (parts[n] for n in order)
    i, f, z, o = gate(i), gate(f), candidate(z), gate(o)
    new = f * c + i * z if keep is None else keep(f, i, z, c)
    return o * squash(c if old else new), new


@exercise("one step of an LSTM cell")
def check_cell_step(student, rng):
    H = rng.size(2, 6)
    compare(
        student, cell_step, {"a": 2 * rng.normal(4 * H), "c": 2 * rng.normal(H)}, outputs=("h", "c"),
        diagnose={
            "input and forget gate are exchanged; torch's order is i, f, z, o": lambda a, c: _step(a, c, order=(1, 0, 2, 3)),
            "candidate and output gate are exchanged; torch's order is i, f, z, o": lambda a, c: _step(a, c, order=(0, 1, 3, 2)),
            "h is o times c; it is o times tanh(c)": lambda a, c: _step(a, c, squash=lambda x: x),
            "h is read from the old memory; read it after the new c is written": lambda a, c: _step(a, c, old=True),
            "the candidate z passes through a sigmoid; it is a tanh, so that it can also subtract":
                lambda a, c: _step(a, c, candidate=torch.sigmoid),
            "the gates have not passed through a sigmoid": lambda a, c: _step(a, c, gate=lambda x: x),
            "the tanh around c belongs to h alone: what is carried on stays without it":
                lambda a, c: (_step(a, c)[0], _step(a, c)[1].tanh()),
            "the forget gate also scales what is new; it scales the old memory alone":
                lambda a, c: _step(a, c, keep=lambda f, i, z, c: f * (c + i * z)),
            "the old memory is scaled by 1 - f; f = 1 keeps, f = 0 forgets":
                lambda a, c: _step(a, c, keep=lambda f, i, z, c: (1 - f) * c + i * z),
            "the order is h, c": lambda a, c: cell_step(a, c)[::-1],
        },
    )


# ---------------------------------------------------------------- 1.2


def shares(i, f):
    """Reference: the weight of each token in the last memory, i_s times all later forget gates.  i, f: (S,) -> (S,)."""
    return i * _later(f)


def _later(f):
    """Products of f_{s+1} ... f_S."""
    return torch.cat([f[1:], torch.ones(1)]).flip(0).cumprod(0).flip(0)


@exercise("what is left of each token")
def check_shares(student, rng):
    S = rng.size(4, 8)
    compare(
        student, shares, {"i": rng.uniform(0.2, 1, S), "f": rng.uniform(0.3, 0.95, S)},
        diagnose={
            "the token's own forget gate is counted too; f_s fades what was there before s":
                lambda i, f: i * f.flip(0).cumprod(0).flip(0),
            "the gates before the token are multiplied; the gates after it fade it": lambda i, f: i * f.cumprod(0),
            "the input gate is missing": lambda i, f: _later(f),
            "each token is faded by one gate only; all later gates fade it, so take their product":
                lambda i, f: i * torch.cat([f[1:], torch.ones(1)]),
            "the order is turned round: the first entry belongs to the first token": lambda i, f: shares(i, f).flip(0),
            "the gates are added; gates one after the other multiply":
                lambda i, f: i * torch.cat([f[1:], torch.ones(1)]).flip(0).cumsum(0).flip(0),
            "the weights are divided by their sum; an LSTM has no such normaliser (chapter 2 adds one)":
                lambda i, f: shares(i, f) / shares(i, f).sum(),
        },
    )


# ---------------------------------------------------------------- 1.3


def revise(distance, value, nearest, kept, sharpness):
    """Reference: one step of two cells that compare.  All (B,), sharpness a number -> nearest, kept."""
    return _revise(distance, value, nearest, kept, sharpness)


def _revise(distance, value, nearest, kept, sharpness, sign=1, first_updated=False, both=True, scale=True, forget=True):
    i = torch.sigmoid(sign * (sharpness if scale else 1) * (nearest - distance))
    f = 1 - i if forget else torch.ones_like(i)
    new = f * nearest + i * distance
    if first_updated:
        i = torch.sigmoid(sharpness * (new - distance))
        f = 1 - i
    return new if both else nearest, f * kept + i * value


@exercise("two cells that revise")
def check_revise(student, rng):
    B = rng.size(4, 9)
    compare(
        student, revise,
        {"distance": rng.uniform(0, 1, B), "value": rng.uniform(0, 1, B), "nearest": rng.uniform(0, 1, B),
         "kept": rng.uniform(0, 1, B), "sharpness": rng.size(5, 20)},
        outputs=("nearest", "kept"),
        diagnose={
            "the gate opens for candidates that are farther away; it has to open where distance < nearest":
                lambda *x: _revise(*x, sign=-1),
            "nearest is updated first and then compared with itself; compute the gate once, from the old nearest":
                lambda *x: _revise(*x, first_updated=True),
            "the value is replaced, but `nearest` stays as it was: both cells share the gates": lambda *x: _revise(*x, both=False),
            "sharpness is not used; it multiplies the difference inside the sigmoid": lambda *x: _revise(*x, scale=False),
            "the old content is kept in full: f has to close as i opens, f = 1 - i": lambda *x: _revise(*x, forget=False),
            "the gate is a hard decision; it is a sigmoid of sharpness times the difference":
                lambda d, v, n, k, s: (torch.where(d < n, d, n), torch.where(d < n, v, k)),
            "the order is nearest, kept": lambda *x: revise(*x)[::-1],
        },
    )


# ---------------------------------------------------------------- 1.4


def values_only(values, kinds):
    """Reference: accuracy of always answering with the most frequent value.  values: (B, P) of 0 .. kinds - 1 -> ()."""
    return _counts(values, kinds).amax(-1).mean() / values.shape[1]


def _counts(values, kinds):
    return torch.nn.functional.one_hot(values, kinds).sum(1).float()  # (B, kinds)


@exercise("a memory for values without keys")
def check_values_only(student, rng):
    B, P, kinds = rng.size(20, 40), rng.size(6, 8), rng.size(4, 5)
    values = torch.randint(kinds, (B, P), generator=rng.generator)
    compare(
        student, values_only, {"values": values, "kinds": kinds},
        diagnose={
            "this is the number of right answers; divide by the number of questions P":
                lambda v, k: _counts(v, k).amax(-1).mean(),
            "this is chance among all values; the memory knows which values were shown": lambda v, k: torch.tensor(1 / k),
            "this is a guess among the P questions; a value that was shown twice answers two of them": lambda v, k: torch.tensor(1 / v.shape[1]),
            "this guesses at random among the values that were shown; answering with the most frequent is better":
                lambda v, k: (1 / (_counts(v, k) > 0).sum(-1)).mean(),
            "this draws an answer as often as it was shown; always answering with the most frequent is better":
                lambda v, k: ((_counts(v, k) / v.shape[1]) ** 2).sum(-1).mean(),
            "the counts are taken over the whole batch; each sequence has its own most frequent value":
                lambda v, k: _counts(v, k).sum(0).amax() / v.numel(),
        },
    )


# ---------------------------------------------------------------- 1.5


def parity_gates(bit, h):
    """Reference: gates for which c = f c + i z flips on a one.  bit, h: (B,) of 0. or 1. -> i, f, z."""
    return bit, 1 - bit, 1 - h


@exercise("gates that count modulo two", cases=3)
def check_parity_gates(student, rng):
    B, S = rng.size(3, 6), rng.size(12, 24)
    bits = torch.randint(2, (B, S), generator=rng.generator).float()
    c, wanted = torch.zeros(B), bits.cumsum(-1) % 2
    for t in range(S):
        out = attempt(student, bits[:, t].clone(), c.clone())
        expect(isinstance(out, (tuple, list)) and len(out) == 3, "three values are wanted: i, f, z")
        i, f, z = (torch.as_tensor(part).float().expand(B) for part in out)
        for name, gate in (("i", i), ("f", f)):
            expect(((gate >= 0) & (gate <= 1)).all(), f"the gate {name} leaves [0, 1]; no sigmoid can do that")
        new = f * c + i * z
        zero, one = bits[:, t] == 0, bits[:, t] == 1
        expect(torch.allclose(new[zero], c[zero]), "a zero changes the memory; it has to leave it as it is: f = 1, i = 0")
        was_set, was_clear = one & (c == 1), one & (c == 0)
        expect(torch.allclose(new[was_clear], torch.ones(())), "a one does not switch an empty memory on: 0 has to become 1")
        expect((new[was_set] < 1.5).all(), "the memory counts up to 2; forget the old state when a one comes: f = 0")
        expect(torch.allclose(new[was_set], torch.zeros(())), "a one sets the memory but never clears it: z has to depend on h")
        c = wanted[:, t]
