"""One look for all figures: white cards, a palette safe for colour-blind readers, type that is legible at 390 px."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito's palette (jfly.uni-koeln.de/color), its yellow left out: it is too faint for lines on white.
colors = SimpleNamespace(
    blue="#0072B2",
    orange="#D55E00",
    green="#009E73",
    purple="#CC79A7",
    sky="#56B4E9",
    amber="#E69F00",
    black="#1A1A1A",
    grey="#6B6B6B",
)
colors.cycle = [colors.blue, colors.orange, colors.green, colors.purple, colors.sky, colors.amber, colors.black]

STYLE = {
    # At 5.6 inches wide, 11 pt type is still about 10 px tall when a phone shrinks the figure to 360 px.
    "figure.figsize": (5.6, 3.4),
    "figure.dpi": 144,
    "savefig.dpi": 144,
    "font.size": 11,
    "axes.titlesize": 11.5,
    "axes.titlelocation": "left",
    "legend.fontsize": 10,
    "legend.frameon": False,
    # White also in dark mode: the page shows figures as cards, and no line colour has to work on two grounds.
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
    "text.color": colors.black,
    "axes.labelcolor": colors.black,
    "axes.edgecolor": colors.grey,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "grid.color": "#E3E3E3",
    "lines.linewidth": 2.0,
    "image.cmap": "viridis",
    "image.interpolation": "nearest",
    "axes.prop_cycle": plt.cycler(color=colors.cycle),
    "figure.constrained_layout.use": True,
    "svg.hashsalt": "vil_lite",
}


def apply_style() -> None:
    """Apply the book's matplotlib style to this process."""
    plt.style.use(STYLE)


def heatmap(
    matrix: Any,
    ax: Axes | None = None,
    *,
    title: str | None = None,
    xlabel: str | None = None,
    ylabel: str | None = None,
    values: bool | None = None,
    limits: tuple[float, float] | None = None,
    signed: bool = False,
    bar: bool = True,
) -> Axes:
    """Draw a matrix as coloured squares, with its numbers where they fit, and return the Axes.

    matrix: (rows, columns), array or tensor.       values: write the numbers; None does so up to 8 x 8.
    limits: (low, high) of the colours.             signed: a diverging scale centred at zero.
    """
    matrix = _array(matrix)
    if matrix.ndim != 2:
        raise ValueError(f"matrix has shape {matrix.shape}; heatmap() draws (rows, columns): select one, as in x[0, 0]")
    ax = ax or plt.subplots()[1]
    limits = limits or _limits(matrix, signed)
    image = ax.imshow(matrix, cmap="RdBu_r" if signed else "viridis", vmin=limits[0], vmax=limits[1])
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel)
    ax.spines[:].set_visible(False)
    for axis, size in ((ax.xaxis, matrix.shape[1]), (ax.yaxis, matrix.shape[0])):
        axis.set_major_locator(
            mpl.ticker.MaxNLocator(nbins=8, integer=True) if size > 8 else mpl.ticker.MultipleLocator(1)
        )
    if values is None:
        values = max(matrix.shape) <= 8
    if values:
        _write_values(ax, image, matrix)
    if bar:
        ax.figure.colorbar(image, ax=ax, shrink=0.85)
    return ax


def heatmaps(matrices: Mapping[str, Any], *, signed: bool = False, shared: bool = True, **options: Any) -> Figure:
    """Draw several matrices side by side under one colour scale (shared=True) and return the Figure.

    matrices: {title: matrix}.  options: as for `heatmap`.
    """
    arrays = {title: _array(matrix) for title, matrix in matrices.items()}
    fig, axes = plt.subplots(1, len(arrays), figsize=(max(5.6, 2.6 * len(arrays)), 2.9), squeeze=False)
    if shared and "limits" not in options:
        options["limits"] = _limits(np.concatenate([a.ravel() for a in arrays.values()]), signed)
    for n, (ax, (title, matrix)) in enumerate(zip(axes[0], arrays.items())):
        heatmap(matrix, ax, title=title, signed=signed, bar=not shared or n == len(arrays) - 1, **options)
    return fig


def curves(
    x: Any,
    lines: Mapping[str, Any],
    *,
    xlabel: str,
    ylabel: str,
    ax: Axes | None = None,
    title: str | None = None,
    log: str = "",
    marker: str | None = None,
) -> Axes:
    """Draw labelled curves over one x axis and return the Axes.

    lines: {label: y values}.  log: "", "x", "y" or "xy".  Each line has its own dash pattern, so that colour is not all.
    """
    ax = ax or plt.subplots()[1]
    for (label, y), dash in zip(lines.items(), ["-", "--", "-.", ":"] * len(lines)):
        ax.plot(_array(x), _array(y), label=label, linestyle=dash, marker=marker)
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    if "x" in log:
        ax.set_xscale("log")
    if "y" in log:
        ax.set_yscale("log")
    ax.grid(True)
    if len(lines) > 1:
        ax.legend()
    return ax


def _array(x) -> np.ndarray:
    """A numpy array of a tensor (any device, any float type), an array or nested lists."""
    if hasattr(x, "detach"):
        x = x.detach().cpu()
        x = x.float() if x.is_floating_point() else x
    return np.asarray(x)


def _limits(values: np.ndarray, signed: bool) -> tuple[float, float]:
    """The least and greatest finite value, symmetric about zero when signed."""
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    return (-max(-low, high), max(-low, high)) if signed else (low, high)


def _write_values(ax, image, matrix) -> None:
    for (row, column), value in np.ndenumerate(matrix):
        red, green, blue, _ = image.cmap(image.norm(value))
        dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5  # perceived brightness of the square
        text = f"{value:g}" if float(value).is_integer() else f"{value:.2f}"
        ax.text(column, row, text, ha="center", va="center", color="white" if dark else "black", fontsize=9)
