"""The chapter in which each symbol of the notation table comes in: the table's last column, added when the book is built."""

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from nb import ROOT, chapter_number, chapters, code, read

MATH = re.compile(r"\$\$(.+?)\$\$|\$([^$]+)\$", re.S)
WORDS = re.compile(r"\\(?:text|mathrm|operatorname|mathbb|begin|end)\{[^{}]*\}")
GREEK = "alpha|beta|gamma|delta|Delta|varepsilon|eta|theta|lambda|mu|nu|rho|sigma|tau|phi|ell"
LETTER = re.compile(rf"\\(?:{GREEK})(?![A-Za-z])|(?<![A-Za-z\\])[A-Za-z](?![A-Za-z])")
COUNTS = set("srjle")  # they only count, and e is e; the page says so above its table


class Row(NamedTuple):
    """A row of the table: its symbols as LaTeX, their names in the code, and what they mean."""

    symbols: list[str]
    names: list[str]
    meaning: str


def rows(root: Path = ROOT) -> list[Row]:
    """The table in book/appendix/notation.md, without its head."""
    text = (root / "book" / "appendix" / "notation.md").read_text(encoding="utf-8")
    lines = [
        line
        for line in re.split(r"^#+ (?!Symbols)", text.partition("## Symbols")[2], flags=re.M)[0].splitlines()
        if line.startswith("|")
    ][2:]
    found = []
    for line in lines:
        symbol, code, _, meaning = (cell.strip() for cell in line.strip("|").split(" |", 3))
        shown = [part.split("=")[0] for part in re.findall(r"\$([^$]+)\$", symbol)]
        symbols = [one.strip() for part in shown for one in re.split(r"[,;]\s*(?![^{]*})", part)]
        found.append(Row(symbols, re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", code))), meaning))
    return found


@cache
def formulas(path: Path) -> str:
    """All that a chapter sets in mathematics."""
    text = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    text = re.sub(r"`[^`]*`|\\mathbb\{E\}", "", text)  # names in the code; an expectation is no width
    return " ; ".join(a or b for a, b in MATH.findall(text))


def occurs(symbol: str, text: str) -> bool:
    pattern = re.escape(symbol).replace(r"\ ", r"\s*")
    before = r"(?<![A-Za-z\\])" if symbol[0].isalpha() else ""
    after = r"(?![A-Za-z])" if symbol[-1].isalpha() else ""
    return bool(re.search(before + pattern + after, text))


def allowed(meaning: str, number: str, path: Path) -> bool:
    """Whether the meaning holds in a chapter: "(chapters 1, 2 and 5b)", "from Part 2 on", "in the shapes of Part 1"."""
    if found := re.search(r"\(chapters? ((?:\d+b?|, | and )+)", meaning):
        project = "project" in meaning and number.startswith("P")
        return project or number in re.findall(r"\d+b?", found[1])
    part = int(re.search(r"part(\d)", path.parent.name)[1])
    if found := re.search(r"from Part (\d) on", meaning):
        return part >= int(found[1])
    return part == 1 if "in the shapes of Part 1" in meaning else True


def letters(formula: str) -> set[str]:
    """The letters of a formula, Greek ones as LaTeX; words in it are none."""
    return set(LETTER.findall(WORDS.sub(" ", formula)))


def of_one_chapter(root: Path = ROOT) -> dict[str, set[str]]:
    """The second table of the page: the letters that a chapter needs for itself, by the file name of the chapter."""
    text = (root / "book" / "appendix" / "notation.md").read_text(encoding="utf-8").partition("(second-meanings)=")[2]
    found = re.findall(r"^\| \{doc\}`\w+ <[\w/]*/(\w+)>` \|(.*)\|$", text, re.M)
    return {name: letters(" ; ".join(re.findall(r"\$([^$]+)\$", there))) for name, there in found}


def declared(path: Path, root: Path = ROOT) -> set[str]:
    """The letters that a chapter may use: of the page's table, of its line in the second, of its own tables of symbols."""
    found, number = COUNTS | of_one_chapter(root).get(path.stem, set()), str(chapter_number(path))
    for row in rows(root):
        if allowed(row.meaning, number, path):
            found |= letters(" ; ".join(row.symbols))
    for cell in read(path).cells:
        if cell.cell_type == "markdown":
            for table in re.findall(r"^\| symbol.*\n((?:\|.*\n?)*)", cell.source, re.M):
                found |= letters(" ; ".join(re.findall(r"\$([^$]+)\$", re.sub(r"\|[^|]*\|?$", "", table, flags=re.M))))
    return found


def where(row: Row) -> Path | None:
    """The first chapter in whose formulas a symbol of the row occurs; if there is none, the first whose code has its name."""
    known = [path for path in chapters() if chapter_number(path)]
    known = [path for path in known if allowed(row.meaning, str(chapter_number(path)), path)]
    by_symbol = [path for path in known if any(occurs(symbol, formulas(path)) for symbol in row.symbols)]
    by_name = [path for path in known if any(occurs(name, code(path)) for name in row.names)]
    return next(iter(by_symbol or by_name), None)
