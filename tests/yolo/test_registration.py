"""The parser treats C2fViL as it treats C2f, and everything else as before."""

from pathlib import Path

import pytest
import torch
import yaml
from test_models import parsed
from torch import nn
from ultralytics import YOLO
from ultralytics.nn import tasks
from ultralytics.nn.modules import C2f, Conv
from ultralytics.utils import callbacks

import vil_lite.yolo
from vil_lite.complexity import parameters
from vil_lite.yolo import C2fViL, available, model_yaml, register, registration
from vil_lite.yolo.models import stock_yaml


def as_dict(name):
    return tasks.yaml_model_load(model_yaml(name))


@pytest.mark.parametrize("scale", "nsmlx")
@pytest.mark.parametrize("place", ["vil", "vil-p5", "vil-p345", "vil-neck"])
def test_channels_and_repeats_are_those_of_c2f(scale, place):
    ours, stock = parsed(model_yaml(f"yolov8{scale}-{place}")), parsed(f"yolov8{scale}.yaml")
    replaced = 0
    for a, b in zip(ours, stock, strict=True):
        if type(a) is C2fViL:
            replaced += 1
            assert type(b) is C2f and a.c == b.c and len(a.m) == len(b.m)
            assert a.cv1.conv.weight.shape == b.cv1.conv.weight.shape
            assert a.cv2.conv.weight.shape == b.cv2.conv.weight.shape
        else:
            assert type(a) is type(b)
            assert [p.shape for p in a.parameters()] == [p.shape for p in b.parameters()]
    assert replaced == {"vil": 2, "vil-p5": 1, "vil-p345": 3, "vil-neck": 3}[place]


def test_an_unknown_block_is_still_an_error():
    broken = as_dict("yolov8n-vil")
    broken["head"].insert(0, [-1, 1, "NoSuchBlock", []])
    with pytest.raises(KeyError, match="NoSuchBlock"):
        tasks.parse_model(broken, ch=3, verbose=False)


def test_registering_twice_changes_nothing():
    wrapped, workers = tasks.parse_model, list(callbacks.default_callbacks["on_train_end"])
    register(C2fViL)
    assert tasks.parse_model is wrapped and not hasattr(wrapped.__wrapped__, "__wrapped__")
    assert callbacks.default_callbacks["on_train_end"] == workers
    assert workers.count(registration.say_what_it_needs) == 1


def test_seven_kinds_of_block_in_one_yaml():
    """Beside C2fViL as many more as there are rows; each is called with channels, repeats and the arguments of its row."""
    model, calls = as_dict("yolov8n-vil"), []

    class Noting(C2f):
        def __init__(self, c1, c2, n, *arguments):
            calls.append((type(self).__name__, c1, c2, n, arguments))
            super().__init__(c1, c2, n)

    kinds = [register(type(f"Custom{k}", (Noting,), {"__module__": __name__})) for k in range(6)]
    for row, kind in zip([r for r in model["backbone"] + model["head"] if r[2] == "C2f"], kinds, strict=True):
        row[2:] = kind.__name__, [row[3][0], "n", {"an": "option"}]
    try:
        with torch.device("meta"):
            layers, _ = tasks.parse_model(model, ch=3, verbose=False)
    finally:
        for kind in kinds:
            registration._BLOCKS.pop(kind.__name__)
    assert {type(layer) for layer in layers} >= {C2fViL, *kinds}
    assert calls[:2] == [
        ("Custom0", 32, 32, 1, ("n", {"an": "option"})),
        ("Custom1", 64, 64, 2, ("n", {"an": "option"})),
    ]


def test_the_block_that_is_thrown_away_draws_no_random_numbers():
    """Between two convolutions ours leaves the second one the weights that it has behind a layer without any."""
    weights = []
    for row in (["C2fViL", [64]], ["nn.Identity", []]):
        torch.manual_seed(0)
        rows = [[-1, 1, "Conv", [64, 3, 2]], [-1, 2, *row], [-1, 1, "Conv", [96, 3, 2]]]
        layers, _ = tasks.parse_model({"backbone": rows, "head": []}, ch=3, verbose=False)
        weights.append(layers[2].conv.weight)
    assert torch.equal(*weights)


def test_the_activation_of_a_yaml_reaches_our_block():
    """And the default is afterwards what ultralytics makes it: the usual one again, or in older versions that of the YAML."""
    activation, usual = {"activation": "torch.nn.ReLU()"}, Conv.default_act
    try:
        with torch.device("meta"):
            tasks.parse_model(tasks.yaml_model_load("yolov8n.yaml") | activation, ch=3, verbose=False)
            theirs = type(Conv.default_act)
            Conv.default_act = usual
            layers, _ = tasks.parse_model(as_dict("yolov8n-vil") | activation, ch=3, verbose=False)
        assert type(layers[6].cv1.act) is type(layers[6].cv2.act) is nn.ReLU
        assert type(Conv.default_act) is theirs
    finally:
        Conv.default_act = usual


@pytest.mark.parametrize(("family", "numbers"), [("yolo11", 464_912), ("yolo12", 464_912), ("yolov8", 897_664)])
def test_the_head_is_that_of_the_family_when_every_row_is_ours(family, numbers, tmp_path):
    """ultralytics tells YOLO11's head from YOLOv8's by the blocks before it."""
    model = stock_yaml(family, "n")
    for row in model["backbone"] + model["head"]:
        if row[2] in ("C2f", "C3k2", "A2C2f"):
            row[2:] = "C2fViL", row[3][:1]
    path = tmp_path / f"{family}n-mine.yaml"
    path.write_text(yaml.safe_dump(model))
    assert parameters(parsed(path)[-1]) == numbers
    other = tmp_path / "any.yaml"  # a name that tells nothing
    other.write_text(yaml.safe_dump(model | {"legacy": family == "yolov8"}))
    assert parameters(parsed(other)[-1]) == numbers


class Inner(nn.Module):
    def forward(self, x):
        return x


class C2fMine(C2f):
    def __init__(self, c1, c2, n, options=None):
        super().__init__(c1, c2, n)
        self.m, self.options = nn.ModuleList(Inner() for _ in range(n)), options


def test_a_block_of_ones_own_with_modules_of_its_own_is_read_by_load_weights(small, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(Path(small).read_text().replace("C2fViL", "C2fMine"))
    register(C2fMine)
    try:
        YOLO(path).save(tmp_path / "mine.pt")
        assert vil_lite.yolo.load_weights(YOLO(path), tmp_path / "mine.pt").missing == []
    finally:
        registration._BLOCKS.pop("C2fMine")


def test_none_in_a_row_is_null_as_in_the_rows_of_ultralytics():
    register(C2fMine)
    try:
        for written, wanted in (("None", None), ("{a: None, b: some}", {"a": None, "b": "some"})):
            rows = yaml.safe_load(f"[[-1, 1, Conv, [16, 3, 2]], [-1, 1, C2fMine, [16, {written}]]]")
            assert tasks.parse_model({"backbone": rows, "head": []}, 3, False)[0][1].options == wanted
    finally:
        registration._BLOCKS.pop("C2fMine")
    rows = yaml.safe_load("[[-1, 1, Conv, [32, 3, 2]], [-1, 1, C2fViL, [32, {design: None, chunk_size: None}]]]")
    tasks.parse_model({"backbone": rows, "head": []}, ch=3, verbose=False)


def test_register_refuses_what_it_cannot_serve():
    with pytest.raises(TypeError, match="subclass of torch.nn.Module"):
        register("C2fViL")
    with pytest.raises(ValueError, match="ultralytics has a block named C2f already; give your class another name"):
        register(type("C2f", (nn.Sequential,), {}))

    class Narrow(nn.Module):
        def __init__(self, channels):
            super().__init__()

    with pytest.raises(TypeError, match=r"Narrow\(channels_in, channels_out, repeats, .*Narrow\(channels\) cannot be"):
        register(Narrow)
    here = type("Homeless", (C2f,), {"__module__": "__main__"})
    with pytest.warns(UserWarning, match="no other process can open its checkpoint"):
        register(here)
    registration._BLOCKS.pop("Homeless")


def test_the_package_names_what_it_offers():
    assert "AGPL-3.0" in vil_lite.yolo.__doc__
    assert len(available()) == len(set(available())) == 205
