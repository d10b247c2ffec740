"""What is graded, for how many points, within which limits: the assignment file.

title = "Part 1: the memory cell"
seed = "any secret text"          # one for the whole class; who knows it could prepare for the numbers
chapters = ["ch01", "ch02"]       # all exercises of these
exercises = ["3.1", "3.4"]        # and these single ones
exams = ["ch04"]                  # and the exam variants of these chapters
near_miss_half = true             # a named mistake earns half of the points
seconds = 20                      # for each exercise, from the moment the worker is ready
memory = 2000                     # MiB for each notebook, on top of what Python and torch take
[points]                          # 1 each, where nothing is said
"3.4" = 3
[limits."15.5"]
seconds = 60
"""

import hashlib
import importlib
import pkgutil
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from vil_lite._names import did_you_mean

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: What stands in the ready files in place of a secret.
PUBLIC_SEED = "change this line for your class, and keep it to yourself"
KNOWN = {"title", "seed", "chapters", "exercises", "exams", "near_miss_half", "seconds", "memory", "points", "limits"}
LIMITS = {"seconds", "memory"}
FORMS = {"chapters": list, "exercises": list, "exams": list, "points": dict, "limits": dict}
READY = Path(__file__).parent / "assignments"
LIBRARY = Path(__file__).parents[1]


class BadAssignment(ValueError):
    """The assignment file cannot be used; the message says why and what to change."""


@dataclass(frozen=True)
class Task:
    """One exercise of the assignment.  number: "3.4"; module: the check's; seconds, memory: its limits."""

    number: str
    title: str
    chapter: str
    check: str
    function: str
    points: float
    seconds: float
    memory: int


@dataclass(frozen=True)
class Assignment:
    """The file, read and checked.  digest: changes with everything that could change a grade."""

    title: str
    seed: str
    near_miss_half: bool
    tasks: tuple[Task, ...]
    digest: str

    @property
    def total(self) -> float:
        return sum(task.points for task in self.tasks)

    def seed_of(self, task: Task, round: int) -> int:
        """The seed of one round of one exercise: the same for the whole class, and not to be guessed from another."""
        text = f"{self.seed}\n{task.number}\n{round}".encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=4).digest(), "big") >> 1


def catalogue() -> dict:
    """{number: exercise} of the book and of the exam variants, in the order of the book."""
    from vil_lite.teach.checks import exercises

    from . import variants

    exams = [importlib.import_module(f"{variants.__name__}.{m.name}") for m in pkgutil.iter_modules(variants.__path__)]
    found = list(exercises()) + [x for module in exams for x in vars(module).values() if hasattr(x, "outcome")]
    return {exercise.number: exercise for exercise in found}


def read(path) -> Assignment:
    """Read an assignment file: a path, or the name of a ready one (part1 to part4).  Raises BadAssignment."""
    path = READY / f"{path}.toml" if (READY / f"{path}.toml").is_file() else Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        given = tomllib.loads(text)
    except FileNotFoundError:
        ready = ", ".join(sorted(p.stem for p in READY.glob("*.toml")))
        raise BadAssignment(f"there is no file {path}; give a file, or one of the ready ones: {ready}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadAssignment(f"{path} is no TOML: {error}") from None
    for key in given:
        if key not in KNOWN:
            raise BadAssignment(f"{path}: unknown entry {key!r}{did_you_mean(key, KNOWN)}")
        value, kind = given[key], FORMS.get(key)
        if kind and not isinstance(value, kind) or kind is list and not all(isinstance(one, str) for one in value):
            form = "a list of texts" if kind is list else "a table"
            raise BadAssignment(f"{path}: {key} is {value!r}; {form} is wanted")
    if not isinstance(given.get("seed"), str) or not given["seed"].strip():
        raise BadAssignment(f'{path}: a secret seed is wanted, any text of your own: seed = "..."')
    known = catalogue()
    numbers = _numbers(given, known, path)
    if not numbers:
        raise BadAssignment(f'{path}: nothing to grade; chapters = ["ch03"] or exercises = ["3.4"] is wanted')
    points, limits = given.get("points", {}), given.get("limits", {})
    for where, table in (("points", points), ("limits", limits)):
        for number in table:
            if number not in numbers:
                raise BadAssignment(
                    f"{path}: [{where}] names {number!r}, which is not assigned{did_you_mean(number, numbers)}"
                )
    for number, table in limits.items():
        if not isinstance(table, dict):
            raise BadAssignment(f"{path}: [limits] has {table!r} for {number!r}; a table is wanted: seconds, memory")
        for key in table.keys() - LIMITS:
            raise BadAssignment(f'{path}: [limits."{number}"] has an unknown entry {key!r}{did_you_mean(key, LIMITS)}')
    tasks = []
    for number in numbers:
        one, own = known[number], limits.get(number, {})
        tasks.append(
            Task(
                number,
                one.title,
                one.chapter,
                one.name,
                one.function,
                points=_number(points.get(number, 1), f"points of {number}", path, least=0),
                seconds=_number(own.get("seconds", given.get("seconds", 20)), "seconds", path, least=0.1),
                memory=int(_number(own.get("memory", given.get("memory", 2000)), "memory", path, least=100)),
            )
        )
    half = given.get("near_miss_half", False)
    if not isinstance(half, bool):
        raise BadAssignment(f"{path}: near_miss_half is {half!r}; true or false is wanted")
    title = str(given.get("title", path.stem))
    return Assignment(title, given["seed"], half, tuple(tasks), _digest(text))


def _numbers(given: dict, known: dict, path) -> list[str]:
    """The exercises that the file asks for, in the order of the book."""
    wanted = set()
    chapters = {exercise.chapter for exercise in known.values()}
    for entry, prefix in (("chapters", ""), ("exams", "exam_")):
        for chapter in given.get(entry, []):
            found = [n for n, exercise in known.items() if exercise.chapter == f"{prefix}{chapter}"]
            if not found:
                raise BadAssignment(
                    f"{path}: {entry} names {chapter!r}, which is none{did_you_mean(chapter, chapters)}"
                )
            wanted |= set(found)
    for number in given.get("exercises", []):
        if number not in known:
            raise BadAssignment(f"{path}: there is no exercise {number!r}{did_you_mean(number, known)}")
        wanted.add(number)
    return [number for number in known if number in wanted]


def _number(value, name: str, path, least: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= least:
        raise BadAssignment(f"{path}: {name} is {value!r}; a number of at least {least:g} is wanted")
    return value


def _digest(text: str) -> str:
    """A hash of the assignment and of all code that decides about a grade: checks and references use the whole library."""
    text += f"\ntorch {version('torch')} Python {sys.version_info[:2]}"
    sources = sorted(LIBRARY.rglob("*.py"))
    return hashlib.sha256(text.encode() + b"".join(path.read_bytes() for path in sources)).hexdigest()
