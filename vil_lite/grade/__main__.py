"""python -m vil_lite.grade ASSIGNMENT.toml SUBMISSIONS/ OUT/ [--jobs N] [--only NAME] [--again] [--unsafe]
python -m vil_lite.grade ASSIGNMENT.toml --otter FOLDER

ASSIGNMENT is a file, or one of the ready ones: part1 to part4.  SUBMISSIONS holds a notebook, a folder or a zip for
each student.  OUT gets grades.csv, class.html, a page of feedback for each student and results.jsonl, with which a run
that was interrupted goes on.
"""

import argparse
import os
import sys
from pathlib import Path

from . import assignment as assignments
from . import otter, report, submissions
from .run import run
from .sandbox import NoSandbox, check_sandbox

UNSAFE = "UNSAFE: graded without a sandbox; a submission could have changed its grade, this one and any file"


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m vil_lite.grade", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("assignment", help="a TOML file, or part1 to part4")
    parser.add_argument("submissions", type=Path, nargs="?", help="folder with one entry a student")
    parser.add_argument("out", type=Path, nargs="?", help="folder for the results; made if missing")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="submissions at a time (all cores)")
    parser.add_argument("--only", metavar="NAME", help="grade this one; the others stay as they are")
    parser.add_argument("--again", action="store_true", help="grade anew what is graded already")
    parser.add_argument("--unsafe", action="store_true", help="without a sandbox; only for code that you have read")
    parser.add_argument("--otter", type=Path, metavar="FOLDER", help="write tests for Otter-Grader, and grade nothing")
    given = parser.parse_args(arguments)
    try:
        plan = assignments.read(given.assignment)
        if given.otter:
            otter.write(plan, given.otter)
            return 0
        if not given.submissions or not given.out:
            parser.error("a folder of submissions and a folder for the results are wanted")
        if not given.submissions.is_dir():
            parser.error(f"there is no folder {given.submissions}")
        if plan.seed == assignments.PUBLIC_SEED:
            print(
                f"Note: {given.assignment} has the seed that everybody can read; "
                "for your class, copy the file and change its line `seed`",
                file=sys.stderr,
            )
        if given.unsafe:
            print(UNSAFE, file=sys.stderr)
        own = [path for path in [Path(given.assignment)] if path.is_file()]
        check_sandbox(*own, given.submissions, given.out, unsafe=given.unsafe)

        def say(line: str) -> None:
            if sys.stderr.isatty():
                print(f"\r{line:<80}", end="", file=sys.stderr)
            else:
                print(line, file=sys.stderr)

        chosen = (given.jobs, given.only, given.again, given.unsafe)
        rows = run(given.assignment, plan, given.submissions, given.out, *chosen, say)
        left = len(submissions.names(given.submissions, given.out)) - len(rows)
        if left:
            print(f"{left} others have no grade yet: give the command without --only", file=sys.stderr)
        beside = submissions.passed_over(given.submissions)
        if beside:
            print(f"Passed over, for they are no submissions: {', '.join(beside)}", file=sys.stderr)
        report.write(plan, rows, given.out, UNSAFE if given.unsafe else "")
    except (ValueError, NoSandbox, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(report.summary(plan, rows, given.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
