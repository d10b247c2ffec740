"""The three forms against the authors' reference, against each other, and at the edges of what gates can be."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vil_lite.mlstm import MLSTMState, mlstm_chunkwise, mlstm_chunkwise_loop, mlstm_parallel, mlstm_recurrent
from vil_lite.mlstm_fast import chunk_length
from vil_lite.teach.watch import watch

GOLDEN = np.load(Path(__file__).parent / "golden" / "mlstm_cell.npz")
CASES = sorted({key.split("/")[0] for key in GOLDEN})
FORMS = [mlstm_recurrent, mlstm_parallel, mlstm_chunkwise_loop, mlstm_chunkwise]
CHUNKWISE = [mlstm_chunkwise_loop, mlstm_chunkwise]


def random_inputs(S, d=4, dv=3, B=2, H=2, gate_scale=3.0, seed=0, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    q, k = (torch.randn(B, H, S, d, generator=g, dtype=torch.float64) for _ in range(2))
    v = torch.randn(B, H, S, dv, generator=g, dtype=torch.float64)
    i, f = (gate_scale * torch.randn(B, H, S, generator=g, dtype=torch.float64) for _ in range(2))
    return [x.to(dtype) for x in (q, k, v, i, f)]


def relative(a, b):
    return ((a.double() - b.double()).abs().max() / b.double().abs().max().clamp(min=1e-30)).item()


def condition(q, k, v, i, f):
    """How much the signed sum q . n cancels in each row (B, H, S), over tokens and over the parts of q and k, which the
    recurrence adds up in another order: no program can be exact beyond this factor."""
    q, k, v, i, f = (x.detach().double() for x in (q, k, v, i, f))
    i = i.clamp(-1e6, 1e6)
    F = torch.nn.functional.logsigmoid(f).clamp(min=-1e6 - 750).cumsum(-1)
    log_D = F[..., :, None] - F[..., None, :] + i[..., None, :]
    log_D = log_D.masked_fill(torch.ones(log_D.shape[-2:]).triu(1).bool(), -torch.inf)
    m = log_D.amax(-1).clamp(min=0)
    weights = q.shape[-1] ** -0.5 * torch.exp(log_D - m[..., None])
    scores, terms = (q @ k.mT) * weights, (q.abs() @ k.abs().mT) * weights
    return (terms.sum(-1) / torch.maximum(scores.sum(-1).abs(), torch.exp(-m))).clamp(min=1)


def close(h, wanted, inputs, tolerance=1e-10):
    """Numerator and denominator are each off by so much; what the latter is off by is multiplied by h."""
    size = inputs[2].abs().max() + wanted.abs().amax(-1)
    return ((h - wanted).abs().amax(-1) / (condition(*inputs) * size)).max() < tolerance


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", CASES)
def test_equals_the_authors_reference(form, case):
    q, k, v, i, f, wanted = (torch.from_numpy(GOLDEN[f"{case}/{name}"]).double() for name in "qkvifh")
    h, _ = form(q, k, v, i, f)
    assert relative(h, wanted) < 1e-6


@settings(max_examples=40, deadline=None)
@given(
    S=st.integers(1, 300),
    cut=st.floats(0, 1),
    chunk=st.integers(1, 70),
    gate_scale=st.sampled_from([0.1, 1.0, 30.0]),
    seed=st.integers(0, 10**6),
)
@example(S=224, cut=0.1, chunk=1, gate_scale=30.0, seed=248)  # cancels to a five-thousandth; and two products
def test_forms_agree_whole_and_cut_in_two(S, cut, chunk, gate_scale, seed):
    inputs = random_inputs(S, gate_scale=gate_scale, seed=seed)
    wanted, end = mlstm_recurrent(*inputs, eps=0.0)
    first = int(cut * S)
    for form in FORMS[1:]:
        options = {"chunk_size": chunk} if form in CHUNKWISE else {}
        h, state = form(*inputs, eps=0.0, **options)
        assert close(h, wanted, inputs)
        assert gate_scale > 1 or relative(h, wanted) < 1e-10
        assert_same_state(state, end)
        if 0 < first < S:
            h1, middle = form(*(x[:, :, :first] for x in inputs), eps=0.0, **options)
            h2, state = form(*(x[:, :, first:] for x in inputs), state=middle, eps=0.0, **options)
            assert close(torch.cat([h1, h2], 2), wanted, inputs)
            assert_same_state(state, end)


def assert_same_state(state, wanted):
    for name, a, b in zip(MLSTMState._fields, state, wanted, strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-9), name


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("S", [1, 7, 65, 130])
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_gates_of_ten_thousand_stay_finite_and_right(form, S, seed):
    g = torch.Generator().manual_seed(seed)
    q, k, v, i, f = random_inputs(S, d=8, dv=8, seed=seed)
    extremes = torch.tensor([-1e4, -100.0, 0.0, 100.0, 1e4], dtype=torch.float64)
    i, f = (extremes[torch.randint(0, 5, i.shape, generator=g)] + x for x in (i, f))
    single = [x.float().requires_grad_() for x in (q, k, v, i, f)]
    # the reference reads the same float32 numbers: near 1e4 their rounding alone would change the result
    wanted, _ = mlstm_recurrent(*(x.detach().double() for x in single))
    h, _ = form(*single)
    assert close(h, wanted, single, 1e-5)
    h.sum().backward()
    assert all(torch.isfinite(x.grad).all() for x in single)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("gate", [-1e4, 0.0, 1e4])
def test_half_precision_is_finite(form, dtype, gate):
    q, k, v, i, f = random_inputs(70, d=8, dv=8, dtype=torch.float32)
    for i_gate, f_gate in [(i + gate, f), (i, f + gate), (i + gate, f + gate), (i + gate, f - gate)]:
        q16, k16, v16 = (x.to(dtype).requires_grad_() for x in (q, k, v))
        i_gate, f_gate = i_gate.clone().requires_grad_(), f_gate.clone().requires_grad_()
        with torch.autocast("cpu", dtype=dtype):
            h, state = form(q16, k16, v16, i_gate, f_gate)
        assert h.dtype == dtype and state.C.dtype == torch.float32
        h.float().mean().backward()  # a sum can leave the range of float16 without any gate
        for x in (h, q16.grad, k16.grad, v16.grad, i_gate.grad, f_gate.grad, *state):
            assert torch.isfinite(x).all()


@pytest.mark.parametrize("form", FORMS)
def test_autocast_does_not_touch_gates_and_decays(form):
    q, k, v, i, f = random_inputs(500, d=8, dv=8, dtype=torch.float32, gate_scale=1.0)
    f = f + 4.0  # memories of fifty tokens: a sum of log gates in bfloat16 would be off by percents
    wanted, _ = form(q, k, v, i, f)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        h, _ = form(q, k, v, i, f)
    assert torch.equal(h, wanted)


@pytest.mark.parametrize("form", FORMS)
def test_gradcheck_of_inputs_and_state(form):
    inputs = random_inputs(
        5, d=3, dv=2, B=1, H=2, gate_scale=1.0
    )  # two chunks and a rest: twice as many tokens take long
    _, state = mlstm_recurrent(*random_inputs(5, d=3, dv=2, B=1, H=2, seed=1))
    options = {"chunk_size": 2} if form in CHUNKWISE else {}
    arguments = [x.clone().requires_grad_() for x in (*inputs, *state)]

    def call(q, k, v, i, f, C, n, m):
        h, end = form(q, k, v, i, f, MLSTMState(C, n, m), eps=0.0, **options)
        meant = end.m.exp()  # the stored memory depends on the stabiliser, the memory that is meant does not
        return h, meant[..., None, None] * end.C, meant[..., None] * end.n

    assert torch.autograd.gradcheck(call, arguments)


@pytest.mark.parametrize("form", FORMS[1:])
def test_gradients_equal_those_of_the_recurrence(form):
    inputs = [x.requires_grad_() for x in random_inputs(130)]
    weight = torch.randn(2, 2, 130, 3, dtype=torch.float64)
    wanted = torch.autograd.grad((mlstm_recurrent(*inputs, eps=0.0)[0] * weight).sum(), inputs)
    got = torch.autograd.grad((form(*inputs, eps=0.0)[0] * weight).sum(), inputs)
    assert all(relative(a, b) < 1e-9 for a, b in zip(got, wanted, strict=True))


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("form", FORMS[1:])
@pytest.mark.parametrize("d", [4, 33])  # two ways to carry the memory
def test_torch_func_transforms_them_as_it_does_the_recurrence(form, d):
    """vmap over each argument alone, tangents (jvp), gradients of each sample (vmap of grad)."""
    _, state = mlstm_recurrent(*random_inputs(3, d=d, dv=d, seed=1))
    arguments = [*random_inputs(6, d=d, dv=d, gate_scale=1.0), *state]
    options = {"chunk_size": 3} if form in CHUNKWISE else {}

    def output(form, **options):
        return lambda *x: form(*x[:5], MLSTMState(*x[5:]) if x[5:] else None, eps=0.0, **options)[0]

    def slopes(f):
        return torch.func.grad(lambda *x: f(*x).square().sum(), tuple(range(n)))

    for n in (5, 8):  # without a state and with one
        given, two = arguments[:n], [torch.stack([x, 0.5 * x]) for x in arguments[:n]]
        results = []
        for f in (output(form, **options), output(mlstm_recurrent)):
            results.append([torch.func.jvp(f, tuple(given), tuple(x.cos() for x in given))[1]])
            results[-1] += torch.func.vmap(slopes(f))(*two)
            for a in range(n):
                dims = tuple(0 if a == b else None for b in range(n))
                results[-1].append(torch.func.vmap(f, dims)(*given[:a], two[a], *given[a + 1 :]))
        torch.testing.assert_close(*results)


def test_the_fast_form_starts_as_few_operations_as_its_header_says():
    """Some 180 and one or two for each chunk; the loop some 100 for each."""

    def started(form, J):
        return watch(form, *random_inputs(64 * J, d=96, dv=96)).operations

    few, many = (started(mlstm_chunkwise, J) for J in (5, 20))
    assert 165 < few < many < 215 and 1 <= (many - few) / 15 <= 2
    assert 90 < (started(mlstm_chunkwise_loop, 20) - started(mlstm_chunkwise_loop, 5)) / 15 < 120


@pytest.mark.parametrize(
    ("S", "chunk", "wanted"), [(196, 64, 49), (64, 64, 64), (10, 64, 10), (97, 64, 64), (400, 64, 50)]
)
def test_chunk_length_divides_when_it_can(S, chunk, wanted):
    assert chunk_length(S, chunk) == wanted


@settings(max_examples=25, deadline=None)
@given(
    S=st.integers(1, 60),
    loud=st.sampled_from([0.0, 1e4, torch.inf]),
    reset=st.sampled_from([-2e6, -1e15, torch.finfo(torch.float32).min, -torch.inf]),
    count=st.integers(1, 40),
    chunk=st.integers(1, 50),
    dtype=st.sampled_from([torch.float64, torch.float32]),
    seed=st.integers(0, 10**6),
)
def test_a_forget_gate_far_below_is_an_exact_reset(S, loud, reset, count, chunk, dtype, seed):
    """All forms agree, and give what they give without the tokens before the reset; gradients are finite."""
    q, k, v, i, f = random_inputs(S, seed=seed, gate_scale=1.0, dtype=dtype)
    places = torch.Generator().manual_seed(seed)
    i[..., torch.randint(0, S, (2,), generator=places)] = loud
    i[..., torch.randint(0, S, (2,), generator=places)] = -torch.inf
    at = torch.randint(0, S, (count,), generator=places)
    f[..., at] = reset
    inputs = [x.requires_grad_() for x in (q, k, v, i, f)]
    after = [x.detach()[:, :, at.max() :] for x in inputs]
    wanted, end = mlstm_recurrent(*(x.detach().double() for x in inputs), eps=0.0)
    # sums of numbers near 10,000, or near a million (i = inf), have fewer digits behind the point
    tolerance = 1e-4 if dtype == torch.float32 else {0.0: 1e-10, 1e4: 1e-8, torch.inf: 1e-6}[loud]
    for form in FORMS:
        options = {"chunk_size": chunk} if form in CHUNKWISE else {}
        h, state = form(*inputs, eps=0.0, **options)
        assert close(h, wanted, inputs, tolerance)
        assert torch.allclose(state.m, end.m, atol=tolerance) and torch.allclose(
            state.C.double(), end.C, atol=100 * tolerance
        )
        assert close(h[:, :, at.max() :], form(*after, eps=0.0, **options)[0], after, tolerance)
        assert form is mlstm_recurrent or all(x.isfinite().all() for x in torch.autograd.grad(h.sum(), inputs))


@pytest.mark.parametrize("form", FORMS)
def test_a_token_with_input_gate_minus_infinity_writes_nothing(form):
    inputs = random_inputs(150, gate_scale=1.0)
    inputs[3][..., 70] = -torch.inf
    inputs[4][..., 70] = torch.inf  # and forgets nothing: as if it were not there
    without = [torch.cat([x[:, :, :70], x[:, :, 71:]], 2) for x in inputs]
    h, wanted = form(*inputs, eps=0.0)[0], form(*without, eps=0.0)[0]
    assert relative(torch.cat([h[:, :, :70], h[:, :, 71:]], 2), wanted) < 1e-10


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("gate", [3, 4])
@pytest.mark.parametrize("S", [40, 150, 64 * 70])
def test_a_nan_gate_spoils_no_token_before_it_and_all_after(form, gate, S):
    if S > 1000 and form is not mlstm_chunkwise:
        S = 130
    inputs = random_inputs(S, gate_scale=1.0)
    wanted, _ = form(*inputs)
    inputs[gate][..., S // 2] = torch.nan
    h, state = form(*inputs)
    assert torch.equal(h[:, :, : S // 2], wanted[:, :, : S // 2])
    assert h[:, :, S // 2 :].isnan().all() and state.m.isnan().all()


@pytest.mark.parametrize("form", FORMS)
def test_a_state_with_m_minus_infinity_is_an_empty_memory(form):
    inputs = random_inputs(100, gate_scale=1.0)
    C, n = torch.randn(2, 2, 4, 3), torch.randn(2, 2, 4)
    m = torch.full((2, 2), -torch.inf, requires_grad=True)
    h, state = form(*inputs, MLSTMState(C, n, m), eps=0.0)
    wanted, end = form(*inputs, eps=0.0)
    assert close(h, wanted, inputs)
    assert_same_state(state, end)
    assert torch.autograd.grad(h.sum(), m)[0].isfinite().all()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("sigma", [6, 12, 16, 24, 48])
def test_float16_holds_large_queries_keys_and_values(form, sigma):
    """As long as h itself lies within the range of float16, which ends at 65504; with a state, and in any chunks."""
    g = torch.Generator().manual_seed(0)
    q, k, v = (sigma * torch.randn(3, 1, 4, 200, 96, generator=g)).half()
    i, f = torch.randn(2, 1, 4, 200, generator=g)
    wanted, _ = mlstm_recurrent(q.double(), k.double(), v.double(), i, f + 3)
    h, state = form(q[:, :, :90], k[:, :, :90], v[:, :, :90], i[..., :90], f[..., :90] + 3)
    rest, _ = form(q[:, :, 90:], k[:, :, 90:], v[:, :, 90:], i[..., 90:], f[..., 90:] + 3, state)
    for found in (form(q, k, v, i, f + 3)[0], torch.cat([h, rest], dim=2)):
        inside = wanted.abs() < 60000
        assert found[inside].isfinite().all() and inside.float().mean() > 0.99
        error = ((found - wanted).abs() * inside).amax(-1) / condition(q, k, v, i, f + 3)
        assert error.max() < 0.01 * wanted.abs()[inside].max()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("key", "value"), [(20, 1000), (200, 1), (5, 3000)])
def test_float16_holds_tokens_that_agree(form, key, value):
    """Sums over equal tokens do not cancel: they leave the range of float16, and h, their mean, does not."""
    k, v = (torch.full((1, 1, 200, 64), x, dtype=torch.float16) for x in (key, value))
    gates = torch.zeros(1, 1, 200)
    h, state = form(k, k, v, gates, gates + 6)
    _, end = mlstm_recurrent(k.double(), k.double(), v.double(), gates, gates + 6)
    assert h.dtype == torch.float16 and torch.allclose(h.float(), torch.tensor(float(value)), rtol=2e-3)
    assert torch.allclose(state.C.double(), end.C, rtol=2e-3) and torch.allclose(state.n.double(), end.n, rtol=2e-3)


@pytest.mark.parametrize("form", FORMS)
def test_wrong_kinds_of_numbers_are_named(form):
    q, k, v, i, f = random_inputs(6)
    wrong = {
        "q must be a torch.Tensor, got ndarray; use torch.as_tensor": (q.numpy(), k, v, i, f),
        "v must be of a floating-point dtype, got torch.int64; use v.float": (q, k, v.long(), i, f),
        "k must be of a floating-point dtype, got torch.complex64": (q, k.to(torch.complex64), v, i, f),
        "q, k and v must have one dtype, got q torch.float64, k torch.float32": (q, k.float(), v, i, f),
        "one dtype, got q torch.float64, k torch.float64, v torch.bfloat16": (q, k, v.bfloat16(), i, f),
        "f, the pre-activation of a gate, must be real numbers, got torch.bool; use f.float": (q, k, v, i, f > 0),
        "i, the pre-activation of a gate, must be real numbers, got torch.complex128": (q, k, v, i + 0j, f),
    }
    for message, inputs in wrong.items():
        with pytest.raises(TypeError, match=message):
            form(*inputs)


@pytest.mark.parametrize("form", FORMS)
def test_wrong_shapes_are_named(form):
    q, k, v, i, f = random_inputs(6)
    with pytest.raises(ValueError, match=r"q and k must be \(B, H, S, d\)"):
        form(q, k[..., :2], v, i, f)
    with pytest.raises(ValueError, match=r"q and k must be"):
        form(q[0], k[0], v[0], i[0], f[0])
    with pytest.raises(ValueError, match="one pre-activation per token and head"):
        form(q, k, v, i[..., None], f)
    _, state = form(q, k, v, i, f)
    with pytest.raises(ValueError, match="state must be MLSTMState"):
        form(q, k, v, i, f, MLSTMState(state.C.mT, state.n, state.m))


@pytest.mark.parametrize("form", CHUNKWISE)
def test_chunk_size_must_be_positive(form):
    with pytest.raises(ValueError, match="chunk_size must be at least 1"):
        form(*random_inputs(6), chunk_size=0)
