"""What the tests of every chapter's checks share: the page's own stubs and solutions, and the refusal of wrong answers."""

import re
import sys
from pathlib import Path

import pytest

from vil_lite.teach.checks import CheckFailed

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "book" / "_tools"))

import nb  # noqa: E402


def page_tests(page, checks, space=None, seeds=5):
    """Two tests, for each exercise of a notebook: its solution passes with every seed, its stub is not attempted.

    page: path below book/.   checks: {name of the student's function: check}.   space: what its cells take from others.
    """
    cells = nb.read(ROOT / "book" / page).cells

    def defined(tag, name):
        """The function of the cell with this tag, without the call of its check and what comes after."""
        found = [cell.source for cell in cells if tag in nb.tags(cell) and f"def {name}(" in cell.source]
        assert found, f"no {tag} cell of {page} defines {name}"
        names = dict(space or {})
        exec(re.split(r"^(?:ch\d\d|project\d)\.check_", found[0], flags=re.M)[0], names)
        return names[name]

    @pytest.mark.parametrize("name", checks)
    def test_the_solution_passes(name, capsys):
        for seed in range(seeds):
            checks[name](defined("solution", name), seed=seed)
        assert capsys.readouterr().out.count("✓") == seeds

    @pytest.mark.parametrize("name", checks)
    def test_the_stub_is_not_attempted(name, capsys):
        checks[name](defined("exercise", name))
        assert capsys.readouterr().out.startswith("Not attempted yet")

    return test_the_solution_passes, test_the_stub_is_not_attempted


def rejects(check, wrong, message, seeds=5):
    """The check refuses this wrong answer, and says why, with every seed."""
    for seed in range(seeds):
        with pytest.raises(CheckFailed, match=message):
            check(wrong, seed=seed)
