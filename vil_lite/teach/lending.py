"""What a page goes on with after an exercise: the reader's function if it passed, the book's otherwise.

    cover = ch05.check_cover(cover)      # ✓, or: Not attempted yet ... The page goes on with the book's `cover`.

So one unsolved exercise stops nothing.  A function that is lent is no answer: the check does not accept it as one.
"""

import os
import sys


def settle(check, student, seed=None, failed: type[Exception] = AssertionError):
    """Check `student`, say what came of it and with which function the page goes on; return that function.

    check: has title, passes(student, seed) and, where the book has the function, reference.
    failed: what `passes` raises for a wrong answer.  A reader's notebook shows its message and goes on; anywhere else
    it is raised.
    """
    name = getattr(check, "function", None) or getattr(student, "__name__", "function")
    book = getattr(check, "reference", None)
    goes_on = f"Stuck? The page goes on with the book's `{name}`." if book is not None else ""
    try:
        if check.passes(student, seed):
            print(f"✓ {check.title}; the page goes on with your `{name}`" if in_notebook() else f"✓ {check.title}")
            return student
        print(f"Not attempted yet: {check.title}")
    except failed as failure:
        if not in_notebook():
            raise
        print(f"✗ {failure}", file=sys.stderr)
    if in_notebook() and goes_on:
        print(goes_on)
    return student if book is None else book


def in_notebook() -> bool:
    """Does a reader sit before this kernel?  Not when the book is built: there a wrong answer is to stop everything."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return hasattr(shell, "kernel") and os.environ.get("VIL_STATIC") != "1"
