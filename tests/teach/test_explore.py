"""explore(): the static page's frames and sliders, and the live widgets."""

import base64
import io
import json
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from bs4 import BeautifulSoup
from PIL import Image

from vil_lite import teach
from vil_lite.teach import sliders


@pytest.fixture(autouse=True)
def style():
    plt.close("all")  # what earlier tests drew
    with plt.rc_context():
        teach.setup()
        yield
    plt.close("all")


def draw(gate, steps=1):
    fig, ax = plt.subplots()
    t = np.linspace(0, 10, 60)
    ax.plot(t, gate**t * steps)
    ax.set(xlabel="step", ylabel="memory", title=f"f = {gate}", ylim=(0, 4))
    return fig


def alt(gate, steps=1):
    return f"Memory fades with gate {gate:.2f} over {steps} steps"


@pytest.fixture
def shown(monkeypatch):
    calls = []
    monkeypatch.setattr(sliders, "display", lambda *a, **k: calls.append((a, k)))
    return calls


@pytest.fixture
def static(shown, monkeypatch):
    """Return a function that calls explore() as the book build does and gives the text/html and text/plain it shows."""
    monkeypatch.setenv("VIL_STATIC", "1")

    def call(*args, **options):
        shown.clear()
        assert teach.explore(*args, **options) is None
        (((bundle,), how),) = shown
        assert how == {"raw": True}
        return bundle["text/html"], bundle["text/plain"]

    return call


def decode(address: str) -> Image.Image:
    assert address.startswith("data:image/webp;base64,")
    return Image.open(io.BytesIO(base64.b64decode(address.split(",", 1)[1])))


def test_static_page_carries_every_state_with_its_alt_text_and_labelled_sliders(static):
    page, text = static(draw, alt=alt, caption="Fading <memory>", gate=[0.1 + 0.2, 0.5, 0.9], steps=[1, 2])
    soup = BeautifulSoup(page, "html.parser")
    figure = soup.find("figure", class_="vl-explore")
    data = json.loads(figure.find("script", type="application/json").string)
    assert data["alts"] == [alt(g, s) for g in (0.3, 0.5, 0.9) for s in (1, 2)]
    assert data["frames"][0] is None and len(data["frames"]) == 6
    image = figure.img
    assert image["alt"] == alt(0.3, 1)
    sizes = {decode(f).size for f in [image["src"], *data["frames"][1:]]}
    assert sizes == {(int(image["width"]), int(image["height"]))}
    assert len({image["src"], *data["frames"][1:]}) == 6
    assert figure.figcaption.string == "Fading <memory>"
    assert text == "[interactive figure, 6 states; at gate = 0.5, steps = 2: Memory fades with gate 0.50 over 2 steps]"
    assert plt.get_fignums() == []
    first, second = soup.find_all("input", type="range")
    assert soup.find("label", attrs={"for": first["id"]}).string == "gate"
    assert soup.find("output", attrs={"for": second["id"]}).string == "1"
    assert first["aria-valuetext"] == "0.3" and json.loads(first["data-labels"]) == ["0.3", "0.5", "0.9"]
    assert (first["min"], first["max"], first["step"], first["value"]) == ("0", "2", "1", "0")
    # without JavaScript the first frame shows, and no dead slider
    assert image["src"].startswith("data:image/webp") and soup.find(class_="vl-controls").has_attr("hidden")


def test_identifiers_are_unique_on_a_page_and_the_same_in_every_build(static):
    one, _ = static(draw, alt="a", gate=[0.1, 0.2])
    again, _ = static(draw, alt="a", gate=[0.1, 0.2])
    other, _ = static(draw, alt="a", gate=[0.1, 0.3])
    assert one == again
    ids = re.findall(r' id="([^"]+)"', one + other)
    assert len(ids) == len(set(ids)) == 4


def test_nothing_is_loaded_from_elsewhere_and_twenty_states_are_light(static):
    page, _ = static(draw, alt=alt, gate=np.linspace(0.05, 0.95, 20))
    assert "http" not in re.sub(r"data:image/webp;base64,[\w+/=]+", "", page)
    assert len(page.encode()) < 250_000


def test_text_cannot_break_out_of_the_page(static):
    page, _ = static(draw, alt='"</script><b>', caption="<i>", gate=[0.1, 0.2])
    assert len(BeautifulSoup(page, "html.parser").find_all("script")) == 2
    assert not BeautifulSoup(page, "html.parser").find_all(["b", "i"])


def test_a_photograph_is_compressed_with_loss(static):
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)

    def picture(n):
        fig, ax = plt.subplots()
        ax.imshow(noise)
        return fig

    page, _ = static(picture, alt="noise", n=[1])
    assert len(page) < 250_000


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "no parameter"),
        ({"gate": []}, "no value for 'gate'"),
        ({"gate": range(31), "steps": [1, 2]}, r"31 gate x 2 steps = 62 states; a page carries at most 60"),
    ],
)
def test_what_cannot_be_shown_is_refused(values, said):
    with pytest.raises(ValueError, match=said):
        teach.explore(draw, alt="a", **values)


def test_one_value_for_a_sequence_is_refused():
    with pytest.raises(TypeError, match=r"got gate=3; give a sequence of values, as in gate=range\(10\)"):
        teach.explore(draw, alt="a", gate=3)


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([np.array([0.1, 2]), np.array([0.3, 4])], ["[0.1, 2]", "[0.3, 4]"]),
        ([torch.eye(2), torch.zeros(1, 2)], ["[[1, 0], [0, 1]]", "[[0, 0]]"]),
        (torch.tensor([0.1, 0.2]), ["0.1", "0.2"]),
        ([[0.1 + 0.2, 1], ["a"]], ["[0.3, 1]", "[a]"]),
        (range(2), ["0", "1"]),
    ],
)
def test_a_value_may_be_an_array_and_the_values_an_iterator(shown, monkeypatch, live, values, labels):
    monkeypatch.setenv("VIL_STATIC", "0" if live else "1")
    teach.explore(lambda w: plt.figure(figsize=(1, 1)), alt="a", w=iter(values))
    (view,), _ = shown[-1]
    if live:
        assert [label for label, _ in view.children[0].options] == labels
    else:
        slider = BeautifulSoup(view["text/html"], "html.parser").find("input", type="range")
        assert json.loads(slider["data-labels"]) == labels and f"at w = {labels[1]}" in view["text/plain"]


def test_draw_must_return_its_figure(static):
    with pytest.raises(TypeError, match="returned NoneType; it must return the matplotlib Figure"):
        static(lambda n: None, alt="a", n=[1])


def test_live_kernel_gets_one_slider_each_and_one_figure_a_move(shown, monkeypatch):
    monkeypatch.delenv("VIL_STATIC", raising=False)
    teach.explore(draw, alt=alt, caption="c", gate=np.array([0.1, 0.5]), steps=[1, 2])
    *figures, ((box,), _) = shown
    assert len(figures) == 1 and figures[0][1]["metadata"]["image/png"]["alt"] == alt(0.1, 1)
    gate, steps, _, caption = box.children
    assert gate.description == "gate" and gate.options == (("0.1", 0), ("0.5", 1))
    assert "c" in caption.value
    gate.value = 1
    assert len(shown) == 3 and shown[-1][1]["metadata"]["image/png"]["alt"] == alt(0.5, 1)
    assert plt.get_fignums() == []
