"""Chapter 5's checks accept the chapter's solutions, and say what is wrong with plausible wrong answers."""

import math

import pytest
import torch
from _chapter import page_tests, rejects
from torch.nn.functional import logsigmoid, pad

from vil_lite.mlstm import MLSTMState, mlstm_chunkwise, mlstm_recurrent
from vil_lite.teach.checks import CheckFailed, ch04, ch05

CHECKS = {
    "cover": ch05.check_cover,
    "chunk_end": ch05.check_chunk_end,
    "chunkwise": ch05.check_chunkwise,
    "exponents": ch05.check_exponents,
    "carry": ch05.check_carry,
    "best_chunk": ch05.check_best_chunk,
}

test_the_solution_passes, test_the_stub_is_not_attempted = page_tests(
    "part1_memory/05_chunkwise_form.ipynb", CHECKS, {"torch": torch, "math": math, "logsigmoid": logsigmoid, "pad": pad, "ch04": ch04, "ch05": ch05}
)


# ---------------------------------------------------------------- wrong answers, as a student would write them


def covered(S, L, inside=lambda t, s, L: s // L == t // L, future=lambda t, s: s > t):
    t, s = torch.arange(S)[:, None], torch.arange(S)
    return torch.where(inside(t, s, L), 1, 2).masked_fill(future(t, s), 0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda S, L: covered(S, L, future=lambda t, s: s // L > t // L), "mask is missing inside"),
        (lambda S, L: covered(S, L, future=lambda t, s: s >= t), "diagonal belongs"),
        (lambda S, L: covered(S, L, inside=lambda t, s, L: t - s < L), "window that slides"),
        (lambda S, L: (3 - covered(S, L)) % 3, "exchanged: 1 is inside"),
        (lambda S, L: covered(S, L).T, "rows and columns"),
        (lambda S, L: covered(S, -(-S // L)), "length of a chunk"),
    ],
)
def test_wrong_maps(wrong, message):
    rejects(ch05.check_cover, wrong, message)


def ended(k, v, i, f, C, n, m, write=lambda F: F[..., -1:] - F, fade=lambda F, m: F[..., -1] + m, top=None, keep_n=True):
    F = logsigmoid(f).cumsum(-1)
    log_write, log_memory = write(F) + i, fade(F, m)
    m_end = top(log_write, log_memory) if top else torch.maximum(log_memory, log_write.amax(-1)).clamp(min=0)
    weighted = torch.exp(log_write - m_end[..., None])[..., None] * k
    memory = torch.exp(log_memory - m_end)
    C = memory[..., None, None] * C + weighted.mT @ v
    return C, (memory[..., None] * n if keep_n else 0) + weighted.sum(-2), m_end


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda *a: ended(*a, fade=lambda F, m: m), "does not fade"),
        (lambda *a: ended(*a, fade=lambda F, m: F[..., -1]), "own stabiliser is left out"),
        (lambda *a: ended(*a, write=lambda F: F), "what came before them"),
        (lambda *a: ended(*a, write=lambda F: F - F[..., -1:]), "turned round"),
        (lambda *a: ended(*a, write=lambda F: 0 * F), "keys do not fade"),
        (lambda *a: ended(*a, top=lambda w, m: w.amax(-1).clamp(min=0)), "cover the memory from before|infinite|NaN"),
        (lambda *a: ended(*a, top=lambda w, m: m.clamp(min=0)), "cover what the chunk writes"),
        (lambda *a: ended(*a, keep_n=False), "n starts from nothing"),
        (lambda *a: (ended(*a)[0].mT, *ended(*a)[1:]), "transposed"),
    ],
)
def test_wrong_ends(wrong, message):
    rejects(ch05.check_chunk_end, wrong, message)


def test_a_missing_floor_is_found():
    """It decides only where little is written and all is forgotten: not every case is such."""
    with pytest.raises(CheckFailed, match="floor at 0"):
        for seed in range(20):
            ch05.check_chunk_end(lambda *a: ended(*a, top=lambda w, m: torch.maximum(m, w.amax(-1))), seed=seed)


def looped(q, k, v, i, f, L, keep=lambda old, new: new, early=False, whole=False):
    H, S, d = q.shape
    empty = memory = q.new_zeros(H, d, v.shape[-1]), q.new_zeros(H, d), q.new_zeros(H)
    h = []
    for number in range(S // L if whole else -(-S // L)):
        part = [x[:, number * L : (number + 1) * L] for x in (q, k, v, i, f)]
        after = ch05.chunk_end(*part[1:], *memory)
        h.append(ch04.parallel_from(*part, *(after if early else memory)))
        memory = keep(empty, after)
    return torch.cat(h, dim=1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda *a: looped(*a, keep=lambda old, new: old), "not handed on: every chunk"),
        (lambda *a: looped(*a, early=True), "count twice"),
        (lambda *a: looped(*a, keep=lambda old, new: (new[0], new[1], old[2])), "stabiliser is not handed on"),
        (lambda *a: looped(*a, keep=lambda old, new: (new[0], old[1], new[2])), "n is not handed on"),
        (lambda *a: looped(*a, keep=lambda old, new: (old[0], new[1], new[2])), "C is not handed on"),
    ],
)
def test_wrong_loops(wrong, message):
    rejects(ch05.check_chunkwise, wrong, message)


def test_a_missing_rest_is_found():
    with pytest.raises(CheckFailed, match="last chunk is shorter"):
        for seed in range(10):
            ch05.check_chunkwise(lambda *a: looped(*a, whole=True), seed=seed)


def split(i, f, c=lambda w, F: torch.maximum(w.cummax(-1).values, -F), gate=logsigmoid):
    F = gate(f).cumsum(-1)
    return i - F, -c(i - F, F)


def with_matrix(i, f):
    D = ch04.log_decay(i, f)
    F = logsigmoid(f).cumsum(-1)
    return i - F, F - D.amax(-1).clamp(min=0)


def with_loop(i, f):
    F = logsigmoid(f).cumsum(-1)
    c = [torch.maximum((i - F)[..., : t + 1].amax(-1), -F[..., t]) for t in range(i.shape[-1])]
    return i - F, -torch.stack(c, -1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda i, f: split(i, f, lambda w, F: torch.maximum(w, -F)), "does not run"),
        (lambda i, f: split(i, f, lambda w, F: torch.maximum(w.amax(-1, keepdim=True), -F)), "sees the future"),
        (lambda i, f: split(i, f, lambda w, F: w.cummax(-1).values), "floor is missing"),
        (lambda i, f: split(i, f, lambda w, F: w.cummax(-1).values.clamp(min=0)), "floor is 0"),
        (lambda i, f: split(i, f, lambda w, F: torch.maximum(w.cummax(-1).values, -F) + F), "this is -m_t"),
        (lambda i, f: (split(i, f)[0], -split(i, f)[1]), "this is c_t"),
        (lambda i, f: split(i, f, gate=lambda x: x), "log sigmoid"),
        (with_matrix, "a tensor of 8192 is made"),
        (with_loop, "not a loop"),
    ],
)
def test_wrong_exponents(wrong, message):
    rejects(ch05.check_exponents, wrong, message)


def carried(added, decay, first, mask=True, zero=True):
    total = pad(decay.cumsum(-1), (1, 0)) if zero else decay.cumsum(-1)
    log_W = total[..., None, :] - total[..., :, None]
    past = torch.ones(log_W.shape[-2:], dtype=torch.bool).tril()
    W = torch.exp(log_W.masked_fill(~past, -math.inf) if mask else log_W)
    states = W @ torch.cat([first[:, None], added], dim=1)
    return states[:, :-1], states[:, -1]


def carried_in_a_loop(added, decay, first):
    starts = []
    for j in range(added.shape[1]):
        starts.append(first)
        first = torch.exp(-decay[:, j, None]) * first + added[:, j]
    return torch.stack(starts, dim=1), first


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (carried_in_a_loop, "there is a loop"),
        (lambda *a: carried(*a, mask=False), "mask is missing"),
        (lambda a, r, f: carried(a, -r, f), "exp\\(-decay\\)"),
        (lambda a, r, f: carried(a, 0 * r, f), "nothing fades"),
        (lambda a, r, f: carried(a, r, 0 * f), "first state is missing"),
        (lambda *a: (torch.cat([carried(*a)[0][:, 1:], carried(*a)[1][:, None]], 1), carried(*a)[1]), "states after each"),
        (lambda a, r, f: carried(torch.exp(-r)[..., None] * a, r, f), "already in it"),
        (lambda *a: carried(*a)[::-1], "order is starts"),
    ],
)
def test_wrong_carries(wrong, message):
    rejects(ch05.check_carry, wrong, message)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda d, a, b, w: 4 * w * d * d / (2 * a * d + 5 * b), "square root"),
        (lambda d, a, b, w: d * math.sqrt(4 * w / (5 * b)), "products inside"),
        (lambda d, a, b, w: math.sqrt(2 * w * d / a), "L x L blocks"),
        (lambda d, a, b, w: d * math.sqrt(4 * b / (2 * a * d + 5 * w)), "priced w"),
        (lambda d, a, b, w: math.sqrt(4 * w * d / (2 * a * d + 5 * b)), "not d"),
        (lambda *p: ch05.cost(ch05.best_chunk(*p), *p), "not L"),
    ],
)
def test_wrong_lengths(wrong, message):
    rejects(ch05.check_best_chunk, wrong, message)


def test_a_search_for_the_best_length_is_accepted():
    for seed in range(5):
        ch05.check_best_chunk(lambda *p: min(range(1, 500), key=lambda L: ch05.cost(L, *p)), seed=seed)


# ---------------------------------------------------------------- the references are the library


def random_tokens(S, seed=0):
    g = torch.Generator().manual_seed(seed)
    q, k, v = torch.randn(3, 2, S, 5, generator=g, dtype=torch.float64)
    i, f = torch.randn(2, 2, S, generator=g, dtype=torch.float64)
    return q, k, v, i, f + 2


def test_the_loop_over_chunks_is_the_library():
    x = random_tokens(23)
    for L in (1, 4, 23):
        for form in (mlstm_chunkwise, mlstm_recurrent):
            torch.testing.assert_close(ch05.chunkwise(*x, L)[None], form(*(y[None] for y in x), eps=0)[0])


def test_the_end_of_a_chunk_is_the_library():
    q, k, v, i, f = random_tokens(9)
    before = torch.randn(2, 5, 5).double(), torch.randn(2, 5).double(), torch.tensor([0.5, 3.0]).double()
    state = MLSTMState(*(x[None] for x in before))
    wanted = mlstm_recurrent(*(x[None] for x in (q, k, v, i, f)), state)[1]
    for ours, theirs in zip(ch05.chunk_end(k, v, i, f, *before), wanted):
        torch.testing.assert_close(ours[None], theirs)


def test_no_weight_exceeds_one():
    """Whatever the gates: the proof of the chapter, tried."""
    for seed, size in enumerate((0.1, 1, 30, 1e4)):
        i, f = size * torch.randn(2, 3, 80, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        log_key, log_query = ch05.exponents(i, f)
        weight = log_key[..., None, :] + log_query[..., :, None]
        assert weight[..., torch.ones(80, 80).tril().bool()].max() <= 0
        assert log_query.diff().max() <= 0


def test_numbers_in_the_prose():
    """Those that no cell of the page computes."""
    assert 24 * 24 == 576 and 4 * 6 * 6 == 144
    assert 6400 / 64 == 100 and 6400 // 64 * 64**2 * 100 == 6400**2  # one number in a hundred
    assert round(math.log(torch.finfo(torch.float32).max), 1) == 88.7
    f32 = torch.finfo(torch.float32).eps
    assert round(f32 * 2**13, 3) == 0.001 and round(f32 * 2**19, 2) == 0.06  # gaps near 1e4 and 1e6
    assert round(math.exp(0.0625) - 1, 2) == 0.06
    assert torch.exp(torch.tensor(-200.0)) == 0
    assert round(1e4 / math.log(2), -3) == 14000 and torch.finfo(torch.float32).tiny == 2.0**-126  # doublings, FAR
    assert round(96 / math.sqrt(3)) == 55  # rubric (a)
    kilobytes = [4 * (3 * L * 96 + 96**2 + L**2) / 1e3 for L in (64, 128)]
    assert [round(x) for x in kilobytes] == [127, 250]  # rubric (d)
    assert 8 * 8 + 8 == 72 and 2 * 8 == 16  # states of the parity readers


@pytest.fixture(scope="module")
def recorded():
    from vil_lite.teach import result

    return result("ch05_length")


def test_the_recorded_run_says_what_the_page_says(recorded):
    figures = recorded["figures"]
    assert (figures["heads"], figures["width"]) == (4, 96) and recorded["seeds"] == [0, 1, 2]
    forms = figures["forms"]
    assert forms["chunkwise"]["tokens"] == forms["attention"]["tokens"] == [2**n for n in range(7, 15)]
    assert 0.9 < forms["chunkwise"]["slope_time"] < 1.3 and 0.95 < forms["chunkwise"]["slope_memory"] < 1.05
    assert 1.7 < forms["attention"]["slope_time"] and 1.7 < forms["parallel"]["slope_time"]
    assert 1.95 < forms["parallel"]["slope_memory"] < 2.05
    assert 0.8 < forms["recurrent"]["slope_time"] < 1.2
    sweep = next(row for row in figures["chunk"] if row["width"] == 96)
    ms = {L: sum(times) / len(times) for L, times in zip(sweep["chunk"], sweep["ms"])}
    assert max(ms[32], ms[64], ms[128]) < 1.25 * min(ms.values())  # "anything from 32 to 128 is fine"
