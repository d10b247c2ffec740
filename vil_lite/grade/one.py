"""Grade one submission: the trusted side.  Holds checks, references and the seed; runs nothing that a student wrote.

    python -m vil_lite.grade.one ASSIGNMENT SUBMISSION [--unsafe]     prints the result, one line of JSON

One worker for each notebook.  A worker that dies or hangs costs the exercise it was working on; a fresh one goes on with
the next.  If it dies already while it defines the student's functions, every exercise gets a worker of its own.
"""

import argparse
import json
import re
import resource
import signal
import time
import types
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import torch

from vil_lite.teach.watch import Watched

from . import assignment as assignments
from . import submissions
from .sandbox import NoSandbox, Sandbox
from .values import Handle
from .wire import Broken, nonsense

OWN = 60  # seconds of computing that an exercise may cost the grader itself, on top of its limit
ROUNDS = 3  # fresh seeds for each exercise; all must pass
EARNS = {"right": 1.0, "near miss": 0.5}  # of the points; the half only if the assignment says so
OUT_OF_MEMORY = re.compile(r"MemoryError|can't allocate memory|not enough memory|std::bad_alloc")


@dataclass
class Verdict:
    """What one exercise earned, and why.  status: right, near miss, wrong, not attempted, time, memory, died, look by hand."""

    number: str
    status: str
    points: float = 0.0
    mistake: str = ""
    message: str = ""
    seconds: float = 0.0


@contextmanager
def at_most(seconds: float):
    """Raise Broken if this process itself computes longer: a student's function may ask a lent reference for anything."""

    def stop(*_):
        raise Broken("look by hand", f"the check itself computed for more than {seconds:.0f} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds, seconds)  # again for the next try in `_open`
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def limit_memory(more: int = 4 << 30) -> None:
    """Let this process take so many bytes more; beyond that, what a submission asks of a reference is an error of its own."""
    with suppress(OSError, ValueError):  # no /proc, or a limit is set already
        used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_DATA, (used + more, resource.getrlimit(resource.RLIMIT_DATA)[1]))


class Student(Handle):
    """Stands in a check for the student's function."""

    def watched(self, *arguments) -> Watched:
        """The call, and how many operations on how large tensors it took."""
        return Watched(*self._peer.call(f"watched {self.__name__}", arguments, {}))


class Desk:
    """One notebook of one student at the grader's desk."""

    def __init__(self, notebook, tasks, plan, known: dict, unsafe: bool):
        self.notebook, self.tasks, self.plan, self.known, self.unsafe = notebook, tasks, plan, known, unsafe
        self.worker, self.task, self.alone = None, None, False
        self.there: list = []
        self.errors: dict = {}

    def grade(self) -> list[Verdict]:
        try:
            return [self._one(task) for task in self.tasks]
        finally:
            self._close()

    def _one(self, task) -> Verdict:
        begun, self.task = time.monotonic(), task
        try:
            with at_most(OWN + task.seconds):
                verdict = self._examine(task)
        except Broken as broken:
            self._close()
            verdict = Verdict(task.number, broken.status, message=str(broken))
        except NoSandbox:  # the machine's fault, not this exercise's
            raise
        except Exception as error:  # our own check met something that it was not written for
            self._close()
            verdict = Verdict(
                task.number, "look by hand", message=f"the check ended with {type(error).__name__}: {error}"
            )
        verdict.seconds = round(time.monotonic() - begun, 2)
        share = EARNS.get(verdict.status, 0.0) if verdict.status != "near miss" or self.plan.near_miss_half else 0.0
        verdict.points = share * task.points
        return verdict

    def _examine(self, task) -> Verdict:
        if self.alone:
            self._close()  # each exercise has a worker of its own
        if not self.worker:
            self._open(task)
        if task.function in self.errors:
            return Verdict(task.number, "wrong", message=self.errors[task.function])
        if task.function not in self.there:
            return Verdict(
                task.number, "not attempted", message=f"no function `{task.function}` in {self.notebook.file}"
            )
        self.worker.allow(task.seconds)
        student = Student(self.worker, task.function, task.function)
        for round in range(ROUNDS):
            outcome = self.known[task.number].outcome(student, self.plan.seed_of(task, round))
            if outcome.status != "right":
                break
        status = outcome.status
        if status == "wrong" and OUT_OF_MEMORY.search(outcome.message):
            status = "memory"
        if status == "died":
            status = "look by hand"
        message = re.sub(
            r" \(this case again: \w+\.\w+\(\w+, seed=\d+\)\)", "", outcome.message
        )  # the seed is a secret
        return Verdict(task.number, status, mistake=outcome.mistake or "", message=message)

    # ---------------------------------------------------------------- the worker

    def _open(self, task) -> None:
        """Start a worker and have it define what this exercise needs, and the others if that goes well."""
        if not self.alone:
            with suppress(Broken):
                return self._define([one.function for one in self.tasks])
            self._close()
            self.alone = True
        self._define([task.function])

    def _define(self, functions) -> None:
        self.worker = Sandbox(self.unsafe, self._reference)
        seconds, memory = max(task.seconds for task in self.tasks), max(task.memory for task in self.tasks)
        said = self.worker.define(self.notebook.cells, functions, seconds, memory)
        try:
            self.there = [str(name) for name in said["there"]]
            self.errors = {str(name): str(text)[:500] for name, text in said["errors"].items()}
        except Exception as error:
            raise nonsense(error) from None

    def _close(self) -> None:
        if self.worker:
            self.worker.close()
        self.worker = None

    def _reference(self, name: str):
        """What a student's function may borrow: all that stands above the check of an earlier exercise.  Its own is refused."""
        numbers = list(self.known)
        return lent(name, [self.known[number] for number in numbers[: numbers.index(self.task.number)]])


def lent(name: str, earlier):
    """The function "ch03.recall" of the checks, for a solution that builds on it; `earlier`: the exercises before this one."""
    for exercise in earlier:
        body = exercise._body
        function = body.__globals__.get(name.partition(".")[2]) if name.startswith(f"{exercise.chapter}.") else None
        public = isinstance(function, types.FunctionType) and not function.__name__.startswith("_")
        above = public and function.__globals__ is body.__globals__
        if above and function.__code__.co_firstlineno < body.__code__.co_firstlineno:
            return function
    raise PermissionError(f"{name} is not lent out here: only references of earlier exercises are")


def grade(plan, path: Path, unsafe: bool = False) -> dict:
    """The result of one submission, as it stands in results.jsonl."""
    known = assignments.catalogue()
    submission = submissions.read(path)
    chosen = submissions.sort_out(submission, plan.tasks, known)
    verdicts = []
    for chapter in dict.fromkeys(task.chapter for task in plan.tasks):
        tasks = [task for task in plan.tasks if task.chapter == chapter]
        if chapter in chosen:
            verdicts += Desk(chosen[chapter], tasks, plan, known, unsafe).grade()
        else:
            verdicts += [
                Verdict(task.number, "not attempted", message="no notebook for this chapter") for task in tasks
            ]
    claims = sorted({notebook.claims for notebook in submission.notebooks if notebook.claims})
    return {
        "notes": submission.notes,
        "files": {chapter: notebook.file for chapter, notebook in chosen.items()},
        "versions": f"vil_lite {version('vil-lite')} · torch {torch.__version__}",
        "claims": "; ".join(claims)[:200],
        "verdicts": [asdict(verdict) for verdict in verdicts],
    }


def main(arguments=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("assignment")
    parser.add_argument("submission", type=Path)
    parser.add_argument("--unsafe", action="store_true")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    limit_memory()
    try:
        result = grade(assignments.read(given.assignment), given.submission, given.unsafe)
    except NoSandbox as error:
        raise SystemExit(f"{error}") from None
    print(json.dumps(result))


if __name__ == "__main__":
    main()
