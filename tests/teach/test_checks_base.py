"""The machinery of exercises: what it says to a student, in each situation."""

import numpy as np
import pytest
import torch

from vil_lite.teach.checks._base import CheckFailed, Random, attempt, compare, compare_value, exercise, expect


def outer(k, v):
    return k[:, None] * v[None, :]


@exercise("the outer product")
def check_outer(student, rng):
    d, dv = rng.size(2, 5), rng.size(6, 8)
    compare(
        student, outer, {"k": rng.normal(d), "v": rng.normal(dv)},
        diagnose={"the product is divided by d, which belongs to the query": lambda k, v: outer(k, v) / len(k)},
    )


@exercise("one matrix")
def check_square(student, rng):
    compare(student, lambda a: a @ a, {"a": rng.normal(4, 4)})


def message(check, student, **options) -> str:
    with pytest.raises(CheckFailed) as failure:
        check(student, **options)
    return str(failure.value)


def test_right_answer_prints_a_tick(capsys):
    check_outer(torch.outer)
    assert capsys.readouterr().out == "✓ the outer product\n"


def stub(k, v):
    raise NotImplementedError("your turn")


@pytest.mark.parametrize("student", [stub, None, ...])
def test_stub_is_not_attempted_and_raises_nothing(student, capsys):
    check_outer(student)
    assert capsys.readouterr().out == "Not attempted yet: the outer product\n"
    assert check_outer.passes(student) is False


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


def test_an_exception_names_the_students_line_and_the_shapes():
    def student(k, v):
        both = torch.cat([k, v])
        return both.reshape(-1, 1000)

    text = message(check_outer, student)
    assert "both.reshape(-1, 1000)" in text and "`k` (" in text


def test_square_results_can_be_transposed():
    assert "it is transposed" in message(check_square, lambda a: (a @ a).T)


def test_a_matrix_for_a_vector_is_told_by_its_shape():
    @exercise("a vector")
    def check_vector(student, rng):
        compare(student, lambda k: k, {"k": rng.normal(3)})

    assert "has shape (3, 3); (3,) is wanted" in message(check_vector, lambda k: torch.outer(k, k))


def test_the_seed_in_the_message_repeats_the_case():
    sometimes = lambda k, v: outer(k, v) if len(k) != 3 else outer(k, v) * torch.arange(1, len(v) + 1)  # noqa: E731
    seed = next(s for s in range(100) if Random(s).size(2, 5) == 3)
    first = message(check_outer, sometimes, seed=seed)
    assert f"seed={seed}" in first
    assert message(check_outer, sometimes, seed=seed) == first


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
    @exercise("a step")
    def check(student, rng):
        compare(student, lambda a: (a, (a + 1, a * 2)), {"a": rng.normal(3)}, outputs=("h", "C", "n"))

    check(lambda a: (a, (a + 1, a * 2)))
    assert "`n` is off by" in message(check, lambda a: (a, (a + 1, a * torch.tensor([1.0, 2.0, 3.0]))))
    with pytest.raises(ValueError, match="outputs names 1"):
        compare(lambda a: (a, -a), lambda a: (a, a), {"a": torch.ones(2)}, outputs=("h",))


def test_values_can_be_checked_too():
    @exercise("count the parameters")
    def check(student, rng):
        compare_value(student, 12, diagnose={"the bias is forgotten": 9})

    check(12)
    check(None)
    assert "the bias is forgotten" in message(check, 9)
    assert "is 11, which is not right" in message(check, 11)
    assert "str" in message(check, "twelve")


def test_texts_can_be_checked():
    @exercise("name it")
    def check(student, rng):
        compare_value(student, "gate", diagnose={"that is the memory": "cell"})

    check("gate ")
    assert "that is the memory" in message(check, "cell")
    assert "'x', which is not right" in message(check, "x")


def test_attempt_turns_the_students_exceptions_into_messages():
    assert attempt(lambda a, b: a + b, 1, b=2) == 3
    with pytest.raises(CheckFailed, match=r"ZeroDivisionError: .* in line \d+ `.*1 / 0"):
        attempt(lambda: 1 / 0)
    with pytest.raises(NotImplementedError):
        attempt(stub, 1, 2)


def test_expect():
    expect(True, "never")
    with pytest.raises(CheckFailed, match="not causal"):
        expect(False, "not causal")


def test_a_notebook_shows_the_message_and_no_traceback():
    assert CheckFailed("wrong")._render_traceback_() == ["✗ wrong"]
    assert issubclass(CheckFailed, AssertionError)


def test_a_wrong_implementation_that_crashes_is_not_the_diagnosis():
    def crash(a):
        raise IndexError

    with pytest.raises(CheckFailed, match="off by"):
        compare(lambda a: a * a, lambda a: a, {"a": torch.tensor([2.0, 3.0])}, diagnose={"never": crash})


def test_arrays_are_compared_also_when_they_are_read_backwards():
    given = {"x": np.array([1.0, 2.0, 3.0])}
    compare(lambda x: x[::-1], lambda x: x[::-1].copy(), given)
    with pytest.raises(CheckFailed, match="forwards"):
        compare(lambda x: x, lambda x: x[::-1], given, diagnose={"forwards": lambda x: x})


def test_an_array_that_is_changed_in_place_is_told():
    def backwards(x):
        x[:] = x[::-1].copy()
        return x

    with pytest.raises(CheckFailed, match="changed in place"):
        compare(backwards, lambda x: x[::-1], {"x": np.array([1.0, 2.0, 3.0])})
