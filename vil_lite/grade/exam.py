"""python -m vil_lite.grade.exam ch04 [ch05 ...]: print the questions of exam variants, to be handed out."""

import inspect
import sys

from .assignment import catalogue


def question(variant) -> str:
    """The question as Markdown: the title, what is wanted, and the stub."""
    names = [
        p.name for p in inspect.signature(variant.reference).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD
    ]
    wanted = " ".join(inspect.getdoc(variant.reference).split())
    stub = f'def {variant.function}({", ".join(names)}):\n    raise NotImplementedError("your turn")\n'
    return f"## {variant.title[0].upper()}{variant.title[1:]}\n\n{wanted}\n\n```python\n{stub}```\n"


def main(chapters: list[str]) -> None:
    found = {v.chapter.removeprefix("exam_"): v for v in catalogue().values() if v.chapter.startswith("exam_")}
    for chapter in chapters:
        if chapter not in found:
            raise SystemExit(f"there is no exam variant for {chapter!r}; there are: {', '.join(found)}")
    print("\n".join(question(found[chapter]) for chapter in chapters))


if __name__ == "__main__":
    main(sys.argv[1:] or ["ch01"])
