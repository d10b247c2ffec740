"""Minutes agree: a chapter's card, its exercises, the teachers' timing table and the plan of the course.  The table is the source."""

import re
from pathlib import Path

import glance
import nb
import pytest

CLASSROOM = Path(__file__).parents[2] / "book" / "classroom"


def page(path: Path) -> Path:
    chapter = re.match(r"\d\d[a-z]?", path.name)
    return CLASSROOM / (f"ch{chapter[0]}.md" if chapter else f"project{nb.chapter_number(path)[1:]}.md")


CHAPTERS = [path for path in nb.chapters() if page(path).exists()]


def timing(path: Path) -> list[tuple[str, int]]:
    """The rows of the timing table, without what is homework: (part, minutes)."""
    section = page(path).read_text(encoding="utf-8").split("## Timing")[1].split("\n## ")[0]
    rows = re.findall(r"^\| *([^|]+?) *\| *(\d+)\b[^|]*\|$", section, flags=re.M)
    return [(part, int(minutes)) for part, minutes in rows if "homework" not in part]


def of_the_exercises(path: Path) -> dict[str, int]:
    """{"3.1": minutes} as the exercises' own cards say."""
    found, number = {}, None
    for cell in nb.read(path).cells:
        for line in cell.source.splitlines() if cell.cell_type == "markdown" else []:
            if title := re.match(r"#+ (?:Exercise (\d+[a-z]?\.\d+)|Task (\d+))", line):
                number = title[1] or title[2]
            elif (card := re.search(r"importance [●○]+ · (\d+) minutes", line)) and number:
                found[number] = int(card[1])
    return found


def named(part: str) -> set[str]:
    """The exercises that a row of the table names: "Exercises 4.1 and 4.2", "Tasks 1 to 3"."""
    numbers = re.findall(r"\d+[a-z]?\.\d+", part)
    if tasks := re.search(r"Tasks? (\d+)(?: (to|and) (\d+))?", part):
        first, last = int(tasks[1]), int(tasks[3] or tasks[1])
        numbers += [str(n) for n in (range(first, last + 1) if tasks[2] == "to" else (first, last))]
    return set(numbers)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_card_exercises_and_timing_agree(path):
    rows, own = timing(path), of_the_exercises(path)
    card = int(re.search(r"\*\*About (\d+) minutes\*\*", nb.read(path).cells[0].source)[1])
    assert card == sum(minutes for _, minutes in rows), f"the card says {card}, the table {rows}"
    assert own, "no exercise tells its minutes"
    for part, minutes in rows:
        inside = {number: own[number] for number in named(part)}
        assert minutes >= sum(inside.values()), f"{part}: {minutes} minutes for exercises of {inside}"
    assert set().union(*(named(part) for part, _ in rows)) == set(own), (
        "exercises that the table leaves out, or invents"
    )


def test_the_plan_of_the_course_tells_the_same_minutes():
    plan = (CLASSROOM / "plan.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| \{doc\}`(\w+)` \| (\d+) \|", plan, flags=re.M))
    assert {name: int(minutes) for name, minutes in rows.items()} == {
        page(path).stem: sum(minutes for _, minutes in timing(path)) for path in CHAPTERS
    }


def test_the_readme_tells_the_hours_of_the_same_minutes():
    """Chapters alone for the range; with projects, rounded, for each part and for all."""
    minutes = {path: sum(m for _, m in timing(path)) for path in CHAPTERS}
    of_chapters = [m for path, m in minutes.items() if path.stem[0].isdigit()]
    parts = [
        round(sum(m for p, m in minutes.items() if p.parent.name.startswith(f"part{n}_")) / 60) for n in (1, 2, 3, 4)
    ]
    told = (
        f"a chapter takes {min(of_chapters)} to {max(of_chapters)} minutes, Part 1 takes {parts[0]} hours, Part 2 {parts[1]}, "
        f"Part 3 {parts[2]}, Part 4 {parts[3]}, and all of it {round(sum(minutes.values()) / 60)}."
    )
    assert told in (CLASSROOM.parents[1] / "README.md").read_text(encoding="utf-8")


def test_each_way_through_the_book_tells_its_hours_on_its_card():
    landing = (CLASSROOM.parent / "index.md").read_text(encoding="utf-8")
    cards = dict(re.findall(r"^:::\{grid-item-card\} (Read|Run|Teach)\n(.*?)^:::$", landing, re.M | re.S))
    assert list(cards) == ["Read", "Run", "Teach"]
    for way, card in cards.items():
        assert glance.paths()[way.lower()] in card, "python book/_tools/glance.py"
    total = sum(minutes for path in CHAPTERS for _, minutes in timing(path))
    assert f"about {round(total / 60)} hours" in cards["Run"]
    assert f"at {glance.PACE} words a minute" in cards["Read"]


def test_hours_in_class_are_those_of_the_plan():
    """Two sessions of 90 minutes a week."""
    assert glance.courses() == {"four": 12, "ten": 30, "fifteen": 45}
    plan = (CLASSROOM / "plan.md").read_text(encoding="utf-8")
    assert len(re.findall(r"^## \w+ weeks", plan, re.M)) == plan.count("Two sessions of 90 minutes a week") == 3


def test_words_to_read_are_those_of_sentences():
    page = (
        "# A memory\n\nIt has *three* parts, see {doc}`the cell <04_cell>`.\n\n$$ a = b $$ (eq-1)\n\n"
        "```python\nnot = counted\n```\n\nWith $x_t$ too.\n\n<details><summary>Hint</summary>folded away</details>\n"
    )
    assert glance.words(page) == 2 + 7 + 2  # "A memory", "It has three parts, see the cell", "With too"
