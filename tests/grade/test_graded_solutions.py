"""Every solution of the book passes through the wire, and every stub is told from an attempt: one worker for all chapters."""

import re

import nb
import pytest
from _class import needs_bwrap

from vil_lite.grade.one import Student, lent
from vil_lite.grade.sandbox import Sandbox
from vil_lite.teach.checks import exercises

pytestmark = needs_bwrap
EXERCISES = exercises()


@pytest.fixture(scope="module")
def worker():
    worker = Sandbox(False, lambda name: lent(name, worker.earlier))
    yield worker
    worker.close()


def cells_of(chapter: str, dropped: str) -> list[str]:
    """The code of the chapter's notebook without the cells of one tag."""
    for path in nb.chapters():
        cells = [cell for cell in nb.read(path).cells if cell.cell_type == "code"]
        if any(re.search(rf"\b{chapter}\.check_\w+\(", cell.source, flags=re.M) for cell in cells):
            return [cell.source for cell in cells if dropped not in nb.tags(cell)]
    raise AssertionError(f"no notebook calls the checks of {chapter}")


def define(worker, chapter: str, dropped: str) -> dict:
    """Have the worker define the functions of a chapter; the errors that this gives."""
    functions = [exercise.function for exercise in EXERCISES if exercise.chapter == chapter]
    said = worker.define(cells_of(chapter, dropped), functions, seconds=60, memory=2000)
    assert sorted(said["there"]) == sorted(set(functions)), said
    return said["errors"]


@pytest.mark.parametrize("chapter", dict.fromkeys(exercise.chapter for exercise in EXERCISES))
def test_the_solutions_of_a_chapter_pass_and_its_stubs_do_not_count(chapter, worker):
    own = [exercise for exercise in EXERCISES if exercise.chapter == chapter]
    for dropped, wanted in (("exercise", "right"), ("solution", "not attempted")):
        assert define(worker, chapter, dropped) == {}
        for exercise in own:
            worker.allow(60)
            worker.earlier = EXERCISES[: EXERCISES.index(exercise)]
            outcome = exercise.outcome(Student(worker, exercise.function, exercise.function), seed=3)
            assert outcome.status == wanted, f"{exercise.number}: {outcome}"
