"""The machinery of exercises: what it says to a student, in each situation."""

import types

import numpy as np
import pytest
import torch

from vil_lite.teach.checks import CheckFailed, Died, ch01, ch03
from vil_lite.teach.checks._base import Random, attempt, exercise, expect, expect_gradients, watched


def outer(k, v, *, by=1.0):
    return k[:, None] * v[None, :] / by


@exercise(
    "0.1",
    "the outer product",
    outer,
    mistakes={
        "the product is halved": {"by": 2.0},
        "the product is divided by d, which belongs to the query": lambda k, v: outer(k, v) / len(k),
    },
)
def check_outer(rng):
    return {"k": rng.normal(rng.turn([2, 3, 4, 5])), "v": rng.normal(rng.size(6, 8))}


def one(reference, *cases, **options):
    """An exercise whose cases are the given inputs."""
    return exercise("0.2", "one", reference, mistakes=options.pop("mistakes", {}), cases=len(cases), **options)(
        lambda rng: cases[rng.case]
    )


def message(check, student, **options) -> str:
    with pytest.raises(CheckFailed) as failure:
        check(student, **options)
    return str(failure.value)


def stub(k, v):
    raise NotImplementedError("your turn")


@pytest.mark.parametrize("student", [stub, None, ...])
def test_stub_is_not_attempted_and_raises_nothing(student, capsys):
    check_outer(student)
    assert capsys.readouterr().out == "Not attempted yet: the outer product\n"
    assert check_outer.passes(student) is False


def test_the_books_own_function_is_no_attempt():
    assert ch01.check_shares.outcome(ch01.shares).status == "not attempted"
    assert ch01.check_shares.outcome(lambda i, f: ch01.shares(i, f)).status == "not attempted"
    assert ch03.check_interference.outcome(lambda k, v: ch03.recall(k, k, v)).status == "wrong"  # of 3.1: may be used


def test_an_operation_that_torch_lacks_is_not_a_stub():
    half = lambda k, v: (k[:, None] > 0) @ (v[None, :] > 0)  # noqa: E731
    assert "NotImplementedError" in message(check_outer, half)


def test_outcomes_for_a_program():
    def dies(k, v):
        raise Died("the process is gone")

    statuses = {
        "right": torch.outer,
        "near miss": lambda k, v: outer(k, v) / 2,
        "wrong": lambda k, v: outer(k, v) ** 2,
        "not attempted": stub,
        "died": dies,
    }
    for status, student in statuses.items():
        assert check_outer.outcome(student, seed=3).status == status
    near = check_outer.outcome(statuses["near miss"])
    assert near.mistake == "the product is halved" and near.mistake in near.message


@pytest.mark.parametrize(
    ("student", "said"),
    [
        (lambda k, v: outer(k, v) / len(k), "divided by d, which belongs to the query"),
        (lambda k, v: None, "nothing is returned"),
        (lambda k, v: outer(v, k), "is it transposed?"),
        (lambda k, v: outer(k, v).double(), "right values but is torch.float64"),
        (lambda k, v: outer(k, v) / 0, "infinite values"),
        (lambda k, v: outer(k, v) * float("nan"), "NaN values"),
        (lambda k, v: (outer(k, v), k), "2 values are returned; 1 wanted"),
        (lambda k, v: "a matrix", "is a str; a tensor is wanted"),
        (lambda k, v: 3 * outer(k, v), "it is 3 times what it should be"),
        (lambda k, v: -outer(k, v), "the sign is wrong"),
        (lambda k, v: outer(k, v) + 2, "plus 2, everywhere"),
        (lambda k, v: 0 * outer(k, v), "zero everywhere"),
        (lambda k, v: outer(k.add_(1) - 1, v), "the argument `k` is changed in place"),
        (lambda k, v: k @ v, "RuntimeError"),
        (lambda k: k, "TypeError"),
    ],
)
def test_each_kind_of_mistake_has_its_own_message(student, said):
    text = message(check_outer, student)
    assert said in text
    assert "\n" not in text and len(text) < 400


def test_lists_of_numbers_are_a_matrix_and_a_tensor_unpacks_into_several_values():
    assert check_outer.passes(lambda k, v: [[float(a * b) for b in v] for a in k])
    assert check_outer.passes(lambda k, v: tuple(tuple((a * v).tolist()) for a in k))
    two = one(lambda a, b: (a + b, a - b), {"a": torch.rand(3), "b": torch.rand(3)}, outputs=("s", "d"))
    assert two.passes(lambda a, b: torch.stack([a + b, a - b]))
    assert two.passes(lambda a, b: torch.stack([a + b, a - b]).numpy())
    assert "is off by" in message(two, lambda a, b: torch.stack([a - b, a + b]))


def test_the_type_of_a_single_number_is_free():
    check = one(lambda a: a.sum(), {"a": torch.rand(3)})
    assert check.passes(lambda a: a.double().sum())


def test_an_exception_names_the_students_line_and_the_shapes():
    def student(k, v):
        both = torch.cat([k, v])
        return both.reshape(-1, 1000)

    text = message(check_outer, student)
    assert "both.reshape(-1, 1000)" in text and "`k` (" in text


def test_a_mistake_is_named_only_where_it_explains_every_answer():
    twice = lambda k, v: outer(k, v) / (2 if len(k) == 2 else 7)  # noqa: E731
    assert "halved" not in message(check_outer, twice)


def test_a_mistake_that_fails_for_some_shapes_is_the_diagnosis_where_the_student_fails_too():
    square, tall = {"a": torch.rand(2, 2)}, {"a": torch.rand(3, 2)}
    check = one(lambda a: a.T @ a, tall, square, mistakes={"a a instead of a^T a": lambda a: a @ a})
    assert "a a instead of" in message(check, lambda a: a.matmul(a))
    assert "RuntimeError" in message(check, lambda a: a @ a @ a)


def test_a_matrix_for_a_vector_is_told_by_its_shape():
    check = one(lambda k: k, {"k": torch.ones(3)})
    assert "has shape (3, 3); (3,) is wanted" in message(check, lambda k: torch.outer(k, k))
    assert "it is transposed" in message(one(lambda a: a, {"a": torch.rand(3, 3)}), lambda a: a.T.clone())


def test_a_finite_number_for_minus_infinity_is_told_where():
    check = one(lambda x: torch.tensor([0.0, -torch.inf]) + x, {"x": torch.ones(2)})
    assert "is -99 at index (1,), where -inf is wanted" in message(check, lambda x: torch.tensor([1.0, -99.0]))


def test_a_wrong_yes_or_no_is_told_where():
    check = one(lambda x: x > 1, {"x": torch.arange(4)})
    assert "the result is True at index (1,), where False is wanted" in message(check, lambda x: x > 0)


def test_whole_numbers_may_be_of_any_kind():
    check = one(lambda n: torch.arange(n), {"n": 5})
    check(lambda n: torch.arange(n, dtype=torch.int32))
    assert "torch.bool" in message(one(lambda n: torch.arange(n), {"n": 2}), lambda n: torch.tensor([False, True]))


def test_lists_of_numbers_of_numpy_are_as_good_as_arrays():
    check = one(lambda x: (x, 2 * x), {"x": np.arange(3)}, outputs=("a", "b"))
    check(lambda x: (list(x), list(2 * x)))


def test_the_seed_in_the_message_repeats_the_case():
    sometimes = lambda k, v: outer(k, v) * (1 if len(v) < 8 else torch.arange(1, 9))  # noqa: E731
    seed = next(s for s in range(100) if check_outer.outcome(sometimes, s).status == "wrong")
    first = message(check_outer, sometimes, seed=seed)
    assert f"check_outer(outer, seed={seed})" in first  # what one has to type
    assert message(check_outer, sometimes, seed=seed) == first


def test_neighbouring_seeds_and_other_exercises_share_no_case():
    seeds = {check.seed_of(s, case) for check in (check_outer, ch03.check_step) for s in range(50) for case in range(5)}
    assert len(seeds) == 500


def test_cases_are_fresh_without_a_seed_and_leave_the_notebooks_generator_alone():
    seen = []

    def student(k, v):
        seen.append(float(k[0]))
        torch.rand(1)
        return outer(k, v)

    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    before = torch.rand(1)
    check_outer(student)
    check_outer(student)
    after = torch.rand(1)
    assert torch.equal(torch.cat([before, after]), expected)
    assert len(set(seen)) == len(seen) == 10


def test_named_results_and_nested_states():
    check = one(lambda a: (a, (a + 1, a * 2)), {"a": torch.rand(3)}, outputs=("h", "C", "n"))
    check(lambda a: (a, (a + 1, a * 2)))
    assert "`n` is off by" in message(check, lambda a: (a, (a + 1, a * torch.tensor([1.0, 2.0, 3.0]))))
    with pytest.raises(ValueError, match="outputs names 1"):
        one(lambda a: (a, -a), {"a": torch.ones(2)}, outputs=("h",))(lambda a: (a, -a))


def test_texts_can_be_checked():
    check = one(lambda n: "gate", {"n": 1}, mistakes={"that is the memory": lambda n: "cell"})
    check(lambda n: "gate ")
    assert "that is the memory" in message(check, lambda n: "cell")
    assert "'x', which is not right" in message(check, lambda n: "x")


def test_what_equality_cannot_see_comes_after_the_values():
    @exercise("0.3", "one product", lambda a: a @ a, mistakes={})
    def check(rng, student):
        yield {"a": rng.normal(3, 3)}
        expect(watched(student, rng.normal(9, 9)).operations == 1, "one product is enough", ", not more")

    check(lambda a: torch.mm(a, a))
    assert "not more" in message(check, lambda a: (a @ a) + 0)
    assert check.outcome(lambda a: (a @ a) + 0).mistake == "one product is enough"
    assert "off by" in message(check, lambda a: a @ a + torch.rand(3, 3))


def test_gradients_are_compared():
    def student(x):
        return x.exp()

    inputs = {"x": torch.tensor([1.0, 100.0]), "n": 3}
    expect_gradients(lambda x, n: student(x), lambda x, n: student(x), {"x": inputs["x"][:1], "n": 3})
    cases = {
        "no gradient comes back to `x`": lambda x, n: x.detach() ** 2,
        "NaN or infinite": lambda x, n: torch.where(x < 50, x.exp(), x.exp()) * 0 + x**2,
        "is wrong": lambda x, n: x.detach() * x,
    }
    for said, wrong in cases.items():
        with pytest.raises(CheckFailed, match=said):
            expect_gradients(wrong, lambda x, n: x**2, inputs)


def test_attempt_turns_the_students_exceptions_into_messages():
    assert attempt(lambda a, b: a + b, 1, b=2) == 3
    with pytest.raises(CheckFailed, match=r"ZeroDivisionError: .* in line \d+ `.*1 / 0"):
        attempt(lambda: 1 / 0)
    with pytest.raises(NotImplementedError):
        attempt(stub, 1, 2)


def test_a_proxy_says_where_it_went_wrong_and_what_it_watched():
    def remote(k, v):
        error = ValueError("no")
        error.place = ", in line 3 `x = no`"
        raise error

    assert "ValueError: no, in line 3 `x = no`" in message(check_outer, remote)
    remote.watched = lambda a: ("seen", a)
    assert watched(remote, 5) == ("seen", 5)


def test_a_notebook_shows_the_message_and_no_traceback():
    assert CheckFailed("wrong")._render_traceback_() == ["✗ wrong"]
    assert issubclass(CheckFailed, AssertionError)


def test_arrays_are_compared_also_when_they_are_read_backwards():
    given = {"x": np.array([1.0, 2.0, 3.0])}
    one(lambda x: x[::-1].copy(), given)(lambda x: x[::-1])
    assert "forwards" in message(one(lambda x: x[::-1], given, mistakes={"forwards": lambda x: x}), lambda x: x + 0)


@pytest.mark.parametrize(
    ("given", "change"),
    [
        (np.array([1.0, 2.0, 3.0]), lambda x: x.sort()),
        ([torch.zeros(2), torch.ones(2)], lambda x: x.reverse()),
        ({"a": 1, "b": 2}, lambda x: x.pop("a")),
        (types.SimpleNamespace(w=torch.ones(2)), lambda x: x.w.add_(1)),
    ],
)
def test_an_argument_that_is_changed_in_place_is_told(given, change):
    given = given[::-1].copy() if isinstance(given, np.ndarray) else given

    def student(x):
        change(x)
        return 1

    assert "`x` is changed in place" in message(one(lambda x: 1, {"x": given}), student)


def test_sizes_and_turns():
    assert {Random(s).size(2, 4) for s in range(40)} == {2, 3, 4}
    assert [Random(0, case).turn("ab") for case in range(3)] == ["a", "b", "a"]
