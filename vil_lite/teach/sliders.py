"""explore(): one figure-drawing function, one slider for each of its parameters, live or in a static page."""

import base64
import html
import io
import itertools
import json
import math
import os
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib.pyplot as plt
from IPython.display import display

MOST_FRAMES = 60


def explore(
    draw: Callable[..., Any], *, alt: str | Callable[..., str], caption: str | None = None, **values: Sequence[Any]
) -> None:
    """Show `draw(**one_value_each)` under a labelled slider for each parameter.

    draw: returns a matplotlib Figure.
    values: one sequence for each parameter of `draw`, at most 60 states in all.
    alt: what the figure shows, a text or a function of the parameters that returns one.
    caption: text under the figure.

    In a live kernel the sliders are ipywidgets and a figure is drawn when it is asked for.  In the static page
    (environment variable VIL_STATIC=1, set by `make book`) every state is drawn now and the page carries the frames:
    they work with the keyboard, without a network and, as far as the first frame goes, without JavaScript.
    Raises ValueError for no parameter, an empty one, or too many states; TypeError for one that is no sequence.
    """
    values = {name: _listed(name, sequence) for name, sequence in values.items()}
    states = _states(values)
    if os.environ.get("VIL_STATIC") == "1":
        page = static_page(draw, alt, caption, values, states)
        display({"text/html": page, "text/plain": _text(alt, values, states)}, raw=True)
    else:
        _widgets(draw, alt, caption, values)


def _listed(name: str, sequence) -> list:
    try:
        return list(sequence)
    except TypeError:
        remedy = f"give a sequence of values, as in {name}=range(10)"
        raise TypeError(f"explore() got {name}={sequence!r}; {remedy}") from None


def _states(values: dict) -> list[dict]:
    """Every combination of values, the last parameter running fastest."""
    if not values:
        raise ValueError("explore() got no parameter; give values, as in explore(draw, alt=..., n=range(10))")
    for name, sequence in values.items():
        if len(sequence) == 0:
            raise ValueError(f"explore() got no value for {name!r}; give at least one")
    count = math.prod(len(sequence) for sequence in values.values())
    if count > MOST_FRAMES:
        sizes = " x ".join(f"{len(sequence)} {name}" for name, sequence in values.items())
        raise ValueError(
            f"explore() got {sizes} = {count} states; a page carries at most {MOST_FRAMES}: give fewer values"
        )
    return [dict(zip(values, combination)) for combination in itertools.product(*values.values())]


def _alt(alt, state: dict) -> str:
    return alt(**state) if callable(alt) else alt


def _label(value) -> str:
    """A value as a reader wants to see it: 0.30000000000000004 is 0.3; of an array or tensor, its numbers."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, list):
        return f"[{', '.join(map(_label, value))}]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _name(parameter: str) -> str:
    return parameter.replace("_", " ")


def _text(alt, values, states) -> str:
    """What a reader gets where neither a figure nor HTML can be shown: the state in the middle, in words."""
    state = states[len(states) // 2]
    chosen = ", ".join(f"{_name(name)} = {_label(value)}" for name, value in state.items())
    return f"[interactive figure, {len(states)} states; at {chosen}: {_alt(alt, state)}]"


# ---------------------------------------------------------------- static page


def _frame(draw, state: dict) -> tuple[str, int, int]:
    """Draw one state; return what `webp` returns."""
    figure = draw(**state)
    if not isinstance(figure, plt.Figure):
        raise TypeError(f"draw({state}) returned {type(figure).__name__}; it must return the matplotlib Figure")
    return webp(figure)


def webp(figure) -> tuple[str, int, int]:
    """Close a figure; return it as a WebP data address with its width and height in pixels."""
    from PIL import Image

    png, file = io.BytesIO(), io.BytesIO()
    figure.savefig(png, format="png", bbox_inches=None)  # a tight box would make the frames jump
    plt.close(figure)
    image = Image.open(png).convert("RGB")
    # Few flat colours compress best without loss; photographs and fine heat maps do not.
    few = image.getcolors(maxcolors=4096) is not None
    image.save(file, "WEBP", lossless=few, quality=90 if few else 80, method=6)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode(), *image.size


def static_page(draw, alt, caption, values: dict, states: list[dict]) -> str:
    """The HTML of the static form.  The first frame is the <img>; the others are text until they are asked for."""
    frames = [_frame(draw, state) for state in states]
    (first, width, height), alts = frames[0], [_alt(alt, state) for state in states]
    ident = "vl-" + uuid.uuid5(uuid.NAMESPACE_OID, json.dumps([alts, caption, [f[0] for f in frames]])).hex[:12]
    sliders = "".join(_slider(f"{ident}-{n}", name, sequence) for n, (name, sequence) in enumerate(values.items()))
    data = json.dumps({"alts": alts, "frames": [None] + [f[0] for f in frames[1:]]}, ensure_ascii=False)
    return _HTML.format(
        ident=ident,
        first=first,
        width=width,
        height=height,
        alt=html.escape(alts[0]),
        sliders=sliders,
        caption=f"<figcaption>{html.escape(caption)}</figcaption>" if caption else "",
        data=data.replace("</", "<\\/"),
        script=_SCRIPT.replace("IDENT", ident),
    )


def _slider(ident: str, name: str, sequence) -> str:
    labels = [_label(value) for value in sequence]
    first, data = html.escape(labels[0]), html.escape(json.dumps(labels, ensure_ascii=False))
    return (
        f'<div class="vl-slider"><label for="{ident}">{html.escape(_name(name))}</label>'
        f'<input type="range" id="{ident}" min="0" max="{len(labels) - 1}" step="1" value="0" autocomplete="off"'
        f' aria-valuetext="{first}" data-labels="{data}">'
        f'<output for="{ident}">{first}</output></div>'
    )


# Without JavaScript a slider would move and change nothing: the controls stay hidden until the script has run.
_HTML = """<figure class="vl-explore" id="{ident}">
<img src="{first}" width="{width}" height="{height}" alt="{alt}" style="max-width:100%;height:auto;background:#fff">
<div class="vl-controls" hidden>{sliders}</div>
{caption}
<script type="application/json">{data}</script>
<script>{script}</script>
</figure>"""

_SCRIPT = """(() => {
  const figure = document.getElementById("IDENT"), image = figure.querySelector("img");
  const inputs = [...figure.querySelectorAll("input")];
  const data = JSON.parse(figure.querySelector('script[type="application/json"]').textContent);
  data.frames[0] = image.src;
  const show = () => {
    let state = 0;
    for (const input of inputs) {
      const label = JSON.parse(input.dataset.labels)[+input.value];
      input.setAttribute("aria-valuetext", label);
      input.nextElementSibling.value = label;
      state = state * (+input.max + 1) + +input.value;
    }
    image.src = data.frames[state];
    image.alt = data.alts[state];
  };
  inputs.forEach(input => input.addEventListener("input", show));
  figure.querySelector(".vl-controls").hidden = false;
})();"""


# ---------------------------------------------------------------- live kernel


def _widgets(draw, alt, caption, values: dict) -> None:
    """Sliders from ipywidgets, only with what both version 7.7 (Colab) and version 8 have."""
    import ipywidgets

    controls = {
        # The position is the value: arrays and lists cannot be compared as the widget would like to.
        name: ipywidgets.SelectionSlider(
            options=[(_label(value), n) for n, value in enumerate(sequence)],
            value=0,
            description=_name(name),
            style={"description_width": "initial"},
            layout={"width": "95%"},
        )
        for name, sequence in values.items()
    }

    def show(**positions):
        state = {name: values[name][n] for name, n in positions.items()}
        figure = draw(**state)
        display(figure, metadata={"image/png": {"alt": _alt(alt, state)}})
        plt.close(figure)  # or the inline backend would show it a second time

    parts = [*controls.values(), ipywidgets.interactive_output(show, controls)]
    if caption:
        parts.append(ipywidgets.HTML(f"<small>{html.escape(caption)}</small>"))
    display(ipywidgets.VBox(parts))
