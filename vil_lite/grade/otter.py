"""Tests for those who have Otter-Grader: convenience, not protection.

Otter runs a submission in the process that holds the checks, so a submission can reach them: see the notes for teachers.
"""

import re
from pathlib import Path

from vil_lite._files import write as write_whole

from .assignment import catalogue

LABEL = "# Convenience, not protection: Otter runs this check in the student's own process."
TEST = """{label}
OK_FORMAT = False

from otter.test_files import test_case

name = {name!r}
points = {points}


@test_case(points={points})
def test_{check}({function}):
    from {package} import {chapter}

    outcome = {chapter}.{check}.outcome({function}, seed={seed})
    assert outcome.status == "right", outcome.message or outcome.status
"""


def write(plan, folder: Path) -> None:
    """Write tests/NUMBER.py for every exercise of the assignment, and a README that says what they are worth."""
    known = catalogue()
    for task in plan.tasks:
        name = "q" + re.sub(r"\W", "_", task.number)
        package = known[task.number]._body.__module__.rpartition(".")[0]
        values = {key: getattr(task, key) for key in ("points", "check", "function", "chapter")}
        text = TEST.format(label=LABEL, name=name, package=package, seed=plan.seed_of(task, 0), **values)
        write_whole(Path(folder) / "tests" / f"{name}.py", text)
    write_whole(
        Path(folder) / "README.md",
        f"# {plan.title}: tests for Otter-Grader\n\nConvenience, not protection: Otter runs these checks in the student's own "
        "process, where a submission can\nreplace them. `python -m vil_lite.grade` does not. The student notebooks of `student/` "
        "are used unchanged:\n\n"
        "    otter generate -t tests --no-environment -o autograder.zip\n    otter run -a autograder.zip NOTEBOOK.ipynb\n\n"
        "The Python that runs Otter needs vil_lite as well.\n",
    )
