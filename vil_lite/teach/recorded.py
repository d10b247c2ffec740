"""Numbers for the prose: glued from this page, or read from a recorded run of experiments/."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent


def glue(name: str, value: Any, display: bool = False) -> None:
    """Give `value` a name for the prose ({glue:text}`name`).  In a reader's notebook show both under the cell.

    display: in the book, too, show the value under the cell.
    """
    if hasattr(value, "item"):
        with contextlib.suppress(ValueError, RuntimeError):  # more than one element: glue it as it is
            value = value.item()  # a sentence should say 0.5, not tensor(0.5000) or np.float64(0.5)
    if os.environ.get("VIL_STATIC") == "1":  # set where the book is built
        from myst_nb import glue as myst_glue

        myst_glue(name, value, display=display)
    else:
        print(f"{name} = {value:.4g}" if isinstance(value, float) else f"{name} = {value}")


def result(name: str) -> dict:
    """Read the recorded run NAME.json.  Raises FileNotFoundError that says what makes it."""
    try:
        path = data_file(f"{name}.json")
    except FileNotFoundError as error:
        script = f"experiments/{name}.py"
        alone = (_HERE.parents[1] / script).is_file()  # some scripts record several runs
        made = f"`python {script}`" if alone else "the script of experiments/ that records it"
        remedy = f"make it with {made} in a checkout of the book's repository"
        raise FileNotFoundError(f"no recorded run {name!r}: {error}; {remedy}") from None
    return json.loads(path.read_text(encoding="utf-8"))


def data_file(name: str) -> Path:
    """The path of a file that notebooks read: a recorded run or a table, as in `data_file("10_table1.csv")`.

    Looked for in the folder that the environment variable VIL_RESULTS names, or else in the checkout's book/results,
    where experiments write, and in the package, where a wheel carries a copy of that folder.
    Raises FileNotFoundError that names the folder and what is in it.
    """
    folder = _results_folder()
    if not (folder / name).is_file():
        there = sorted(path.name for path in folder.glob("*.*")) if folder.is_dir() else []
        raise FileNotFoundError(f"{name} is not in {folder}, which holds {', '.join(there) or 'nothing'}")
    return folder / name


def _results_folder() -> Path:
    if named := os.environ.get("VIL_RESULTS"):
        return Path(named)
    checkout = _HERE.parents[1] / "book" / "results"
    return checkout if checkout.is_dir() else _HERE / "results"
