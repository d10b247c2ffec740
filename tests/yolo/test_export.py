"""ONNX files of a ViL detector: one graph for all image sizes, and a small one for a fixed size."""

import json
from pathlib import Path
from types import SimpleNamespace

import ch17_exports
import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from ultralytics import YOLO

import vil_lite.yolo
from vil_lite.block import MLSTMCell, ViLBlock
from vil_lite.mlstm_fast import chunk_length
from vil_lite.yolo.export import any_size, prepare

try:
    from torch.onnx._internal.torchscript_exporter import registration
except ModuleNotFoundError:  # torch before 2.9
    from torch.onnx._internal import registration


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "moved.pt"
    save_moved(vil_lite.yolo.model_yaml("yolov8n-vil"), path)
    return path


def save_moved(yaml, path):
    """A new detector with all weights moved: at their initial values some are 0 or 1 and would hide mistakes."""
    torch.manual_seed(0)
    model = YOLO(yaml)
    with torch.no_grad():
        for p in model.model.parameters():
            p.add_(0.02 * torch.randn_like(p))
    model.save(path)


@pytest.fixture(scope="module")
def dynamic(weights):
    """The path of an ONNX file for any size; the size that is passed does not matter."""
    return YOLO(weights).export(format="onnx", imgsz=320, dynamic=True)


def test_a_format_that_a_machine_cannot_try_is_not_recorded_as_one_that_fails():
    root = Path(__file__).resolve().parents[2]
    models = json.loads((root / "book/results/ch17_exports.json").read_text(encoding="utf-8"))["figures"]["models"]
    kinds = {"ValueError": ValueError, "ImportError": ImportError, "FileNotFoundError": FileNotFoundError}
    for name, row in [pair for rows in models.values() for pair in rows.items() if "error" in pair[1]]:
        kind, _, said = row["error"].partition(": ")
        assert ch17_exports.what_is_missing(kinds.get(kind, Exception)(said)) is None, name
    assert models["yolov8n-vil"]["TensorRT"]["needs"] == "an NVIDIA GPU"


def agree(file, weights, batch, height, width):
    """Raw boxes (pixels) and scores of an ONNX file and of PyTorch, on noise."""
    x = torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1))
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.no_grad():
        wanted = YOLO(weights).model.eval()(x)[0]
    torch.testing.assert_close(torch.from_numpy(got), wanted, rtol=0, atol=1e-3)


def tiny(folder, fine="", coarse="", block="C2fViL", strides=(4, 4, 2)):
    """The path of a small detector's YAML, a block with one cell at each of two strides: to export takes long."""
    first, second, last = strides
    path = folder / "tiny.yaml"
    path.write_text(f"""nc: 2
backbone:
  - [-1, 1, Conv, [8, 3, {first}]]
  - [-1, 1, Conv, [16, 3, {second}]]
  - [-1, 1, {block}, [32, {{design: unidirectional{fine}}}]]
  - [-1, 1, Conv, [16, 3, {last}]]
  - [-1, 1, {block}, [32, {{design: unidirectional{coarse}}}]]
head:
  - [[2, 4], 1, Detect, [nc]]
""")
    return path


def test_a_dynamic_graph_of_other_options_serves_any_size_too(tmp_path):
    weights = tmp_path / "options.pt"
    save_moved(tiny(tmp_path, ", chunk_size: 128", ", form: parallel"), weights)
    file = YOLO(weights).export(format="onnx", dynamic=True)
    for height, width in ((64, 96), (320, 320), (224, 352)):
        agree(file, weights, 1, height, width)


def test_a_dynamic_graph_of_an_older_opset_serves_any_size_too(tmp_path):
    """Some runtimes ask for less than the 18 that ultralytics takes by itself."""
    older = tmp_path / "older.pt"
    save_moved(tiny(tmp_path), older)
    file = YOLO(older).export(format="onnx", dynamic=True, opset=17)
    for height, width in ((64, 96), (320, 320)):
        agree(file, older, 1, height, width)


class RowsViL(nn.Module):
    """A reader's own block with a cell in it that is no C2fViL."""

    def __init__(self, channels_in, channels_out, repeats=1, options=None):
        super().__init__()
        self.enter = nn.Conv2d(channels_in, channels_out, 1)
        self.scan = ViLBlock(channels_out, direction=["row"], version=2)

    def forward(self, x):
        x = self.enter(x)
        return self.scan(x.flatten(2).transpose(1, 2), x.shape[2:]).transpose(1, 2).reshape(x.shape)


def test_a_dynamic_graph_of_a_block_of_ones_own_serves_any_size_too(tmp_path):
    vil_lite.yolo.register(RowsViL)
    weights = tmp_path / "own.pt"
    save_moved(tiny(tmp_path, block="RowsViL"), weights)
    file = YOLO(weights).export(format="onnx", dynamic=True, simplify=False)  # the others are slimmed: most of the time
    for height, width in ((64, 96), (320, 320)):
        agree(file, weights, 1, height, width)


def test_what_follows_the_onnx_file_sees_the_size_that_was_asked_for(weights):
    """A dynamic TensorRT engine admits sides up to twice those of `exporter.im`: of the traced strip, 64 pixels."""
    asked, seen = torch.zeros(1, 3, 640, 640), []
    exporter = SimpleNamespace(args=SimpleNamespace(dynamic=True), model=YOLO(weights).model, im=asked)
    exporter.export_onnx = lambda: seen.append(tuple(exporter.im.shape))
    prepare(exporter)
    exporter.export_onnx()
    assert seen == [(1, 3, 2144, 32)] and exporter.im is asked


def test_a_classifier_is_traced_at_whole_strides_too():
    """ultralytics notes stride 1 for a classifier, of which 67 x 1 pixels would be three tokens."""
    assert any_size(YOLO(vil_lite.yolo.model_yaml("yolov8n-vil", task="classify")).model) == (67 * 32, 32)


def test_a_dynamic_graph_of_the_recurrent_form_is_refused(tmp_path):
    model = YOLO(tiny(tmp_path, ", form: recurrent"))
    with pytest.raises(ValueError, match='dynamic=True.*form "recurrent".*form "auto"'):
        model.export(format="onnx", dynamic=True)


# As traced; two images; larger; smaller than a chunk; rectangles whose tokens no chunk length divides.
@pytest.mark.parametrize(
    "shape", [(1, 2144, 32), (2, 320, 320), (1, 640, 640), (1, 96, 64), (1, 224, 352), (1, 32, 32)]
)
def test_one_dynamic_graph_computes_what_pytorch_does_at_any_size(weights, dynamic, shape):
    agree(dynamic, weights, *shape)


def test_the_traced_image_serves_every_length_of_chunks(weights):
    """A map at 1/2^k of the coarsest stride has 4^k times as many tokens: traced with padding, or with chunks that divide 4^k."""
    network = YOLO(weights).model
    assert any_size(network) == (67 * 32, 32)
    for longest in range(1, 600):
        for cell in (m for m in network.modules() if isinstance(m, MLSTMCell)):
            cell.chunk_size = longest
        height, width = any_size(network)
        for k in range(4):
            tokens = 4**k * height // 32 * width // 32
            length = chunk_length(tokens, longest)
            assert tokens > longest and (tokens % length or 4**k % length == 0), (longest, k)


def test_a_detector_with_stride_64_gets_a_dynamic_graph_too(tmp_path):
    """P6 maps need sides that are multiples of 64, while tracing as well."""
    weights = tmp_path / "p6.pt"
    save_moved(tiny(tmp_path, strides=(4, 8, 2)), weights)
    file = YOLO(weights).export(format="onnx", dynamic=True, simplify=False)
    for height, width in ((64, 64), (320, 320), (448, 704)):
        agree(file, weights, 1, height, width)


def test_torch_is_as_it_was_outside_of_an_export(dynamic):
    """Importing the package and exporting leave no operator of ours in torch's exporter."""
    kinds = {m.op_type for m in onnx.load(dynamic).graph.node}
    assert not kinds & {"Scan", "Loop", "If"} and "Pad" in kinds
    assert unflatten_of_torch().__module__.startswith("torch.onnx")


def unflatten_of_torch():
    return registration.registry.get_function_group("aten::unflatten").get(18)


def test_torch_is_as_it_was_after_an_export_that_failed(tmp_path, monkeypatch):
    """ultralytics calls no callback then: ours would have stayed for the other graphs of the process."""
    used = []

    def fail(*arguments, **settings):
        used.append(unflatten_of_torch())
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(RuntimeError, match="the disk is full"):
        YOLO(tiny(tmp_path)).export(format="onnx", imgsz=64, dynamic=True)
    assert [f.__module__ for f in used] == ["vil_lite.yolo.export"]
    assert unflatten_of_torch().__module__.startswith("torch.onnx")


def test_a_graph_for_one_size_stays_small_and_is_exported_quietly(dynamic, tmp_path, capfd):
    nodes = len(onnx.load(dynamic).graph.node)
    assert nodes < 1800  # yolov8n-vil for any size: shapes are computed, and every cell pads
    weights = tmp_path / "small.pt"
    save_moved(tiny(tmp_path), weights)
    file = YOLO(weights).export(format="onnx", imgsz=640)
    agree(file, weights, 1, 640, 640)
    graph = onnx.load(file).graph
    assert len(graph.node) < 540  # 455 when this was written; a loop over the chunks of its cells would be thousands
    assert not any(value.type.tensor_type.elem_type == onnx.TensorProto.DOUBLE for value in graph.value_info)
    assert not any(weight.data_type == onnx.TensorProto.DOUBLE for weight in graph.initializer)
    assert "shape inference" not in capfd.readouterr().err  # of an operator whose type we did not tell
