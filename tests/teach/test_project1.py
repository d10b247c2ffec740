"""The project's checks accept its solutions, and say what is wrong with plausible wrong answers."""

import math
from pathlib import Path

import pytest
import torch
from _chapter import page_tests, rejects
from torch.nn.functional import logsigmoid

from vil_lite.mlstm import mlstm_chunkwise, mlstm_parallel, mlstm_recurrent
from vil_lite.teach.checks import project1

ROOT = Path(__file__).resolve().parents[2]


CHECKS = {
    "step": project1.check_step,
    "disguise": project1.check_disguise,
    "parallel": project1.check_parallel,
    "chunkwise": project1.check_chunkwise,
    "shift_needed": project1.check_shift_needed,
    "revise": project1.check_revise,
}

test_the_solution_passes, test_the_stub_is_not_attempted = page_tests(
    "part1_memory/project.ipynb", CHECKS, {"torch": torch, "math": math, "logsigmoid": logsigmoid, "project1": project1}
)


@pytest.mark.parametrize("form", [mlstm_recurrent, mlstm_parallel, mlstm_chunkwise])
def test_the_references_are_the_library_in_disguise(form):
    g = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 2, 50, 4, generator=g, dtype=torch.float64)
    i, f = 3 * torch.randn(2, 2, 50, generator=g, dtype=torch.float64)
    wanted, state = form(*(x[None] for x in (q, k, v, logsigmoid(i), f)), eps=0)
    assert state.m.eq(0).all()
    close = {"rtol": 1e-9, "atol": 1e-11}
    torch.testing.assert_close(project1.parallel(q, k, v, i, f), wanted[0], **close)
    for L in (1, 7, 50):
        torch.testing.assert_close(project1.chunkwise(q, k, v, i, f, L), wanted[0], **close)
    C, n = torch.zeros(4, 4, dtype=q.dtype), torch.zeros(4, dtype=q.dtype)
    for t in range(50):
        h, C, n = project1.step(C, n, q[0, t], k[0, t], v[0, t], i[0, t], f[0, t])
        torch.testing.assert_close(h, wanted[0, 0, t], **close)


# ---------------------------------------------------------------- 1


def stepper(write=torch.sigmoid, n_write=None, scale=True, bottom=lambda x: x.abs().clamp(min=1), early=False):
    def student(C, n, q, k, v, i, f):
        before = C, n
        C = f.sigmoid() * C + write(i) * k[:, None] * v
        n = f.sigmoid() * n + (n_write or write)(i) * k
        query = q / math.sqrt(len(q)) if scale else q
        read = before if early else (C, n)
        return query @ read[0] / bottom(query @ read[1]), C, n
    return student


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (stepper(write=torch.exp), "still exponential"),
        (stepper(n_write=lambda i: 1.0), "written without the input gate"),
        (stepper(scale=False), "not divided by sqrt"),
        (stepper(bottom=lambda x: x), "floor is missing"),
        (stepper(bottom=lambda x: x.clamp(min=1)), "sign of the sum is kept"),
        (stepper(early=True), "old memory is read"),
    ],
)
def test_step(wrong, message):
    rejects(project1.check_step, wrong, message)


# ---------------------------------------------------------------- 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (torch.sigmoid, "give it the logarithm"),
        (lambda i: i.sigmoid().log(), "take logsigmoid"),
        (lambda i: i, "this is i itself"),
        (lambda i: -logsigmoid(i), "logarithm of a number below 1 is negative"),
        (lambda i: logsigmoid(-i), "sign of i"),
    ],
)
def test_disguise(wrong, message):
    rejects(project1.check_disguise, wrong, message)


# ---------------------------------------------------------------- 3


def paralleler(D, bottom=lambda x: x.abs().clamp(min=1)):
    def student(q, k, v, i, f):
        scores = (q @ k.mT) / math.sqrt(q.shape[-1]) * D(i, f)
        return scores @ v / bottom(scores.sum(-1, keepdim=True))
    return student


def matrix(i, f, write=logsigmoid, own=0, diagonal=0):
    F = logsigmoid(f).cumsum(-1)
    log_D = F[..., :, None] - F[..., None, :] + write(i)[..., None, :] + own * logsigmoid(f)[..., None, :]
    return torch.exp(log_D).tril(diagonal)


def by_products(i, f):
    kept = f.sigmoid().cumprod(-1)
    return (kept[..., :, None] / kept[..., None, :] * i.sigmoid()[..., None, :]).tril()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (paralleler(lambda i, f: matrix(i, f, write=lambda i: i)), "input gate is exponential"),
        (paralleler(lambda i, f: matrix(i, f, own=1)), "own forget gate"),
        (paralleler(lambda i, f: matrix(i, f, diagonal=-1)), "mask is too strict"),
        (paralleler(lambda i, f: matrix(i, f, diagonal=100)), "mask is missing"),
        (paralleler(matrix, bottom=lambda x: x), "floor is missing"),
        (paralleler(by_products), "running product of gates underflows"),
    ],
)
def test_parallel(wrong, message):
    rejects(project1.check_parallel, wrong, message)


# ---------------------------------------------------------------- 4


def chunker(read=lambda F: F, key=lambda F, end: end - F, n_kept=1, hand_on=True, early=False, whole=False):
    def student(q, k, v, i, f, L):
        H, S, d = q.shape
        C, n, h = torch.zeros(H, d, v.shape[-1]), torch.zeros(H, d, 1), []
        for b in range(0, S // L * L if whole else S, L):
            now = slice(b, b + L)
            F = logsigmoid(f[:, now]).cumsum(-1)[..., None]
            end, query = F[:, -1:], q[:, now] / math.sqrt(d)
            written = torch.exp(key(F, end) + logsigmoid(i[:, now])[..., None]) * k[:, now]
            after = end.exp() * C + written.mT @ v[:, now], n_kept * end.exp() * n + written.sum(1)[..., None]
            C_read, n_read = after if early else (C, n)
            scores = (query @ k[:, now].mT) * matrix(i[:, now], f[:, now])
            total = scores.sum(-1, keepdim=True) + read(F).exp() * (query @ n_read)
            h.append((scores @ v[:, now] + read(F).exp() * (query @ C_read)) / total.abs().clamp(min=1))
            C, n = after if hand_on else (C, n)
        return torch.cat(h, 1)
    return student


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (chunker(read=lambda F: 0 * F), "does not fade while the chunk reads"),
        (chunker(key=lambda F, end: 0 * F), "keys do not fade"),
        (chunker(key=lambda F, end: F), "up to the end they fade by what comes after"),
        (chunker(n_kept=0), "n is not handed on"),
        (chunker(hand_on=False), "every chunk starts empty"),
        (chunker(early=True), "own tokens count twice"),
        (chunker(whole=True), "last chunk is shorter"),
        (lambda q, k, v, i, f, L: project1.parallel(q, k, v, i, f), "an S x S matrix is built"),
    ],
)
def test_chunkwise(wrong, message):
    rejects(project1.check_chunkwise, wrong, message)


# ---------------------------------------------------------------- 5


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda x, e: x - math.log((1 - e) / e), "smaller error needs a larger shift"),
        (lambda x, e: math.log((1 - e) / e), "loudest token is left out"),
        (lambda x, e: x - math.log(e), "1 - e is missing|not right"),
        (lambda x, e: x, "already one half"),
        (lambda x, e: x + math.log10((1 - e) / e), "base 10"),
    ],
)
def test_shift_needed(wrong, message):
    rejects(project1.check_shift_needed, wrong, message)


def test_the_shift_keeps_its_promise():
    for loudest, error in ((3.0, 0.1), (12.0, 1e-3)):
        B = project1.shift_needed(loudest, error)
        x = torch.linspace(-20, loudest, 500, dtype=torch.float64)
        off = 1 - math.exp(B) * torch.sigmoid(x - B) / x.exp()
        assert abs(off.max().item() / error - 1) < 1e-9


# ---------------------------------------------------------------- 6


def reviser(gate=torch.sigmoid, sign=-1, run=lambda x: x.cumsum(1), least=lambda n, floor: n.clamp(min=1) if floor else n):
    def student(distance, value, sharpness, bias, floor):
        w = gate(bias + sign * sharpness * distance)
        return run(w * value) / least(run(w), floor)
    return student


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (reviser(gate=torch.exp), "here it is a sigmoid"),
        (reviser(sign=1), "far candidates are loud"),
        (reviser(run=lambda x: x.sum(1, keepdim=True).expand_as(x)), "future is read"),
        (reviser(least=lambda n, floor: n if floor else n.clamp(min=1)), "wrong way round"),
        (reviser(least=lambda n, floor: 1), "nothing divides"),
    ],
)
def test_revise(wrong, message):
    rejects(project1.check_revise, wrong, message)
