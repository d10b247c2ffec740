"""Lines that fit the page."""

import textwrap

COLUMNS = 80  # of code and of what it prints


def say(*words: object) -> None:
    """Print words as `print` does; a line over 80 columns, such as that of an error, goes on below, indented."""
    for line in " ".join(map(str, words)).split("\n"):
        indent = " " * (len(line) - len(line.lstrip()) + 4)
        print(textwrap.fill(line, COLUMNS, subsequent_indent=indent, break_on_hyphens=False))
