"""What is read of what was handed in, and what is refused: nothing is followed, unpacked to the disk, or believed by its name."""

import os
import runpy
import zipfile
from pathlib import Path

import pytest
from _class import RIGHT, notebook, plan

from vil_lite.grade import assignment, submissions

CHECKED = [RIGHT, "ch02.check_loudness(loudness)"]


def read(path):
    return submissions.read(path)


def zipped(path, entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return path


def test_a_notebook_a_folder_and_a_zip_are_read_alike(tmp_path):
    (tmp_path / "a.ipynb").write_text(notebook("x = 1"))
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    (tmp_path / "folder" / "deep" / "b.ipynb").write_text(notebook("x = 1"))
    zipped(
        tmp_path / "c.zip", [("deep/c.ipynb", notebook("x = 1")), ("__MACOSX/._c.ipynb", "?"), ("notes.txt", "hello")]
    )
    for name in ("a.ipynb", "folder", "c.zip"):
        one = read(tmp_path / name)
        assert [n.cells for n in one.notebooks] == [["x = 1"]] and one.notes == []
    assert submissions.names(tmp_path) == ["a.ipynb", "c.zip", "folder"]


def test_a_name_of_another_encoding_is_read(tmp_path):
    (tmp_path / "ben").mkdir()
    path = os.fsencode(tmp_path / "ben") + b"/M\xfcller.ipynb"
    with open(path, "w") as file:
        file.write(notebook("x = 1"))
    (tmp_path / "ben" / "a.zip").touch()
    os.rename(tmp_path / "ben" / "a.zip", path + b".zip")  # left out with a note, which names it
    assert len(submissions.digest(tmp_path / "ben")) == len(submissions.digest(Path(os.fsdecode(path)))) == 64
    assert read(tmp_path / "ben").notebooks[0].cells == ["x = 1"]


def link(name):
    entry = zipfile.ZipInfo(name)
    entry.external_attr = 0o120777 << 16
    return entry


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ([("bomb.ipynb", b"0" * (submissions.LARGEST + 1))], "too large"),
        ([("../../evil.ipynb", "{}")], "leads out of the zip"),
        ([("/etc/evil.ipynb", "{}")], "leads out of the zip"),
        ([(link("link.ipynb"), "/etc/passwd")], "a link"),
        ([("more.zip", "PK")], "only notebooks are graded"),
        ([("a.ipynb", "[" * 100_000)], "no notebook that can be read"),
        ([("a.ipynb", '{"cells": 3}')], "no notebook that can be read"),
        ([("a.ipynb", b"\xff\xfe")], "no notebook that can be read"),
        ([("a.ipynb", notebook("x" * (submissions.SOURCE + 1)))], "no notebook that can be read"),
        ([(f"{n}.txt", "") for n in range(submissions.ENTRIES + 1)], "files; the rest is left out"),
        ([], "no notebook was found"),
    ],
)
def test_a_zip_that_means_harm_becomes_a_note(entries, told, tmp_path):
    one = read(zipped(tmp_path / "x.zip", entries))
    assert one.notebooks == [] and any(told in note for note in one.notes), one.notes
    assert [p.name for p in tmp_path.iterdir()] == ["x.zip"]


def test_many_notebooks_of_a_bomb_stop_at_the_total(tmp_path, monkeypatch):
    monkeypatch.setattr(submissions, "TOTAL", 1000)
    one = read(zipped(tmp_path / "x.zip", [(f"{n}.ipynb", notebook("x" * 500)) for n in range(4)]))
    assert len(one.notebooks) == 1 and sum("too large" in note for note in one.notes) == 3


def test_links_pipes_and_devices_are_not_opened(tmp_path):
    secret = tmp_path / "secret.ipynb"
    secret.write_text(notebook("the class seed"))
    folder = tmp_path / "class" / "student"
    folder.mkdir(parents=True)
    (folder / "a.ipynb").symlink_to(secret)
    (folder / "home").symlink_to(tmp_path)
    os.mkfifo(folder / "b.ipynb")
    (tmp_path / "class" / "link").symlink_to(folder)
    assert read(folder).notebooks == [] and len(read(folder).notes) == 4
    assert read(tmp_path / "class" / "link").notes[0] == "the submission is a link, which is not followed"
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(b"PK\x03\x04 no zip")
    assert "could not be read" in read(damaged).notes[0]


def test_chapters_are_found_by_what_is_in_them(tmp_path):
    one, known = plan(tmp_path), assignment.catalogue()
    for name, cells in (
        ("z.ipynb", CHECKED),
        ("b.ipynb", [RIGHT]),
        ("a.ipynb", ["def recall(q): pass", "ch03.check_recall(recall)"]),
    ):
        (tmp_path / "s").mkdir(exist_ok=True)
        (tmp_path / "s" / name).write_text(notebook(*cells))
    submission = read(tmp_path / "s")
    chosen = submissions.sort_out(submission, one.tasks, known)
    assert {chapter: n.file for chapter, n in chosen.items()} == {"ch02": "z.ipynb"}
    assert submission.notes == ["several notebooks for ch02: z.ipynb is graded, not b.ipynb"]


def test_a_helper_of_the_same_name_in_another_chapter_is_no_answer(tmp_path):
    """Chapter 4's page defines `recall` and `parallel` for itself: they are exercises of chapter 3 and of the project."""
    one, known = plan(tmp_path, 'exercises = ["3.1", "4.2"]'), assignment.catalogue()
    other = ["def recall(q): pass\ndef half_life(bias): pass", "ch04.check_half_life(half_life)"]
    (tmp_path / "a.ipynb").write_text(notebook(*other))
    assert set(submissions.sort_out(read(tmp_path / "a.ipynb"), one.tasks, known)) == {"ch04"}
    (tmp_path / "b.ipynb").write_text(notebook(*other, "ch03.check_recall(recall)"))
    assert set(submissions.sort_out(read(tmp_path / "b.ipynb"), one.tasks, known)) == {"ch03", "ch04"}
    (tmp_path / "c.ipynb").write_text(notebook("def recall(q): pass\ndef half_life(bias): pass"))
    assert set(submissions.sort_out(read(tmp_path / "c.ipynb"), one.tasks, known)) == {"ch03", "ch04"}


def test_an_archive_of_another_kind_gets_a_row_and_the_rest_is_named(tmp_path):
    for name in ("anna.tar.gz", "ben.7z", "cleo.py", "list of names.xlsx", "dan.ipynb", ".DS_Store"):
        (tmp_path / name).write_bytes(b"x")
    assert submissions.names(tmp_path) == ["anna.tar.gz", "ben.7z", "cleo.py", "dan.ipynb"]
    assert submissions.passed_over(tmp_path) == ["list of names.xlsx"]
    assert read(tmp_path / "anna.tar.gz").notes == [
        "anna.tar.gz is left out (only notebooks are graded)",
        "no notebook was found",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("chapters = ['ch02']", "a secret seed is wanted"),
        ("seed = 'x'", "nothing to grade"),
        ("seed = 'x'\nchapter = ['ch02']", "did you mean 'chapters'"),
        ("seed = 'x'\nchapters = ['ch2']", "did you mean 'ch"),
        ("seed = 'x'\nexercises = ['2.9']", "there is no exercise '2.9'"),
        ("seed = 'x'\nexercises = ['2.1']\n[points]\n'2.2' = 3", "not assigned"),
        ("seed = 'x'\nexercises = ['2.1']\n[points]\n'2.1' = -1", "points of 2.1 is -1"),
        ("seed = 'x'\nexercises = ['2.1']\nseconds = true", "seconds is True"),
        ("seed = 'x'\nexercises = ['2.1']\nnear_miss_half = 0.5", "true or false is wanted"),
        ("seed = 'x'\nchapters = 'ch02'", "chapters is 'ch02'; a list of texts is wanted"),
        ("seed = 'x'\nexercises = [2.1]", "exercises is .*; a list of texts is wanted"),
        ("seed = 'x'\nexercises = ['2.1']\npoints = 3", "points is 3; a table is wanted"),
        ("seed = 'x'\nexercises = ['2.1']\nlimits = 3", "limits is 3; a table is wanted"),
        ("seed = 'x'\nexercises = ['2.1']\n[limits]\n'2.1' = 60", "has 60 for '2.1'; a table is wanted"),
        ("seed = 'x'\nexercises = ['2.1']\n[limits.'2.1']\nsecond = 60", "'second' .did you mean 'seconds'"),
        ("seed = ", "is no TOML"),
    ],
)
def test_an_assignment_that_cannot_be_meant_is_refused(text, told, tmp_path):
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(assignment.BadAssignment, match=told.replace("(", r"\(")):
        assignment.read(tmp_path / "a.toml")


@pytest.mark.parametrize("name", ["traversal.py", "teach/watch.py", "teach/checks/ch02.py", "grade/one.py"])
def test_a_grade_is_not_kept_when_the_code_behind_it_changes(name, tmp_path, monkeypatch):
    before = plan(tmp_path).digest
    assert before == plan(tmp_path).digest
    changed, real = assignment.LIBRARY / name, Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: real(path) + b"#" * (path == changed))
    assert before != plan(tmp_path).digest


def test_a_grade_is_not_kept_for_another_torch(tmp_path, monkeypatch):
    before = plan(tmp_path).digest
    monkeypatch.setattr(assignment, "version", lambda name: "0.0")
    assert before != plan(tmp_path).digest


@pytest.mark.parametrize("path", sorted(assignment.READY.glob("*.toml")), ids=lambda p: p.stem)
def test_ready_assignments_can_be_read(path):
    one = assignment.read(path.stem)
    assert one.total >= len(one.tasks) > 15
    assert len({one.seed_of(task, n) for task in one.tasks for n in range(3)}) == 3 * len(one.tasks)
    assert assignment.read(path).seed == assignment.PUBLIC_SEED  # the command says that it is no secret


def test_the_demonstration_has_seven_students(tmp_path):
    make = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "class" / "make.py"))
    make["write"](tmp_path)
    names = submissions.names(tmp_path)
    assert [Path(name).stem for name in names] == ["blank", "crash", "half", "hostile", "near", "solved", "twice"]
    assert [len(read(tmp_path / name).notebooks) for name in names] == [1, 1, 1, 1, 1, 1, 2]
