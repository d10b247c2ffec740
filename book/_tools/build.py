"""Build the book: execute what changed, make the pages, check them.

    python book/_tools/build.py [--if-stale] [FOLDER]

Exit status 1, and no stamp, when a cell fails, Sphinx warns, or check_pages.py finds a fault.  The pages are always made
anew: Sphinx repeats no warning about a page that it leaves as it is, so a second run of a faulty book would turn green.
--if-stale: when the last build was good and nothing that a page depends on has changed since, renew only the notebooks
that the download buttons give.
"""

import argparse
import hashlib
import shutil
import subprocess
import sys
import time
from pathlib import Path

import check_pages
import execute

SOURCES = ("_config.yml", "_toc.yml", "README.md", "book/**/*.md", "book/**/*.ipynb", "book/**/*.bib", "book/_*/*.*")


def fingerprint(root: Path) -> str:
    """A hash of everything that the pages depend on."""
    digest = hashlib.sha256(execute.key(root).encode())
    for pattern in SOURCES:
        for path in sorted(root.glob(pattern)):
            digest.update(f"{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def stale(root: Path) -> bool:
    stamp = root / "_build" / "stamp"
    return not stamp.is_file() or stamp.read_text() != fingerprint(root)


def give_student(root: Path) -> None:
    """The download button of a chapter fetches _sources/PAGE.ipynb: put the student notebook there."""
    for page in (root / "_build" / "html" / "_sources").glob("book/part*/*.ipynb"):
        given = root / "student" / page.name
        if given.is_file():
            shutil.copyfile(given, page)


def build(root: Path) -> int:
    """Build the book in root/_build/html; return the exit status."""
    start, stamp, html = time.perf_counter(), root / "_build" / "stamp", root / "_build" / "html"
    stamp.unlink(missing_ok=True)
    made_of = fingerprint(root)
    failures = execute.execute(root=root)
    for path, traceback in failures.items():
        print(f"\n== {path.relative_to(root)} failed\n{traceback}", file=sys.stderr)
    if failures:
        return 1
    shutil.rmtree(html, ignore_errors=True)
    print("== Making the pages", flush=True)
    jupyter_book = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()"]
    command = [*jupyter_book, "build", str(root), "-W", "-n", "--keep-going", "--all", "-q"]
    if subprocess.run(command).returncode:
        print("== The book was not built: see the warnings above", file=sys.stderr)
        return 1
    give_student(root)
    problems = check_pages.check(html)
    for problem in problems:
        print(f"== {problem}", file=sys.stderr)
    if problems:
        print(f"== {len(problems)} faults in the pages", file=sys.stderr)
        return 1
    stamp.write_text(made_of)
    pages = list(html.rglob("*.html"))
    weight = sum(path.stat().st_size for path in html.rglob("*") if path.is_file()) / 2**20
    print(f"== {len(pages)} pages, {weight:.0f} MB, {time.perf_counter() - start:.0f} s: open {html}/index.html")
    return 0


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--if-stale", action="store_true")
    parser.add_argument("folder", nargs="?", type=Path, default=execute.ROOT)
    given = parser.parse_args(arguments)
    root = given.folder.resolve()
    if given.if_stale and not stale(root):
        give_student(root)
        print("== The built book is up to date")
        return 0
    return build(root)


if __name__ == "__main__":
    sys.exit(main())
