"""What a teacher reads: grades.csv, a page of feedback for each student, class.html.  Everything a student wrote is escaped."""

import collections
import csv
import hashlib
import io
import re
import statistics
from html import escape
from pathlib import Path

from vil_lite._files import write as write_whole

STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
table{border-collapse:collapse}td,th{border-bottom:1px solid #bbb;padding:.3rem .8rem;text-align:left;vertical-align:top}
td.n{text-align:right}.warn{background:#fff3cd;padding:.5rem 1rem;border-left:4px solid #a66b00}"""
MEANING = {
    "right": "all fresh numbers agree",
    "near miss": "the answer is that of a known mistake",
    "wrong": "the answer is wrong, or the call ended with an error",
    "not attempted": "the stub, or no such function",
    "time": "not finished in time",
    "memory": "more memory than allowed",
    "died": "the process ended during the call",
    "look by hand": "the machine cannot judge this; please look",
}


def write(plan, rows: list[dict], out: Path, warning: str = "") -> None:
    """Write all reports of a class.  warning: a line for the top of each, "" for none."""
    write_whole(out / "grades.csv", grades(plan, rows, warning))
    write_whole(out / "class.html", class_page(plan, rows, warning))
    for row in rows:
        write_whole(out / "feedback" / page_name(row["name"]), feedback(plan, row, warning))


def page_name(name: str) -> str:
    """A file name for a student's page: readable, and no two alike."""
    safe = re.sub(r"[^\w.-]+", "_", Path(name).stem, flags=re.ASCII).strip("._")[:60] or "student"
    return f"{safe}-{hashlib.sha256(name.encode('utf-8', 'surrogateescape')).hexdigest()[:6]}.html"


def points(row: dict) -> float:
    return sum(verdict["points"] for verdict in row["verdicts"])


def by_hand(row: dict) -> bool:
    """Should a person look at this submission?"""
    return bool(row["notes"]) or bool(_odd(row))


def _odd(row: dict) -> list[str]:
    """Which exercises, and why."""
    return [f"{v['number']}: {v['status']}" for v in row["verdicts"] if v["status"] in ("look by hand", "died")]


# ---------------------------------------------------------------- the table


def grades(plan, rows: list[dict], warning: str) -> str:
    """One line a student; three columns an exercise: points, status, the named mistake or the message."""
    head = ["student", "points", "of", "look by hand", "notes", "graded with", "notebook says"] + ["warning"] * bool(
        warning
    )
    for task in plan.tasks:
        head += [task.number, f"{task.number} status", f"{task.number} mistake"]
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(head)
    for row in rows:
        line = [row["name"], f"{points(row):g}", f"{plan.total:g}", "yes" if by_hand(row) else ""]
        line += ["; ".join(row["notes"]), row["versions"], row["claims"]] + [warning] * bool(warning)
        for verdict in row["verdicts"]:
            line += [f"{verdict['points']:g}", verdict["status"], verdict["mistake"] or verdict["message"]]
        table.writerow([harmless(cell) for cell in line])
    return text.getvalue()


def harmless(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula, on one line."""
    cell = " ".join("".join(c if c.isprintable() else " " for c in str(cell)).split())
    return f"'{cell}" if cell[:1] in tuple("=+-@|%") and not re.fullmatch(r"-?[\d.]+", cell) else cell


# ---------------------------------------------------------------- the pages


def page(title: str, body: str, warning: str) -> str:
    """An HTML page without a script; the policy forbids any, should one get in."""
    policy = "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    told = f"<p class=warn>{escape(warning)}</p>" if warning else ""
    text = (
        f"<!doctype html><html lang=en><meta charset=utf-8>{policy}<title>{escape(title)}</title>"
        f"<style>{STYLE}</style><h1>{escape(title)}</h1>{told}{body}</html>\n"
    )
    return text.encode("utf-8", "backslashreplace").decode()  # half a surrogate pair could not be written


def table(head, lines) -> str:
    """Cells are escaped here, and nowhere else."""
    top = "".join(f"<th scope=col>{escape(str(cell))}</th>" for cell in head)
    rows = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in line) + "</tr>" for line in lines)
    return f"<table><tr>{top}</tr>{rows}</table>"


def feedback(plan, row: dict, warning: str) -> str:
    """The page for one student: what each exercise earned, and the hint that the check gives."""
    lines = []
    for task, verdict in zip(plan.tasks, row["verdicts"]):
        earned = f"{verdict['points']:g} of {task.points:g}"
        lines.append((task.number, task.title, earned, verdict["status"], verdict["message"]))
    notes = "".join(f"<li>{escape(note)}</li>" for note in row["notes"])
    body = f"<p>{escape(plan.title)}: <strong>{points(row):g} of {plan.total:g} points</strong></p>"
    body += table(("exercise", "", "points", "", "what the check says"), lines) + (f"<ul>{notes}</ul>" if notes else "")
    words = ", ".join(f"{status}: {MEANING[status]}" for status in MEANING if any(status == line[3] for line in lines))
    return page(row["name"], f"{body}<p>{escape(words)}. Graded with {escape(row['versions'])}.</p>", warning)


def class_page(plan, rows: list[dict], warning: str) -> str:
    """How the class did, and which mistakes it made: what to speak about in the next lecture."""
    middle = statistics.median(map(points, rows)) if rows else 0
    body = f"<p>{len(rows)} submissions; {plan.total:g} points to be had, median {middle:g}.</p><h2>Exercises</h2>"
    statuses, lines, mistakes = list(MEANING), [], []
    for number, task in enumerate(plan.tasks):
        verdicts = [row["verdicts"][number] for row in rows]
        counts = collections.Counter(verdict["status"] for verdict in verdicts)
        lines.append((task.number, task.title, *(counts[status] or "" for status in statuses)))
        named = collections.Counter(verdict["mistake"] for verdict in verdicts if verdict["mistake"])
        mistakes += [(count, task.number, mistake) for mistake, count in named.items()]
    body += table(("", "", *statuses), lines) + "<h2>Named mistakes, the most frequent first</h2>"
    mistakes.sort(key=lambda entry: -entry[0])
    body += table(("how many", "exercise", "mistake"), mistakes) if mistakes else "<p>None.</p>"
    odd = [(row["name"], "; ".join(row["notes"] + _odd(row))) for row in rows if by_hand(row)]
    body += "<h2>To look at by hand</h2>" + (table(("submission", "why"), odd) if odd else "<p>None.</p>")
    return page(f"{plan.title}: the class", body, warning)


def summary(plan, rows: list[dict], out: Path) -> str:
    """The lines at the end of a run."""
    odd = sum(map(by_hand, rows))
    mean = sum(map(points, rows)) / max(1, len(rows))
    look = f"; {odd} to look at by hand (class.html says which)" if odd else ""
    return f"\n{len(rows)} submissions, {mean:.1f} of {plan.total:g} points on average{look}\n{out / 'grades.csv'}"
