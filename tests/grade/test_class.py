"""A class through the command line: a row for everybody, nothing that runs in a page, and a run that is killed goes on."""

import csv
import json
import os
import pickle
import runpy
import signal
import subprocess
import sys
import time
import types
from contextlib import suppress
from pathlib import Path

import pytest
from _class import RIGHT, needs_bwrap, notebook, plan

from vil_lite.grade import otter, report, run, sandbox, submissions
from vil_lite.grade.__main__ import UNSAFE, main
from vil_lite.grade.one import grade

ROOT = Path(__file__).parents[2]
SCRIPT = "<script>alert(1)</script>"
BOOK = """
import torch
def exclusive_log_decay(i, f):
    F = torch.nn.functional.logsigmoid(f).cumsum(0)
    return (F[:, None] - F + i).masked_fill(torch.ones(len(i), len(i)).triu(1).bool(), -torch.inf)
"""  # chapter 4's own answer, handed in for its exam variant
EXAM = BOOK.replace("(F[:, None] -", "((F - torch.nn.functional.logsigmoid(f))[:, None] -").replace(
    "triu(1)", "triu(0)"
)
INFECT = """
import os, sys
def loudness(n, share):
    for path in ("/tmp/answer", "/student/library/vil_lite/answer", "/dev/shm/answer", os.path.expanduser("~/answer")):
        try:
            open(path, "w").write("math.log(n * share / (1 - share))")
        except OSError:
            pass
    os._exit(0)
"""
INFECTED = """
import math, os
def loudness(n, share):
    for path in ("/tmp/answer", "/student/library/vil_lite/answer", "/dev/shm/answer", os.path.expanduser("~/answer")):
        if os.path.exists(path):
            return eval(open(path).read())
    return math.log(share / (1 - share))
"""
SHARE_ALONE = "import math\ndef loudness(n, share):\n    return math.log(share / (1 - share))"
CLASS = {
    "right.ipynb": RIGHT + EXAM,
    "near.ipynb": INFECTED + BOOK,
    f"{SCRIPT[:8]}&.ipynb": f"def loudness(n, share):\n    raise ValueError('{SCRIPT}')",
    "=cmd.ipynb": INFECT,
}


def started(folder, *more):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "vil_lite.grade", "assignment.toml", "class", "out", *more]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True, **pipes)


def killed(folder, *more):
    """Start it, and kill it and all that it has started once one more row is there."""
    going, path = started(folder, *more), folder / "out" / "results.jsonl"
    size = path.stat().st_size if path.is_file() else 0
    while not (path.is_file() and path.stat().st_size > size) and going.poll() is None:
        time.sleep(0.05)
    with suppress(ProcessLookupError):
        os.killpg(going.pid, signal.SIGKILL)
    going.communicate()
    return {row["name"] for row in run.stored(folder / "out")}


@pytest.fixture
def folder(tmp_path):
    plan(tmp_path, 'exercises = ["2.1"]\nexams = ["ch04"]\nnear_miss_half = true', seconds=20)
    (tmp_path / "class").mkdir()
    for name, cell in CLASS.items():
        (tmp_path / "class" / name).write_text(notebook(cell))
    return tmp_path


def results(folder):
    with open(folder / "out" / "grades.csv", newline="") as file:
        return {row["student"]: row for row in csv.DictReader(file)}


@needs_bwrap
def test_a_class_that_is_killed_and_goes_on(folder):
    before = killed(folder, "--jobs", "2")
    with open(folder / "out" / "results.jsonl", "a") as file:
        file.write('{"key": "half a li')  # as if it had been cut off in the middle
    assert 1 <= len(before) < len(CLASS)
    again = killed(folder, "--jobs", "1")
    assert before < again
    before = again

    second = started(folder)
    said, told = second.communicate()
    assert second.returncode == 0, told
    assert f"{len(CLASS)}/{len(CLASS)}" in told and not any(
        f"  {name}\n" in told for name in before
    )  # not graded again
    assert len(run.stored(folder / "out")) == len(CLASS)
    rows = results(folder)
    status = {name: (row["2.1 status"], row["exam 4 status"], row["points"]) for name, row in rows.items()}
    assert status == {
        "right.ipynb": ("right", "right", "2"),
        "near.ipynb": ("near miss", "near miss", "1"),
        "<script>&.ipynb": ("wrong", "not attempted", "0"),
        "'=cmd.ipynb": ("died", "not attempted", "0"),
    }
    assert rows["near.ipynb"]["2.1 mistake"].startswith("the others are forgotten")
    assert rows["near.ipynb"]["exam 4 mistake"].startswith("this is the book's own convention")
    for page in [*(folder / "out" / "feedback").iterdir(), folder / "out" / "class.html"]:
        assert "<script" not in page.read_text()
    assert "seed=" not in (folder / "out" / "grades.csv").read_text()


class Bomb:
    """Writes a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@needs_bwrap
def test_a_pickle_in_a_submission_is_never_opened(tmp_path):
    goes_off, folder = tmp_path / "gone off", tmp_path / "class" / "one"
    paths = [folder / name for name in ("bomb.pkl", "results.pt", "bomb.ipynb", "__pycache__/a.pyc")]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(Bomb(goes_off)))
    (folder / "a.ipynb").write_text(notebook(SHARE_ALONE))
    one = plan(tmp_path)
    assert submissions.names(folder.parent) == ["one"] and run.key(one, folder, False)
    (got,) = grade(one, folder)["verdicts"]
    assert (got["status"], got["points"]) == ("near miss", 0) and not goes_off.exists()
    pickle.loads(paths[0].read_bytes()).close()
    assert goes_off.exists()  # it is a bomb


def row(name="a", **verdict):
    given = {"number": "2.1", "status": "right", "points": 1.0, "mistake": "", "message": "", "seconds": 0.1} | verdict
    return {"name": name, "notes": [], "versions": "v", "claims": "", "verdicts": [given]}


def test_reports_escape_and_warn(tmp_path):
    rows = [row("=1+1", status="wrong", points=0.0, message=f"{SCRIPT}\n@SUM(A1)"), row("../../x")]
    report.write(plan(tmp_path), rows, tmp_path / "out", UNSAFE)
    pages = list((tmp_path / "out").rglob("*.html"))
    assert len(pages) == 3 and all(p.is_relative_to(tmp_path / "out") for p in pages)
    for page in pages:
        assert UNSAFE in page.read_text() and "<script" not in page.read_text()
    table = (tmp_path / "out" / "grades.csv").read_text()
    assert "'=1+1" in table and UNSAFE in table


def test_half_a_surrogate_pair_stops_no_report(tmp_path):
    """A student's message may hold one, and so does a file name of another encoding, as archives of Windows give."""
    rows = [row(), row("M\udcfcller.ipynb", status="wrong", message=chr(0xD800)) | {"notes": ["\udcfc"]}, row("z")]
    report.write(plan(tmp_path), rows, tmp_path / "out")
    assert len(list((tmp_path / "out" / "feedback").iterdir())) == 3
    assert "M\\udcfcller" in (tmp_path / "out" / "class.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("cell", ["=1+1", "+1+1", "@SUM(A1)", "-1+1", "|x", "\t=1", "\n=1"])
def test_no_cell_is_a_formula(cell):
    assert report.harmless(cell).startswith("'")


def test_a_mistake_is_counted_for_the_next_lecture(tmp_path):
    rows = [row(str(n), status="near miss", points=0.5, mistake="the sign is wrong") for n in range(3)]
    page = report.class_page(plan(tmp_path), rows, "")
    assert "<td>3</td><td>2.1</td><td>the sign is wrong</td>" in page


def test_the_class_page_says_what_to_look_at(tmp_path):
    rows = [row("a", status="died"), row("b"), row("c", status="look by hand") | {"notes": ["two notebooks"]}]
    page = report.class_page(plan(tmp_path), rows, "")
    assert "<td>a</td><td>2.1: died</td>" in page and "<td>c</td><td>two notebooks; 2.1: look by hand</td>" in page


def test_the_median_of_two_lies_between_them(tmp_path):
    page = report.class_page(plan(tmp_path), [row("a", points=0.0), row("b")], "")
    assert "median 0.5." in page


@pytest.fixture
def counted(folder, monkeypatch):
    """The submissions that are graded from now on; grading gives a row at once."""
    graded = []

    def at_once(assignment, one, path, unsafe):
        graded.append(path.name)
        verdicts = [row(number=task.number)["verdicts"][0] for task in one.tasks]
        return {"notes": [], "versions": "v", "claims": "", "verdicts": verdicts}

    monkeypatch.setattr(run, "grade_one", at_once)
    monkeypatch.chdir(folder)
    return graded


@needs_bwrap
def test_one_late_submission_leaves_the_table_of_the_class(folder, counted, capsys):
    assert main(["assignment.toml", "class", "out", "--only", "near"]) == 0
    assert "3 others have no grade yet" in capsys.readouterr().err and len(results(folder)) == 1
    main(["assignment.toml", "class", "out"])
    before, counted[:] = results(folder), []
    main(["assignment.toml", "class", "out", "--only", "near", "--again"])
    assert counted == ["near.ipynb"] and results(folder) == before and len(before) == len(CLASS)
    assert "no grade yet" not in capsys.readouterr().err
    assert f"<p>{len(CLASS)} submissions" in (folder / "out" / "class.html").read_text()


@needs_bwrap
def test_the_results_are_no_student(folder, counted, capsys):
    for _ in range(2):
        assert main(["assignment.toml", "class", "class/out"]) == 0
    assert sorted(counted) == sorted(CLASS)
    assert main(["assignment.toml", "class", "class"]) == 2
    assert "choose another folder for the results" in capsys.readouterr().err


@needs_bwrap
def test_results_that_cannot_be_written_are_told_without_a_traceback(folder, counted, capsys):
    (folder / "out").touch()
    assert main(["assignment.toml", "class", "out"]) == 2
    assert "is a file; choose a folder" in capsys.readouterr().err


@pytest.mark.parametrize("trouble", ["killed", "not started"])
def test_a_grader_that_failed_is_tried_again(trouble, tmp_path, monkeypatch):
    def fails(command, **options):
        if trouble == "killed":
            return subprocess.CompletedProcess(command, -9, "", "out of memory")
        got = row(status="look by hand", points=0.0, message=f"{sandbox.NOT_STARTED}: it said nothing")
        return subprocess.CompletedProcess(command, 0, json.dumps(got), "")

    one = plan(tmp_path)
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "a.ipynb").write_text(notebook(RIGHT))
    given = ("assignment.toml", one, tmp_path / "class", tmp_path / "out", 1)
    monkeypatch.setattr(run.subprocess, "run", fails)
    assert run.run(*given)[0]["verdicts"][0]["status"] == "look by hand"
    monkeypatch.setattr(run, "grade_one", lambda *_: row())
    assert run.run(*given)[0]["verdicts"][0]["status"] == "right"
    assert len(run.stored(tmp_path / "out")) == 1


def test_a_dead_grader_still_gives_a_row(tmp_path):
    one = plan(tmp_path)
    got = run.grade_one("no such file", one, tmp_path / "a.ipynb", False)
    assert [v["status"] for v in got["verdicts"]] == ["look by hand"] and "the grader ended" in got["notes"][0]
    assert json.dumps(got)


def test_without_bubblewrap_it_refuses_and_says_what_to_do(folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.chdir(folder)
    assert main(["assignment.toml", "class", "out"]) == 2
    told = capsys.readouterr().err
    assert "bubblewrap (bwrap) is not installed" in told and "WSL 2" in told
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("bwrap: Unknown option --size", "bubblewrap 0.7 or newer"),
        ("bwrap: The --size option is not permitted in setuid mode", "setuid bit"),
        ("bwrap: setting up uid map: Permission denied", "apparmor_restrict_unprivileged_userns"),
        ("bwrap: loopback: Failed RTM_NEWADDR: Operation not permitted", "apparmor_restrict_unprivileged_userns"),
    ],
)
def test_a_bubblewrap_that_does_not_start_is_not_installed_again(said, remedy, tmp_path, monkeypatch):
    fake = tmp_path / "bwrap"
    fake.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(sandbox.NoSandbox) as told:
        sandbox.check_sandbox()
    assert said in str(told.value) and remedy in str(told.value) and "apt-get" not in str(told.value)


@needs_bwrap
def test_a_package_that_submissions_would_not_find_is_named(tmp_path, monkeypatch):
    sandbox.check_sandbox()
    (tmp_path / "site" / "torchlike").mkdir(parents=True)
    (tmp_path / "site" / "torchlike" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setattr(sandbox, "NEEDED", ("numpy", "torchlike"))
    for unsafe in (False, True):
        with pytest.raises(
            sandbox.NoSandbox, match=f"(?s)no torchlike: it lies in {tmp_path / 'site'}.*virtual environment"
        ):
            sandbox.check_sandbox(unsafe=unsafe)


@needs_bwrap
def test_nothing_secret_may_lie_where_submissions_can_read(folder, monkeypatch, capsys):
    seen = Path(sys.prefix) / "class"  # need not exist
    with pytest.raises(sandbox.NoSandbox, match="class lies in .*, which submissions can read: move it"):
        sandbox.check_sandbox(folder, seen)
    monkeypatch.chdir(folder)
    assert main(["assignment.toml", "class", str(seen / "out")]) == 2
    assert "which submissions can read" in capsys.readouterr().err
    monkeypatch.setattr(sandbox, "LIBRARY", Path("/usr/src/book/vil_lite"))  # a checkout; an installed one is covered
    with pytest.raises(sandbox.NoSandbox, match="/usr/src/book/vil_lite lies in /usr"):
        sandbox.check_sandbox()


@pytest.mark.parametrize("gone", ["bwrap", "nobody"])
def test_a_worker_that_cannot_be_started_is_no_grade(gone, tmp_path, monkeypatch):
    def nobody():
        raise sandbox.NoSandbox("there is no user `nobody`")

    one = plan(tmp_path)
    (tmp_path / "a.ipynb").write_text(notebook(RIGHT))
    monkeypatch.setenv("PATH", str(tmp_path))
    if gone == "nobody":
        monkeypatch.setattr(sandbox, "ordinary_user", nobody)
    with pytest.raises(sandbox.NoSandbox, match=gone):
        grade(one, tmp_path / "a.ipynb")


def test_otter_gets_a_test_for_each_exercise(tmp_path):
    plan(tmp_path)
    assert main([str(tmp_path / "assignment.toml"), "--otter", str(tmp_path / "otter")]) == 0
    text = (tmp_path / "otter" / "tests" / "q2_1.py").read_text()
    compile(text, "q2_1.py", "exec")
    assert "not protection" in text and "not protection" in (tmp_path / "otter" / "README.md").read_text().lower()


def test_otter_finds_the_check_of_an_exam(folder, monkeypatch):
    otter.write(plan(folder), folder / "otter")
    assert sorted(path.name for path in (folder / "otter" / "tests").iterdir()) == ["q2_1.py", "qexam_4.py"]
    stand_in = types.SimpleNamespace(test_case=lambda points: lambda test: test)
    monkeypatch.setitem(sys.modules, "otter", types.SimpleNamespace(test_files=stand_in))
    monkeypatch.setitem(sys.modules, "otter.test_files", stand_in)
    answers = {}
    exec(RIGHT + EXAM, answers)
    for name, check, function in (("q2_1", "loudness", "loudness"), ("qexam_4",) + ("exclusive_log_decay",) * 2):
        test = runpy.run_path(str(folder / "otter" / "tests" / f"{name}.py"))[f"test_check_{check}"]
        test(answers[function])
        with pytest.raises(AssertionError):
            test(lambda *_: 0.0)
