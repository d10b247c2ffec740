"""Every exercise of the book: its solution passes, its stub is not attempted, and each named mistake is caught as itself.

VIL_SEEDS=200 tries more seeds than the few of an ordinary run.
"""

import ast
import os
import re
from pathlib import Path

import nb
import pytest
from wrong_answers import MORE, WRONG

from vil_lite.teach.checks import CheckFailed, exercises

BOOK = Path(__file__).parents[2] / "book"
EXERCISES = exercises()
SEEDS = int(os.environ.get("VIL_SEEDS", "2"))
SLOW = {"2.5", "3.4", "4.5", "5.3", "8.5", "15.5", "P1.4"}  # one seed in an ordinary run, as a check takes long

each_exercise = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda one: f"{one.chapter}.{one.function}")


def seeds(exercise):
    return range(1 if exercise.number in SLOW and "VIL_SEEDS" not in os.environ else SEEDS)


def notebooks():
    """{name of a module of checks: cells of the notebook that calls them}."""
    found = {}
    for path in sorted(BOOK.glob("part*/*.ipynb")):
        cells = nb.read(path).cells
        calls = re.findall(
            r"^(?:\w+ = )?(\w+)\.check_\w+\(", "\n".join(c.source for c in cells if c.cell_type == "code"), re.M
        )
        found |= dict.fromkeys(calls, cells)
    return found


NOTEBOOKS = notebooks()


def defined(exercise, tag):
    """The student's function as the cell with this tag defines it, after the imports and definitions of the page."""
    space = {"__name__": "a page"}
    kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
    for cell in NOTEBOOKS[exercise.chapter]:
        if cell.cell_type == "code" and not {"setup", "exercise", "solution"} & set(nb.tags(cell)):
            kept = [node for node in ast.parse(cell.source).body if isinstance(node, kinds)]
            exec(compile(ast.Module(kept, []), "a page", "exec"), space)
    found = [
        cell.source
        for cell in NOTEBOOKS[exercise.chapter]
        if tag in nb.tags(cell) and f"{exercise.chapter}.{exercise.name}({exercise.function})" in cell.source
    ]
    assert len(found) == 1, f"{len(found)} {tag} cells check {exercise.function}"
    exec(re.split(r"^(?:\w+ = )?(?:ch\d\d[a-z]?|project\d)\.check_", found[0], flags=re.M)[0], space)
    return space[exercise.function]


@each_exercise
def test_the_solution_passes(exercise, capsys):
    solution = defined(exercise, "solution")
    for seed in seeds(exercise):
        exercise(solution, seed=seed)
    assert capsys.readouterr().out == f"✓ {exercise.title}\n" * len(seeds(exercise))


@each_exercise
def test_the_stub_is_not_attempted(exercise):
    assert exercise.outcome(defined(exercise, "exercise")).status == "not attempted"


@each_exercise
def test_every_named_mistake_is_caught_as_itself(exercise):
    assert exercise.mistakes
    for mistake, wrong in exercise.mistakes.items():
        for seed in seeds(exercise):
            outcome = exercise.outcome(wrong, seed=seed)
            assert (outcome.status, outcome.mistake) == ("near miss", mistake), f"{mistake}, seed {seed}: {outcome}"


@each_exercise
def test_a_wrong_answer_that_somebody_else_wrote_is_told(exercise):
    told = WRONG.get(exercise.chapter, {})
    assert exercise.function in told, f"tests/teach/wrong_answers.py has no wrong answer to {exercise.number}"
    answers = told[exercise.function]
    for wrong, message in answers if isinstance(answers, list) else [answers]:
        for seed in seeds(exercise):
            with pytest.raises(CheckFailed, match=message):
                exercise(wrong, seed=seed)


@pytest.mark.parametrize(("chapter", "function", "wrong", "message"), MORE)
def test_so_is_each_further_one(chapter, function, wrong, message):
    (exercise,) = (one for one in EXERCISES if (one.chapter, one.function) == (chapter, function))
    for seed in range(max(SEEDS, 6)):  # ties and sizes take turns
        with pytest.raises(CheckFailed, match=message):
            exercise(wrong, seed=seed)


def test_every_check_that_a_page_calls_is_an_exercise_with_the_number_of_its_heading():
    known = {(one.chapter, one.name, one.function): one.number for one in EXERCISES}
    assert len({one.number for one in EXERCISES}) == len(EXERCISES)
    called = {}
    for module, cells in NOTEBOOKS.items():
        number = None
        for cell in cells:
            if heading := re.search(r"^### (?:Exercise (\d+[a-z]?\.\d+)|Task (\d+)):", cell.source, re.M):
                number = heading[1] or f"P{module[-1]}.{heading[2]}"
            if "exercise" in nb.tags(cell):
                called |= dict.fromkeys(
                    re.findall(r"^(?:\w+ = )?(\w+)\.(check_\w+)\((\w+)\)", cell.source, re.M), number
                )
    assert called == known
