"""Grade a whole class: one grader process a submission, results appended as they come, reports at the end.  Opens no notebook."""

import concurrent.futures
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

from vil_lite._files import claim

from . import submissions
from .sandbox import NOT_STARTED

RESULTS = "results.jsonl"


def run(
    assignment: str, plan, folder: Path, out: Path, jobs: int, only=None, again=False, unsafe=False, say=print
) -> list:
    """Grade every submission of `folder` into `out`; returns the rows, one for each submission, in order of names.

    A submission whose hash, assignment and checks are as they were is taken from results.jsonl, unless `again`.
    only: grade this one; the others have a row if they are graded already.
    """
    if out.resolve() == folder.resolve():
        raise ValueError(f"{out} holds the submissions: choose another folder for the results")
    names = submissions.names(folder, out)
    chosen = [name for name in names if not only or only in (name, Path(name).stem)]
    if only and not chosen:
        raise ValueError(f"--only {only!r}: {folder} holds no such submission")
    if not names:
        raise ValueError(f"{folder} holds no notebook, no folder and no zip")
    with claim(out):
        keys = {name: key(plan, folder / name, unsafe) for name in names}
        done = {row["key"]: row for row in stored(out) if final(row)}
        todo = [name for name in chosen if again or keys[name] not in done]
        rows = {name: done[keys[name]] | {"name": name} for name in names if name not in todo and keys[name] in done}
        with concurrent.futures.ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:
            waiting = {pool.submit(grade_one, assignment, plan, folder / name, unsafe): name for name in todo}
            try:
                for count, future in enumerate(
                    concurrent.futures.as_completed(waiting), start=len(chosen) - len(todo) + 1
                ):
                    name = waiting[future]
                    rows[name] = {"key": keys[name], "name": name} | future.result()
                    if final(rows[name]):
                        append(out, rows[name])
                    say(bar(count, len(chosen), name))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return [rows[name] for name in names if name in rows]


def final(row: dict) -> bool:
    """Is this what the submission earned?  If not, the machine has failed, and the next run tries again."""
    return not row.get("failed") and not any(v["message"].startswith(NOT_STARTED) for v in row["verdicts"])


def key(plan, path: Path, unsafe: bool) -> str:
    """What a stored result stands for: this submission, this assignment, these checks, this sandbox."""
    text = f"{path.name}\n{submissions.digest(path)}\n{plan.digest}\n{unsafe}"
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def grade_one(assignment: str, plan, path: Path, unsafe: bool) -> dict:
    """The result of a fresh grader process; a row in any case, whatever becomes of the process."""
    command = [sys.executable, "-m", "vil_lite.grade.one", assignment, str(path)] + ["--unsafe"] * unsafe
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    seconds = 600 + 4 * sum(task.seconds for task in plan.tasks)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, env=environment)
        if done.returncode == 0:
            return json.loads(done.stdout.splitlines()[-1])
        why = f"the grader ended with {done.returncode}: {done.stderr.strip()[-300:]}"
    except subprocess.TimeoutExpired:
        why = f"the grader was not finished after {seconds:.0f} s"
    except (ValueError, IndexError) as error:
        why = f"the grader's answer cannot be read: {error}"
    verdicts = [{"number": task.number, "status": "look by hand", "points": 0.0, "message": why} for task in plan.tasks]
    for verdict in verdicts:
        verdict |= {"mistake": "", "seconds": 0.0}
    notes = [f"{why}; give the same command again"]
    return {"notes": notes, "files": {}, "versions": "", "claims": "", "verdicts": verdicts, "failed": True}


def stored(out: Path) -> list[dict]:
    """The rows of results.jsonl; a last line that a kill has cut off is no row."""
    rows = []
    path = out / RESULTS
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def append(out: Path, row: dict) -> None:
    """One line, in one write, on the disk when this returns; after a cut-off line it begins a new one."""
    path = out / RESULTS
    whole = not path.is_file() or not path.stat().st_size or path.read_bytes()[-1:] == b"\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, ("" if whole else "\n").encode() + json.dumps(row).encode() + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def bar(count: int, total: int, name: str) -> str:
    done = 30 * count // total
    safe = "".join(c if c.isprintable() else "?" for c in name)[:40]
    return f"[{'█' * done}{'·' * (30 - done)}] {count}/{total}  {safe}"
