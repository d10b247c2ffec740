"""What was handed in: a notebook, a folder of notebooks, or a zip; read with limits, opened as JSON, nothing of it run."""

import hashlib
import json
import os
import re
import stat
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

LARGEST = 32 << 20  # bytes of one notebook, with its pictures
TOTAL = 256 << 20  # bytes of all notebooks of one submission
ENTRIES = 2000  # files of one submission
SOURCE = 1 << 20  # characters of code in one notebook
HIDDEN = (".", "__MACOSX")
NOT_READ = (".rar", ".7z", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".py", ".html")  # handed in for a notebook, at times


@dataclass
class Notebook:
    """file: its name in the submission.  cells: the sources of its code cells.  claims: versions that its output names."""

    file: str
    cells: list[str]
    claims: str = ""


@dataclass
class Submission:
    """notebooks: those that could be read.  notes: what could not, and anything else a teacher should look at."""

    notebooks: list[Notebook] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def names(folder: Path, out: Path | None = None) -> list[str]:
    """The submissions of a class: every notebook, folder and archive of a folder but `out`, the results, by name."""
    here = out and Path(out).resolve()
    return sorted(entry.name for entry in _entries(folder) if _is_one(entry) and entry.resolve() != here)


def passed_over(folder: Path) -> list[str]:
    """What lies beside the submissions, a list of names for example."""
    return sorted(entry.name for entry in _entries(folder) if not _is_one(entry))


def _entries(folder: Path) -> list[Path]:
    return [entry for entry in Path(folder).iterdir() if not entry.name.startswith(HIDDEN)]


def _is_one(entry: Path) -> bool:
    return entry.is_symlink() or entry.is_dir() or entry.suffix.lower() in (".ipynb", ".zip", *NOT_READ)


def digest(path: Path) -> str:
    """A hash of all notebooks of a submission, by which a finished grade is recognised."""
    total = hashlib.sha256()
    submission = Submission()
    for name, data in _files(path, submission):
        total.update(f"{name}\n{len(data)}\n".encode("utf-8", "backslashreplace") + data)  # a name may be no UTF-8
    total.update("\n".join(submission.notes).encode("utf-8", "backslashreplace"))
    return total.hexdigest()


def read(path: Path) -> Submission:
    """Read one submission.  Never raises for what is wrong with it: that becomes a note."""
    submission = Submission()
    for name, data in _files(path, submission):
        try:
            submission.notebooks.append(_notebook(name, data))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            submission.notes.append(f"{name} is no notebook that can be read ({type(error).__name__})")
    if not submission.notebooks:
        submission.notes.append("no notebook was found")
    return submission


def _notebook(name: str, data: bytes) -> Notebook:
    cells = json.loads(data.decode("utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    sources = [source if isinstance(source := cell["source"], str) else "".join(source) for cell in code]
    if sum(map(len, sources)) > SOURCE:
        raise ValueError("too much code")
    said = re.search(r"vil_lite [\w.+-]{1,30} · torch [\w.+-]{1,30}", data.decode("utf-8"))
    return Notebook(name, sources, said.group() if said else "")


def _files(path: Path, submission: Submission):
    """(name, bytes) of every notebook; notes about what is left out."""
    path, taken = Path(path), 0
    if path.is_symlink():
        submission.notes.append("the submission is a link, which is not followed")
        return
    try:
        source = _folder(path) if path.is_dir() else _zip(path) if path.suffix.lower() == ".zip" else _single(path)
        for number, (name, size, why_not, data) in enumerate(source):
            if number >= ENTRIES:
                submission.notes.append(f"more than {ENTRIES} files; the rest is left out")
                return
            if not name.lower().endswith(".ipynb") or any(part.startswith(HIDDEN) for part in Path(name).parts):
                if name.lower().endswith((".zip", *NOT_READ)) or why_not:
                    submission.notes.append(f"{name} is left out ({why_not or 'only notebooks are graded'})")
                continue
            if why_not or size > LARGEST or taken + size > TOTAL:
                submission.notes.append(f"{name} is left out ({why_not or 'too large'})")
                continue
            content = data()
            if len(content) > LARGEST:
                submission.notes.append(f"{name} is left out (larger than it says)")
                continue
            taken += len(content)
            yield name, content
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError) as error:
        submission.notes.append(f"could not be read to the end ({type(error).__name__}: {error})")
    except Exception as error:  # zlib.error, lzma.LZMAError: a damaged zip
        submission.notes.append(f"could not be unpacked to the end ({type(error).__name__})")


def _read(path: Path) -> bytes:
    """At most one byte more than is allowed; a pipe or a device is no file."""
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("no regular file")
        return file.read(LARGEST + 1)


def _single(path: Path):
    yield path.name, path.stat().st_size, "", lambda: _read(path)


def _folder(root: Path):
    for folder, folders, files in os.walk(root, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith(HIDDEN))
        for name in sorted(files) + [name for name in folders if (Path(folder) / name).is_symlink()]:
            path = Path(folder) / name
            kind = path.lstat()
            why_not = "a link" if path.is_symlink() else "" if stat.S_ISREG(kind.st_mode) else "no regular file"
            yield str(path.relative_to(root)), kind.st_size, why_not, lambda path=path: _read(path)


def _zip(path: Path):
    """Entries are read in memory, one at a time; nothing is unpacked to the disk."""
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            why_not = ""
            if stat.S_ISLNK(entry.external_attr >> 16):
                why_not = "a link"
            elif entry.filename.startswith(("/", "\\")) or ".." in Path(entry.filename.replace("\\", "/")).parts:
                why_not = "its path leads out of the zip"
            elif entry.flag_bits & 1:
                why_not = "encrypted"
            if not entry.is_dir():
                yield entry.filename, entry.file_size, why_not, lambda entry=entry: _entry(archive, entry)


def _entry(archive, entry) -> bytes:
    with archive.open(entry) as file:
        return file.read(LARGEST + 1)


# ---------------------------------------------------------------- which notebook is which


def sort_out(submission: Submission, tasks, known: dict) -> dict:
    """{chapter: Notebook}: which notebook holds which assigned chapter, by what is in it; names of files do not count."""
    functions: dict = {}
    for exercise in known.values():
        functions.setdefault(exercise.chapter, []).append(exercise.function)
    assigned = dict.fromkeys(task.chapter for task in tasks)
    every = [name for chapter in assigned for name in set(functions[chapter])]
    unique = {chapter: [n for n in functions[chapter] if every.count(n) == 1] for chapter in assigned}
    found: dict = {chapter: [] for chapter in functions}
    for notebook in submission.notebooks:
        text = "\n".join(notebook.cells)
        scores = {chapter: _likeness(text, chapter, names) for chapter, names in functions.items()}
        best = max(scores, key=scores.get)
        if scores[best]:
            found[best].append((scores[best], notebook))
    chosen = {}
    for chapter in assigned:
        if not found[chapter]:  # one notebook for several chapters, or for an exam: names of this chapter alone tell
            own = [n for n in submission.notebooks if _may_hold(n, chapter)]
            scored = [(_likeness("\n".join(n.cells), chapter, unique[chapter]), n) for n in own]
            found[chapter] = [max(scored, key=lambda pair: pair[0])] if any(score for score, _ in scored) else []
        candidates = sorted(found[chapter], key=lambda pair: (-pair[0], pair[1].file))
        if candidates:
            chosen[chapter] = candidates[0][1]
            others = [notebook.file for _, notebook in candidates[1:] if notebook.cells != chosen[chapter].cells]
            if others:
                said = f"several notebooks for {chapter}: {chosen[chapter].file} is graded, not {', '.join(others)}"
                submission.notes.append(said)
    return chosen


def _may_hold(notebook: Notebook, chapter: str) -> bool:
    """Another chapter's page may have a helper of that name; a notebook that calls checks calls those of its exercises."""
    called = set(re.findall(r"\b(\w+)\.check_\w+\(", "\n".join(notebook.cells)))
    return chapter.startswith("exam_") or not called or chapter in called


def _likeness(text: str, chapter: str, functions) -> int:
    """How many of a chapter's functions and checks a notebook holds."""
    defined = sum(bool(re.search(rf"^(def {name}\b|{name}\s*=)", text, flags=re.M)) for name in functions)
    return (defined + 2 * len(set(re.findall(rf"\b{chapter}\.check_\w+", text)))) if defined else 0
