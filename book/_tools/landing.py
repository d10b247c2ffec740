"""The two figures of the landing page: a matrix that remembers, under a slider, and what a detector finds on an airfield.

The page has them from the directives {memory-slider} and {scene-with-detections}.
"""

from pathlib import Path

import glance
import matplotlib.pyplot as plt
import numpy as np

from vil_lite.data import airfield
from vil_lite.teach import colors, heatmap
from vil_lite.teach.figures import STYLE
from vil_lite.teach.sliders import static_page, webp

ROOT = Path(__file__).resolve().parents[2]
WIDTH, MOST = 8, 16


def pairs(seed=0):
    """Keys (MOST, WIDTH) of length 1, the first WIDTH of them at right angles, and values (MOST, WIDTH)."""
    random = np.random.default_rng(seed)
    angles = np.linalg.qr(random.normal(size=(WIDTH, WIDTH)))[0]
    more = random.normal(size=(MOST - WIDTH, WIDTH))
    keys = np.concatenate([angles, more / np.linalg.norm(more, axis=1, keepdims=True)])
    return keys, random.choice([-1.0, 1.0], size=(MOST, WIDTH))


def recall(stored: int):
    """The matrix after `stored` pairs, the first value, and what the matrix answers to the first key."""
    keys, values = pairs()
    matrix = keys[:stored].T @ values[:stored]
    return matrix, values[0], keys[0] @ matrix


def error(stored: int) -> float:
    """How far the answer is from the value, relative to the value's length."""
    _, value, answer = recall(stored)
    return float(np.linalg.norm(answer - value) / np.linalg.norm(value))


def draw_memory(pairs_stored):
    matrix, value, answer = recall(pairs_stored)
    figure, (left, right) = plt.subplots(1, 2, figsize=(5.6, 2.9), width_ratios=(1.15, 1))
    heatmap(matrix, left, title="The memory", signed=True, limits=(-2.5, 2.5), values=False, bar=False)
    left.set(xticks=[], yticks=[])
    places = np.arange(WIDTH)
    right.bar(places, value, width=0.8, color="#D9D9D9", label="stored")
    right.plot(places, answer, "o", color=colors.blue, label="recalled")
    right.set(ylim=(-2.6, 3.4), xticks=[], title="The first pair")
    right.axhline(0, color=colors.grey, linewidth=0.8)
    right.legend(loc="upper center", ncols=2, handletextpad=0.4, columnspacing=1)
    return figure


def memory_words(pairs_stored) -> str:
    missed = f"{100 * error(pairs_stored):.0f} %"
    plural = "pair" if pairs_stored == 1 else "pairs"
    end = (
        "the first comes back exactly"
        if error(pairs_stored) < 1e-9
        else f"the first comes back with an error of {missed}"
    )
    return f"A matrix of {WIDTH} × {WIDTH} numbers that holds {pairs_stored} {plural}: {end}."


def memory() -> str:
    """The slider, as HTML."""
    caption = (
        f"Pairs of key and value are added to one matrix of {WIDTH} × {WIDTH} numbers, and the first is asked for. "
        f"{WIDTH} keys at right angles do not disturb each other; with more, something must. Chapter 3 says how much."
    )
    values = {"pairs_stored": range(1, MOST + 1)}
    states = [{"pairs_stored": n} for n in values["pairs_stored"]]
    with plt.rc_context(STYLE):
        return static_page(draw_memory, memory_words, caption, values, states)


def detections(root: Path = ROOT) -> tuple[tuple[str, int, int], str]:
    """A picture of the recorded scene as `webp` gives it (address, width, height), and what it shows in words."""
    figures, _ = glance.run(root, "landing_scene")
    shown = figures["shown"]
    scene = airfield.scene(index=shown["index"], **figures["scene"])
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(5.6, 5.6))
        axes.imshow(scene.image)
        axes.axis("off")
        for true in shown["true"]:
            if not true["found"]:
                _box(axes, true["box"], "white", "--")
        for found in shown["found"]:
            colour = colors.sky if found["right"] else colors.orange
            _box(axes, found["box"], colour, "-")
            style = {"facecolor": colour, "edgecolor": "none", "pad": 1}
            x, y = found["box"][0], max(found["box"][1] - 2, len(scene.image) / 32)
            axes.text(x, y, found["name"], fontsize=8, bbox=style, va="bottom", clip_on=True)
        return webp(figure), _told(figures)


def _box(axes, box, colour, line):
    x0, y0, x1, y1 = box
    axes.add_patch(
        plt.Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=colour, linewidth=1.8, linestyle=line)
    )


def _told(figures) -> str:
    shown, scenes, plain = figures["shown"], len(figures["right"]), figures["without ViL"]
    wrong, missed = len(shown["found"]) - shown["right"], len(shown["true"]) - shown["right"]
    does = [
        f"finds and names {shown['right']} (blue)",
        *([f"draws {wrong} wrong {'box' if wrong == 1 else 'boxes'} (orange)"] if wrong else []),
        *([f"misses {missed} (dashed)"] if missed else []),
    ]
    told = " and ".join(filter(None, (", ".join(does[:-1]), does[-1])))
    return (
        f"A drawn airfield with {len(shown['true'])} aircraft. The detector of Part 3, with ViL, {told}. Of {scenes} scenes this "
        f"is the one with the most aircraft that it names; on all {scenes} it finds and names {sum(figures['right'])} of "
        f"{sum(figures['aircraft'])} and draws {sum(figures['boxes']) - sum(figures['right'])} wrong boxes; "
        f"its twin without ViL {plain['right']} and {plain['boxes'] - plain['right']}."
    )
