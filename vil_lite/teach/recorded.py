"""Numbers for the prose: glued from this page, or read from a recorded run of experiments/."""

import contextlib
import json
import os
from pathlib import Path


def glue(name: str, value, display: bool = False) -> None:
    """Give `value` a name for the prose ({glue:text}`name`).  Where myst_nb is missing (Colab) this shows or does nothing.

    display: also show the value under the cell.
    """
    try:
        from myst_nb import glue as myst_glue
    except ImportError:
        if display:
            print(f"{name}: {value}")
        return
    if hasattr(value, "item"):
        with contextlib.suppress(ValueError, RuntimeError):  # more than one element: glue it as it is
            value = value.item()  # a sentence should say 0.5, not tensor(0.5000) or np.float64(0.5)
    myst_glue(name, value, display=display)


def result(name: str) -> dict:
    """Read the recorded run book/results/NAME.json.  Raises FileNotFoundError that names the command which makes it.

    The folder is looked for in the environment variable VIL_RESULTS, from the working directory upwards, and beside the
    package (a checkout of the repository).
    """
    folders = _result_folders()
    for folder in folders:
        path = folder / f"{name}.json"
        if path.is_file():
            return json.loads(path.read_text(encoding="utf-8"))
    raise FileNotFoundError(
        f"no recorded run {name!r} (looked for {name}.json in {', '.join(map(str, folders)) or 'no folder at all'}); "
        f"make it with `python experiments/{name}.py` in a checkout of the book's repository, "
        "or set VIL_RESULTS to the folder that holds it"
    )


def _result_folders() -> list[Path]:
    named = os.environ.get("VIL_RESULTS")
    if named:
        return [Path(named)]
    here = Path.cwd()
    roots = [here, *here.parents, Path(__file__).resolve().parents[2]]
    return list(dict.fromkeys(r / "book" / "results" for r in roots if (r / "book" / "results").is_dir()))
