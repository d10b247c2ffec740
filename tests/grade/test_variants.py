"""Exam variants: the reference passes, every named mistake is caught as itself, the book's own solution fails, none is shipped."""

import importlib
import pkgutil

import pytest

from vil_lite.grade import exam, variants
from vil_lite.grade.sandbox import library
from vil_lite.teach.checks import Exercise, exercises

MODULES = [importlib.import_module(f"{variants.__name__}.{m.name}") for m in pkgutil.iter_modules(variants.__path__)]
VARIANTS = [x for module in MODULES for x in vars(module).values() if isinstance(x, Exercise)]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.chapter)
def test_the_reference_passes_and_every_mistake_is_named(variant):
    for seed in range(4):
        assert variant.outcome(lambda *x: variant.reference(*x), seed=seed).status == "right"
        for name, wrong in variant.mistakes.items():
            outcome = variant.outcome(wrong, seed=seed)
            assert (outcome.status, outcome.mistake) == ("near miss", name), f"seed {seed}, {name}: {outcome}"


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.chapter)
def test_no_solution_of_the_chapter_passes(variant):
    own = [exercise for exercise in exercises() if f"exam_{exercise.chapter}" == variant.chapter]
    assert own
    for exercise in own:
        assert variant.outcome(lambda *x, known=exercise.reference: known(*x), seed=1).status in ("wrong", "near miss")


def test_there_is_one_for_each_chapter_and_none_in_the_sandbox():
    assert {v.chapter for v in VARIANTS} >= {f"exam_{x.chapter}" for x in exercises()}
    assert not [path for path in library() if "grade" in path.parts[-2:]]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.chapter)
def test_the_question_can_be_handed_out(variant):
    text = exam.question(variant)
    space: dict = {}
    exec(text.split("```python\n")[1].split("```")[0], space)
    assert variant.outcome(space[variant.function], seed=0).status == "not attempted"
    assert "mistake" not in text and "exam_" not in text
