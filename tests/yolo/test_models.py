"""The YAMLs build, run on any shape, and refuse what they cannot mean."""

import json
import os
import re
from pathlib import Path

import ch14_families
import pytest
import torch
from ultralytics import YOLO
from ultralytics.nn import tasks
from ultralytics.nn.modules import C2f, RepNCSPELAN4
from ultralytics.utils import DEFAULT_CFG_DICT, IterableSimpleNamespace
from ultralytics.utils.torch_utils import get_flops

from vil_lite.complexity import flops, parameters
from vil_lite.yolo import C2fViL, available, model_yaml
from vil_lite.yolo.environment import cache_dir
from vil_lite.yolo.models import FAMILIES, PLACES, TASKS, name_of, stock_yaml, strides, tasks_of


def parsed(path):
    """The layers of a model YAML, without memory for their weights."""
    return parsed_dict(tasks.yaml_model_load(path))


def parsed_dict(model):
    with torch.device("meta"):
        return tasks.parse_model(model, ch=3, verbose=False)[0]


@pytest.mark.parametrize("place", ["vil", "vil-p5", "vil-p345", "vil-neck"])
def test_variants_run_on_odd_sizes(place):
    model = YOLO(model_yaml(f"yolov8n-{place}", nc=3)).model.eval()
    for size in [(32, 32), (64, 160), (224, 96)]:  # down to a single token at stride 32
        with torch.no_grad():
            y = model(torch.rand(2, 3, *size))[0]
        assert y.shape == (2, 4 + 3, sum(size[0] // s * (size[1] // s) for s in (8, 16, 32)))
        assert y.isfinite().all()


@pytest.mark.parametrize(
    "options",
    [
        {"version": 1},
        {"form": "parallel"},
        {"form": "recurrent"},
        {"form": "chunkwise", "chunk_size": 7},
        {"design": "bidirectional"},
        {"design": "alternating_quaddirectional"},
    ],
)
def test_options_reach_the_blocks(options):
    layer = YOLO(model_yaml("yolov8n-vil", **options)).model.model[6]
    first = layer.m[0].layer
    cell = first.paths[0].mlstm_cell
    wanted = {"version": 2, "form": "auto", "chunk_size": 32, **options}
    assert (first.proj_up.bias is None) == (wanted["version"] == 1)
    assert (cell.form, cell.chunk_size) == (wanted["form"], wanted["chunk_size"])
    assert len(first.directions) == (2 if wanted.get("design") == "bidirectional" else 1)


def test_every_stage_looks_both_ways():
    """Also where it has one repeat, as row 8 at the scales n and s; where the design is named, it is that one."""
    for scale, ways in (("n", [("row", "row_reversed")]), ("l", [("row",), ("row_reversed",), ("row",)])):
        assert [b.layer.directions for b in parsed(model_yaml(f"yolov8{scale}-vil"))[8].m] == ways
    assert [len(b.layer.directions) for b in parsed(model_yaml("yolov8n-vil"))[6].m] == [1, 1]
    forwards = parsed(model_yaml("yolov8n-vil", design="alternating_bidirectional"))[8].m
    assert [b.layer.directions for b in forwards] == [("row",)]


def test_forms_agree_inside_the_detector():
    """The same weights in the quadratic, the chunkwise and the recurrent form give the same detections."""
    models = {
        form: YOLO(model_yaml("yolov8n-vil", form=form)).model.eval() for form in ("parallel", "chunkwise", "recurrent")
    }
    x, outputs = torch.rand(1, 3, 192, 160), {}  # 120 tokens at stride 16: two chunks
    for form, model in models.items():
        model.load_state_dict(models["parallel"].state_dict())
        with torch.no_grad():
            outputs[form] = model(x)[0]
    for form in ("chunkwise", "recurrent"):
        torch.testing.assert_close(outputs[form], outputs["parallel"], rtol=1e-4, atol=1e-3)


def truths(task, images=4, size=64):
    """A batch as ultralytics' loader makes it: in each image a dark square of class 0 and a bright one of class 1."""
    image = 0.4 + 0.2 * torch.rand(images, 3, size, size, generator=torch.Generator().manual_seed(0))
    squares, masks = [(6, 30), (34, 60)], torch.zeros(images, size // 4, size // 4)
    for k, (a, b) in enumerate(squares):
        image[:, :, a:b, a:b] = k
        masks[:, a // 4 : b // 4, a // 4 : b // 4] = k + 1
    boxes = torch.tensor([[(a + b) / 2, (a + b) / 2, b - a, b - a] for a, b in squares]) / size
    if task == "obb":
        boxes = torch.cat([boxes, torch.zeros(2, 1)], dim=1)  # with their angle
    middle = torch.cat([boxes[:, :2], 2 * torch.ones(2, 1)], dim=1)  # x, y, and 2 for visible
    return {
        "img": image,
        "bboxes": boxes.repeat(images, 1),
        "cls": torch.tensor([[0.0], [1.0]]).repeat(images, 1),
        "batch_idx": torch.arange(float(images)).repeat_interleave(2),
        "masks": masks,
        "keypoints": middle[:, None].repeat(images, 17, 1),
    }


@pytest.mark.parametrize("task", ["detect", "segment", "pose", "obb"])
def test_heads_read_the_same_channels_and_train(task):
    """Each head beside stock YOLOv8's: the same shapes, the same form of output, and its own loss goes down."""
    torch.manual_seed(0)
    model = YOLO(model_yaml("yolov8n-vil", task=task, nc=2))
    network = model.model
    assert model.task == task and [type(network.model[row]) for row in (4, 6, 8)] == [C2f, C2fViL, C2fViL]
    head, theirs = network.model[-1], parsed_dict({**stock_yaml("yolov8", "n", task), "scale": "n", "nc": 2})[-1]
    assert type(head) is type(theirs)
    assert [p.shape for p in head.parameters()] == [p.shape for p in theirs.parameters()]
    with torch.no_grad():
        y = network.eval()(torch.rand(2, 3, 64, 96))[0]
    y = y[0] if isinstance(y, tuple) else y
    assert y.shape == (2, 4 + 2 + {"detect": 0, "segment": 32, "pose": 17 * 3, "obb": 1}[task], 8 * 12 + 4 * 6 + 2 * 3)

    network.train().args = IterableSimpleNamespace(**DEFAULT_CFG_DICT)
    optimizer, losses, batch = torch.optim.AdamW(network.parameters(), lr=3e-3), [], truths(task)
    for _ in range(10):
        loss = network.loss(batch)[0].sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    for row in (6, 8):
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.model[row].m.parameters())
        assert any(p.grad.abs().max() > 0 for p in network.model[row].m.parameters())


def test_the_reported_model_has_the_reported_parameters():
    """YOLOv8l, 32 classes, version 1 in the nine bottlenecks of width 256: the summary of a public post, to the digit."""
    model = YOLO(model_yaml("yolov8l-vil-reported")).model
    blocks = [m for layer in model.model if type(layer) is C2fViL for m in layer.m]
    width = 256
    assert len(blocks) == 9
    assert {parameters(b) for b in blocks} == {6 * width**2 + 87 * width + 8}
    model.fuse(verbose=False)
    assert parameters(model) == 36_749_304


def test_fused_sizes_of_the_small_variants():
    """Millions of fused parameters at 80 classes; plain YOLOv8n has 3.15."""
    for place, millions in {"vil-p5": 2.98, "vil": 2.90, "vil-p345": 2.88}.items():
        model = YOLO(model_yaml(f"yolov8n-{place}")).model.fuse(verbose=False)
        assert round(parameters(model) / 1e6, 2) == millions


@pytest.mark.parametrize(("form", "size"), [("auto", 320), ("parallel", 128)])
def test_printed_gflops_are_those_that_are_executed(form, size):
    """ultralytics counts on images of 32 pixels, where the cell is quadratic, and extrapolates: papers copy that line."""
    model = YOLO(model_yaml("yolov8n-vil", form=form)).model.fuse(verbose=False).eval()
    executed = flops(model, torch.rand(1, 3, size, size), counting="torch")
    assert get_flops(model, size) == pytest.approx(2 * executed / 1e9, rel=0.02)


def test_a_hostile_folder_does_not_change_the_scale(tmp_path, monkeypatch):
    """ultralytics takes digits with a letter, anywhere in a path, for a scale when the file is not there by its full name."""
    hostile = tmp_path / "exp2s" / "yolov8x run 3l" / "v1n"
    monkeypatch.setenv("VIL_LITE_CACHE", str(hostile))
    path = model_yaml("yolov8n-vil")
    assert Path(path).is_relative_to(hostile) and Path(path).name == "yolov8n-vil.yaml"
    assert tasks.yaml_model_load(path)["scale"] == "n"
    assert YOLO(path).model.yaml["scale"] == "n"
    assert tasks.yaml_model_load(model_yaml("yolov8l-vil"))["scale"] == "l"


@pytest.mark.parametrize("name", ["mine.yaml", "yolov8s-mine.yaml"])
def test_a_copy_under_another_name_is_the_same_model(name, tmp_path):
    path = Path(tmp_path, name)
    path.write_text(Path(model_yaml("yolov8l-vil")).read_text())
    shapes = [[p.shape for p in parsed(file).parameters()] for file in (path, model_yaml("yolov8l-vil"))]
    assert shapes[0] == shapes[1]


def test_one_content_one_file():
    path = model_yaml("yolov8n-vil", nc=5)
    stamp = os.stat(path).st_mtime_ns
    assert model_yaml("yolov8n-vil.yaml", nc=5) == path and os.stat(path).st_mtime_ns == stamp
    assert model_yaml("yolov8n-vil", nc=5, chunk_size=32) != path
    assert "nc: 5\n" in Path(path).read_text()


def test_unknown_names_and_options_say_what_there_is():
    with pytest.raises(
        ValueError, match=r"no model 'yolov8n-vit' \(did you mean 'yolov8n-vil'\?\); a name is family, scale and place"
    ):
        model_yaml("yolov8n-vit")
    with pytest.raises(ValueError, match=r"no yolov10 of scale n for task 'pose'; it has detect"):
        model_yaml("yolov10n-vil", task="pose")
    with pytest.raises(ValueError, match=r"no neck in which ViL could stand; use yolo11n-vil"):
        model_yaml("yolo11n-vil-neck", task="classify")
    with pytest.raises(ValueError, match=r"no option 'forms' \(did you mean 'form'\?\); options: version, design"):
        model_yaml("yolov8n-vil", forms="parallel")
    with pytest.raises(
        ValueError, match=r"form must be one of auto, .*got 'chunk_wise' \(did you mean 'chunkwise'\?\)"
    ):
        model_yaml("yolov8n-vil", form="chunk_wise")
    for options in ({"version": 3}, {"version": True}, {"design": "both"}, {"chunk_size": 0}, {"chunk_size": "64"}):
        name, value = next(iter(options.items()))
        with pytest.raises(ValueError, match=f"{name} must be .*got {value!r}"):
            model_yaml("yolov8n-vil", **options)
    with pytest.raises(
        ValueError, match=r"task must be one of detect, segment, pose, obb, classify, got 'segmentation'"
    ):
        model_yaml("yolov8n-vil", task="segmentation")
    with pytest.raises(ValueError, match=r"no family 'yolov7' \(did you mean 'yolov9'.*families: yolov8, yolov8-p2"):
        available("yolov7")
    with pytest.raises(ValueError, match="nc must be a positive number of classes, got 0"):
        model_yaml("yolov8n-vil", nc=0)


def test_wrong_rows_say_what_to_write():
    with pytest.raises(TypeError, match=r"mapping of options .* got True; write \[512\] or"):
        C2fViL(32, 32, 1, True)  # the row of a C2f, with only its name changed
    with pytest.raises(
        ValueError, match=r"72 output channels give ViL blocks of width 36 .* multiple of 8 .* multiple of 16 ch"
    ):
        C2fViL(64, 72)


def test_forward_is_not_overridden():
    """The exporter would replace an overriding forward by C2f.forward_split and export another network."""
    assert C2fViL.forward is C2f.forward
    layer, x = C2fViL(32, 32, 2).eval(), torch.rand(1, 32, 6, 10)
    with torch.no_grad():
        torch.testing.assert_close(layer.forward_split(x), layer(x), rtol=0, atol=0)


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("VIL_LITE_CACHE", str(tmp_path / "new"))
    assert cache_dir() == (tmp_path / "new").resolve()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("VIL_LITE_CACHE", "~/mine")
    assert cache_dir() == (tmp_path / "mine").resolve()
    monkeypatch.setenv("VIL_LITE_CACHE", "")  # empty is not set
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_dir() == (tmp_path / ".cache/vil_lite").resolve()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VIL_LITE_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(OSError, match="set VIL_LITE_CACHE to a folder that can be written to"):
        cache_dir()


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_builds_with_every_head(family):
    """At its smallest scale, in all places, for other tasks in those with most rows: ours have the channels of those replaced."""
    scale, variant = FAMILIES[family][0], family.partition("-")[1] + family.partition("-")[2]
    for task in tasks_of(family):
        if (family, task) == ("yolov9", "segment"):  # for the scales c and e alone
            scale = "c"
        stock = parsed_dict(stock_yaml(family, scale, task))
        for place in PLACES if task == "detect" else ("vil-p345", "vil-neck"):
            if (place, task) == ("vil-neck", "classify"):
                continue
            name = f"{family.partition('-')[0]}{scale}{variant}-{place}"
            layers = parsed(model_yaml(name, task=task))
            ours = [(a, b) for a, b in zip(layers, stock, strict=True) if type(a) is C2fViL]
            assert ours
            for a, b in ours:
                out = (b.cv4 if type(b) is RepNCSPELAN4 else b.cv2).conv.out_channels
                assert a.cv2.conv.out_channels == out and a.cv1.conv.in_channels == b.cv1.conv.in_channels
            shapes = [[p.shape for p in layer[-1].parameters()] for layer in (layers, stock)]
            assert shapes[0] == shapes[1], "the head is the family's"


@pytest.mark.parametrize(
    ("family", "scale"), [("yolov8-p2", "n"), ("yolov9", "e"), ("yolov10", "n"), ("yolo26-p6", "n")]
)
def test_strides_are_those_that_the_maps_have(family, scale):
    model, seen, maps = stock_yaml(family, scale), [], []
    layers, _ = tasks.parse_model({**stock_yaml(family, scale), "scale": scale}, ch=3, verbose=False)
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        for layer in layers.eval()[:-1]:
            of = layer.f if isinstance(layer.f, list) else [layer.f]
            given = [x if not maps else maps[f] for f in of]
            maps.append(layer(given if isinstance(layer.f, list) else given[0]))
            last = maps[-1][-1] if isinstance(maps[-1], (list, tuple)) else maps[-1]
            seen.append(64 // last.shape[-1])
    wanted = strides(model)[:-1]
    kinds = [row[2] for row in model["backbone"] + model["head"]][:-1]
    assert [s for s, k in zip(seen, kinds) if k != "CBLinear"] == [s for s, k in zip(wanted, kinds) if k != "CBLinear"]


def test_the_recorded_table_and_the_readme_name_the_families_and_heads_that_there_are():
    root = Path(__file__).resolve().parents[2]
    rows = json.loads((root / "book/results/ch14_families.json").read_text(encoding="utf-8"))["figures"]["rows"]
    wanted, table = [], {}
    for family, scales in FAMILIES.items():
        smallest = {t: next(s for s in scales if t in tasks_of(family, s)) for t in tasks_of(family)}
        wanted += [(name_of(family, scale, "vil"), task) for task, scale in smallest.items()]
        table[name_of(family, scales[0], "vil")] = [t for t in smallest if t != "detect"]
    assert [(row["model"], row["task"]) for row in rows] == wanted
    readme = (root / "README.md").read_text(encoding="utf-8")
    said = {}
    for names, heads in re.findall(r"^\| (`yolo.*?-vil`) \| [\w ]+ \| (.*) \|$", readme, re.M):
        for name, head in zip(names.split(" · "), heads.split(" · "), strict=True):
            said[name.strip("`")] = [t for t in TASKS if t in head]
    assert said == table


def test_a_family_trains_a_step_opens_elsewhere_and_exports(tmp_path, monkeypatch):
    """One row of the recorded table, made anew; experiments/ch14_families.py makes them all, in an hour."""
    recorded = json.loads((Path(__file__).resolve().parents[2] / "book/results/ch14_families.json").read_text())
    wanted = next(r for r in recorded["figures"]["rows"] if (r["model"], r["task"]) == ("yolo11n-vil", "segment"))
    monkeypatch.setattr(ch14_families, "FOLDER", tmp_path)
    row = ch14_families.try_out("yolo11", "n", "segment")
    assert row["trained"] and row["reload"] < 1e-4 and row["onnx"] < 1e-3
    assert {key: row[key] for key in ("parameters", "plain")} == {key: wanted[key] for key in ("parameters", "plain")}
