"""Exercises of chapter 1: what an LSTM forgets."""

import torch
from torch.nn.functional import one_hot

from ._base import exercise, expect


# ---------------------------------------------------------------- 1.1
def cell_step(pre, c, *, order=(0, 1, 2, 3), gate=torch.sigmoid, candidate=torch.tanh, squash=torch.tanh, old=False):
    """One step of an LSTM cell.  pre: (4 units,) pre-activations in torch's order i, f, z, o; c: (units,)."""
    i, f, z, o = (pre.chunk(4)[n] for n in order)
    new = gate(f) * c + gate(i) * candidate(z)
    return gate(o) * squash(c if old else new), new


def _kept(memory):
    """A cell with another new memory, from f, i, z and c."""

    def wrong(pre, c):
        i, f, z, o = pre.chunk(4)
        new = memory(f.sigmoid(), i.sigmoid(), z.tanh(), c)
        return o.sigmoid() * new.tanh(), new

    return wrong


@exercise(
    "1.1",
    "one step of an LSTM cell",
    cell_step,
    outputs=("h", "c"),
    mistakes={
        "input and forget gate are exchanged; torch's order is i, f, z, o": {"order": (1, 0, 2, 3)},
        "candidate and output gate are exchanged; torch's order is i, f, z, o": {"order": (0, 1, 3, 2)},
        "h is o times c; it is o times tanh(c)": {"squash": lambda c: c},
        "h is read from the old memory; read it after the new c is written": {"old": True},
        "the candidate passes through a sigmoid; it is a tanh, so that it can subtract": {"candidate": torch.sigmoid},
        "the candidate z is used as it is; it passes through a tanh": {"candidate": lambda z: z},
        "the gates have not passed through a sigmoid": {"gate": lambda x: x},
        "the tanh belongs to h alone; c goes on without it": lambda *x: (cell_step(*x)[0], cell_step(*x)[1].tanh()),
        "the forget gate also scales what is new, not the old alone": _kept(lambda f, i, z, c: f * (c + i * z)),
        "the old memory is scaled by 1 - f; f = 1 keeps, f = 0 forgets": _kept(lambda f, i, z, c: (1 - f) * c + i * z),
        "the input gate is tied, i = 1 - f; an LSTM has two gates": _kept(lambda f, i, z, c: f * c + (1 - f) * z),
        "the order is h, c": lambda a, c: cell_step(a, c)[::-1],
    },
)
def check_cell_step(rng):
    units = rng.size(2, 6)
    return {"pre": 2 * rng.normal(4 * units), "c": 2 * rng.normal(units)}


# ---------------------------------------------------------------- 1.2
def shares(i, f):
    """The weight of each token in the last memory, i_s times all later forget gates.  i, f: (S,) -> (S,)."""
    return i * _from_here(_next(f))


def _from_here(f):
    """The product of each number and all after it."""
    return f.flip(0).cumprod(0).flip(0)


def _next(f):
    return torch.cat([f[1:], torch.ones(1)])


@exercise(
    "1.2",
    "what is left of each token",
    shares,
    mistakes={
        "the token's own forget gate is counted too; f_s fades what was there before s": lambda i, f: i * _from_here(f),
        "the gates before the token are multiplied; the gates after it fade it": lambda i, f: i * f.cumprod(0),
        "the input gate is missing": lambda i, f: shares(torch.ones_like(i), f),
        "each token is faded by one gate only; all later gates fade it: take their product": lambda i, f: i * _next(f),
        "the order is turned round: the first entry belongs to the first token": lambda i, f: shares(i, f).flip(0),
        "the gates are added; gates one after the other multiply": lambda i, f: i * _next(f).flip(0).cumsum(0).flip(0),
        "the input gates are multiplied, too; a token has one of its own": lambda i, f: shares(_from_here(i), f),
        "divided by their sum; an LSTM has no normaliser, chapter 2 adds one": lambda *x: shares(*x) / shares(*x).sum(),
    },
)
def check_shares(rng):
    S = rng.size(4, 8)
    return {"write": rng.uniform(0.2, 1, S), "forget": rng.uniform(0.3, 0.95, S)}


# ---------------------------------------------------------------- 1.3
def revise(distance, value, nearest, kept, sharpness, *, gate=lambda x, s: torch.sigmoid(s * x), rest=lambda i: 1 - i):
    """One step of two cells that compare.  All (B,), sharpness a number -> nearest, kept."""
    i = gate(nearest - distance, sharpness)
    return rest(i) * nearest + i * distance, rest(i) * kept + i * value


@exercise(
    "1.3",
    "two cells that revise",
    revise,
    outputs=("nearest", "kept"),
    mistakes={
        "the gate opens for farther candidates; distance < nearest opens it": {"gate": lambda x, s: (-s * x).sigmoid()},
        "nearest is updated first and then compared with itself; compute the gate once, from the old nearest": lambda d, v, n, k, s: (
            revise(d, v, n, k, s)[0],
            revise(d, v, revise(d, v, n, k, s)[0], k, s)[1],
        ),
        "only the value is replaced; both cells share the gates": lambda d, v, n, k, s: (n, revise(d, v, n, k, s)[1]),
        "only `nearest` is replaced; both cells share the gates": lambda d, v, n, k, s: (revise(d, v, n, k, s)[0], k),
        "sharpness is not used; it multiplies the difference inside the sigmoid": {"gate": lambda x, s: x.sigmoid()},
        "sharpness multiplies the gate; it belongs inside the sigmoid": {"gate": lambda x, s: s * x.sigmoid()},
        "the old content is kept in full: f has to close as i opens, f = 1 - i": {"rest": torch.ones_like},
        "the gate is a hard decision; it is a sigmoid of the difference": {"gate": lambda x, s: (x > 0).float()},
        "the order is nearest, kept": lambda *x: revise(*x)[::-1],
    },
)
def check_revise(rng):
    B = rng.size(4, 9)
    cells = {name: rng.uniform(0, 1, B) for name in ("distance", "value", "nearest", "kept")}
    return {**cells, "sharpness": rng.size(5, 20)}


# ---------------------------------------------------------------- 1.4
def values_only(values, kinds):
    """Accuracy of always answering with the most frequent value.  values: (B, P) of 0 .. kinds - 1 -> ()."""
    return _parts(values, kinds).amax(-1).mean()


def _parts(values, kinds):
    return one_hot(values, kinds).float().mean(1)  # (B, kinds)


@exercise(
    "1.4",
    "a memory for values without keys",
    values_only,
    mistakes={
        "this is the number of right answers; divide by that of questions": lambda v, k: values_only(v, k) * v.shape[1],
        "this is chance among all values; the memory knows which values were shown": lambda v, k: torch.tensor(1 / k),
        "this guesses among P questions; a value shown twice answers two": lambda v, k: torch.tensor(1 / v.shape[1]),
        "this guesses at random; the most frequent is better": lambda v, k: (1 / (_parts(v, k) > 0).sum(-1)).mean(),
        "this draws by frequency; always the most frequent is better": lambda v, k: (_parts(v, k) ** 2).sum(-1).mean(),
        "the counts are taken over the whole batch, not sequence by sequence": lambda v, k: _parts(v, k).mean(0).amax(),
        "this looks at the first sequence only; the mean over the batch is wanted": lambda v, k: values_only(v[:1], k),
        "this is one number for each sequence; their mean is wanted": lambda v, k: _parts(v, k).amax(-1),
    },
)
def check_values_only(rng):
    B, P, kinds = rng.size(20, 40), rng.size(6, 8), rng.size(4, 5)
    values = torch.randint(kinds, (B, P), generator=rng.generator)
    values[0], values[1] = 0, kinds - 1  # whole sequences of one value, and of another
    return {"values": values, "kinds": kinds}


# ---------------------------------------------------------------- 1.5
def parity_gates(bit, h):
    """Gates for which c = f c + i z flips on a one.  bit, h: (B,) of 0. or 1. -> i, f, z."""
    return bit, 1 - bit, 1 - h


def _new_memories(function, bit, h):
    """What becomes of the memories 0 and 1 when a zero comes, and when a one does; write and forget must be gates."""
    write, forget, z = (torch.as_tensor(part).float().expand(len(h)) for part in function(bit, h))
    for name, gate in (("write", write), ("forget", forget)):
        expect(((gate >= 0) & (gate <= 1)).all(), f"the gate {name} leaves [0, 1]; no sigmoid can do that")
    new = forget * h + write * z
    return [new[(bit == comes) & (h == there)] for comes in (0, 1) for there in (0, 1)]


@exercise(
    "1.5",
    "gates that count modulo two",
    parity_gates,
    through=_new_memories,
    outputs=(
        "after a zero, the memory 0",
        "after a zero, the memory 1",
        "after a one, the memory 0",
        "after a one, the memory 1",
    ),
    cases=3,
    mistakes={
        "the gate write leaves [0, 1]; no sigmoid can do that": lambda bit, h: (bit - 2 * bit * h, 1 + 0 * h, h == h),
        "the gate forget leaves [0, 1]; no sigmoid can do that": lambda bit, h: (bit, 1 - 2 * bit, 1 + 0 * h),
        "a zero changes the memory; it leaves it as it is: forget = 1, write = 0": lambda bit, h: (bit, 0 * h, 1 - h),
        "a one does not switch an empty memory on: 0 has to become 1": lambda bit, h: (bit, 1 - bit, h),
        "the memory counts up to 2; a one forgets what was: forget = 0": lambda bit, h: (bit, 1 + 0 * h, 1 + 0 * h),
        "a one sets the memory but never clears it: z has to depend on h": lambda bit, h: (bit, 1 - bit, 1 + 0 * h),
    },
)
def check_parity_gates(rng):
    each = torch.tensor([[0.0, 0, 1, 1], [0, 1, 0, 1]])[:, torch.randperm(4, generator=rng.generator)]
    return {"bit": each[0], "h": each[1]}
