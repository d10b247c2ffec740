"""Chapter 5: its numbers and figures are what the page says."""

import math

import numpy as np
import pytest
import torch

from vil_lite.teach.checks import ch05


@pytest.mark.parametrize("detached", [False, True])
def test_numpy_is_told_that_it_computes_no_gradient(detached):
    def exponents(i, f):
        i, f = (x.detach().numpy() if detached else x.numpy() for x in (i, f))
        F = -np.logaddexp(0, -f).cumsum(-1)
        return i - F, -np.maximum(np.maximum.accumulate(i - F, -1), -F)

    for seed in range(5):
        outcome = ch05.check_exponents.outcome(exponents, seed)
        assert outcome.mistake == "the values are right, but no gradient comes back", outcome
        assert "NumPy computes none; write it with torch" in outcome.message


@pytest.mark.parametrize(
    "fade, told",
    [(0, "n does not fade, and the old stabiliser is missing"), (1, "the memory's own stabiliser is left out")],
)
def test_the_colleagues_faults_that_hide_one_another_are_named_too(fade, told):
    """Where m is left out, it is left out of the new stabiliser as well."""

    def end(k, v, i, f, C, n, m):
        F = torch.nn.functional.logsigmoid(f).cumsum(-1)
        log_write, log_memory = F[..., -1:] - F + i, F[..., -1]
        m_end = log_write.amax(-1).clamp(min=0)
        weighted_k = torch.exp(log_write - m_end[..., None])[..., None] * k
        memory = torch.exp(log_memory - m_end)
        n = memory[..., None] * n if fade else n
        return memory[..., None, None] * C + weighted_k.mT @ v, n + weighted_k.sum(-2), m_end

    for seed in range(5):
        with pytest.raises(AssertionError, match=told):
            ch05.check_chunk_end(end, seed=seed)


def test_numbers_in_the_prose():
    """Those that no cell of the page computes."""
    assert 24 * 24 == 576 and 4 * 6 * 6 == 144
    assert 6400 / 64 == 100 and 6400 // 64 * 64**2 * 100 == 6400**2  # one number in a hundred
    assert round(math.log(torch.finfo(torch.float32).max), 1) == 88.7
    assert round(torch.finfo(torch.float32).eps * 2**19, 2) == 0.06  # gap near 1e6
    assert round(math.exp(0.0625) - 1, 2) == 0.06
    assert torch.finfo(torch.float32).tiny == 2.0**-126 and 2**24 == 16777216
    whole = torch.tensor([2.0**-126, 2.0**-24, 2.0**-25])
    assert whole.bfloat16()[0] == 2.0**-126 and whole.half()[1:].tolist() == [2.0**-24, 0]
    assert round(96 / math.sqrt(3)) == 55  # rubric (a)
    kilobytes = [4 * (3 * L * 96 + 96**2 + L**2) / 1e3 for L in (64, 128)]
    assert [round(x) for x in kilobytes] == [127, 250]  # rubric (d)
    assert 196 == 4 * 49


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
