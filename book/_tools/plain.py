"""From the book's Markdown (MyST) to the Markdown that Colab shows."""

import html
import os
import re
from pathlib import Path

import drawings
from glued import recorded, said
from library import REPOSITORY
from nb import chapter_number, read
from pybtex.database import parse_file

ROLE = re.compile(r"\{([a-z:-]+)\}`([^`]+)`")
MATH = re.compile(r"\$\$(.+?)\$\$[ \t]*\(([\w-]+)\)", flags=re.S)
FENCED = re.compile(r"^(?P<fence>`{3,}|:{3,})(?P<head>[^\n]*)\n(?P<body>.*?)^(?P=fence)[ ]*$", flags=re.M | re.S)
TARGET = re.compile(r"^\(([\w-]+)\)=\n", flags=re.M)
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
ADMONITIONS = {"note", "tip", "hint", "important", "warning", "caution", "attention", "danger", "seealso", "admonition"}


class Labels:
    """What the book's labels stand for: numbers of equations and figures, titles of pages, works, glued numbers."""

    def __init__(self, root: Path, notebooks: list[Path]):
        self.root, self.equations, self.figures, self.titles = root, {}, {}, {}
        for path in notebooks:
            self._read(path)
        self.numbers = {path: recorded(path, root) for path in notebooks}
        for path in (root / "book").rglob("*.md"):
            text = path.read_text(encoding="utf-8")
            self._title(path.stem if path.stem != "index" else path.parent.name, text)
        bibliography = root / "book" / "references.bib"
        self.works = parse_file(str(bibliography)).entries if bibliography.exists() else {}

    def _read(self, path: Path) -> None:
        chapter, equations, figures = chapter_number(path), [], []
        for cell in read(path).cells:
            if cell.cell_type == "markdown":
                self._title(path.stem, cell.source)
                equations += [match[2] for match in MATH.finditer(cell.source)]
                equations += re.findall(r"^:label: *([\w-]+)", cell.source, flags=re.M)
                figures += re.findall(r"^:name: *(fig-[\w-]+)", cell.source, flags=re.M)
            elif name := cell.metadata.get("mystnb", {}).get("figure", {}).get("name"):
                figures.append(name)
        self.equations |= {label: f"{chapter}.{n}" for n, label in enumerate(equations, 1)}
        self.figures |= {label: f"{chapter}.{n}" for n, label in enumerate(figures, 1)}

    def _title(self, stem: str, text: str) -> None:
        if found := re.search(r"^# (.+)$", text, flags=re.M):
            self.titles.setdefault(stem, found[1])
        for label, heading in re.findall(r"^\(([\w-]+)\)=\n+#+ (.+)$", text, flags=re.M):
            self.titles[label] = heading

    def cite(self, keys: str, in_text: bool) -> str:
        """`beck2024xlstm` as Beck et al. (2024) or (Beck et al., 2024)."""
        parts = []
        for key in re.split(r"[,;] *", keys):
            entry = self.works[key]
            people = [" ".join(p.prelast_names + p.last_names) for p in entry.persons.get("author", [])]
            names = people[0] + " et al." if len(people) > 2 else " and ".join(people)
            year, fields = entry.fields["year"], entry.fields
            url = fields["url"] if "url" in fields else f"https://doi.org/{fields['doi']}" if "doi" in fields else None
            said = f"{names} ({year})" if in_text else f"{names}, {year}"
            parts.append(f"[{said}]({url})" if url else said)  # a notebook has no list of references
        return ", ".join(parts) if in_text else f"({'; '.join(parts)})"


def plain(text: str, labels: Labels, path: Path) -> str:
    """`text` of the page `path` without what only the book's builder understands.  KeyError: an unknown label."""
    parts, end = [], 0
    for match in FENCED.finditer(text):
        parts.append(_prose(text[end : match.start()], labels, path))
        directive = re.match(r"\{([\w:-]+)\} *(.*)", match["head"])
        parts.append(_directive(*directive.groups(), match["body"], labels, path) if directive else match[0])
        end = match.end()
    return "".join(parts) + _prose(text[end:], labels, path)


def _prose(text: str, labels: Labels, path: Path) -> str:
    text = TARGET.sub("", text)
    text = MATH.sub(lambda match: _equation(match[1], labels.equations[match[2]]), text)
    text = ROLE.sub(lambda match: _role(match[1], match[2], labels, path), text)
    return LINK.sub(lambda match: _link(match, labels, path), text)


def _equation(formula: str, number: str) -> str:
    return f"$${formula.rstrip()}\n\\tag{{{number}}}\n$$"


def _directive(name: str, argument: str, body: str, labels: Labels, path: Path) -> str:
    options = dict(re.findall(r"^:([\w-]+): *(.*)\n", body, flags=re.M))
    body = re.sub(r"^(:[\w-]+:.*\n)+", "", body).strip("\n")
    body = body if name == "math" else plain(body, labels, path)
    if name == "math":
        return _equation(f"\n{body}", labels.equations[options["label"]]) if "label" in options else f"$$\n{body}\n$$"
    if name == "drawing":
        svg = labels.root / "book" / "_static" / argument
        options["alt"] = re.search(r"<title[^>]*>([^<]*)<", svg.read_text(encoding="utf-8"))[1]
        argument = os.path.relpath(svg, path.parent)
    if name in {"figure", "image", "drawing"}:
        number = (
            f"*Figure {labels.figures[options['name']]}. {body}*" if "name" in options else f"*{body}*" if body else ""
        )
        picture = plain(f"![{options.get('alt', '')}]({argument})", labels, path)
        return f"{picture}\n\n{number}".rstrip()
    if name in ADMONITIONS:
        title = argument or name.capitalize()
        return "\n".join(f"> {line}".rstrip() for line in [f"**{title}**", "", *body.splitlines()])
    if name in {"bibliography", "contents", "toctree"}:
        return ""
    return "\n\n".join(part for part in (f"**{argument}**" if argument else "", body) if part)


def _role(role: str, content: str, labels: Labels, path: Path) -> str:
    shown, _, target = content.removesuffix(">").rpartition("<") if content.endswith(">") else ("", "", content)
    shown, target = shown.strip(), target.strip()
    if role == "numref":
        number = labels.figures[target]
        return shown.replace("%s", number).replace("{number}", number) if shown else f"Figure {number}"
    if role in {"eq", "math:numref"}:
        return f"({labels.equations[target]})"
    if role.startswith("cite"):
        return labels.cite(target, in_text=role.endswith(":t"))
    if role.startswith("glue"):
        return said(content, labels.numbers.get(path, {}))
    if role == "math":
        return f"${content}$"
    if role in {"doc", "ref"}:
        stem = Path(target).stem if Path(target).stem != "index" else Path(target).parent.name
        words = shown or labels.titles[stem]
        return f"[{words}]({target}{_suffix(target, labels, path)})" if role == "doc" else words
    if role == "download":
        return f"[{shown or target}]({target})"
    return f"`{target}`" if role in {"code", "func", "class", "meth", "mod"} else shown or target


def _suffix(target: str, labels: Labels, path: Path) -> str:
    if Path(target).suffix in {".md", ".ipynb"}:
        return ""
    return ".ipynb" if _file(f"{target}.ipynb", labels, path).exists() else ".md"


def _file(target: str, labels: Labels, path: Path) -> Path:
    """What a link of the page `path` means: one that begins with "/" counts from the root, as for the book's builder."""
    return Path(os.path.normpath(labels.root / target[1:] if target.startswith("/") else path.parent / target))


def _link(match, labels: Labels, path: Path) -> str:
    """A relative link: to another student notebook, or to the file in the repository.  A picture comes along in the text."""
    bang, words, address = match.groups()
    if re.match(r"[a-z]+:|#", address):
        return match[0]
    file, _, anchor = address.partition("#")
    if re.match(r"(\d\d[a-z]?_.*|project\d?)\.ipynb$", Path(file).name):
        return f"{bang}[{words}]({Path(file).name}{'#' * bool(anchor)}{anchor})"
    there = _file(file, labels, path)
    address = f"{REPOSITORY}/blob/main/{there.relative_to(labels.root).as_posix()}"
    return f"{bang}[{html.unescape(words)}]({drawings.address(there) if bang else address})"
