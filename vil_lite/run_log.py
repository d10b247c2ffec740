"""Chapter 11: the log of a training run: log.csv, read again and drawn."""

import csv
import math
from pathlib import Path
from typing import Any

from vil_lite._files import whole


def write_log(path: str | Path, rows: list[dict[str, float]]) -> None:
    """Write rows as CSV; a cell stays empty where a row lacks the key (the test of a run that had none at first)."""
    with whole(path, newline="") as file:
        writer = csv.DictWriter(file, fieldnames=_names(rows) or ["epoch"])
        writer.writeheader()
        writer.writerows(rows)


def read_log(path: str | Path) -> list[dict[str, float]]:
    """The rows of a log.csv, as fit returns them."""
    with open(path, newline="") as file:
        return [
            {k: int(v) if k in ("epoch", "step") else float(v) for k, v in row.items() if v}
            for row in csv.DictReader(file)
        ]


def plot(log: list[dict[str, float]] | str | Path) -> Any:
    """A figure of loss and, where there was test data, accuracy over the epochs.  log: rows, or the path of a log.csv."""
    from matplotlib.figure import Figure

    rows = log if isinstance(log, list) else read_log(log)
    epochs = [row["epoch"] + 1 for row in rows]
    figure = Figure(figsize=(8, 3), layout="constrained")
    for axes, kind in zip(figure.subplots(1, 2), ("loss", "accuracy")):
        for name in _names(rows):
            if name.endswith(kind):
                axes.plot(epochs, [row.get(name, math.nan) for row in rows], label=name.split("_")[0])
        axes.set(xlabel="epoch", ylabel=kind)
        if axes.lines:
            axes.legend()
    return figure


def _names(rows: list[dict[str, float]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))
