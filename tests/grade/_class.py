"""Invented submissions, and the grading of one of them, for the tests of vil_lite.grade."""

import json
import shutil
from pathlib import Path

import pytest

from vil_lite.grade import assignment, one

needs_bwrap = pytest.mark.skipif(
    not shutil.which("bwrap"), reason="no bubblewrap: install Debian's package `bubblewrap`"
)

RIGHT = "import math\ndef loudness(n, share):\n    return math.log(n * share / (1 - share))"  # 2.1, without torch


def notebook(*cells: str) -> str:
    """The text of a notebook with these code cells."""
    made = [{"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None, "source": c} for c in cells]
    return json.dumps({"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


def plan(folder: Path, text: str = 'exercises = ["2.1"]', seconds: float = 3) -> assignment.Assignment:
    """An assignment with a seed and short limits, written to a file of the folder."""
    path = folder / "assignment.toml"
    if not path.exists():
        path.write_text(f'seed = "a secret"\nseconds = {seconds}\nmemory = 300\n{text}\n')
    return assignment.read(path)


def verdicts(folder: Path, *cells: str, **options) -> list[dict]:
    """What the exercises of a submission with these cells earn."""
    path = folder / "submission.ipynb"
    path.write_text(notebook(*cells))
    return one.grade(plan(folder, **options), path)["verdicts"]


def verdict(folder: Path, *cells: str, **options) -> dict:
    """The same where the assignment is one exercise."""
    return verdicts(folder, *cells, **options)[0]
