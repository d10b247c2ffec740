"""The parser treats C2fViL as it treats C2f, and everything else as before."""

import pickle
import threading
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn
from ultralytics.nn import tasks
from ultralytics.nn.modules import C2f
from ultralytics.utils import callbacks

import vil_lite.yolo
from vil_lite.yolo import C2fViL, available, model_yaml, register, registration


def as_dict(name):
    return yaml.safe_load(Path(model_yaml(name)).read_text())


def parse(path):
    """The layers of a model YAML, without memory for their weights."""
    model = tasks.yaml_model_load(path)
    with torch.device("meta"):
        layers, _ = tasks.parse_model(model, ch=3, verbose=False)
    return layers


@pytest.mark.parametrize("scale", "nsmlx")
@pytest.mark.parametrize("place", ["vil", "vil-p5", "vil-p345", "vil-neck"])
def test_channels_and_repeats_are_those_of_c2f(scale, place):
    ours, stock = parse(model_yaml(f"yolov8{scale}-{place}")), parse(f"yolov8{scale}.yaml")
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


def test_repeats_alternate_in_direction():
    layer = parse(model_yaml("yolov8l-vil"))[6]
    ways = [block.layer.directions for block in layer.m]
    assert ways == [("row",), ("row_reversed",)] * 3


def test_donors_are_themselves_again_also_after_an_error():
    before = {name: getattr(tasks, name) for name in registration.DONORS}
    parse(model_yaml("yolov8n-vil"))
    broken = as_dict("yolov8n-vil")
    broken["head"].insert(0, [-1, 1, "NoSuchBlock", []])
    with pytest.raises(KeyError, match="NoSuchBlock"):
        tasks.parse_model({**broken, "scale": "n"}, ch=3, verbose=False)
    assert {name: getattr(tasks, name) for name in registration.DONORS} == before


def test_registering_twice_changes_nothing():
    wrapped, workers = tasks.parse_model, list(callbacks.default_callbacks["on_pretrain_routine_start"])
    register(C2fViL)
    assert tasks.parse_model is wrapped and not hasattr(wrapped.stock, "stock")
    assert callbacks.default_callbacks["on_pretrain_routine_start"] == workers
    assert workers.count(registration.import_in_workers) == 1


def test_a_donor_that_the_model_uses_stays_what_it_is():
    """A YAML that holds the first donor itself beside ours gets both."""
    model = as_dict("yolov8n-vil")
    model["backbone"][2] = [-1, 3, registration.DONORS[0], [128, True]]
    with torch.device("meta"):
        layers, _ = tasks.parse_model({**model, "scale": "n"}, ch=3, verbose=False)
    assert type(layers[2]) is getattr(tasks, registration.DONORS[0])
    assert type(layers[6]) is C2fViL


@pytest.fixture
def more_blocks():
    """As many further custom blocks as there are donors."""
    blocks = [type(f"Custom{n}", (C2f,), {}) for n in range(len(registration.DONORS))]
    for block in blocks:
        register(block)
    yield blocks
    for block in blocks:
        registration._BLOCKS.pop(block.__name__)
        delattr(tasks, block.__name__)


def test_too_many_custom_blocks(more_blocks):
    model = as_dict("yolov8n-vil")
    c2f = [row for row in model["backbone"] + model["head"] if row[2] == "C2f"]
    for row, block in zip(c2f, more_blocks[:4]):
        row[2], row[3] = block.__name__, row[3][:1]
    with torch.device("meta"):
        layers, _ = tasks.parse_model(yaml.safe_load(yaml.safe_dump({**model, "scale": "n"})), ch=3, verbose=False)
        assert {type(layer) for layer in layers} >= {C2fViL, *more_blocks[:4]}  # five kinds for five donors
        c2f[4][2] = more_blocks[4].__name__
        with pytest.raises(ValueError, match=r"6 custom blocks .* only 5 can be registered.*use fewer kinds"):
            tasks.parse_model({**model, "scale": "n"}, ch=3, verbose=False)


def test_register_refuses_what_it_cannot_serve():
    with pytest.raises(TypeError, match="subclass of torch.nn.Module"):
        register("C2fViL")
    with pytest.raises(ValueError, match="ultralytics has a block named C2f already; give your class another name"):
        register(type("C2f", (nn.Module,), {}))


def test_two_threads_parse_at_once():
    """One builds ViL, one builds a model with a donor's own name, over and over."""
    plain = as_dict("yolov8n-vil")
    for row in plain["backbone"]:
        if row[2] == "C2fViL":
            row[2], row[3] = registration.DONORS[0], row[3][:1]
    wrong = []

    def build(kind, index, path_or_dict):
        for _ in range(15):
            with torch.device("meta"):
                model = yaml.safe_load(yaml.safe_dump(path_or_dict))
                layers, _ = tasks.parse_model({**model, "scale": "n"}, ch=3, verbose=False)
            if type(layers[index]).__name__ != kind:
                wrong.append((kind, type(layers[index])))

    vil = as_dict("yolov8n-vil")
    threads = [
        threading.Thread(target=build, args=("C2fViL", 6, vil)),
        threading.Thread(target=build, args=(registration.DONORS[0], 6, plain)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


PLAIN = """
import torch
from ultralytics import YOLO
from ultralytics.nn import tasks

def plain():
    torch.manual_seed(0)
    model = YOLO("yolov8n.yaml").model.eval()
    with torch.no_grad():
        return [(m.i, m.f, m.type, m.np) for m in model.model], model(torch.linspace(0, 1, 3 * 64 * 96).view(1, 3, 64, 96))[0]

rows, y = plain()
import vil_lite.yolo
for name in ("yolov8n-vil", "yolov8s-vil-p5"):
    YOLO(vil_lite.yolo.model_yaml(name))
rows_after, y_after = plain()
assert rows_after == rows and torch.equal(y, y_after)
assert not attempts, attempts
print("unchanged")
"""


def test_plain_yolov8_is_the_same_before_and_after(fresh):
    assert "unchanged" in fresh(PLAIN)


def test_ddp_workers_import_the_package(fresh, tmp_path):
    """ultralytics sends its callbacks to the workers pickled; reading them must register the block there."""
    (tmp_path / "callbacks").write_bytes(pickle.dumps(dict(callbacks.get_default_callbacks())))
    source = """
import pickle, sys
from ultralytics.nn import tasks
assert not hasattr(tasks, "C2fViL")
pickle.load(open(sys.argv[1], "rb"))
print("registered:", hasattr(tasks, "C2fViL") and hasattr(tasks.parse_model, "stock"))
"""
    assert "registered: True" in fresh(source, tmp_path / "callbacks")


def test_the_package_names_what_it_offers():
    for name in vil_lite.yolo.__all__:
        assert hasattr(vil_lite.yolo, name)
    assert "AGPL-3.0" in vil_lite.yolo.__doc__
    assert len(available()) == 21
